//! Golden files, and copies of the tiny models, changed so that they run for long or fail.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// A file or folder of `tests/golden`.
pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

pub fn read_json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap_or_else(|_| panic!("{}", path.display()))).unwrap()
}

/// Reads a file of JSON lines.
pub fn read_lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Writes a file of JSON lines.
pub fn write_lines(path: &Path, rows: &[Value]) {
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    fs::write(path, lines).unwrap();
}

/// A copy of a tiny model, to be changed.
pub struct Changed {
    dir: tempfile::TempDir,
}

impl Changed {
    pub fn of(name: &str) -> Changed {
        let dir = tempfile::tempdir().unwrap();
        for file in [
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
        ] {
            fs::copy(golden(name).join(file), dir.path().join(file)).unwrap();
        }
        Changed { dir }
    }

    /// gemma3 with a context of `context` tokens, so that an answer can take as long as a test
    /// needs.
    pub fn long(context: u64) -> Changed {
        let changed = Changed::of("gemma3");
        changed.config("max_position_embeddings", json!(context));
        // A token that the model never draws, so answers run to their limit.
        changed.config("eos_token_id", json!(95));
        changed
    }

    /// [`Changed::long`] with letters of JSON, which the tiny vocabularies lack.
    pub fn writing_json(context: u64) -> Changed {
        let changed = Changed::long(context);
        let path = changed.path().join("tokenizer.json");
        let mut file = read_json(&path);
        let vocab = file["model"]["vocab"].as_object_mut().unwrap();
        for letter in ["{", "}", "[", "]", "\"", "\\", "-", "_", "<", ">", "/"] {
            let next = vocab.len();
            vocab.insert(letter.to_owned(), json!(next));
        }
        fs::write(path, file.to_string()).unwrap();
        changed
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn config(&self, name: &str, value: Value) {
        let path = self.path().join("config.json");
        let mut config = read_json(&path);
        config[name] = value;
        fs::write(path, config.to_string()).unwrap();
    }

    /// Overwrites numbers of an fp32 tensor from index `first` on.
    pub fn overwrite(&self, tensor: &str, first: usize, values: &[f32]) {
        let path = self.path().join("model.safetensors");
        let mut file = fs::read(&path).unwrap();
        let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        let head: Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
        let begin = head[tensor]["data_offsets"][0].as_u64().unwrap() as usize;
        for (i, value) in values.iter().enumerate() {
            let at = 8 + length + begin + 4 * (first + i);
            file[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        fs::write(path, file).unwrap();
    }
}
