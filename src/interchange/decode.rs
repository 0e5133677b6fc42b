//! Layers under the rows: what unpacks a file, turns UTF-16 into UTF-8, and counts the bytes that were read.

use std::{
    io::{self, BufRead, BufReader, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use encoding_rs::{Decoder, DecoderResult, UTF_16BE, UTF_16LE};

use super::sniff::Compression;

/// Unpacks `input`, which may consist of several streams one after another.
pub(super) fn unpacked(
    compression: Compression,
    input: impl Read + Send + 'static,
) -> io::Result<Box<dyn Read + Send>> {
    let input = BufReader::with_capacity(1 << 17, input);
    let inner: Box<dyn Read + Send> = match compression {
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(input)?),
        Compression::Xz => Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(input)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
    };
    Ok(Box::new(Unpacked { inner, compression }))
}

struct Unpacked {
    inner: Box<dyn Read + Send>,
    compression: Compression,
}

impl Read for Unpacked {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.inner.read(out).map_err(|error| match error.raw_os_error() {
            // What the system says is about the file, not about what is packed in it.
            Some(_) => error,
            None if error.kind() == io::ErrorKind::Interrupted => error,
            None if error.kind() == io::ErrorKind::UnexpectedEof => io::Error::new(
                error.kind(),
                format!(
                    "it is compressed with {} and ends too early",
                    self.compression.as_str()
                ),
            ),
            None => io::Error::new(
                error.kind(),
                format!(
                    "it is compressed with {} and damaged: {error}",
                    self.compression.as_str()
                ),
            ),
        })
    }
}

/// UTF-16 read as UTF-8.
pub(super) struct Utf16<R> {
    input: BufReader<R>,
    decoder: Decoder,
    /// Decoded bytes, and how many of them were given out.
    ready: Vec<u8>,
    given: usize,
    ended: bool,
}

impl<R: Read> Utf16<R> {
    /// The text behind the mark, which was taken already.
    pub(super) fn new(input: R, big_endian: bool) -> Utf16<R> {
        let encoding = if big_endian { UTF_16BE } else { UTF_16LE };
        Utf16 {
            input: BufReader::with_capacity(1 << 16, input),
            decoder: encoding.new_decoder_without_bom_handling(),
            ready: Vec::new(),
            given: 0,
            ended: false,
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let units = self.input.fill_buf()?;
        self.ended = units.is_empty();
        let room = self
            .decoder
            .max_utf8_buffer_length_without_replacement(units.len());
        self.ready.resize(room.unwrap_or(1 << 18), 0);
        let (result, taken, made) =
            self.decoder
                .decode_to_utf8_without_replacement(units, &mut self.ready, self.ended);
        if let DecoderResult::Malformed(..) = result {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is UTF-16, and half of a character is missing in it",
            ));
        }
        self.input.consume(taken);
        self.ready.truncate(made);
        self.given = 0;
        Ok(())
    }
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.given == self.ready.len() && !self.ended {
            self.fill()?;
        }
        let count = out.len().min(self.ready.len() - self.given);
        out[..count].copy_from_slice(&self.ready[self.given..][..count]);
        self.given += count;
        Ok(count)
    }
}

/// How many bytes were read of something, whoever asks.
#[derive(Debug, Clone, Default)]
pub(super) struct Count(Arc<AtomicU64>);

impl Count {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts the bytes that are read.
pub(super) struct Counted<R> {
    pub(super) input: R,
    pub(super) count: Count,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(out)?;
        self.count.0.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf16_in_pieces_of_any_size() {
        let text = "{\"a\": \"ä☂𝄞\"}\r\n".repeat(10_000);
        for big_endian in [false, true] {
            let bytes: Vec<u8> = text
                .encode_utf16()
                .flat_map(|unit| {
                    if big_endian {
                        unit.to_be_bytes()
                    } else {
                        unit.to_le_bytes()
                    }
                })
                .collect();
            for piece in [1, 3, 4096] {
                let mut input = Utf16::new(BufReader::with_capacity(piece, &bytes[..]), big_endian);
                let mut read = String::new();
                input.read_to_string(&mut read).unwrap();
                assert!(read == text, "{big_endian} by {piece}");
            }
            for cut in [1, 3] {
                let end = bytes.len() - cut;
                let mut input = Utf16::new(&bytes[..end], big_endian);
                assert!(input.read_to_end(&mut Vec::new()).is_err());
            }
        }
    }
}
