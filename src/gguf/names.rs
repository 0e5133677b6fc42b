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
    /// Names within a layer, here and in checkpoints.
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
}

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

/// Every architecture, in the order in which messages list them.
static ARCHITECTURES: [Architecture; 6] = [
    Architecture {
        name: "llama",
        model_types: &["llama", "mistral"],
        class: "LlamaForCausalLM",
        top: TOP,
        layers: "model.layers.",
        within: LLAMA,
        wants_head: false,
    },
    Architecture {
        name: "qwen2",
        model_types: &["qwen2"],
        class: "Qwen2ForCausalLM",
        top: TOP,
        layers: "model.layers.",
        within: LLAMA,
        wants_head: false,
    },
    Architecture {
        name: "qwen3",
        model_types: &["qwen3"],
        class: "Qwen3ForCausalLM",
        top: TOP,
        layers: "model.layers.",
        within: LLAMA,
        wants_head: false,
    },
    Architecture {
        name: "gemma3",
        model_types: &["gemma3_text", "gemma3"],
        class: "Gemma3ForCausalLM",
        top: TOP,
        layers: "model.layers.",
        within: SANDWICH,
        wants_head: false,
    },
    Architecture {
        name: "olmo2",
        model_types: &["olmo2"],
        class: "Olmo2ForCausalLM",
        top: TOP,
        layers: "model.layers.",
        within: SANDWICH,
        wants_head: true,
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

    /// Returns the name in GGUF of the tensor that checkpoints call `name`; none if there is none.
    pub fn name_here(&self, name: &str) -> Option<String> {
        // The text half of a model of text and images.
        let name = name.replacen("model.language_model.", "model.", 1);
        let (module, kind) = name.rsplit_once('.')?;
        if let Some((here, _)) = self.top.iter().find(|(_, there)| *there == module) {
            return Some(format!("{here}.{kind}"));
        }
        let (layer, module) = module.strip_prefix(self.layers)?.split_once('.')?;
        layer.parse::<u32>().ok()?;
        let (here, _) = self.within.iter().find(|(_, there)| *there == module)?;
        Some(format!("blk.{layer}.{here}.{kind}"))
    }

    /// Returns the name in checkpoints of the tensor that GGUF calls `name`; none if there is none.
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
            ("llama", "attn_q") => Change::Adjacent(heads),
            ("llama", "attn_k") => Change::Adjacent(kv_heads),
            ("gptneox", "attn_qkv") => Change::Apart(heads),
            ("gemma3", module) if module.ends_with("norm") => Change::PlusOne,
            _ => Change::None,
        }
    }
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
                assert_eq!(architecture.name_here(&there), Some(name));
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
        assert_eq!(neox.name_here("lm_head.weight").as_deref(), Some("output.weight"));
        let llama = Architecture::of_model_type("mistral").unwrap();
        assert_eq!(llama.change("blk.0.attn_k.bias", 8, 2), Change::Adjacent(2));
        assert_eq!(llama.change("blk.0.attn_v.weight", 8, 2), Change::None);
        let gemma = Architecture::called("gemma3").unwrap();
        assert_eq!(gemma.change("blk.0.attn_q_norm.weight", 8, 2), Change::PlusOne);
        assert_eq!(gemma.change("output_norm.weight", 8, 2), Change::PlusOne);
        assert_eq!(gemma.change("output.weight", 8, 2), Change::None);
        assert!(Architecture::of_model_type("gptj").is_none());
    }
}
