//! What the rest of the program asks about a model.

/// Sizes and special tokens of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// `model_type` of config.json.
    pub family: &'static str,
    /// Number of blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: i64,
    /// Key/value heads.
    pub kv_heads: i64,
    /// Features of a head.
    pub head_dim: i64,
    /// Features of the hidden states between blocks.
    pub hidden: i64,
    /// Rows of the embedding; never fewer than the tokenizer's tokens.
    pub vocab: i64,
    /// Maximum sequence length in tokens.
    pub context: usize,
    /// Tokens that end a text; any of them does.
    pub end_tokens: Vec<i64>,
    /// Token that begins a text, in models that have one.
    pub begin_token: Option<i64>,
    /// Whether the output head shares the embedding's weights.
    pub tied: bool,
    /// Whether attention's scores are capped, which flash attention does not know.
    pub capped: bool,
}
