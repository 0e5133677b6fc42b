//! A file to send: where its bytes are, its checksums, and parts of it as bodies of requests. A
//! file on the disk is read as it is needed, and must stay what it was when it was first looked at.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as TaskContext, Poll};

use anyhow::{Context, Result, bail};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::text::hex;

/// Bytes that are read at once.
const CHUNK: u64 = 256 << 10;
/// Bytes of the beginning by which the hub tells text from binary files.
const SAMPLE: u64 = 512;

/// Where the bytes of a file are.
#[derive(Debug, Clone)]
enum Content {
    /// On the disk.
    Disk(PathBuf, Stamp),
    /// Here: made for the push.
    Made(Bytes),
}

/// By what a change of a file is noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: (i64, i64),
    place: (u64, u64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            place: (metadata.dev(), metadata.ino()),
        }
    }
}

/// A file to send.
#[derive(Debug, Clone)]
pub struct PushFile {
    /// Its path in the repository.
    pub path: String,
    /// Its bytes.
    pub size: u64,
    /// What there is to say of it, for people.
    pub remark: Option<&'static str>,
    content: Content,
}

impl PushFile {
    /// A file on the disk; links are followed.
    ///
    /// # Errors
    ///
    /// If it is not there, or no file.
    pub fn on_disk(path: &str, place: &Path) -> Result<PushFile> {
        let metadata = std::fs::metadata(place).with_context(|| cannot_read(place))?;
        if !metadata.is_file() {
            bail!("{} is no file", place.display());
        }
        Ok(PushFile {
            path: path.to_owned(),
            size: metadata.len(),
            remark: None,
            content: Content::Disk(place.to_owned(), Stamp::of(&metadata)),
        })
    }

    /// A file with this text, made for the push.
    pub fn made(path: &str, text: String, remark: &'static str) -> PushFile {
        PushFile {
            path: path.to_owned(),
            size: text.len() as u64,
            remark: Some(remark),
            content: Content::Made(Bytes::from(text)),
        }
    }

    /// Fails if the file is not what it was: bytes of two versions would be sent under one name.
    pub fn check_unchanged(&self) -> Result<()> {
        let Content::Disk(place, stamp) = &self.content else {
            return Ok(());
        };
        let now = std::fs::metadata(place).ok().map(|now| Stamp::of(&now));
        match now {
            Some(now) if now == *stamp => Ok(()),
            Some(_) => Err(self.changed()),
            None => bail!(
                "{} went away while it was being sent\nhint: nothing was published; push again when nothing else changes the folder",
                place.display()
            ),
        }
    }

    fn changed(&self) -> anyhow::Error {
        anyhow::anyhow!(
            "{} changed while it was being sent\nhint: nothing was published; push again when nothing writes to it",
            self.path
        )
    }

    /// Returns the first bytes.
    pub(super) fn sample(&self) -> Result<Vec<u8>> {
        self.read(SAMPLE)
    }

    /// Returns all bytes of a file that the hub takes for small.
    pub(super) fn all(&self) -> Result<Vec<u8>> {
        let bytes = self.read(self.size)?;
        if bytes.len() as u64 != self.size {
            return Err(self.changed());
        }
        self.check_unchanged()?;
        Ok(bytes)
    }

    fn read(&self, most: u64) -> Result<Vec<u8>> {
        match &self.content {
            Content::Made(bytes) => Ok(bytes[..bytes.len().min(most as usize)].to_vec()),
            Content::Disk(place, _) => {
                let mut bytes = Vec::new();
                File::open(place)
                    .and_then(|file| file.take(most).read_to_end(&mut bytes))
                    .with_context(|| cannot_read(place))?;
                Ok(bytes)
            }
        }
    }

    /// Computes the SHA-256, by which large files are known; `progress` is told the bytes read so
    /// far.
    pub(super) fn sha256(&self, progress: &mut dyn FnMut(u64)) -> Result<String> {
        let mut digest = Sha256::new();
        match &self.content {
            Content::Made(bytes) => digest.update(bytes),
            Content::Disk(place, _) => {
                let mut file = File::open(place).with_context(|| cannot_read(place))?;
                let (mut buffer, mut read) = (vec![0; CHUNK as usize], 0);
                loop {
                    match file.read(&mut buffer).with_context(|| cannot_read(place))? {
                        0 => break,
                        some => {
                            digest.update(&buffer[..some]);
                            read += some as u64;
                            progress(read);
                        }
                    }
                }
                self.check_unchanged()?;
            }
        }
        Ok(hex(&digest.finalize()))
    }

    /// Returns the bytes from `from` on, `length` of them, as the body of a request. `sent` counts
    /// those that were taken.
    pub(super) fn body(&self, from: u64, length: u64, sent: &Arc<AtomicU64>) -> Result<reqwest::Body> {
        sent.store(0, Ordering::Relaxed);
        match &self.content {
            Content::Made(bytes) => {
                let part = bytes.slice(from as usize..(from + length) as usize);
                Ok(counted_body(part, sent))
            }
            Content::Disk(place, _) => Ok(reqwest::Body::wrap(PartBody {
                source: PartSource::Disk(File::open(place).with_context(|| cannot_read(place))?),
                at: from,
                end: from + length,
                sent: sent.clone(),
            })),
        }
    }
}

/// Returns bytes as the body of a request, of which `sent` counts those that were taken.
pub(super) fn counted_body(bytes: Bytes, sent: &Arc<AtomicU64>) -> reqwest::Body {
    sent.store(0, Ordering::Relaxed);
    reqwest::Body::wrap(PartBody {
        at: 0,
        end: bytes.len() as u64,
        source: PartSource::Made(bytes),
        sent: sent.clone(),
    })
}

fn cannot_read(place: &Path) -> String {
    format!("cannot read {}", place.display())
}

/// Returns git's id of a file with these bytes, by which small files are known.
pub(super) fn git_id(bytes: &[u8]) -> String {
    let digest = Sha1::new_with_prefix(format!("blob {}\0", bytes.len()));
    hex(&digest.chain_update(bytes).finalize())
}

/// Where the bytes of a body are.
enum PartSource {
    Disk(File),
    Made(Bytes),
}

/// A part of a file, taken piece by piece as it is sent.
struct PartBody {
    source: PartSource,
    at: u64,
    end: u64,
    sent: Arc<AtomicU64>,
}

impl Body for PartBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.at >= self.end {
            return Poll::Ready(None);
        }
        let (at, most) = (self.at, CHUNK.min(self.end - self.at));
        let read = match &self.source {
            PartSource::Disk(file) => read_part(file, at, most),
            PartSource::Made(bytes) => Ok(bytes.slice(at as usize..(at + most) as usize)),
        };
        Poll::Ready(Some(read.map(|bytes| {
            self.at += bytes.len() as u64;
            self.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            Frame::data(bytes)
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.at >= self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end.saturating_sub(self.at))
    }
}

/// Reads up to `most` bytes of a file from `at` on.
fn read_part(file: &File, at: u64, most: u64) -> io::Result<Bytes> {
    let mut bytes = vec![0; most as usize];
    match file.read_at(&mut bytes, at)? {
        0 => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the file became shorter",
        )),
        read => {
            bytes.truncate(read);
            Ok(bytes.into())
        }
    }
}

/// Encodes bytes in Base64 (RFC 4648, section 4).
pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            // Of one byte, two characters have bits; of two, three.
            match at <= three.len() {
                true => text.push(ALPHABET[(bits >> (18 - 6 * at)) as usize & 63].into()),
                false => text.push('='),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_encoded_as_the_standard_says() {
        // RFC 4648, section 10.
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn checksums_are_those_of_git() {
        // `git hash-object` of an empty file, and of "hello\n".
        assert_eq!(git_id(b""), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(git_id(b"hello\n"), "ce013625030ba8dba906f756967f9e9ca394464a");
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("a");
        std::fs::write(&place, "hello\n").unwrap();
        let file = PushFile::on_disk("a", &place).unwrap();
        let (mut told, sum) = (
            0,
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
        );
        assert_eq!(file.sha256(&mut |read| told = read).unwrap(), sum);
        assert_eq!(told, 6);
        let made = PushFile::made("a", "hello\n".into(), "made");
        assert_eq!(made.sha256(&mut |_| ()).unwrap(), sum);
        assert_eq!((made.size, made.sample().unwrap()), (6, b"hello\n".to_vec()));
    }

    #[test]
    fn a_file_that_changes_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("a");
        std::fs::write(&place, "one").unwrap();
        let file = PushFile::on_disk("a", &place).unwrap();
        assert_eq!(file.all().unwrap(), b"one");
        std::fs::write(&place, "longer").unwrap();
        for error in [
            file.check_unchanged().unwrap_err(),
            file.all().unwrap_err(),
            file.sha256(&mut |_| ()).unwrap_err(),
        ] {
            assert!(error.to_string().contains("a changed while"), "{error}");
        }
        std::fs::remove_file(&place).unwrap();
        let error = file.check_unchanged().unwrap_err().to_string();
        assert!(error.contains("went away") && error.contains("hint:"), "{error}");
        assert!(PushFile::on_disk("d", dir.path()).is_err());
    }

    #[test]
    fn a_part_of_a_file_is_the_body_of_a_request() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("a");
        std::fs::write(&place, "0123456789").unwrap();
        let part = |from, end| PartBody {
            source: PartSource::Disk(File::open(&place).unwrap()),
            at: from,
            end,
            sent: Arc::default(),
        };
        let read = |mut part: PartBody| -> Vec<io::Result<Bytes>> {
            let mut context = TaskContext::from_waker(std::task::Waker::noop());
            let mut frames = Vec::new();
            while let Poll::Ready(Some(frame)) = Pin::new(&mut part).poll_frame(&mut context) {
                let is_error = frame.is_err();
                frames.push(frame.map(|frame| frame.into_data().unwrap()));
                if is_error {
                    break;
                }
            }
            frames
        };
        assert_eq!(part(3, 7).size_hint().exact(), Some(4));
        assert_eq!(read(part(3, 7))[0].as_ref().unwrap(), "3456");
        assert!(part(7, 7).is_end_stream() && read(part(7, 7)).is_empty());
        // Shorter than it was.
        let frames = read(part(8, 14));
        assert_eq!(frames[0].as_ref().unwrap(), "89");
        assert!(frames[1].is_err());

        // Bytes that were made are counted piece by piece as well.
        let bytes = Bytes::from(vec![b'x'; CHUNK as usize + 5]);
        let sent: Arc<AtomicU64> = Arc::default();
        let frames = read(PartBody {
            at: 0,
            end: bytes.len() as u64,
            source: PartSource::Made(bytes.clone()),
            sent: sent.clone(),
        });
        let pieces: Vec<usize> = frames.iter().map(|piece| piece.as_ref().unwrap().len()).collect();
        assert_eq!(pieces, [CHUNK as usize, 5]);
        assert_eq!(sent.load(Ordering::Relaxed), bytes.len() as u64);
    }
}
