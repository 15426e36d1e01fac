//! The one decoder: what a forward pass is, for every family, device and use.
//!
//! It is made of [`ops`](crate::ops) alone. Parameters stand in one flat list under their Hugging
//! Face names, so that loading, saving, the optimizer and checkpoints are loops over that list.

use std::collections::BTreeMap;

use burn::tensor::Tensor;

use stillhouse_core::random::Random;

use crate::config::{Config, Mlp, NormKind};
use crate::device::host;
use crate::ops::{self, Attention, Head, Heads, KvCache, Layout, Rope};
use crate::parameter::{self, Linear, Parameter, Plan, Planned, Product, Value};
use crate::rotary::{self, Tables};
use crate::weights::Array;

#[derive(Clone, Debug)]
struct Layer {
    before_attention: Norm,
    /// Queries, keys and values, or one projection for all.
    qkv: Vec<Linear>,
    qk_norms: Option<[Norm; 2]>,
    output: Linear,
    after_attention: Option<Norm>,
    /// Where there is none, the feed-forward block reads what the attention reads.
    before_mlp: Option<Norm>,
    /// The gate and what it gates, or one projection.
    into_mlp: Vec<Linear>,
    down: Linear,
    after_mlp: Option<Norm>,
    attention: Attention,
    rope: usize,
}

/// A norm: places in the list of parameters.
#[derive(Clone, Copy, Debug)]
struct Norm {
    weight: usize,
    bias: Option<usize>,
}

/// A decoder with its parameters.
#[derive(Clone, Debug)]
pub(crate) struct Decoder {
    pub(crate) config: Config,
    pub(crate) parameters: Vec<Parameter>,
    layers: Vec<Layer>,
    embedding: usize,
    norm: Norm,
    head: usize,
    head_bias: Option<usize>,
    tables: Vec<Tables>,
}

impl Layer {
    fn plan(plan: &mut Plan, config: &Config, index: usize) -> Self {
        let Config {
            hidden_size: hidden,
            intermediate_size: inner,
            family,
            biases,
            ..
        } = *config;
        let heads = heads(config);
        let (queries, keys) = (heads.query_size(), heads.kv_size());
        let at = |name: &str| format!("model.layers.{index}.{name}");
        let norm =
            |plan: &mut Plan, name: &str, size: usize| Norm::plan(plan, &at(name), config, size);
        let before_attention = norm(plan, family.before_attention, hidden);
        let sizes: &[usize] = match family.qkv.len() {
            1 => &[queries + 2 * keys],
            _ => &[queries, keys, keys],
        };
        let qkv = family.qkv.iter().zip(sizes);
        let qkv = qkv.map(|(name, &size)| plan.linear(&at(name), size, hidden, biases.qkv));
        let qkv = qkv.collect();
        let qk_names = family.qk_norms.filter(|_| config.has_qk_norms);
        let qk_norms = qk_names.map(|names| names.map(|name| norm(plan, name, config.head_size)));
        let output = plan.linear(&at(family.output), hidden, queries, biases.output);
        let maybe = |plan: &mut Plan, name: Option<&str>| name.map(|name| norm(plan, name, hidden));
        let after_attention = maybe(plan, family.after_attention);
        let before_mlp = maybe(plan, family.before_mlp);
        let mut rise = |name: &str, size: usize| plan.linear(&at(name), size, hidden, biases.mlp);
        let into_mlp = match family.mlp {
            Mlp::Gated(names) => names.map(|name| rise(name, inner)).to_vec(),
            Mlp::Fused(name) => vec![rise(name, 2 * inner)],
            Mlp::Plain(name) => vec![rise(name, inner)],
        };
        let down = plan.linear(&at(family.down), hidden, inner, biases.mlp);
        let after_mlp = maybe(plan, family.after_mlp);
        let attends = config.layers[index];
        Self {
            before_attention,
            qkv,
            qk_norms,
            output,
            after_attention,
            before_mlp,
            into_mlp,
            down,
            after_mlp,
            attention: Attention {
                window: attends.window,
                soft_cap: config.attention_soft_cap.map(|cap| cap as f32),
                ..Attention::new(heads, config.attention_scale as f32)
            },
            rope: attends.rope,
        }
    }
}

impl Norm {
    fn plan(plan: &mut Plan, path: &str, config: &Config, size: usize) -> Self {
        let weight = plan.add(format!("{path}.weight"), vec![size]);
        let has_bias = config.family.norm == NormKind::Layer;
        let bias = has_bias.then(|| plan.add(format!("{path}.bias"), vec![size]));
        Self { weight, bias }
    }
}

/// What is added to the weights of norms.
fn norm_offset(config: &Config) -> f32 {
    match config.family.norm {
        NormKind::RmsPlusOne => 1.0,
        NormKind::Rms | NormKind::Layer => 0.0,
    }
}

fn heads(config: &Config) -> Heads {
    Heads {
        heads: config.heads,
        kv_heads: config.kv_heads,
        head_size: config.head_size,
    }
}

impl Decoder {
    /// Builds a decoder; `values` is asked for its parameters by their names and shapes.
    pub(crate) fn build<E>(
        config: Config,
        values: impl FnOnce(&[Planned]) -> Result<BTreeMap<String, Value>, E>,
    ) -> Result<Self, E> {
        let mut plan = Plan::default();
        let matrix = vec![config.vocabulary, config.hidden_size];
        let embedding = plan.add("model.embed_tokens.weight".to_owned(), matrix.clone());
        let layers = (0..config.layers.len())
            .map(|index| Layer::plan(&mut plan, &config, index))
            .collect();
        let norm = Norm::plan(
            &mut plan,
            config.family.last_norm,
            &config,
            config.hidden_size,
        );
        let head = if config.is_tied {
            embedding
        } else {
            plan.add("lm_head.weight".to_owned(), matrix)
        };
        let has_head_bias = config.family.has_head_bias;
        let head_bias =
            has_head_bias.then(|| plan.add("lm_head.bias".to_owned(), vec![config.vocabulary]));
        let values = values(&plan.0)?;
        let parameters = plan.parameters(values);
        Ok(Self {
            tables: Tables::of(&config),
            config,
            parameters,
            layers,
            embedding,
            norm,
            head,
            head_bias,
        })
    }

    /// Random parameters as transformers draws them: normal of `initializer_range`, norms that keep the size, biases 0.
    pub(crate) fn random(config: Config, seed: u64) -> Self {
        let one = 1.0 - norm_offset(&config);
        let spread = config.json["initializer_range"].as_f64().unwrap_or(0.02);
        let built = Self::build(config, |plan| {
            let draw = |Planned { name, shape, .. }: &Planned| {
                let n = shape.iter().product();
                let mut random = Random::new(seed, name);
                let values = match (shape.len(), name.rsplit('.').next()) {
                    (1, Some("bias")) => vec![0.0; n],
                    (1, _) => vec![one; n],
                    _ => (0..n).map(|_| (random.normal() * spread) as f32).collect(),
                };
                let shape = shape.clone();
                let value = Value::new(Array { shape, values }, &host());
                (name.clone(), value)
            };
            Ok::<_, std::convert::Infallible>(plan.iter().map(draw).collect())
        });
        built.unwrap_or_else(|never| match never {})
    }

    /// Keeps sequences to at most `tokens`.
    pub(crate) fn limit_context(&mut self, tokens: usize) {
        self.config.context = self.config.context.min(tokens);
        self.tables = Tables::of(&self.config);
    }

    /// The projections of all layers, in the order of the file's layers.
    pub(crate) fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.layers.iter_mut().flat_map(|layer| {
            let Layer {
                qkv,
                output,
                into_mlp,
                down,
                ..
            } = layer;
            let (qkv, into_mlp) = (qkv.iter_mut(), into_mlp.iter_mut());
            qkv.chain([output]).chain(into_mlp).chain([down])
        })
    }

    /// The states that the output head reads, `[tokens, hidden]`, of packed sequences.
    pub(crate) fn states(&self, tokens: &[u32], layout: &Layout) -> Tensor<2> {
        let lengths = rotary::lengths(layout);
        let attend = |index, rows| self.attend(index, rows, layout, &lengths);
        self.forward(tokens, ops::through, attend)
    }

    /// `lengths` are those of [`rotary::lengths`].
    fn attend(
        &self,
        index: usize,
        rows: [Tensor<2>; 3],
        layout: &Layout,
        lengths: &[usize],
    ) -> Tensor<2> {
        let (layer, longest) = (&self.layers[index], layout.longest());
        let mut how = layer.attention;
        // A window that no sequence outgrows is none.
        how.window = how.window.filter(|window| *window < longest);
        let attend = |[q, k, v]: [Tensor<2>; 3], rope: &Rope, layout: &Layout, _: &[usize]| {
            ops::attention(q, k, v, rope, layout, &how)
        };
        self.tables[layer.rope].attend(lengths, layout, rows, attend)
    }

    /// How many layers there are.
    pub(crate) fn n_layers(&self) -> usize {
        self.layers.len()
    }

    /// One layer of [`Self::states`].
    pub(crate) fn layer(&self, index: usize, x: Tensor<2>, layout: &Layout) -> Tensor<2> {
        let lengths = rotary::lengths(layout);
        let attend = |rows| self.attend(index, rows, layout, &lengths);
        self.through(index, x, ops::through, attend)
    }

    /// What [`Self::states`] makes of the last layer's output.
    pub(crate) fn closed(&self, x: Tensor<2>) -> Tensor<2> {
        self.normed(x, &self.norm)
    }

    /// As [`Self::states`], where sequence `i` goes on from what slot `slots[i]` of the cache holds.
    ///
    /// Where each sequence has one token, a row's bits do not depend on the rows beside it.
    /// Where long sequences have other frequencies (`LongRoPE`), one that becomes long is read again from its beginning, as in transformers.
    pub(crate) fn states_cached(
        &self,
        tokens: &[u32],
        layout: &Layout,
        slots: &[usize],
        cache: &mut KvCache,
    ) -> Tensor<2> {
        let Some(most) = self.tables.iter().find_map(Tables::most_plain) else {
            return self.states_after(tokens, layout, slots, cache);
        };
        let mut becomes_long = false;
        for (&slot, rows) in slots.iter().zip(layout.sequences()) {
            let (before, new) = (cache.length(slot), rows.len());
            becomes_long |= (1..=most).contains(&before) && before + new > most;
            cache.note(slot, &tokens[rows]);
        }
        if !becomes_long {
            return self.states_after(tokens, layout, slots, cache);
        }
        let sequences = slots.iter().zip(layout.sequences());
        let states = sequences.map(|(&slot, rows)| {
            let (n_new, is_short) = (rows.len(), cache.length(slot) <= most);
            let mut read = tokens[rows].to_vec();
            if is_short && cache.length(slot) + n_new > most {
                read = cache.noted(slot).to_vec();
                cache.clear_slot(slot);
                cache.note(slot, &read);
            }
            let states = self.states_after(&read, &Layout::new(&[read.len()]), &[slot], cache);
            states.narrow(0, read.len() - n_new, n_new)
        });
        Tensor::cat(states.collect(), 0)
    }

    /// The states of new tokens after those that the cache holds.
    fn states_after(
        &self,
        tokens: &[u32],
        layout: &Layout,
        slots: &[usize],
        cache: &mut KvCache,
    ) -> Tensor<2> {
        let product = if layout.longest() == 1 {
            ops::through_rows
        } else {
            ops::through
        };
        let lengths = slots.iter().zip(layout.sequences());
        let lengths = lengths.map(|(&slot, rows)| cache.length(slot) + rows.len());
        let lengths: Vec<usize> = lengths.collect();
        self.forward(tokens, product, |index, rows| {
            let (layer, how) = (&self.layers[index], &self.layers[index].attention);
            let mut attend =
                |[q, k, v]: [Tensor<2>; 3], rope: &Rope, layout: &Layout, sequences: &[usize]| {
                    let slots: Vec<usize> = sequences.iter().map(|&i| slots[i]).collect();
                    ops::attend_cached(q, k, v, rope, layout, &slots, cache, index, how)
                };
            self.tables[layer.rope].attend(&lengths, layout, rows, &mut attend)
        })
    }

    /// An empty cache for this decoder.
    pub(crate) fn cache(&self, n_slots: usize) -> KvCache {
        KvCache::new(self.layers.len(), n_slots, heads(&self.config))
    }

    /// The output head.
    pub(crate) fn head(&self) -> Head<'_> {
        Head {
            weight: self.matrix(self.head),
            bias: self.head_bias.map(|at| self.vector(at)),
            soft_cap: self.config.head_soft_cap.map(|cap| cap as f32),
        }
    }

    fn forward(
        &self,
        tokens: &[u32],
        product: Product,
        mut attend: impl FnMut(usize, [Tensor<2>; 3]) -> Tensor<2>,
    ) -> Tensor<2> {
        let mut x = self.embedded(tokens);
        for index in 0..self.layers.len() {
            x = self.through(index, x, product, |rows| attend(index, rows));
        }
        self.closed(x)
    }

    /// What the first layer reads.
    pub(crate) fn embedded(&self, tokens: &[u32]) -> Tensor<2> {
        let x = ops::embedding(self.matrix(self.embedding), tokens);
        if self.config.family.scales_embedding {
            x * self.config.embedding_scale as f32
        } else {
            x
        }
    }

    fn through(
        &self,
        index: usize,
        x: Tensor<2>,
        product: Product,
        attend: impl FnOnce([Tensor<2>; 3]) -> Tensor<2>,
    ) -> Tensor<2> {
        let layer = &self.layers[index];
        let after = |y: Tensor<2>, norm: &Option<Norm>| match norm {
            Some(norm) => self.normed(y, norm),
            None => y,
        };
        let y = self.normed(x.clone(), &layer.before_attention);
        let attended = attend(self.queries_keys_values(&y, layer, product));
        let attended = self.linear(&attended, &layer.output, product);
        let x = x + after(attended, &layer.after_attention);
        let y = match &layer.before_mlp {
            Some(norm) => self.normed(x.clone(), norm),
            None => y,
        };
        x + after(self.feed_forward(&y, layer, product), &layer.after_mlp)
    }

    fn queries_keys_values(
        &self,
        y: &Tensor<2>,
        layer: &Layer,
        product: Product,
    ) -> [Tensor<2>; 3] {
        let heads = layer.attention.heads;
        let [q, k, v] = match &layer.qkv[..] {
            [q, k, v] => [q, k, v].map(|linear| self.linear(y, linear, product)),
            rest => {
                let all = self.linear(y, &rest[0], product);
                let (queries, keys) = (heads.query_size(), heads.kv_size());
                [(0, queries), (queries, keys), (queries + keys, keys)]
                    .map(|(first, size)| all.clone().narrow(1, first, size))
            }
        };
        let Some([of_q, of_k]) = &layer.qk_norms else {
            return [q, k, v];
        };
        let by_head = |x: Tensor<2>, norm: &Norm| {
            let [n, size] = x.dims();
            let rows = x.reshape([n * size / heads.head_size, heads.head_size]);
            self.normed(rows, norm).reshape([n, size])
        };
        [by_head(q, of_q), by_head(k, of_k), v]
    }

    fn feed_forward(&self, y: &Tensor<2>, layer: &Layer, product: Product) -> Tensor<2> {
        let f = self.config.activation;
        let through = |linear: &Linear| self.linear(y, linear, product);
        let inner = match (&layer.into_mlp[..], self.config.family.mlp) {
            ([gate, up], _) => ops::gated(f, through(gate), through(up)),
            (rest, Mlp::Plain(_)) => ops::activate(f, through(&rest[0])),
            (rest, _) => {
                let (both, size) = (through(&rest[0]), self.config.intermediate_size);
                let [gate, up] = [0, size].map(|first| both.clone().narrow(1, first, size));
                ops::gated(f, gate, up)
            }
        };
        self.linear(&inner, &layer.down, product)
    }

    fn linear(&self, x: &Tensor<2>, linear: &Linear, product: Product) -> Tensor<2> {
        parameter::linear(&self.parameters, x, linear, product)
    }

    fn normed(&self, x: Tensor<2>, norm: &Norm) -> Tensor<2> {
        let (weight, epsilon) = (self.vector(norm.weight), self.config.norm_epsilon as f32);
        match norm.bias {
            Some(bias) => ops::layer_norm(x, weight, self.vector(bias), epsilon),
            None => ops::rms_norm(x, weight, epsilon, norm_offset(&self.config)),
        }
    }

    fn matrix(&self, at: usize) -> &Tensor<2> {
        self.parameters[at].matrix()
    }

    fn vector(&self, at: usize) -> &Tensor<1> {
        self.parameters[at].vector()
    }
}
