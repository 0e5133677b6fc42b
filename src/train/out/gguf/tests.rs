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

/// The golden models that gguf-py wrote, too, with what llama.cpp does with any of their family.
fn models() -> [(&'static str, Vec<(&'static str, Json)>); 11] {
    [
        ("llama3", vec![]),
        (
            "gemma3",
            vec![("query_pre_attn_scalar", json!(16)), ("layer_types", Json::Null)],
        ),
        ("neox", vec![]),
        ("gemma2", vec![("query_pre_attn_scalar", json!(16))]),
        ("phi3", vec![("sliding_window", Json::Null)]),
        ("granite", vec![]),
        ("smollm3", vec![("no_rope_layers", Json::Null)]),
        ("stablelm", vec![]),
        ("stablelm_parallel", vec![]),
        ("qwen3_moe", vec![]),
        ("gpt2", vec![]),
    ]
}

fn written(dir: &Path, kind: Option<GgufType>) -> Result<(PathBuf, Written)> {
    let loaded = model::load(dir, tch::Device::Cpu, "fp32")?;
    let path = dir.join("written.gguf");
    let written = write(&path, kind, loaded.model.as_ref(), dir, &loaded.tokenizer)?;
    Ok((path, written))
}

#[test]
fn files_are_those_of_gguf_py() {
    for (name, fields) in models() {
        let dir = changed(name, &fields);
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

/// In F32 and BF16 nothing is rounded, but for the norms of Gemma, to which 1 is added.
#[test]
fn models_return_from_their_files_to_the_bit() {
    for (name, fields) in models() {
        for (kind, dtype) in [(GgufType::F32, "fp32"), (GgufType::Bf16, "bf16")] {
            let dir = changed(name, &fields);
            let cpu = tch::Device::Cpu;
            let original = model::load(dir.path(), cpu, dtype).unwrap();
            let path = dir.path().join("written.gguf");
            let tokenizer = &original.tokenizer;
            write(&path, Some(kind), original.model.as_ref(), dir.path(), tokenizer).unwrap();
            let back = model::load(&path, cpu, dtype).unwrap();
            let (ours, theirs) = (back.model.parameters(), original.model.parameters());
            assert_eq!(ours.len(), theirs.len(), "{name}");
            for ((our_name, ours), (their_name, theirs)) in ours.iter().zip(&theirs) {
                assert_eq!(our_name, their_name, "{name}");
                let apart = (ours - theirs).abs().max().double_value(&[]);
                let is_sum = name.starts_with("gemma") && our_name.ends_with("norm.weight");
                let most = if is_sum { f64::from(f32::EPSILON) } else { 0.0 };
                assert!(
                    ours.size() == theirs.size() && apart <= most,
                    "{name}: {our_name} {apart}"
                );
            }
            let (ours, theirs) = (back.model.info(), original.model.info());
            assert_eq!(
                (ours.family, ours.context, ours.tied || theirs.tied),
                (theirs.family, theirs.context, theirs.tied),
                "{name}"
            );
        }
    }
}

#[test]
fn tensors_of_several_are_one_and_small_ones_exact() {
    let dir = changed("qwen3_moe", &[]);
    let (path, _) = written(dir.path(), Some(GgufType::Q8_0)).unwrap();
    let header = Header::read(&path).unwrap();
    let is = |name: &str| {
        let tensor = header.tensor(name).expect(name);
        (tensor.kind, tensor.shape.clone())
    };
    assert_eq!(
        is("blk.0.ffn_up_exps.weight"),
        (TensorKind::Q8_0, vec![4, 24, 32])
    );
    // 24 columns.
    assert_eq!(
        is("blk.1.ffn_down_exps.weight"),
        (TensorKind::F16, vec![4, 32, 24])
    );
    assert_eq!(is("blk.0.ffn_gate_inp.weight"), (TensorKind::F32, vec![4, 32]));
    let dir = changed("stablelm_parallel", &[]);
    let (path, _) = written(dir.path(), Some(GgufType::Bf16)).unwrap();
    let header = Header::read(&path).unwrap();
    let norms = header.tensor("blk.0.attn_q_norm.weight").unwrap();
    assert_eq!(
        (norms.kind, norms.shape.as_slice()),
        (TensorKind::F32, &[4, 8][..])
    );
    assert!(header.tensor("blk.0.ffn_norm.weight").is_none());
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
    for (name, context) in [
        ("mistral", 6),
        ("ministral", 6),
        ("phi3", 6),
        ("qwen2", 6),
        ("qwen3", 64),
    ] {
        let dir = changed(name, &[]);
        let (path, written) = written(dir.path(), None).unwrap();
        let header = Header::read(&path).unwrap();
        let architecture = header.text("general.architecture").unwrap().unwrap();
        let key = format!("{architecture}.context_length");
        assert_eq!(header.get(&key), Some(&Value::U32(context)), "{name}");
        let told = written
            .notes
            .iter()
            .filter(|note| note.contains("sliding window"));
        assert_eq!(told.count(), usize::from(context < 64), "{name}");
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
        ("gemma2", &[], &["`query_pre_attn_scalar` = 24", "Gemma 2"]),
        (
            "gemma2",
            &[
                ("query_pre_attn_scalar", json!(16)),
                ("final_logit_softcapping", Json::Null),
            ],
            &["`final_logit_softcapping` = null"],
        ),
        ("smollm3", &[], &["`no_rope_layers`", "4th"]),
        (
            "qwen3_moe",
            &[("norm_topk_prob", json!(false))],
            &["`norm_topk_prob` = false"],
        ),
        (
            "gpt2",
            &[("scale_attn_by_inverse_layer_idx", json!(true))],
            &["`scale_attn_by_inverse_layer_idx`"],
        ),
        ("granite", &[("hidden_act", json!("gelu"))], &["`hidden_act`"]),
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

#[test]
fn odd_templates_and_stops_stand_in_the_modelfile_or_are_told() {
    let modelfile = |template: &str, stop: &str| {
        let dir = changed("llama", &[]);
        std::fs::write(dir.path().join("chat_template.jinja"), template).unwrap();
        let generation = json!({"stop_strings": [stop], "top_k": 20.0});
        std::fs::write(dir.path().join("generation_config.json"), generation.to_string()).unwrap();
        let (_, written) = written(dir.path(), None).unwrap();
        std::fs::read_to_string(written.modelfile).unwrap()
    };
    // `before` is a text as Jinja writes it.
    let with = |before: &str| {
        format!(
            "{{% for m in messages %}}{{{{ '{before}' + m['role'] + ': ' + m['content'] + '\\n' }}}}{{% endfor %}}\
             {{% if add_generation_prompt %}}{{{{ '{before}' + 'assistant: ' }}}}{{% endif %}}"
        )
    };
    // Three quotes within a line are a text like any other.
    let text = modelfile(&with("\"\"\" "), "say \"so\"\n");
    for words in [
        "TEMPLATE \"\"\"{{ range",
        "\"\"\" user: {{ end }}",
        "PARAMETER stop \"\"\"say \"so\"\n\"\"\"\n",
        "PARAMETER top_k 20\n",
    ] {
        assert!(text.contains(words), "want {words}: {text}");
    }
    // At its end they would end the text.
    let text = modelfile(&with("\"\"\"\\n"), "\"\"\"\nend");
    assert!(!text.contains("TEMPLATE \""), "{text}");
    let told = |words: &str| {
        let mut comments = text.lines().filter(|line| line.starts_with('#'));
        assert!(comments.any(|line| line.contains(words)), "want {words}: {text}");
    };
    told("There is no TEMPLATE: a line of it ends with three quotes");
    told("The stop text");
    assert!(!text.contains("PARAMETER stop \"\"\""), "{text}");
    let text = modelfile(&with("\u{200b}"), "x");
    assert!(
        text.contains("no TEMPLATE: it has the character U+200B"),
        "{text}"
    );
}
