//! How much memory a training takes, from the model's shape and the options alone.
//!
//! It knows no machine: what is free comes in from outside.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Serialize;

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
    /// The program itself, with its tokenizer and its buffers.
    pub program: u64,
}

/// Measured on a model of a few kilobytes.
const PROGRAM: u64 = 60 << 20;

impl Memory {
    /// The estimate for the model in a folder, whose `config.json` alone is read.
    ///
    /// A micro-batch has as many tokens as the options allow, unless a whole update has fewer.
    /// Targets that the model does not have are an error.
    pub fn estimate(
        folder: &Path,
        options: &TrainOptions,
        context_tokens: Option<usize>,
    ) -> Result<Self> {
        let (plan, context) = Network::plan(folder)?;
        let context = context_tokens.map_or(context, |most| most.min(context));
        if options.method == Method::Lora {
            let projections = plan.iter().filter(|planned| planned.is_projection);
            let paths: Vec<String> = projections.map(|p| path(p).to_owned()).collect();
            adapter::check_targets(&options.lora.targets, &paths)?;
        }
        Ok(Self::of(&plan, options, context))
    }

    fn of(plan: &[Planned], options: &TrainOptions, context: usize) -> Self {
        let update = options.batch_size * context;
        let tokens = options.micro_batch_tokens.min(update);
        let rank = options.lora.r;
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
        let projections = plan.iter().filter(|planned| planned.is_projection);
        let merged = if options.merge && options.method == Method::Lora {
            4 * projections.map(entries).sum::<usize>()
        } else {
            0
        };
        // The embedding is the first matrix, and as large as the output head.
        let [vocabulary, hidden] = plan
            .iter()
            .find_map(|planned| <[usize; 2]>::try_from(&planned.shape[..]).ok())
            .unwrap_or_default();
        let logits = stillhouse_kernels::head::logits_at_a_time(vocabulary, tokens);
        Self {
            weights: weights.sum(),
            trained: 8 * trained as u64,
            gradients: 4 * (n_gradients * trained) as u64,
            moments: 8 * trained as u64,
            activations: 4 * (tokens * kept_per_token(plan, rank)) as u64,
            head: 4 * (logits + 3 * tokens * hidden) as u64,
            merged: merged as u64,
            program: PROGRAM,
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
            + self.program
    }

    /// Which options would save how much for the model in a folder, the most first.
    pub fn advice(
        folder: &Path,
        options: &TrainOptions,
        context_tokens: Option<usize>,
    ) -> Result<Vec<String>> {
        let (plan, context) = Network::plan(folder)?;
        let context = context_tokens.map_or(context, |most| most.min(context));
        let now = Self::of(&plan, options, context).total();
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
        if options.merge {
            let mut apart = options.clone();
            apart.merge = false;
            others.push(("merge = false", apart));
        }
        let mut saved: Vec<(u64, &str)> = others
            .iter()
            .map(|(text, other)| {
                let then = Self::of(&plan, other, context).total();
                (now.saturating_sub(then), *text)
            })
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

/// Entries that the forward pass keeps of each token.
///
/// Of each block (attention, feed-forward) these are what goes into its first projections and into
/// its last, and what comes out of all of them; what comes out of the last is the residual stream's,
/// which the next norm keeps.
fn kept_per_token(plan: &[Planned], rank: usize) -> usize {
    let mut blocks: BTreeMap<&str, Vec<&Planned>> = BTreeMap::new();
    for planned in plan.iter().filter(|planned| planned.is_projection) {
        let path = path(planned);
        let block = path.rsplit_once('.').map_or(path, |(block, _)| block);
        blocks.entry(block).or_default().push(planned);
    }
    let kept = blocks.values().map(|projections| {
        let outputs: usize = projections.iter().map(|p| p.shape[0] + rank).sum();
        let ends = [projections.first(), projections.last()];
        let inputs: usize = ends.into_iter().flatten().map(|p| p.shape[1]).sum();
        outputs + inputs
    });
    kept.sum()
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
    fn plan() -> Vec<Planned> {
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
        plan.0
    }

    fn lora(base: Base) -> TrainOptions {
        TrainOptions {
            method: Method::Lora,
            base,
            micro_batch_tokens: 512,
            ..Default::default()
        }
    }

    #[test]
    fn each_part_is_counted() {
        let n_projections = 36_864;
        let memory = Memory::of(&plan(), &lora(Base::F32), 1024);
        assert_eq!(memory.weights, 4 * (64_000 + n_projections));
        // Rank 16 times inputs and outputs of the seven.
        let branches = 16 * (128 + 96 + 96 + 128 + 192 + 192 + 192);
        assert_eq!(memory.trained, 8 * branches);
        assert_eq!(memory.moments, 8 * branches);
        // Several micro-batches an update.
        assert_eq!(memory.gradients, 8 * branches);
        // Four residual widths, queries twice, keys and values, three inner widths, seven ranks.
        let kept = 4 * 64 + 2 * 64 + 2 * 32 + 3 * 128 + 7 * 16;
        assert_eq!(memory.activations, 4 * 512 * kept);
        let nf4 = Memory::of(&plan(), &lora(Base::Nf4), 1024);
        assert_eq!(
            nf4.weights,
            4 * 64_000 + n_projections / 2 + n_projections / 64 + 8
        );
        // No update has more tokens than its items.
        let short = Memory::of(&plan(), &lora(Base::F32), 4);
        assert_eq!(short.activations, 4 * 32 * kept);
    }

    #[test]
    fn it_is_told_in_words() {
        let memory = Memory::of(&plan(), &lora(Base::F32), 1024);
        let text = memory.to_string();
        assert!(
            text.starts_with("about 68 MB: weights at rest 0 MB, trained"),
            "{text}"
        );
        assert!(text.ends_with("program 63 MB"), "{text}");
    }
}
