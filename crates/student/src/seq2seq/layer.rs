//! One layer of either side: where its tensors stand, and what it does to rows.

use burn::tensor::Tensor;

use super::Config;
use crate::ops;
use crate::parameter::{self, Linear, Parameter, Plan, Product};

/// A layer: attention to its own side, in the decoder attention to the source, feed-forward.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) own: Attention,
    pub(super) cross: Option<Attention>,
    feed: Feed,
}

#[derive(Clone, Debug)]
pub(super) struct Attention {
    norm: usize,
    q: Linear,
    pub(super) k: Linear,
    pub(super) v: Linear,
    o: Linear,
}

#[derive(Clone, Debug)]
struct Feed {
    norm: usize,
    gate: Option<Linear>,
    up: Linear,
    down: Linear,
}

impl Block {
    pub(super) fn plan(plan: &mut Plan, config: &Config, at: &str, is_encoder: bool) -> Self {
        let cross = (!is_encoder).then_some("layer.1.EncDecAttention");
        let feed = if is_encoder { "layer.1" } else { "layer.2" };
        Self {
            own: Attention::plan(plan, config, &format!("{at}.layer.0.SelfAttention")),
            cross: cross.map(|name| Attention::plan(plan, config, &format!("{at}.{name}"))),
            feed: Feed::plan(plan, config, &format!("{at}.{feed}")),
        }
    }

    pub(super) fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        let attentions = std::iter::once(&mut self.own).chain(&mut self.cross);
        let attentions = attentions.flat_map(|Attention { q, k, v, o, .. }| [q, k, v, o]);
        let Feed { gate, up, down, .. } = &mut self.feed;
        attentions.chain(gate).chain([up, down])
    }
}

impl Attention {
    fn plan(plan: &mut Plan, config: &Config, at: &str) -> Self {
        let (hidden, width) = (config.hidden_size, config.heads * config.head_size);
        let layer = at.rsplit_once('.').map_or(at, |(layer, _)| layer);
        Self {
            q: plan.linear(&format!("{at}.q"), width, hidden, false),
            k: plan.linear(&format!("{at}.k"), width, hidden, false),
            v: plan.linear(&format!("{at}.v"), width, hidden, false),
            o: plan.linear(&format!("{at}.o"), hidden, width, false),
            norm: plan.add(format!("{layer}.layer_norm.weight"), vec![hidden]),
        }
    }
}

impl Feed {
    fn plan(plan: &mut Plan, config: &Config, layer: &str) -> Self {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let at = |name: &str| format!("{layer}.DenseReluDense.{name}");
        let gate = config
            .is_gated
            .then(|| plan.linear(&at("wi_0"), inner, hidden, false));
        let up = if config.is_gated { "wi_1" } else { "wi" };
        Self {
            gate,
            up: plan.linear(&at(up), inner, hidden, false),
            down: plan.linear(&at("wo"), hidden, inner, false),
            norm: plan.add(format!("{layer}.layer_norm.weight"), vec![hidden]),
        }
    }
}

/// How rows go through a network: its tensors, and how products are made.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub(super) config: &'a Config,
    pub(super) parameters: &'a [Parameter],
    pub(super) product: Product,
}

impl Pass<'_> {
    /// Rows through a layer; `own` and `cross` mix values, given queries, keys and values, or
    /// queries alone.
    pub(super) fn block(
        &self,
        block: &Block,
        x: Tensor<2>,
        own: impl FnOnce(Tensor<2>, Tensor<2>, Tensor<2>) -> Tensor<2>,
        cross: impl FnOnce(&Attention, Tensor<2>) -> Tensor<2>,
    ) -> Tensor<2> {
        let Attention { norm, q, k, v, o } = &block.own;
        let y = self.norm(x.clone(), *norm);
        let [q, k, v] = [q, k, v].map(|linear| self.linear(&y, linear));
        let mut x = x + self.linear(&own(q, k, v), o);
        if let Some(attention) = &block.cross {
            let y = self.norm(x.clone(), attention.norm);
            let mixed = cross(attention, self.linear(&y, &attention.q));
            x = x + self.linear(&mixed, &attention.o);
        }
        let Feed {
            norm,
            gate,
            up,
            down,
        } = &block.feed;
        let y = self.norm(x.clone(), *norm);
        let inner = match gate {
            Some(gate) => ops::gated(
                self.config.activation,
                self.linear(&y, gate),
                self.linear(&y, up),
            ),
            None => ops::activate(self.config.activation, self.linear(&y, up)),
        };
        x + self.linear(&inner, down)
    }

    pub(super) fn linear(&self, x: &Tensor<2>, linear: &Linear) -> Tensor<2> {
        parameter::linear(self.parameters, x, linear, self.product)
    }

    pub(super) fn norm(&self, x: Tensor<2>, weight: usize) -> Tensor<2> {
        let epsilon = self.config.norm_epsilon as f32;
        ops::rms_norm(x, self.parameters[weight].vector(), epsilon, 0.0)
    }
}
