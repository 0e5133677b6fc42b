//! Readers under the rows: decompression, UTF-16 as UTF-8, and a count of the bytes read.

use std::{
    io::{self, BufRead, BufReader, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use encoding_rs::{Decoder, DecoderResult, UTF_16BE, UTF_16LE};
use flate2::bufread::{GzDecoder, ZlibDecoder};
use liblzma::{bufread::XzDecoder, stream::Stream};

use super::kind::Compression;

/// Decompresses `input`, which may be several compressed streams one after another.
pub fn decompressed(
    compression: Compression,
    input: impl Read + Send + 'static,
) -> io::Result<Box<dyn Read + Send>> {
    let input = BufReader::with_capacity(1 << 17, input);
    let inner: Box<dyn Read + Send> = match compression {
        Compression::Gzip => Box::new(Gzip {
            member: Some(GzDecoder::new(input)),
        }),
        Compression::Zlib => Box::new(ZlibDecoder::new(input)),
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(input)?;
            // The largest window: that of `zstd --long=31`.
            decoder.window_log_max(if usize::BITS > 32 { 31 } else { 30 })?;
            Box::new(decoder)
        }
        Compression::Xz => Box::new(XzDecoder::new_multi_decoder(input)),
        Compression::Lzma => {
            let stream = Stream::new_lzma_decoder(u64::MAX).map_err(io::Error::from)?;
            Box::new(XzDecoder::new_stream(input, stream))
        }
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
    };
    Ok(Box::new(Decompressed { inner, compression }))
}

/// Reads gzip members one after another, and skips the zeros with which tapes and block devices
/// fill up the last block.
struct Gzip<R> {
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let count = member.read(out)?;
            if count > 0 || out.is_empty() {
                return Ok(count);
            }
            let rest = self.member.take().map(GzDecoder::into_inner);
            self.member = rest.map(next_member).transpose()?.flatten();
        }
        Ok(0)
    }
}

/// Skips zeros and begins the next member, if there is one.
fn next_member<R: BufRead>(mut rest: R) -> io::Result<Option<GzDecoder<R>>> {
    loop {
        let buffer = rest.fill_buf()?;
        let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
        match (buffer.len(), zeros) {
            (0, _) => return Ok(None),
            (_, 0) => return Ok(Some(GzDecoder::new(rest))),
            _ => rest.consume(zeros),
        }
    }
}

/// Names the compression in errors of its decoder.
struct Decompressed {
    inner: Box<dyn Read + Send>,
    compression: Compression,
}

impl Read for Decompressed {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.inner.read(out).map_err(|error| match error.raw_os_error() {
            // An error of the system is about the file, not about its content.
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

/// Reads UTF-16 as UTF-8.
pub struct Utf16<R> {
    input: BufReader<R>,
    decoder: Decoder,
    /// Decoded bytes, and how many of them were read already.
    ready: Vec<u8>,
    given: usize,
    ended: bool,
}

impl<R: Read> Utf16<R> {
    /// Decodes `input`, whose byte order mark was read already.
    pub fn new(input: R, big_endian: bool) -> Utf16<R> {
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

/// A count of bytes read, shared by its clones.
#[derive(Debug, Clone, Default)]
pub struct ByteCount(Arc<AtomicU64>);

impl ByteCount {
    /// Returns how many bytes were read so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts the bytes that are read from `input`.
pub struct CountingReader<R> {
    pub input: R,
    pub count: ByteCount,
}

impl<R: Read> Read for CountingReader<R> {
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
    fn utf16_in_chunks_of_any_size() {
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
            for chunk in [1, 3, 4096] {
                let mut input = Utf16::new(BufReader::with_capacity(chunk, &bytes[..]), big_endian);
                let mut read = String::new();
                input.read_to_string(&mut read).unwrap();
                assert!(read == text, "{big_endian} by {chunk}");
            }
            for cut in [1, 3] {
                let end = bytes.len() - cut;
                let mut input = Utf16::new(&bytes[..end], big_endian);
                assert!(input.read_to_end(&mut Vec::new()).is_err());
            }
        }
    }
}
