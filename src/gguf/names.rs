//! What tensors are called in GGUF and in checkpoints, and how their rows are ordered, for each
//! architecture of llama.cpp that ewe has a model for.

/// An architecture.
#[derive(Debug, PartialEq, Eq)]
pub struct Architecture {
    /// Its name in GGUF, which also begins its keys.
    pub name: &'static str,
    /// Values of `model_type` of its models; the first stands for all where a file is read.
    pub model_types: &'static [&'static str],
    /// The class of `transformers`.
    pub class: &'static str,
    /// Names of whole modules, here and in checkpoints.
    top: &'static [Pair],
    /// What precedes the number of a layer in checkpoints.
    layers: &'static str,
    /// Names within a layer, here and in checkpoints. `{}` in the latter is the number of a tensor
    /// among several that are one here, such as those of experts.
    within: &'static [Pair],
    /// Whether llama.cpp wants an output head even where it is the embedding.
    pub wants_head: bool,
}

/// Names of one module: in GGUF, and in checkpoints.
type Pair = (&'static str, &'static str);

/// How a tensor differs between checkpoints and GGUF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Not at all.
    None,
    /// The rows of each of so many heads: features that are rotated together are half a head apart
    /// in checkpoints, adjacent in GGUF.
    Adjacent(i64),
    /// Queries, keys and values of each of so many heads are adjacent in checkpoints; in GGUF, all
    /// queries precede all keys.
    Apart(i64),
    /// Weights of norms that multiply by 1 + weight: GGUF has the sum.
    PlusOne,
    /// Rows are columns in checkpoints.
    Transposed,
}

/// Where GGUF has a tensor of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The name in GGUF.
    pub name: String,
    /// Its number among those that are one tensor there; none for a tensor by itself.
    pub part: Option<usize>,
}

/// Stands for the number of one of several tensors.
const PART: &str = "{}";

const TOP: &[Pair] = &[
    ("token_embd", "model.embed_tokens"),
    ("output_norm", "model.norm"),
    ("output", "lm_head"),
];

const LLAMA: &[Pair] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

const SANDWICH: &[Pair] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
];

const PHI3: &[Pair] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_qkv", "self_attn.qkv_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_up", "mlp.gate_up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

const QWEN3_MOE: &[Pair] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate_inp", "mlp.gate"),
    ("ffn_gate_exps", "mlp.experts.{}.gate_proj"),
    ("ffn_up_exps", "mlp.experts.{}.up_proj"),
    ("ffn_down_exps", "mlp.experts.{}.down_proj"),
];

const STABLELM: &[Pair] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_layernorm.norms.{}"),
    ("attn_k_norm", "self_attn.k_layernorm.norms.{}"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// What most architectures have.
const PLAIN: Architecture = Architecture {
    name: "",
    model_types: &[],
    class: "",
    top: TOP,
    layers: "model.layers.",
    within: LLAMA,
    wants_head: false,
};

/// Every architecture, in the order in which messages list them.
static ARCHITECTURES: [Architecture; 13] = [
    Architecture {
        name: "llama",
        model_types: &["llama", "mistral", "ministral"],
        class: "LlamaForCausalLM",
        ..PLAIN
    },
    Architecture {
        name: "qwen2",
        model_types: &["qwen2"],
        class: "Qwen2ForCausalLM",
        ..PLAIN
    },
    Architecture {
        name: "qwen3",
        model_types: &["qwen3"],
        class: "Qwen3ForCausalLM",
        ..PLAIN
    },
    Architecture {
        name: "qwen3moe",
        model_types: &["qwen3_moe"],
        class: "Qwen3MoeForCausalLM",
        within: QWEN3_MOE,
        ..PLAIN
    },
    Architecture {
        name: "gemma2",
        model_types: &["gemma2"],
        class: "Gemma2ForCausalLM",
        within: SANDWICH,
        ..PLAIN
    },
    Architecture {
        name: "gemma3",
        model_types: &["gemma3_text", "gemma3"],
        class: "Gemma3ForCausalLM",
        within: SANDWICH,
        ..PLAIN
    },
    Architecture {
        name: "phi3",
        model_types: &["phi3"],
        class: "Phi3ForCausalLM",
        within: PHI3,
        ..PLAIN
    },
    Architecture {
        name: "granite",
        model_types: &["granite"],
        class: "GraniteForCausalLM",
        ..PLAIN
    },
    Architecture {
        name: "smollm3",
        model_types: &["smollm3"],
        class: "SmolLM3ForCausalLM",
        ..PLAIN
    },
    Architecture {
        name: "stablelm",
        model_types: &["stablelm"],
        class: "StableLmForCausalLM",
        within: STABLELM,
        wants_head: true,
        ..PLAIN
    },
    Architecture {
        name: "olmo2",
        model_types: &["olmo2"],
        class: "Olmo2ForCausalLM",
        within: SANDWICH,
        wants_head: true,
        ..PLAIN
    },
    Architecture {
        name: "gptneox",
        model_types: &["gpt_neox"],
        class: "GPTNeoXForCausalLM",
        top: &[
            ("token_embd", "gpt_neox.embed_in"),
            ("output_norm", "gpt_neox.final_layer_norm"),
            ("output", "embed_out"),
            // As `transformers` 5 calls it.
            ("output", "lm_head"),
        ],
        layers: "gpt_neox.layers.",
        within: &[
            ("attn_norm", "input_layernorm"),
            ("attn_qkv", "attention.query_key_value"),
            ("attn_output", "attention.dense"),
            ("ffn_norm", "post_attention_layernorm"),
            ("ffn_up", "mlp.dense_h_to_4h"),
            ("ffn_down", "mlp.dense_4h_to_h"),
        ],
        wants_head: true,
    },
    Architecture {
        name: "gpt2",
        model_types: &["gpt2"],
        class: "GPT2LMHeadModel",
        top: &[
            ("token_embd", "transformer.wte"),
            ("position_embd", "transformer.wpe"),
            ("output_norm", "transformer.ln_f"),
            ("output", "lm_head"),
        ],
        layers: "transformer.h.",
        within: &[
            ("attn_norm", "ln_1"),
            ("attn_qkv", "attn.c_attn"),
            ("attn_output", "attn.c_proj"),
            ("ffn_norm", "ln_2"),
            ("ffn_up", "mlp.c_fc"),
            ("ffn_down", "mlp.c_proj"),
        ],
        ..PLAIN
    },
];

impl Architecture {
    /// Returns all.
    pub fn all() -> &'static [Architecture] {
        &ARCHITECTURES
    }

    /// Returns the architecture that GGUF calls so.
    pub fn called(name: &str) -> Option<&'static Architecture> {
        ARCHITECTURES.iter().find(|known| known.name == name)
    }

    /// Returns the architecture of models of this `model_type`.
    pub fn of_model_type(model_type: &str) -> Option<&'static Architecture> {
        ARCHITECTURES
            .iter()
            .find(|known| known.model_types.contains(&model_type))
    }

    /// Returns where GGUF has the tensor that checkpoints call `name`; none if nowhere.
    pub fn place_here(&self, name: &str) -> Option<Place> {
        // The text half of a model of text and images.
        let name = name.replacen("model.language_model.", "model.", 1);
        let (module, kind) = name.rsplit_once('.')?;
        if let Some((here, _)) = self.top.iter().find(|(_, there)| *there == module) {
            return Some(Place {
                name: format!("{here}.{kind}"),
                part: None,
            });
        }
        let (layer, module) = module.strip_prefix(self.layers)?.split_once('.')?;
        layer.parse::<u32>().ok()?;
        let place = |(here, there): &Pair| {
            let part = match there.split_once(PART) {
                None if *there == module => None,
                None => return None,
                Some((before, after)) => {
                    let number = module.strip_prefix(before)?.strip_suffix(after)?;
                    Some(number.parse().ok()?)
                }
            };
            Some(Place {
                name: format!("blk.{layer}.{here}.{kind}"),
                part,
            })
        };
        self.within.iter().find_map(place)
    }

    /// Returns the name in checkpoints of the tensor that GGUF calls `name`; none if there is none.
    /// Where several tensors are one in GGUF, it has [`numbered`] names.
    pub fn name_there(&self, name: &str) -> Option<String> {
        let (module, kind) = name.rsplit_once('.')?;
        if let Some((_, there)) = self.top.iter().find(|(here, _)| *here == module) {
            return Some(format!("{there}.{kind}"));
        }
        let (layer, module) = module.strip_prefix("blk.")?.split_once('.')?;
        layer.parse::<u32>().ok()?;
        let (_, there) = self.within.iter().find(|(here, _)| *here == module)?;
        Some(format!("{}{layer}.{there}.{kind}", self.layers))
    }

    /// Returns how the tensor that GGUF calls `name` differs from that of a checkpoint.
    pub fn change(&self, name: &str, heads: i64, kv_heads: i64) -> Change {
        let module = name.rsplit_once('.').map_or(name, |(module, _)| module);
        let module = module.rsplit_once('.').map_or(module, |(_, module)| module);
        match (self.name, module) {
            ("llama" | "granite" | "smollm3", "attn_q") => Change::Adjacent(heads),
            ("llama" | "granite" | "smollm3", "attn_k") => Change::Adjacent(kv_heads),
            ("gptneox", "attn_qkv") => Change::Apart(heads),
            ("gpt2", "attn_qkv" | "attn_output" | "ffn_up" | "ffn_down") => Change::Transposed,
            ("gemma2" | "gemma3", module) if module.ends_with("norm") => Change::PlusOne,
            _ => Change::None,
        }
    }
}

/// Returns the name of one of several tensors that are one in GGUF: `name` with `part` in it. None
/// if it is the name of a tensor by itself.
pub fn numbered(name: &str, part: usize) -> Option<String> {
    name.contains(PART)
        .then(|| name.replacen(PART, &part.to_string(), 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_there_and_back() {
        for architecture in Architecture::all() {
            let within = architecture.within.iter();
            let names = within.map(|(here, _)| format!("blk.11.{here}.weight"));
            let top = architecture.top.iter().map(|(here, _)| format!("{here}.bias"));
            for name in names.chain(top) {
                let there = architecture.name_there(&name).unwrap();
                let (there, part) = match numbered(&there, 7) {
                    Some(there) => (there, Some(7)),
                    None => (there, None),
                };
                assert_eq!(architecture.place_here(&there), Some(Place { name, part }));
            }
            for stranger in ["blk.x.attn_q.weight", "blk.0.attn_q", "rope_freqs.weight", "x"] {
                assert_eq!(architecture.name_there(stranger), None, "{stranger}");
            }
        }
        let neox = Architecture::called("gptneox").unwrap();
        assert_eq!(
            neox.name_there("blk.3.ffn_norm.bias").as_deref(),
            Some("gpt_neox.layers.3.post_attention_layernorm.bias")
        );
        assert_eq!(neox.place_here("lm_head.weight").unwrap().name, "output.weight");
        let llama = Architecture::of_model_type("mistral").unwrap();
        assert_eq!(llama.change("blk.0.attn_k.bias", 8, 2), Change::Adjacent(2));
        assert_eq!(llama.change("blk.0.attn_v.weight", 8, 2), Change::None);
        let gemma = Architecture::called("gemma3").unwrap();
        assert_eq!(gemma.change("blk.0.attn_q_norm.weight", 8, 2), Change::PlusOne);
        assert_eq!(gemma.change("output_norm.weight", 8, 2), Change::PlusOne);
        assert_eq!(gemma.change("output.weight", 8, 2), Change::None);
        let gpt2 = Architecture::called("gpt2").unwrap();
        assert_eq!(gpt2.change("blk.0.ffn_up.weight", 8, 8), Change::Transposed);
        assert_eq!(gpt2.change("position_embd.weight", 8, 8), Change::None);
        let experts = Architecture::called("qwen3moe").unwrap();
        let there = "model.layers.2.mlp.experts.13.up_proj.weight";
        let place = experts.place_here(there).unwrap();
        assert_eq!(
            (place.name.as_str(), place.part),
            ("blk.2.ffn_up_exps.weight", Some(13))
        );
        assert!(
            experts
                .place_here("model.layers.2.mlp.experts.x.up_proj.weight")
                .is_none()
        );
        assert!(Architecture::of_model_type("gptj").is_none());
    }
}
