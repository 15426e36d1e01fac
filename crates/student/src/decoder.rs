//! The one decoder: what a forward pass is, for every family, device and use.
//!
//! It is made of [`ops`](crate::ops) alone. Parameters stand in one flat list under their Hugging
//! Face names, so that loading, saving, the optimizer and checkpoints are loops over that list.

use std::collections::BTreeMap;

use burn::tensor::Tensor;

use stillhouse_core::random::Random;

use crate::config::Config;
use crate::ops::{self, Attention, Heads, KvCache, Layout, Rope};
use crate::parameter::{self, Linear, Parameter, Plan, Product};
use crate::weights::Array;

#[derive(Clone, Debug)]
struct Layer {
    attention_norm: usize,
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    mlp_norm: usize,
    gate: Linear,
    up: Linear,
    down: Linear,
}

/// A decoder with its parameters.
#[derive(Clone, Debug)]
pub(crate) struct Decoder {
    pub(crate) config: Config,
    pub(crate) parameters: Vec<Parameter>,
    layers: Vec<Layer>,
    embedding: usize,
    norm: usize,
    head: usize,
    rope: Rope,
}

impl Layer {
    fn plan(plan: &mut Plan, config: &Config, index: usize) -> Self {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let (queries, keys) = (
            config.heads * config.head_size,
            config.kv_heads * config.head_size,
        );
        let at = |name: &str| format!("model.layers.{index}.{name}");
        let biases = config.biases;
        Self {
            attention_norm: plan.add(at("input_layernorm.weight"), vec![hidden]),
            q: plan.linear(&at("self_attn.q_proj"), queries, hidden, biases.qkv),
            k: plan.linear(&at("self_attn.k_proj"), keys, hidden, biases.qkv),
            v: plan.linear(&at("self_attn.v_proj"), keys, hidden, biases.qkv),
            o: plan.linear(&at("self_attn.o_proj"), hidden, queries, biases.output),
            mlp_norm: plan.add(at("post_attention_layernorm.weight"), vec![hidden]),
            gate: plan.linear(&at("mlp.gate_proj"), inner, hidden, biases.mlp),
            up: plan.linear(&at("mlp.up_proj"), inner, hidden, biases.mlp),
            down: plan.linear(&at("mlp.down_proj"), hidden, inner, biases.mlp),
        }
    }
}

impl Decoder {
    /// Builds a decoder; `arrays` is asked for its parameters by their names and shapes.
    pub(crate) fn build<E>(
        config: Config,
        arrays: impl FnOnce(&[(String, Vec<usize>)]) -> Result<BTreeMap<String, Array>, E>,
    ) -> Result<Self, E> {
        let mut plan = Plan::default();
        let matrix = vec![config.vocabulary, config.hidden_size];
        let embedding = plan.add("model.embed_tokens.weight".to_owned(), matrix.clone());
        let layers = (0..config.layers)
            .map(|index| Layer::plan(&mut plan, &config, index))
            .collect();
        let norm = plan.add("model.norm.weight".to_owned(), vec![config.hidden_size]);
        let head = if config.is_tied {
            embedding
        } else {
            plan.add("lm_head.weight".to_owned(), matrix)
        };
        let arrays = arrays(&plan.0)?;
        let parameters = plan.parameters(arrays);
        let rope = Rope::new(&config.frequencies(), config.context);
        Ok(Self {
            config,
            parameters,
            layers,
            embedding,
            norm,
            head,
            rope,
        })
    }

    /// Random parameters as transformers draws them: normal of `initializer_range`, norms 1, biases 0.
    pub(crate) fn random(config: Config, seed: u64) -> Self {
        let spread = config.json["initializer_range"].as_f64().unwrap_or(0.02);
        let built = Self::build(config, |plan| {
            let draw = |(name, shape): &(String, Vec<usize>)| {
                let n = shape.iter().product();
                let mut random = Random::new(seed, name);
                let values = match (shape.len(), name.rsplit('.').next()) {
                    (1, Some("bias")) => vec![0.0; n],
                    (1, _) => vec![1.0; n],
                    _ => (0..n).map(|_| (random.normal() * spread) as f32).collect(),
                };
                let shape = shape.clone();
                (name.clone(), Array { shape, values })
            };
            Ok::<_, std::convert::Infallible>(plan.iter().map(draw).collect())
        });
        built.unwrap_or_else(|never| match never {})
    }

    /// Keeps sequences to at most `tokens`.
    pub(crate) fn limit_context(&mut self, tokens: usize) {
        self.config.context = self.config.context.min(tokens);
        self.rope = Rope::new(&self.config.frequencies(), self.config.context);
    }

    /// The projections of all layers, with their place in the layer.
    pub(crate) fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.layers.iter_mut().flat_map(|layer| {
            let Layer {
                q,
                k,
                v,
                o,
                gate,
                up,
                down,
                ..
            } = layer;
            [q, k, v, o, gate, up, down]
        })
    }

    /// The states that the output head reads, `[tokens, hidden]`, of packed sequences.
    pub(crate) fn states(&self, tokens: &[u32], layout: &Layout) -> Tensor<2> {
        let how = self.attention();
        self.forward(tokens, ops::linear, |_, q, k, v| {
            ops::attention(q, k, v, &self.rope, layout, &how)
        })
    }

    /// As [`Self::states`], where sequence `i` goes on from what slot `slots[i]` of the cache holds.
    ///
    /// Where each sequence has one token, a row's bits do not depend on the rows beside it.
    pub(crate) fn states_cached(
        &self,
        tokens: &[u32],
        layout: &Layout,
        slots: &[usize],
        cache: &mut KvCache,
    ) -> Tensor<2> {
        let how = self.attention();
        let product = if layout.longest() == 1 {
            ops::linear_rows
        } else {
            ops::linear
        };
        self.forward(tokens, product, |layer, q, k, v| {
            ops::attend_cached(q, k, v, &self.rope, layout, slots, cache, layer, &how)
        })
    }

    /// An empty cache for this decoder.
    pub(crate) fn cache(&self, n_slots: usize) -> KvCache {
        KvCache::new(self.layers.len(), n_slots, self.heads())
    }

    /// The output head's weight, `[vocabulary, hidden]`.
    pub(crate) fn head(&self) -> &Tensor<2> {
        self.matrix(self.head)
    }

    fn forward(
        &self,
        tokens: &[u32],
        product: Product,
        mut attend: impl FnMut(usize, Tensor<2>, Tensor<2>, Tensor<2>) -> Tensor<2>,
    ) -> Tensor<2> {
        let through = |x: &Tensor<2>, linear: &Linear| self.linear(x, linear, product);
        let mut x = ops::embedding(self.matrix(self.embedding), tokens);
        for (index, layer) in self.layers.iter().enumerate() {
            let y = self.norm(x.clone(), layer.attention_norm);
            let [q, k, v] = [&layer.q, &layer.k, &layer.v].map(|linear| through(&y, linear));
            x = x + through(&attend(index, q, k, v), &layer.o);
            let y = self.norm(x.clone(), layer.mlp_norm);
            let gated = ops::swiglu(through(&y, &layer.gate), through(&y, &layer.up));
            x = x + through(&gated, &layer.down);
        }
        self.norm(x, self.norm)
    }

    fn linear(&self, x: &Tensor<2>, linear: &Linear, product: Product) -> Tensor<2> {
        parameter::linear(&self.parameters, x, linear, product)
    }

    fn norm(&self, x: Tensor<2>, weight: usize) -> Tensor<2> {
        ops::rms_norm(x, self.vector(weight), self.config.norm_epsilon as f32, 0.0)
    }

    fn heads(&self) -> Heads {
        let Config {
            heads,
            kv_heads,
            head_size,
            ..
        } = self.config;
        Heads {
            heads,
            kv_heads,
            head_size,
        }
    }

    fn attention(&self) -> Attention {
        let scale = (self.config.head_size as f32).sqrt().recip();
        Attention::new(self.heads(), scale)
    }

    fn matrix(&self, at: usize) -> &Tensor<2> {
        self.parameters[at].matrix()
    }

    fn vector(&self, at: usize) -> &Tensor<1> {
        self.parameters[at].vector()
    }
}
