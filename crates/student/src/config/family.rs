//! What distinguishes one family of decoders from another: data only.
//!
//! Names are those of Hugging Face's files, after `model.layers.N.`; `Option` and the rules below say what a family lacks, or where its `config.json` decides.

use crate::ops::Activation;
use crate::seq2seq;

/// A family: what its tensors are called and how they follow one another.
#[derive(Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says one thing that a family has or lacks"
)]
pub(crate) struct Family {
    /// As `architectures` in `config.json` names it.
    pub(crate) architecture: &'static str,
    pub(crate) norm: NormKind,
    /// Before the attention, and before a parallel feed-forward block too.
    pub(crate) before_attention: &'static str,
    /// After the attention, before its result is added.
    pub(crate) after_attention: Option<&'static str>,
    /// Before the feed-forward block; where there is none, the block reads what the attention reads.
    pub(crate) before_mlp: Option<&'static str>,
    /// After the feed-forward block, before its result is added.
    pub(crate) after_mlp: Option<&'static str>,
    /// After the last layer; its full name.
    pub(crate) last_norm: &'static str,
    /// Queries, keys and values: three projections, or one for all.
    pub(crate) qkv: &'static [&'static str],
    /// Norms of each head's queries and keys.
    pub(crate) qk_norms: Option<[&'static str; 2]>,
    /// Whether a family has those norms.
    pub(crate) has_qk_norms: Rule,
    pub(crate) output: &'static str,
    pub(crate) mlp: Mlp,
    pub(crate) down: &'static str,
    pub(crate) qkv_bias: Rule,
    pub(crate) output_bias: Rule,
    pub(crate) mlp_bias: Rule,
    pub(crate) has_head_bias: bool,
    /// The key of the activation, and what it is where the key is missing.
    pub(crate) activation: (&'static str, Activation),
    /// Whether `gelu` means its approximation by tanh, as in Gemma's first files.
    pub(crate) gelu_is_tanh: bool,
    pub(crate) windows: Windows,
    /// The share of a head's features that turns, where the file does not say.
    pub(crate) rotary_share: f64,
    /// The rotary base of layers with a window, where it is one of their own.
    pub(crate) local_theta: Option<f64>,
    /// The width of a head, where the file does not say; else the hidden size is shared out.
    pub(crate) head_size: Option<usize>,
    /// The number under whose root scores are divided, where it is not the width of a head.
    pub(crate) query_scalar: Option<f64>,
    /// The caps of scores and of logits, where the file does not say; the keys count only where the first is given.
    pub(crate) soft_caps: SoftCaps,
    /// Whether embeddings are multiplied by the root of the hidden size.
    pub(crate) scales_embedding: bool,
    pub(crate) is_tied: bool,
    pub(crate) epsilon: f64,
}

/// How rows are normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NormKind {
    /// By their root mean square.
    Rms,
    /// The same, with one added to the weight.
    RmsPlusOne,
    /// By mean and variance, with a bias.
    Layer,
}

/// Whether a family has something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Never,
    Always,
    /// Where this key of `config.json` is true.
    If(&'static str),
}

/// What leads into a feed-forward block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mlp {
    /// A gate and what it gates.
    Gated([&'static str; 2]),
    /// Both in one projection, the gate first.
    Fused(&'static str),
    /// One projection and an activation.
    Plain(&'static str),
}

/// Which layers see no further than `sliding_window` tokens, where `layer_types` does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Windows {
    Never,
    /// All, if there is a window.
    All,
    /// Those from `max_window_layers` on, if `use_sliding_window` is on.
    Late,
    /// All but each this-manieth; `sliding_window_pattern` may say another number.
    AllBut(usize),
}

/// Which caps a family knows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum SoftCaps {
    None,
    /// Of the logits alone.
    Head,
    /// Of scores and of logits, with their values where the file does not say.
    Both(f64, f64),
}

const LLAMA: Family = Family {
    architecture: "LlamaForCausalLM",
    norm: NormKind::Rms,
    before_attention: "input_layernorm",
    after_attention: None,
    before_mlp: Some("post_attention_layernorm"),
    after_mlp: None,
    last_norm: "model.norm",
    qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    qk_norms: None,
    has_qk_norms: Rule::Never,
    output: "self_attn.o_proj",
    mlp: Mlp::Gated(["mlp.gate_proj", "mlp.up_proj"]),
    down: "mlp.down_proj",
    qkv_bias: Rule::If("attention_bias"),
    output_bias: Rule::If("attention_bias"),
    mlp_bias: Rule::If("mlp_bias"),
    has_head_bias: false,
    activation: ("hidden_act", Activation::Silu),
    gelu_is_tanh: false,
    windows: Windows::Never,
    rotary_share: 1.0,
    local_theta: None,
    head_size: None,
    query_scalar: None,
    soft_caps: SoftCaps::None,
    scales_embedding: false,
    is_tied: false,
    epsilon: 1e-6,
};

const MISTRAL: Family = Family {
    architecture: "MistralForCausalLM",
    qkv_bias: Rule::Never,
    output_bias: Rule::Never,
    mlp_bias: Rule::Never,
    windows: Windows::All,
    ..LLAMA
};

const QWEN2: Family = Family {
    architecture: "Qwen2ForCausalLM",
    qkv_bias: Rule::Always,
    windows: Windows::Late,
    ..MISTRAL
};

const QWEN3: Family = Family {
    architecture: "Qwen3ForCausalLM",
    qkv_bias: Rule::If("attention_bias"),
    output_bias: Rule::If("attention_bias"),
    qk_norms: Some(["self_attn.q_norm", "self_attn.k_norm"]),
    has_qk_norms: Rule::Always,
    head_size: Some(128),
    ..QWEN2
};

const PHI: Family = Family {
    architecture: "PhiForCausalLM",
    norm: NormKind::Layer,
    before_mlp: None,
    last_norm: "model.final_layernorm",
    qk_norms: Some(["self_attn.q_layernorm", "self_attn.k_layernorm"]),
    has_qk_norms: Rule::If("qk_layernorm"),
    output: "self_attn.dense",
    mlp: Mlp::Plain("mlp.fc1"),
    down: "mlp.fc2",
    qkv_bias: Rule::Always,
    output_bias: Rule::Always,
    mlp_bias: Rule::Always,
    has_head_bias: true,
    activation: ("hidden_act", Activation::GeluTanh),
    rotary_share: 0.5,
    epsilon: 1e-5,
    ..LLAMA
};

const PHI3: Family = Family {
    architecture: "Phi3ForCausalLM",
    qkv: &["self_attn.qkv_proj"],
    mlp: Mlp::Fused("mlp.gate_up_proj"),
    epsilon: 1e-5,
    ..MISTRAL
};

const GEMMA: Family = Family {
    architecture: "GemmaForCausalLM",
    norm: NormKind::RmsPlusOne,
    mlp_bias: Rule::Never,
    activation: ("hidden_act", Activation::GeluTanh),
    gelu_is_tanh: true,
    head_size: Some(256),
    scales_embedding: true,
    is_tied: true,
    ..LLAMA
};

const GEMMA2: Family = Family {
    architecture: "Gemma2ForCausalLM",
    after_attention: Some("post_attention_layernorm"),
    before_mlp: Some("pre_feedforward_layernorm"),
    after_mlp: Some("post_feedforward_layernorm"),
    activation: ("hidden_activation", Activation::GeluTanh),
    gelu_is_tanh: false,
    windows: Windows::AllBut(2),
    query_scalar: Some(256.0),
    soft_caps: SoftCaps::Both(50.0, 30.0),
    ..GEMMA
};

const GEMMA3: Family = Family {
    architecture: "Gemma3ForCausalLM",
    qk_norms: Some(["self_attn.q_norm", "self_attn.k_norm"]),
    has_qk_norms: Rule::Always,
    windows: Windows::AllBut(6),
    local_theta: Some(10_000.0),
    soft_caps: SoftCaps::Head,
    ..GEMMA2
};

/// All families, in the order in which complaints list them.
pub(crate) static FAMILIES: [Family; 9] = [
    LLAMA, MISTRAL, QWEN2, QWEN3, PHI, PHI3, GEMMA, GEMMA2, GEMMA3,
];

/// The family of an architecture.
pub(crate) fn family(architecture: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|f| f.architecture == architecture)
}

/// All architectures, encoder-decoders too, for complaints.
pub(crate) fn supported() -> String {
    let decoders = FAMILIES.iter().map(|f| f.architecture);
    let all: Vec<&str> = decoders.chain([seq2seq::ARCHITECTURE]).collect();
    all.join(", ")
}
