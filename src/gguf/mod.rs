//! GGUF, the file format of llama.cpp
//! (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>): one file with settings, tokenizer
//! and tensors. No tensor library here, only bytes. In reading order:
//!
//! - [`kind`], [`value`]: types of tensors and of metadata.
//! - [`header`]: everything before the tensors, read with limits.
//! - [`dequantize`], [`quantize`]: blocks of numbers to f32 and back.
//! - [`names`]: what tensors are called here and in checkpoints, and how their rows are ordered.
//! - [`config`]: the config.json that a file's metadata describe; [`rope_factors`]: frequencies of
//!   Llama 3.
//! - [`tokenizer`]: the tokenizer.json of a file; [`vocabulary`]: the reverse; [`pre_tokenizer`]:
//!   how texts are split, by llama.cpp's names.
//! - [`writer`]: a file from metadata and tensors.

pub mod config;
pub mod dequantize;
pub mod header;
pub mod kind;
pub mod names;
pub mod pre_tokenizer;
pub mod quantize;
pub mod rope_factors;
pub mod tokenizer;
pub mod value;
pub mod vocabulary;
pub mod writer;

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The bytes that every file begins with.
pub const MAGIC: [u8; 4] = *b"GGUF";

/// Bytes to whose multiples tensors are aligned, unless the file says otherwise.
pub const ALIGNMENT: u64 = 32;

/// The longest name of a tensor that llama.cpp reads, in bytes.
pub const LONGEST_NAME: usize = 63;

/// Returns whether `path` is a GGUF file: it begins as one, or is called so.
pub fn is(path: &Path) -> bool {
    let begins = || {
        let mut start = [0; 4];
        File::open(path)
            .and_then(|mut file| file.read_exact(&mut start))
            .is_ok_and(|()| start == MAGIC)
    };
    let is_called_so = || {
        path.extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
    };
    path.is_file() && (is_called_so() || begins())
}
