//! The encoder-decoder of the T5 family: an encoder reads the prompt, a decoder writes the completion.
//!
//! Its normalisation does not centre, its scores are not divided by the root of the head size, and
//! positions enter as a bias by head and relative distance that all layers of a stack share (Raffel
//! et al. 2020).

mod config;
#[cfg(test)]
mod golden;
mod layer;

use std::cell::RefCell;
use std::collections::BTreeMap;

use burn::tensor::Tensor;

pub(crate) use config::{ARCHITECTURE, Config};
use layer::{Attention, Block, Pass};

use crate::batch::Source;
use crate::ops::{self, Head, Layout, Pairs, RelativeBias, SourceCache};
use crate::parameter::{Linear, Parameter, Plan, Planned, Product, Value};

/// An encoder and a decoder with their parameters.
#[derive(Clone, Debug)]
pub(crate) struct EncoderDecoder {
    pub(crate) config: Config,
    pub(crate) parameters: Vec<Parameter>,
    embedding: usize,
    encoder: Stack,
    decoder: Stack,
    head: usize,
}

/// The layers of one side.
#[derive(Clone, Debug)]
struct Stack {
    blocks: Vec<Block>,
    /// The bias by bucket and head, which block 0 holds for all: `[buckets, heads]`.
    bias: usize,
    norm: usize,
    is_encoder: bool,
}

impl Stack {
    fn plan(plan: &mut Plan, config: &Config, is_encoder: bool) -> Self {
        let (name, layers) = if is_encoder {
            ("encoder", config.encoder_layers)
        } else {
            ("decoder", config.decoder_layers)
        };
        let mut bias = None;
        let block = |index| {
            let at = format!("{name}.block.{index}");
            let block = Block::plan(plan, config, &at, is_encoder);
            if index == 0 {
                let name = format!("{at}.layer.0.SelfAttention.relative_attention_bias.weight");
                bias = Some(plan.add(name, vec![config.n_buckets, config.heads]));
            }
            block
        };
        let blocks = (0..layers).map(block).collect();
        Self {
            blocks,
            bias: bias.expect("a stack has at least one layer"),
            norm: plan.add(
                format!("{name}.final_layer_norm.weight"),
                vec![config.hidden_size],
            ),
            is_encoder,
        }
    }
}

impl EncoderDecoder {
    /// Builds a network; `values` is asked for its parameters by their names and shapes.
    pub(crate) fn build<E>(
        config: Config,
        is_tied: bool,
        values: impl FnOnce(&[Planned]) -> Result<BTreeMap<String, Value>, E>,
    ) -> Result<Self, E> {
        let mut plan = Plan::default();
        let matrix = vec![config.vocabulary, config.hidden_size];
        let embedding = plan.add("shared.weight".to_owned(), matrix.clone());
        let encoder = Stack::plan(&mut plan, &config, true);
        let decoder = Stack::plan(&mut plan, &config, false);
        let head = if is_tied {
            embedding
        } else {
            plan.add("lm_head.weight".to_owned(), matrix)
        };
        let values = values(&plan.0)?;
        let parameters = plan.parameters(values);
        Ok(Self {
            config,
            parameters,
            embedding,
            encoder,
            decoder,
            head,
        })
    }

    /// The projections of all layers, those of the encoder first.
    pub(crate) fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        let blocks = self.encoder.blocks.iter_mut();
        blocks
            .chain(&mut self.decoder.blocks)
            .flat_map(Block::linears_mut)
    }

    /// Keeps each side's sequences to at most `tokens`; relative positions go on as far as asked.
    pub(crate) fn limit_context(&mut self, tokens: usize) {
        self.config.context = tokens;
    }

    /// The output head.
    pub(crate) fn head(&self) -> Head<'_> {
        Head::new(self.parameters[self.head].matrix())
    }

    /// The states that the output head reads, `[tokens, hidden]`, of packed completions.
    pub(crate) fn states(&self, tokens: &[u32], layout: &Layout, source: &Source) -> Tensor<2> {
        let pass = self.pass(ops::through);
        let read = self.encode(pass, &source.tokens, &source.layout);
        let within = Pairs::causal(layout);
        let across = Pairs::across(layout, &source.layout, &source.of);
        let (bias, heads) = (self.bias(&self.decoder), self.config.heads);
        let mut x = self.embed(tokens);
        for block in &self.decoder.blocks {
            let own = |q, k, v| ops::relative_attention(q, k, v, Some(bias), &within, heads);
            let cross = |attention: &Attention, q| {
                let [k, v] = [&attention.k, &attention.v].map(|linear| pass.linear(&read, linear));
                ops::relative_attention(q, k, v, None, &across, heads)
            };
            x = pass.block(block, x, own, cross);
        }
        self.finish(pass, x)
    }

    /// An empty cache for completions of at most the context's length.
    pub(crate) fn cache(&self, n_slots: usize) -> SourceCache {
        let RelativeBias { table, buckets } = self.bias(&self.decoder);
        let (layers, width) = (
            self.decoder.blocks.len(),
            self.config.heads * self.config.head_size,
        );
        SourceCache::new(layers, n_slots, width, table, buckets, self.config.context)
    }

    /// Reads packed prompts into empty slots of the cache; the completions are still without a token.
    pub(crate) fn read(
        &self,
        tokens: &[u32],
        layout: &Layout,
        slots: &[usize],
        cache: &mut SourceCache,
    ) {
        let pass = self.pass(ops::through);
        let read = self.encode(pass, tokens, layout);
        for (layer, block) in self.decoder.blocks.iter().enumerate() {
            if let Some(Attention { k, v, .. }) = &block.cross {
                let [k, v] = [k, v].map(|linear| pass.linear(&read, linear));
                cache.begin(layer, slots, layout, k, v);
            }
        }
    }

    /// The states of one further token a slot, `[slots, hidden]`; a row's bits do not depend on
    /// the rows beside it.
    pub(crate) fn states_cached(
        &self,
        tokens: &[u32],
        slots: &[usize],
        cache: &mut SourceCache,
    ) -> Tensor<2> {
        let pass = self.pass(ops::through_rows);
        let cache = RefCell::new(cache);
        let mut x = self.embed(tokens);
        for (layer, block) in self.decoder.blocks.iter().enumerate() {
            let own = |q, k, v| cache.borrow_mut().attend_own(layer, slots, q, k, v);
            let cross = |_: &Attention, q| cache.borrow().attend_source(layer, slots, q);
            x = pass.block(block, x, own, cross);
        }
        self.finish(pass, x)
    }

    /// The states of packed prompts.
    fn encode(&self, pass: Pass<'_>, tokens: &[u32], layout: &Layout) -> Tensor<2> {
        let (bias, heads) = (self.bias(&self.encoder), self.config.heads);
        let pairs = Pairs::whole(layout);
        let mut x = self.embed(tokens);
        for block in &self.encoder.blocks {
            let own = |q, k, v| ops::relative_attention(q, k, v, Some(bias), &pairs, heads);
            x = pass.block(block, x, own, |_, _| {
                unreachable!("an encoder has no source")
            });
        }
        pass.norm(x, self.encoder.norm)
    }

    fn finish(&self, pass: Pass<'_>, x: Tensor<2>) -> Tensor<2> {
        let x = pass.norm(x, self.decoder.norm);
        if self.config.is_scaled {
            x * (self.config.hidden_size as f32).sqrt().recip()
        } else {
            x
        }
    }

    fn embed(&self, tokens: &[u32]) -> Tensor<2> {
        ops::embedding(self.parameters[self.embedding].matrix(), tokens)
    }

    fn bias(&self, stack: &Stack) -> RelativeBias<'_> {
        RelativeBias {
            table: self.parameters[stack.bias].matrix(),
            buckets: self.config.buckets(stack.is_encoder),
        }
    }

    fn pass(&self, product: Product) -> Pass<'_> {
        Pass {
            config: &self.config,
            parameters: &self.parameters,
            product,
        }
    }
}
