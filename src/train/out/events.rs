//! Event files for TensorBoard: TFRecord records, each a protocol buffer `Event`
//! (<https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/util/event.proto>) with
//! only the fields that a curve needs.

use super::metrics::StepMetrics;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// An open event file.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Begins a file in `OUT/tensorboard` for a run that has done `done` steps. TensorBoard then
    /// discards what earlier files say of later steps.
    pub fn begin(out: &Path, done: u64) -> Result<EventFile> {
        let dir = out.join("tensorboard");
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Files are read in the order of their names.
        let path = dir.join(format!(
            "events.out.tfevents.{}.{:06}.ewe",
            now.as_secs(),
            now.subsec_micros()
        ));
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut events = EventFile { path, file };
        events.write(0, &bytes(3, b"brain.Event:2"))?;
        // Marks the start of a session.
        events.write(done + 1, &bytes(7, &varint(1, 1)))?;
        Ok(events)
    }

    /// Appends the metrics of a step.
    pub fn append(&mut self, metrics: &StepMetrics) -> Result<()> {
        let scalars = [
            ("train/loss", metrics.loss),
            ("train/learning_rate", Some(metrics.lr)),
            ("train/grad_norm", metrics.grad_norm),
            ("train/tokens_per_s", Some(metrics.tokens_per_s)),
            ("train/mfu", Some(metrics.mfu)),
            ("eval/loss", metrics.eval_loss),
            ("eval/perplexity", metrics.eval_perplexity),
        ];
        let mut summary = Vec::new();
        for (tag, value) in scalars {
            let Some(value) = value else { continue };
            let mut scalar = bytes(1, tag.as_bytes());
            scalar.push(2 << 3 | 5);
            scalar.extend((value as f32).to_le_bytes());
            summary.extend(bytes(1, &scalar));
        }
        self.write(metrics.step, &bytes(5, &summary))
    }

    /// Writes an event with the current time, this step and one more field.
    fn write(&mut self, step: u64, field: &[u8]) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut event = vec![1 << 3 | 1];
        event.extend(now.as_secs_f64().to_le_bytes());
        event.extend(varint(2, step));
        event.extend(field);
        self.file
            .write_all(&record(&event))
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Returns a record: length, checksum of the length, data, checksum of the data.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(masked(&length).to_le_bytes());
    record.extend(data);
    record.extend(masked(data).to_le_bytes());
    record
}

/// Returns the CRC-32C of `data`, rotated and shifted as TFRecord does.
fn masked(data: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Encodes a protocol buffer field that is a number.
fn varint(field: u8, value: u64) -> Vec<u8> {
    let mut bytes = vec![field << 3];
    bytes.extend(number(value));
    bytes
}

/// Encodes a protocol buffer field that is a message or a string.
fn bytes(field: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![field << 3 | 2];
    bytes.extend(number(content.len() as u64));
    bytes.extend(content);
    bytes
}

/// Encodes a number, seven bits per byte, the lowest first.
fn number(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 128 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_those_of_the_format() {
        // As TensorFlow's own writer encodes them: a number, and the checksum of an empty record.
        assert_eq!(number(300), [0xac, 2]);
        assert_eq!(masked(b""), 0xa282_ead8);
        // The check value of CRC-32C for "123456789" is e3069283.
        assert_eq!(
            masked(b"123456789"),
            0xe306_9283u32.rotate_right(15).wrapping_add(0xa282_ead8)
        );
        let of = record(b"abc");
        assert_eq!(of.len(), 8 + 4 + 3 + 4);
        assert_eq!(&of[..8], 3u64.to_le_bytes());
    }
}
