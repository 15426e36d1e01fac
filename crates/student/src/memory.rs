//! How much memory a training takes, from the model's shape and the options alone.
//!
//! It knows no machine: what is free comes in from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::Serialize;
use stillhouse_core::fs;

use crate::adapter;
use crate::error::Result;
use crate::network::Network;
use crate::ops::AtRest;
use crate::options::{Base, Method, TrainOptions};
use crate::parameter::Planned;

/// An estimate, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The base model's weights, as they rest.
    pub weights: u64,
    /// The tensors that are trained, and the best of them by validation.
    pub trained: u64,
    /// Their gradients.
    pub gradients: u64,
    /// The optimizer's two running means of each.
    pub moments: u64,
    /// What the forward pass of one micro-batch keeps for the backward pass.
    pub activations: u64,
    /// The output head's logits that exist at one time, and its gradients.
    pub head: u64,
    /// The merged model, where it is asked for.
    pub merged: u64,
    /// The teacher whose distribution is learnt: its weights, and what reading takes.
    pub teacher: u64,
    /// Keys and values of the texts that the student writes where it is judged by them, and the
    /// encoder that compares them.
    pub judging: u64,
    /// The program itself, with its tokenizer and its buffers.
    pub program: u64,
}

/// A training whose memory is to be told.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// The base model's folder, of which the weights are not read.
    pub folder: &'a Path,
    /// How it is trained.
    pub options: &'a TrainOptions,
    /// The longest sequence, where it is shorter than the model's.
    pub context_tokens: Option<usize>,
    /// The folder of the model whose distribution is learnt.
    pub teacher: Option<&'a Path>,
    /// How many texts the student writes at once where it is judged by them.
    pub judged_at_once: Option<usize>,
}

/// A model, known by its tensors' names and shapes alone.
struct Shape {
    plan: Vec<Planned>,
    context: usize,
    /// Bytes that its tokenizer takes.
    tokenizer: u64,
}

/// Measured on a model of a few kilobytes.
const PROGRAM: u64 = 60 << 20;

/// What a tokenizer takes while it is read, for each byte of its file: measured on 64,000 tokens with
/// their merges, and on a `SentencePiece` model of 32,000 tokens, whose merges are found out.
const TOKENIZERS: [(&str, u64); 3] = [
    ("tokenizer.json", 13),
    ("tokenizer.model", 100),
    ("spiece.model", 60),
];

/// The encoder of a sentence's meaning, and what it keeps.
const ENCODER: u64 = 150 << 20;

impl Shape {
    fn load(folder: &Path, context_tokens: Option<usize>) -> Result<Self> {
        let (plan, context) = Network::plan(folder)?;
        let tokenizer = TOKENIZERS.iter().find_map(|(name, per_byte)| {
            let bytes = fs::length(&folder.join(name)).ok()?;
            Some(per_byte * bytes)
        });
        Ok(Self {
            plan,
            context: context_tokens.map_or(context, |most| most.min(context)),
            tokenizer: tokenizer.unwrap_or(0),
        })
    }

    fn projections(&self) -> impl Iterator<Item = &Planned> {
        self.plan.iter().filter(|planned| planned.is_projection)
    }

    /// The embedding's sizes: it is the first matrix, and as large as the output head.
    fn embedding(&self) -> [usize; 2] {
        let matrices = self.plan.iter();
        let mut matrices = matrices.filter_map(|p| <[usize; 2]>::try_from(&p.shape[..]).ok());
        matrices.next().unwrap_or_default()
    }

    /// The widest row between two products.
    fn widest(&self) -> usize {
        let sizes = self.projections().flat_map(|p| p.shape.iter().copied());
        sizes.max().unwrap_or(0)
    }

    /// Entries of a token's keys and values in all layers.
    fn keys_and_values(&self) -> usize {
        let of = |planned: &Planned| match path(planned).rsplit('.').next() {
            Some("k_proj" | "v_proj" | "k" | "v") => planned.shape[0],
            // Queries, keys and values in one.
            Some("qkv_proj") => planned.shape[0].saturating_sub(planned.shape[1]),
            _ => 0,
        };
        self.projections().map(of).sum()
    }

    /// What a pass over `tokens` takes while nothing is kept of it.
    fn passing(&self, tokens: usize) -> usize {
        let [_, hidden] = self.embedding();
        tokens * 4 * (self.widest() + hidden)
    }

    /// The output head's logits that exist at one time, and its rows with their gradients.
    fn head(&self, tokens: usize) -> usize {
        let [vocabulary, hidden] = self.embedding();
        stillhouse_kernels::head::logits_at_a_time(vocabulary, tokens) + 3 * tokens * hidden
    }
}

impl Memory {
    /// The estimate, of which the largest parts are known before there are data: a micro-batch has
    /// as many tokens as the options allow, unless a whole update has fewer; a longer sequence,
    /// which goes alone, takes more.
    ///
    /// Targets that the model does not have are an error.
    pub fn estimate(setting: &Setting<'_>) -> Result<Self> {
        let options = setting.options;
        let shape = Shape::load(setting.folder, setting.context_tokens)?;
        if options.method == Method::Lora {
            let paths: Vec<String> = shape.projections().map(|p| path(p).to_owned()).collect();
            adapter::check_targets(&options.lora.targets, &paths)?;
        }
        let teacher = match setting.teacher {
            Some(folder) => Some(Shape::load(folder, None)?),
            None => None,
        };
        Ok(Self::of(
            &shape,
            options,
            teacher.as_ref(),
            setting.judged_at_once,
        ))
    }

    fn of(
        shape: &Shape,
        options: &TrainOptions,
        teacher: Option<&Shape>,
        judged_at_once: Option<usize>,
    ) -> Self {
        let update = options.batch_size * shape.context;
        let tokens = options.micro_batch_tokens.min(update);
        let rank = options.lora.r;
        let plan = &shape.plan;
        let is_target = |planned: &Planned| {
            planned.is_projection && options.lora.targets.include(path(planned))
        };
        let trained: usize = match options.method {
            Method::Full => plan.iter().map(entries).sum(),
            Method::Lora => {
                let chosen = plan.iter().filter(|planned| is_target(planned));
                chosen.map(|p| rank * p.shape.iter().sum::<usize>()).sum()
            }
        };
        let at_rest = options.at_rest();
        let weights = plan.iter().map(|planned| match options.method {
            Method::Full => 0,
            Method::Lora => rests_in(planned, at_rest),
        });
        // A sum of gradients exists beside the next micro-batch's.
        let n_gradients = if update > tokens { 2 } else { 1 };
        let merged = if options.merge && options.method == Method::Lora {
            4 * shape.projections().map(entries).sum::<usize>()
        } else {
            0
        };
        let kept = Kept::of(plan, rank);
        let kept = if options.recompute {
            let [_, hidden] = shape.embedding();
            kept.n_layers * hidden + kept.per_token.div_ceil(kept.n_layers.max(1))
        } else {
            kept.per_token
        };
        let teacher = teacher.map_or(0, |teacher| {
            let weights: usize = teacher.plan.iter().map(entries).sum();
            weights + teacher.passing(tokens) + teacher.head(tokens)
        });
        let judging = judged_at_once.map_or(0, |texts| {
            let longest = shape.context.min(options.micro_batch_tokens);
            ENCODER + 4 * (texts * longest * shape.keys_and_values()) as u64
        });
        Self {
            weights: weights.sum(),
            trained: 8 * trained as u64,
            gradients: 4 * (n_gradients * trained) as u64,
            moments: 8 * trained as u64,
            activations: 4 * (tokens * kept + shape.passing(tokens)) as u64,
            head: 4 * shape.head(tokens) as u64,
            merged: merged as u64,
            teacher: 4 * teacher as u64,
            judging,
            program: PROGRAM + shape.tokenizer,
        }
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.weights
            + self.trained
            + self.gradients
            + self.moments
            + self.activations
            + self.head
            + self.merged
            + self.teacher
            + self.judging
            + self.program
    }

    /// Which options would save how much, the most first.
    pub fn advice(setting: &Setting<'_>) -> Result<Vec<String>> {
        let options = setting.options;
        let shape = Shape::load(setting.folder, setting.context_tokens)?;
        // What other options do not change is left out on both sides.
        let total = |options: &TrainOptions| Self::of(&shape, options, None, None).total();
        let now = Self::estimate(setting)?.total();
        let own = total(options);
        let mut others: Vec<(&str, TrainOptions)> = Vec::new();
        let lora = TrainOptions {
            method: Method::Lora,
            ..options.clone()
        };
        if options.method == Method::Full {
            others.push(("method = \"lora\"", lora.clone()));
        }
        for (text, text_with_method, base) in [
            (
                "base = \"bf16\"",
                "method = \"lora\" with base = \"bf16\"",
                Base::Bf16,
            ),
            (
                "base = \"nf4\"",
                "method = \"lora\" with base = \"nf4\"",
                Base::Nf4,
            ),
        ] {
            let text = match options.method {
                Method::Lora => text,
                Method::Full => text_with_method,
            };
            let lora = lora.clone();
            others.push((text, TrainOptions { base, ..lora }));
        }
        let quarter = format!("micro_batch_tokens = {}", options.micro_batch_tokens / 4);
        let mut shorter = options.clone();
        shorter.micro_batch_tokens = (options.micro_batch_tokens / 4).max(1);
        others.push((&quarter, shorter));
        if !options.recompute {
            let mut again = options.clone();
            again.recompute = true;
            others.push(("recompute = true", again));
        }
        if options.merge {
            let mut apart = options.clone();
            apart.merge = false;
            others.push(("merge = false", apart));
        }
        let mut saved: Vec<(u64, &str)> = others
            .iter()
            .map(|(text, other)| (own.saturating_sub(total(other)), *text))
            .filter(|(saved, _)| *saved > now / 50)
            .collect();
        saved.sort_by_key(|(saved, _)| std::cmp::Reverse(*saved));
        let text = |(saved, text): (u64, &str)| format!("{text} saves {}", Size(saved));
        Ok(saved.into_iter().map(text).collect())
    }
}

/// The path of a projection.
fn path(planned: &Planned) -> &str {
    planned.name.trim_end_matches(".weight")
}

fn entries(planned: &Planned) -> usize {
    planned.shape.iter().product()
}

/// The bytes in which a weight rests.
fn rests_in(planned: &Planned, at_rest: AtRest) -> u64 {
    let n = entries(planned);
    let bytes = match at_rest {
        _ if !planned.is_projection => 4 * n,
        AtRest::F32 => 4 * n,
        AtRest::Bf16 => 2 * n,
        AtRest::Int8 => n + 4 * planned.shape[0],
        AtRest::Nf4 { is_double: false } => n / 2 + n / 16,
        AtRest::Nf4 { is_double: true } => n / 2 + n / 64 + n / 4096,
    };
    bytes as u64
}

/// What the forward pass keeps for the backward pass.
struct Kept {
    /// Entries of each token, in all layers.
    per_token: usize,
    n_layers: usize,
}

impl Kept {
    /// Of each block (attention, feed-forward) these are what goes into its first projections and
    /// into its last, and what comes out of all but the last; of each norm what goes into it.
    fn of(plan: &[Planned], rank: usize) -> Self {
        let parent = |planned: &Planned| {
            let path = path(planned);
            path.rsplit_once('.')
                .map_or(path, |(parent, _)| parent)
                .to_owned()
        };
        let mut blocks: BTreeMap<String, Vec<&Planned>> = BTreeMap::new();
        for planned in plan.iter().filter(|planned| planned.is_projection) {
            blocks.entry(parent(planned)).or_default().push(planned);
        }
        // Blocks side by side read the same normed rows.
        let (mut n_norms, mut norms) = (0, 0);
        for norm in plan.iter().filter(|planned| is_norm(planned)) {
            // A norm of each head's queries or keys stands in the block itself.
            let block = parent(norm);
            let name = path(norm)[block.len()..].split('_').next();
            let of = format!("{block}{}_proj", name.unwrap_or_default());
            let turned = blocks
                .get(&block)
                .and_then(|block| block.iter().find(|projection| path(projection) == of));
            norms += turned.map_or(norm.shape[0], |projection| projection.shape[0]);
            n_norms += usize::from(turned.is_none());
        }
        let firsts = blocks.values().filter_map(|block| block.first());
        let firsts: usize = firsts.take(n_norms).map(|p| p.shape[1]).sum();
        let others = blocks.values().map(|block| {
            let (last, rest) = block.split_last().expect("a block has a projection");
            let outputs: usize = rest.iter().map(|p| p.shape[0]).sum();
            outputs + last.shape[1] + rank * block.len()
        });
        let layers: BTreeSet<&str> = plan.iter().filter_map(layer).collect();
        Self {
            per_token: norms + firsts + others.sum::<usize>(),
            n_layers: layers.len(),
        }
    }
}

/// Whether it is the weight of a norm.
fn is_norm(planned: &Planned) -> bool {
    planned.shape.len() == 1 && planned.name.ends_with("norm.weight")
}

/// A tensor's layer: its name up to the first number.
fn layer(planned: &Planned) -> Option<&str> {
    let mut parts = planned.name.split('.').scan(0, |end, part| {
        *end += part.len() + 1;
        Some((*end - 1, part))
    });
    let is_number = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let (end, _) = parts.find(|(_, part)| is_number(part))?;
    Some(&planned.name[..end])
}

/// Bytes in the units that people read.
#[derive(Clone, Copy, Debug)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as f64;
        if bytes < 1e9 {
            write!(f, "{:.0} MB", bytes / 1e6)
        } else {
            write!(f, "{:.1} GB", bytes / 1e9)
        }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "about {}:", Size(self.total()))?;
        let parts = [
            ("weights at rest", self.weights),
            ("trained tensors", self.trained),
            ("gradients", self.gradients),
            ("moments", self.moments),
            ("activations", self.activations),
            ("output head", self.head),
            ("merged model", self.merged),
            ("teacher", self.teacher),
            ("judging", self.judging),
            ("program", self.program),
        ];
        let mut comma = "";
        for (name, bytes) in parts.into_iter().filter(|(_, bytes)| *bytes > 0) {
            write!(f, "{comma} {name} {}", Size(bytes))?;
            comma = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameter::Plan;

    /// A Llama of one layer.
    fn shape(context: usize) -> Shape {
        let mut plan = Plan::default();
        plan.add("model.embed_tokens.weight".to_owned(), vec![1000, 64]);
        for (path, out, input) in [
            ("self_attn.q_proj", 64, 64),
            ("self_attn.k_proj", 32, 64),
            ("self_attn.v_proj", 32, 64),
            ("self_attn.o_proj", 64, 64),
            ("mlp.gate_proj", 128, 64),
            ("mlp.up_proj", 128, 64),
            ("mlp.down_proj", 64, 128),
        ] {
            plan.linear(&format!("model.layers.0.{path}"), out, input, false);
        }
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            plan.add(format!("model.layers.0.{norm}.weight"), vec![64]);
        }
        plan.add("model.norm.weight".to_owned(), vec![64]);
        Shape {
            plan: plan.0,
            context,
            tokenizer: 0,
        }
    }

    fn lora(base: Base) -> TrainOptions {
        TrainOptions {
            method: Method::Lora,
            base,
            micro_batch_tokens: 512,
            ..Default::default()
        }
    }

    fn of(options: &TrainOptions, context: usize) -> Memory {
        Memory::of(&shape(context), options, None, None)
    }

    #[test]
    fn each_part_is_counted() {
        let n_projections = 36_864;
        let others = 64_000 + 3 * 64;
        let memory = of(&lora(Base::F32), 1024);
        assert_eq!(memory.weights, 4 * (others + n_projections));
        // Rank 16 times inputs and outputs of the seven.
        let branches = 16 * (128 + 96 + 96 + 128 + 192 + 192 + 192);
        assert_eq!(memory.trained, 8 * branches);
        assert_eq!(memory.moments, 8 * branches);
        // Several micro-batches an update.
        assert_eq!(memory.gradients, 8 * branches);
        // Four residual widths and one before the last norm, queries twice, keys and values, three
        // inner widths, seven ranks; while one block is read, four of the widest and of the
        // residual.
        let kept = 5 * 64 + 2 * 64 + 2 * 32 + 3 * 128 + 7 * 16;
        let passing = 4 * 128 + 4 * 64;
        assert_eq!(memory.activations, 4 * 512 * (kept + passing));
        let nf4 = of(&lora(Base::Nf4), 1024);
        assert_eq!(
            nf4.weights,
            4 * others + n_projections / 2 + n_projections / 64 + 8
        );
        // No update has more tokens than its items.
        let short = of(&lora(Base::F32), 4);
        assert_eq!(short.activations, 4 * 32 * (kept + passing));
    }

    #[test]
    fn a_norm_of_queries_keeps_all_of_them_and_blocks_side_by_side_read_the_same() {
        let mut with_norms = shape(8);
        let kept = |shape: &Shape| Kept::of(&shape.plan, 0).per_token;
        let plain = kept(&with_norms);
        let norm = |name: &str, size| Planned {
            name: format!("model.layers.0.{name}.weight"),
            shape: vec![size],
            is_projection: false,
        };
        with_norms.plan.push(norm("self_attn.q_norm", 16));
        assert_eq!(kept(&with_norms), plain + 64);
        // Phi: one norm before both.
        let mut parallel = shape(8);
        parallel.plan.retain(|p| !p.name.contains("post_attention"));
        parallel.plan.retain(|p| p.name != "model.norm.weight");
        assert_eq!(kept(&parallel), plain - 3 * 64);
        assert_eq!(Kept::of(&parallel.plan, 0).n_layers, 1);
    }

    #[test]
    fn recomputing_keeps_one_layer_and_a_teacher_and_a_judge_stand_beside() {
        let mut two = shape(1024);
        let second: Vec<Planned> = two.plan[1..10]
            .iter()
            .map(|planned| Planned {
                name: planned.name.replace("layers.0", "layers.1"),
                ..planned.clone()
            })
            .collect();
        two.plan.extend(second);
        let options = lora(Base::Nf4);
        let again = TrainOptions {
            recompute: true,
            ..options.clone()
        };
        let [whole, layered] =
            [&options, &again].map(|options| Memory::of(&two, options, None, None).activations);
        assert!(layered < whole && layered > whole / 2);
        let teacher = shape(1024);
        let taught = Memory::of(&two, &options, Some(&teacher), None);
        let n: usize = teacher.plan.iter().map(entries).sum();
        assert!(taught.teacher > 4 * n as u64);
        let judged = Memory::of(&two, &options, None, Some(3));
        // Keys and values of two layers, of at most a micro-batch's tokens.
        assert_eq!(judged.judging, ENCODER + 4 * 3 * 512 * 2 * 64);
    }

    #[test]
    fn it_is_told_in_words() {
        let text = of(&lora(Base::F32), 1024).to_string();
        assert!(
            text.starts_with("about 70 MB: weights at rest 0 MB, trained"),
            "{text}"
        );
        assert!(text.ends_with("program 63 MB"), "{text}");
    }
}
