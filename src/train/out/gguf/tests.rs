//! Files as gguf-py writes them (`scripts/make_gguf_goldens.py`), and what is refused.

use super::*;
use crate::gguf::header::Header;
use crate::gguf::value::Value;
use crate::model::tests::golden;
use crate::model::text::chat_template::ChatMessage;
use serde_json::{Value as Json, json};

/// Returns a copy of a golden model with other fields in config.json; null removes one.
fn changed(name: &str, fields: &[(&str, Json)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        std::fs::copy(golden(name).join(file), dir.path().join(file)).unwrap();
    }
    let path = dir.path().join("config.json");
    let mut config: Json = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    for (field, value) in fields {
        config[*field] = value.clone();
    }
    std::fs::write(path, config.to_string()).unwrap();
    dir
}

/// What llama.cpp does with the layers of any Gemma 3.
fn as_in_llama_cpp() -> [(&'static str, Json); 2] {
    [("query_pre_attn_scalar", json!(16)), ("layer_types", Json::Null)]
}

fn written(dir: &Path, kind: Option<GgufType>) -> Result<(PathBuf, Written)> {
    let loaded = model::load(dir, tch::Device::Cpu, "fp32")?;
    let path = dir.join("written.gguf");
    let written = write(&path, kind, loaded.model.as_ref(), dir, &loaded.tokenizer)?;
    Ok((path, written))
}

#[test]
fn files_are_those_of_gguf_py() {
    for (name, fields) in [
        ("llama3", &[][..]),
        ("gemma3", &as_in_llama_cpp()[..]),
        ("neox", &[][..]),
    ] {
        let dir = changed(name, fields);
        let (path, _) = written(dir.path(), Some(GgufType::F16)).unwrap();
        let (ours, theirs) = (
            Header::read(&path).unwrap(),
            Header::read(&golden("gguf").join(format!("{name}.gguf"))).unwrap(),
        );
        for (key, value) in theirs.metadata() {
            assert_eq!(ours.get(key), Some(value), "{name}: {key}");
        }
        let more: Vec<&String> = ours
            .metadata()
            .keys()
            .filter(|key| theirs.get(key).is_none())
            .collect();
        assert!(more.iter().all(|key| *key == "general.name"), "{name}: {more:?}");
        assert_eq!(ours.tensors().len(), theirs.tensors().len(), "{name}");
        for wanted in theirs.tensors() {
            let got = ours.tensor(&wanted.name).expect(&wanted.name);
            assert_eq!(
                (got.kind, &got.shape),
                (wanted.kind, &wanted.shape),
                "{}",
                wanted.name
            );
            let (got, want) = (ours.bytes_of(got).unwrap(), theirs.bytes_of(wanted).unwrap());
            if wanted.name == "rope_freqs.weight" {
                let numbers = |bytes: &[u8]| -> Vec<f32> {
                    bytes
                        .chunks_exact(4)
                        .map(|bits| f32::from_le_bytes(bits.try_into().unwrap()))
                        .collect()
                };
                let pairs = numbers(&got).into_iter().zip(numbers(&want));
                assert!(
                    pairs.clone().count() == 8 && pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-5 * b)
                );
            } else {
                assert!(got == want, "{name}: {} differs", wanted.name);
            }
        }
    }
}

#[test]
fn rows_that_are_no_blocks_are_f16_in_q8_0() {
    let dir = changed("llama3", &[]);
    let (path, written) = written(dir.path(), Some(GgufType::Q8_0)).unwrap();
    let header = Header::read(&path).unwrap();
    let kind = |name: &str| header.tensor(name).unwrap().kind;
    assert_eq!(kind("blk.0.attn_q.weight"), TensorKind::Q8_0);
    // 48 columns.
    assert_eq!(kind("blk.0.ffn_down.weight"), TensorKind::F16);
    assert_eq!(kind("blk.0.attn_norm.weight"), TensorKind::F32);
    assert_eq!(header.get("general.file_type"), Some(&Value::U32(7)));
    assert_eq!(written.kind, "Q8_0");
    assert!(written.bytes < std::fs::metadata(&path).unwrap().len());
}

#[test]
fn a_window_that_llama_cpp_does_not_have_bounds_the_context() {
    for (name, context) in [("mistral", 6), ("qwen2", 6), ("qwen3", 64)] {
        let dir = changed(name, &[]);
        let (path, written) = written(dir.path(), None).unwrap();
        let header = Header::read(&path).unwrap();
        let architecture = header.text("general.architecture").unwrap().unwrap();
        let key = format!("{architecture}.context_length");
        assert_eq!(header.get(&key), Some(&Value::U32(context)), "{name}");
        assert_eq!(written.notes.len(), usize::from(context < 64), "{name}");
    }
}

#[test]
fn what_llama_cpp_computes_differently_is_refused_with_a_way_out() {
    for (name, fields, words) in [
        ("gptj", &[][..], &["`gptj`", "no architecture"][..]),
        ("llama_biased", &[], &["`hidden_act` = \"gelu\""]),
        ("qwen3_biased", &[], &["`attention_bias`"]),
        ("neox_serial", &[], &["`attention_bias`"]),
        ("gemma3", &[], &["`query_pre_attn_scalar` = 24"]),
        (
            "gemma3",
            &[("query_pre_attn_scalar", json!(16))],
            &["`layer_types`", "6th"],
        ),
    ] {
        let dir = changed(name, fields);
        let message = format!("{:#}", written(dir.path(), None).err().expect(name));
        for word in words.iter().chain(&["config.json", "hint: --out"]) {
            assert!(message.contains(word), "{name}: {message}");
        }
        assert!(!dir.path().join("written.gguf").exists());
    }
}

#[test]
fn unknown_ways_to_split_texts_are_refused() {
    let dir = changed("llama", &[]);
    let path = dir.path().join("tokenizer.json");
    let mut file: Json = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    file["pre_tokenizer"]["add_prefix_space"] = json!(true);
    std::fs::write(&path, file.to_string()).unwrap();
    let message = format!("{:#}", written(dir.path(), None).err().unwrap());
    for words in ["tokenizer.json", "pre_tokenizer", "hint:"] {
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn where_llama_cpp_splits_texts_differently_is_noted() {
    for (name, words) in [
        ("llama2", None),
        ("metaspace_always", Some("begins with one, and")),
        ("mistral", Some("follows a special token")),
    ] {
        let dir = changed("llama", &[]);
        for file in ["tokenizer.json", "tokenizer_config.json"] {
            std::fs::copy(golden("tokenizers").join(name).join(file), dir.path().join(file)).unwrap();
        }
        let (_, written) = written(dir.path(), None).unwrap();
        let found: Vec<&str> = written.notes.iter().map(String::as_str).collect();
        assert_eq!(found.len(), usize::from(words.is_some()), "{name}: {found:?}");
        assert!(
            words.is_none_or(|words| found[0].contains(words)),
            "{name}: {found:?}"
        );
    }
}

#[test]
fn weights_beyond_f16_are_named() {
    let dir = changed("llama", &[]);
    let mut loaded = model::load(dir.path(), tch::Device::Cpu, "fp32").unwrap();
    let _guard = tch::no_grad_guard();
    let _ = loaded.model.embedding_and_head().head.weight.fill_(1e6);
    let path = dir.path().join("written.gguf");
    let failed = write(
        &path,
        Some(GgufType::F16),
        loaded.model.as_ref(),
        dir.path(),
        &loaded.tokenizer,
    );
    let message = format!("{:#}", failed.err().unwrap());
    for words in ["`output.weight`", "1000000", "F16", "--type bf16"] {
        assert!(message.contains(words), "{message}");
    }
    assert!(!path.exists());
}

#[test]
fn the_modelfile_has_template_and_stops() {
    let dir = changed("llama", &[]);
    let chatml = std::fs::read_to_string(golden("tokenizers").join("chatml.jinja")).unwrap();
    std::fs::write(dir.path().join("chat_template.jinja"), &chatml).unwrap();
    let generation = json!({"temperature": 0.6, "top_k": 20, "stop_strings": ["### End"], "do_sample": true});
    std::fs::write(dir.path().join("generation_config.json"), generation.to_string()).unwrap();
    let (path, written) = written(dir.path(), None).unwrap();
    let text = std::fs::read_to_string(&written.modelfile).unwrap();
    for line in [
        "FROM ./written.gguf\n",
        "TEMPLATE \"\"\"{{ range $i, $_ := .Messages }}",
        "PARAMETER stop \"<eos>\"\n",
        "PARAMETER stop \"### End\"\n",
        "PARAMETER temperature 0.6\n",
        "PARAMETER top_k 20\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let header = Header::read(&path).unwrap();
    assert_eq!(
        header.text("tokenizer.chat_template").unwrap(),
        Some(chatml.as_str())
    );
    // It comes back with the file.
    let back = Tokenizer::read(&path).unwrap();
    let template = crate::model::text::conversation_template::ConversationTemplate::of_model(&back).unwrap();
    assert_eq!(template.source(), chatml);
    let asked = [ChatMessage::new("user", "the")];
    let original = Tokenizer::read(dir.path()).unwrap();
    assert_eq!(
        template.question(&back, &asked).unwrap(),
        template.question(&original, &asked).unwrap()
    );
}
