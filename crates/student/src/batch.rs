//! From texts to packed tokens with their targets: what is read, and what carries loss.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use stillhouse_core::random::Random;

#[cfg(test)]
use crate::error::Error;
use crate::error::Result;
use crate::model::Model;
use crate::ops::Layout;
use crate::shared::{Count, Read, Shared};

/// One thing to learn: what to say after a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Named in complaints.
    pub id: String,
    /// The prompt, already short enough for the context.
    pub prompt: String,
    /// What the student should say; the end token is added.
    pub completion: String,
    /// How much its tokens count in the loss, beside those of weight 1.
    pub weight: f64,
}

/// Which tokens carry loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossOn {
    /// The completion's tokens and the end token.
    #[default]
    Completion,
    /// Every token of prompt and completion but the first.
    All,
}

/// What a model reads before the first token of a completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// What an encoder reads, closed by the end token; empty where there is none.
    pub(crate) source: Vec<u32>,
    /// What the decoder reads: the prompt, or the token that begins every completion.
    pub(crate) tokens: Vec<u32>,
}

/// An item in tokens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sequence {
    /// What the encoder reads, where there is one.
    pub(crate) source: Vec<u32>,
    /// What the decoder reads.
    pub(crate) tokens: Vec<u32>,
    /// What should follow each of them, where that carries loss.
    pub(crate) targets: Vec<Option<u32>>,
    pub(crate) weight: f32,
}

impl Sequence {
    /// Why the item cannot be used, if so.
    pub(crate) fn new(model: &Model, item: &Item, loss_on: LossOn) -> Result<Self, String> {
        let tokenizer = model.tokenizer();
        let Reading { source, mut tokens } = model.reading(&item.prompt);
        let n_prompt = tokens.len();
        tokens.extend(tokenizer.completion(&item.completion));
        let first = match loss_on {
            LossOn::Completion => n_prompt,
            LossOn::All => 1,
        };
        if tokens.len() <= first {
            return Err("has no token to learn".to_owned());
        }
        if !(item.weight.is_finite() && item.weight > 0.0) {
            return Err(format!("has the weight {}", item.weight));
        }
        tokens.extend(model.interface().eos.first());
        let targets = (1..tokens.len())
            .map(|at| (at >= first).then_some(tokens[at]))
            .collect();
        tokens.pop();
        let longest = tokens.len().max(source.len());
        if longest > model.context_tokens() {
            return Err(format!(
                "has {longest} tokens, the context is {}",
                model.context_tokens()
            ));
        }
        Ok(Self {
            source,
            tokens,
            targets,
            weight: item.weight as f32,
        })
    }

    /// What is read of it.
    pub(crate) fn read(&self) -> Read<'_> {
        Read {
            source: &self.source,
            tokens: &self.tokens,
        }
    }

    /// How many tokens are read.
    pub(crate) fn n_tokens(&self) -> usize {
        self.source.len() + self.tokens.len()
    }

    /// How many of its tokens carry loss.
    pub(crate) fn n_supervised(&self) -> usize {
        self.targets.iter().flatten().count()
    }
}

/// The sequences of usable items, and what was refused: "`id` has no token to learn".
#[cfg(test)]
pub(crate) fn sequences(
    model: &Model,
    items: &[Item],
    loss_on: LossOn,
) -> Result<(Vec<Sequence>, Vec<String>)> {
    let (mut sequences, mut refused) = (Vec::new(), Vec::new());
    for item in items {
        match Sequence::new(model, item, loss_on) {
            Ok(sequence) => sequences.push(sequence),
            Err(why) => refused.push(format!("`{}` {why}", item.id)),
        }
    }
    match items.first() {
        Some(item) if sequences.is_empty() => {
            let what = format!(
                "none of {} items can be used: {}",
                items.len(),
                refused.join("; ")
            );
            Err(Error::Item {
                id: item.id.clone(),
                what,
            })
        }
        _ => Ok((sequences, refused)),
    }
}

/// Several sequences one after the other, without padding.
///
/// To whoever learns from it, it looks as if each sequence were read by itself: tokens, targets, weights, layout and the states of [`Network::states`](crate::network::Network::states) have one entry for each token of each sequence.
/// Only the network sees that what sequences have in common at their beginning is read once.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    pub(crate) tokens: Vec<u32>,
    pub(crate) targets: Vec<Option<u32>>,
    /// One a token.
    pub(crate) weights: Vec<f32>,
    pub(crate) layout: Layout,
    /// What is read instead, where that saves work.
    pub(crate) shared: Option<Shared>,
    /// What the encoder reads, where there is one.
    pub(crate) source: Option<Source>,
}

/// The prompts of packed completions, each once.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) tokens: Vec<u32>,
    pub(crate) layout: Layout,
    /// The prompt of each completion.
    pub(crate) of: Vec<usize>,
}

impl Source {
    /// Packs the prompts of sequences; `None` where they have none apart.
    fn new<'a>(sources: impl Iterator<Item = &'a [u32]>) -> Option<Self> {
        let mut places: HashMap<&[u32], usize> = HashMap::new();
        let (mut lengths, mut tokens, mut of) = (Vec::new(), Vec::new(), Vec::new());
        for source in sources {
            of.push(*places.entry(source).or_insert_with(|| {
                lengths.push(source.len());
                tokens.extend(source);
                lengths.len() - 1
            }));
        }
        (!tokens.is_empty()).then(|| Self {
            tokens,
            layout: Layout::new(&lengths),
            of,
        })
    }
}

impl Packed {
    /// Sequences that are read without anything to learn; `shares` says whether they may share what they have in common.
    pub(crate) fn reading(sequences: &[Read<'_>], shares: bool) -> Self {
        let tokens: Vec<&[u32]> = sequences.iter().map(|s| s.tokens).collect();
        let lengths: Vec<usize> = tokens.iter().map(|tokens| tokens.len()).collect();
        let layout = Layout::new(&lengths);
        let source = Source::new(sequences.iter().map(|s| s.source));
        // What a decoder writes after different sources has nothing in common but its tokens.
        let shared = (shares && source.is_none()).then(|| Shared::new(&tokens));
        Self {
            tokens: tokens.concat(),
            targets: vec![None; layout.tokens()],
            weights: vec![1.0; layout.tokens()],
            shared: shared.filter(Shared::saves_work),
            layout,
            source,
        }
    }

    /// One sequence that is read without anything to learn.
    #[cfg(test)]
    #[expect(clippy::needless_pass_by_value, reason = "a test has made it for this")]
    pub(crate) fn alone(reading: Reading) -> Self {
        let Reading { source, tokens } = &reading;
        Self::reading(&[Read { source, tokens }], false)
    }

    /// How many tokens are learnt from, and read by an encoder; shared ones count for each sequence.
    pub(crate) fn n_tokens(&self) -> usize {
        let source = self.source.as_ref().map_or(0, |source| source.tokens.len());
        self.tokens.len() + source
    }
}

/// Packs sequences, in their order, into micro-batches of at most `most` tokens, or of one sequence.
///
/// Those of one micro-batch that begin alike share what they have in common, which counts once.
pub(crate) fn pack<'a>(
    sequences: impl IntoIterator<Item = &'a Sequence>,
    most: usize,
) -> Vec<Packed> {
    pack_with(sequences, most, true)
}

/// As [`pack`], with every sequence read by itself.
pub(crate) fn pack_apart<'a>(
    sequences: impl IntoIterator<Item = &'a Sequence>,
    most: usize,
) -> Vec<Packed> {
    pack_with(sequences, most, false)
}

fn pack_with<'a>(
    sequences: impl IntoIterator<Item = &'a Sequence>,
    most: usize,
    shares: bool,
) -> Vec<Packed> {
    let mut groups: Vec<Vec<&Sequence>> = Vec::new();
    let mut count = Count::default();
    for sequence in sequences {
        let read = sequence.read();
        match groups.last_mut() {
            Some(group) if count.rows() + count.rows_of(read, shares) <= most => {
                group.push(sequence);
            }
            _ => {
                count = Count::default();
                groups.push(vec![sequence]);
            }
        }
        count.add(read, shares);
    }
    let groups = groups.into_iter();
    groups.map(|group| pack_one(&group, shares)).collect()
}

fn pack_one(group: &[&Sequence], shares: bool) -> Packed {
    let sequences: Vec<Read<'_>> = group.iter().map(|s| s.read()).collect();
    let weights = group.iter();
    Packed {
        targets: group
            .iter()
            .flat_map(|s| s.targets.iter().copied())
            .collect(),
        weights: weights
            .flat_map(|s| std::iter::repeat_n(s.weight, s.tokens.len()))
            .collect(),
        ..Packed::reading(&sequences, shares)
    }
}

/// The order of `n` sequences in one epoch, by the seed.
pub(crate) fn order(n: usize, epoch: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    Random::new(seed, &format!("train epoch {epoch}")).shuffle(&mut order);
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ArchitectureOptions;

    fn model() -> Model {
        let options = ArchitectureOptions {
            hidden_size: 16,
            layers: 1,
            heads: 2,
            kv_heads: 1,
            intermediate_size: 16,
            vocabulary: 259,
            context: 12,
        };
        Model::random(&options, std::iter::once("abc"), 1).unwrap()
    }

    fn item(prompt: &str, completion: &str) -> Item {
        Item {
            id: "x".to_owned(),
            prompt: prompt.to_owned(),
            completion: completion.to_owned(),
            weight: 1.0,
        }
    }

    #[test]
    fn loss_stands_on_the_completion_and_the_end_token() {
        check(LossOn::Completion, "..cd$");
        check(LossOn::All, "abcd$");
    }

    fn check(loss_on: LossOn, expected: &str) {
        let model = model();
        let sequence = Sequence::new(&model, &item("ab", "cd"), loss_on).unwrap();
        let show = |target: &Option<u32>| match target {
            Some(2) => "$".to_owned(),
            Some(token) => model.tokenizer().decode(&[*token]),
            None => ".".to_owned(),
        };
        assert_eq!(
            sequence.targets.iter().map(show).collect::<String>(),
            expected
        );
        assert_eq!(sequence.tokens.len(), sequence.targets.len());
        assert_eq!(sequence.tokens[0], 1, "the text begins with <bos>");
    }

    #[test]
    fn unusable_items_are_counted_and_named() {
        let items = [
            item("ab", "cd"),
            item("ab", ""),
            item("abcdefgh", "ijklmn"),
            Item {
                weight: 0.0,
                ..item("a", "b")
            },
        ];
        let (usable, refused) = sequences(&model(), &items, LossOn::Completion).unwrap();
        assert_eq!(usable.len(), 1);
        assert_eq!(
            refused,
            [
                "`x` has no token to learn",
                "`x` has 15 tokens, the context is 12",
                "`x` has the weight 0"
            ]
        );
        let error = sequences(&model(), &items[1..2], LossOn::Completion)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "item `x`: none of 1 items can be used: `x` has no token to learn"
        );
    }

    #[test]
    fn packing_keeps_the_order_and_the_limit() {
        let of = |n: usize| Sequence {
            source: Vec::new(),
            tokens: vec![n as u32; n],
            targets: vec![Some(n as u32); n],
            weight: n as f32,
        };
        let sequences = [of(3), of(2), of(4), of(9), of(1)];
        let packed = pack(&sequences, 6);
        let lengths: Vec<usize> = packed.iter().map(|p| p.tokens.len()).collect();
        assert_eq!(lengths, [5, 4, 9, 1]);
        assert_eq!(packed[0].layout, Layout::new(&[3, 2]));
        assert_eq!(packed[0].weights, [3., 3., 3., 2., 2.]);
    }

    #[test]
    fn what_sequences_have_in_common_counts_once() {
        let of = |prompt: usize, completion: u32| {
            let mut tokens = vec![9; prompt];
            tokens.extend([completion; 3]);
            Sequence {
                source: Vec::new(),
                targets: vec![Some(1); tokens.len()],
                tokens,
                weight: 1.0,
            }
        };
        let sequences = [of(10, 1), of(10, 2), of(10, 3), of(10, 4)];
        let rows = |packed: &Packed| {
            let shared = packed.shared.as_ref();
            shared.map_or(packed.tokens.len(), |shared| shared.tokens.len())
        };
        let rows = |packed: Vec<Packed>| packed.iter().map(rows).collect::<Vec<_>>();
        assert_eq!(rows(pack(&sequences, 19)), [19, 13]);
        assert_eq!(rows(pack_apart(&sequences, 26)), [26, 26]);
        let packed = &pack(&sequences, 100)[0];
        assert_eq!(packed.layout, Layout::new(&[13; 4]));
        assert_eq!((packed.targets.len(), packed.weights.len()), (52, 52));
    }

    #[test]
    fn each_epoch_has_its_own_order_by_the_seed() {
        let mut first = order(20, 0, 7);
        assert_eq!(first, order(20, 0, 7));
        assert_ne!(first, order(20, 1, 7));
        assert_ne!(first, order(20, 0, 8));
        first.sort_unstable();
        assert!(first.into_iter().eq(0..20));
    }
}
