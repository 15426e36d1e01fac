//! Each operation as a plain composition of burn's own.
//!
//! This is the specification that the fused operations are tested against, and the path that devices other than the CPU take.
//! The functions have the names, arguments and results of those in [`ops`](super), where each is described.

mod portions;

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor, TensorData, activation};

use super::{
    Activation, AdamwStep, Attention, Branch, Divergence, Head, Heads, Known, Layout, Loss,
    Moments, Pairs, RelativeBias, Rope, Scored, States, Weight,
};

/// The score of what a query does not see: far below every other, and finite, since shaders may take infinities for anything.
const HIDDEN: f32 = -1e30;

/// See [`linear`](super::linear()).
#[must_use]
pub fn linear(x: Tensor<2>, weight: &Tensor<2>, bias: Option<&Tensor<1>>) -> Tensor<2> {
    let y = x.matmul(weight.clone().transpose());
    match bias {
        Some(bias) => y + bias.clone().unsqueeze(),
        None => y,
    }
}

/// See [`lora_linear`](super::lora_linear()).
#[must_use]
pub fn lora_linear(
    x: Tensor<2>,
    weight: Weight<'_>,
    bias: Option<&Tensor<1>>,
    branch: Branch<'_>,
) -> Tensor<2> {
    let read = branch.dropout.map_or(x.clone(), |dropout| {
        let mut mask = vec![1.0; x.shape().num_elements()];
        dropout.apply(&mut mask, x.dims()[1]);
        x.clone() * Tensor::from_data(TensorData::new(mask, x.dims()), &x.device())
    });
    let low = read.matmul(branch.a.clone().transpose());
    let weight = weight.to_tensor(&x.device());
    linear(x, &weight, bias) + low.matmul(branch.b.clone().transpose()) * branch.scale
}

/// See [`rms_norm`](super::rms_norm()).
#[must_use]
pub fn rms_norm(x: Tensor<2>, weight: &Tensor<1>, epsilon: f32, offset: f32) -> Tensor<2> {
    let root = (x.clone().square().mean_dim(1) + epsilon).sqrt();
    let weight = weight.clone() + offset;
    x.div(root) * weight.unsqueeze()
}

/// See [`layer_norm`](super::layer_norm()).
#[must_use]
pub fn layer_norm(x: Tensor<2>, weight: &Tensor<1>, bias: &Tensor<1>, epsilon: f32) -> Tensor<2> {
    let centred = x.clone() - x.mean_dim(1);
    let deviation = (centred.clone().square().mean_dim(1) + epsilon).sqrt();
    centred.div(deviation) * weight.clone().unsqueeze() + bias.clone().unsqueeze()
}

/// See [`attention`](super::attention()).
#[must_use]
pub fn attention(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    rope: &Rope,
    layout: &Layout,
    how: &Attention,
) -> Tensor<2> {
    let Heads {
        heads, kv_heads, ..
    } = how.heads;
    let turns = turns(rope, layout, &q.device());
    // [rows, heads * size] -> [heads, rows, size]
    let split = |x: Tensor<2>, heads| {
        let rows = x.dims()[0];
        x.reshape([rows, heads, how.heads.head_size])
            .swap_dims(0, 1)
    };
    let q = rotate(&split(q, heads), &turns);
    let k = rotate(&split(k, kv_heads), &turns);
    let v = split(v, kv_heads);
    let sequences = (0..layout.n_sequences()).filter(|&index| !layout.sequence(index).is_empty());
    let outputs = sequences.map(|index| {
        let some = |x: &Tensor<3>, rows: Range<usize>| x.clone().narrow(1, rows.start, rows.len());
        let seen = |x: &Tensor<3>| {
            let parts = layout.chain(index).into_iter().map(|i| layout.sequence(i));
            let parts = parts.filter(|rows| !rows.is_empty());
            Tensor::cat(parts.map(|rows| some(x, rows)).collect(), 1)
        };
        attend_one(some(&q, layout.sequence(index)), seen(&k), seen(&v), how)
    });
    Tensor::cat(outputs.collect(), 0)
}

/// Causal attention of the last rows of one sequence, `q [heads, time, size]`, to all of it.
fn attend_one(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, how: &Attention) -> Tensor<2> {
    let (time, width, shape) = (q.dims()[1], k.dims()[1], how.heads);
    let before = width - time;
    let (kv_heads, size) = (shape.kv_heads, shape.head_size);
    let group = shape.heads / kv_heads;
    let shared = |x: Tensor<3>| -> Tensor<3> {
        x.unsqueeze_dim::<4>(1)
            .expand([kv_heads, group, width, size])
            .reshape([shape.heads, width, size])
    };
    let (k, v) = (shared(k), shared(v));
    let ones = Tensor::<2, Int>::ones([time, width], &q.device());
    let last = i64::try_from(before).expect("fewer tokens than that");
    let mut hidden = ones.clone().triu(1 + last).bool();
    if let Some(window) = how.window {
        let window = i64::try_from(window).unwrap_or(i64::MAX);
        hidden = hidden.bool_or(ones.tril(last - window).bool());
    }
    let mut scores = q.matmul(k.swap_dims(1, 2)) * how.scale;
    if let Some(cap) = how.soft_cap {
        scores = (scores / cap).tanh() * cap;
    }
    let scores = scores.mask_fill(hidden.unsqueeze(), HIDDEN);
    let mixed = activation::softmax(scores, 2).matmul(v);
    mixed.swap_dims(0, 1).reshape([time, shape.query_size()])
}

/// The cosines and sines of the positions of all rows, each `[1, rows, half]`.
fn turns(rope: &Rope, layout: &Layout, device: &Device) -> [Tensor<3>; 2] {
    let half = rope.half();
    let positions = layout.positions();
    [rope.cos(), rope.sin()].map(|table| {
        let rows = positions.iter().map(|at| &table[at * half..][..half]);
        let data = TensorData::new(
            rows.collect::<Vec<_>>().concat(),
            [1, positions.len(), half],
        );
        Tensor::from_data(data, device)
    })
}

/// Rotates each row of `[heads, rows, size]` by the angles of its position.
fn rotate(x: &Tensor<3>, [cos, sin]: &[Tensor<3>; 2]) -> Tensor<3> {
    let (size, half) = (x.dims()[2], cos.dims()[2]);
    let part = |features: Range<usize>| x.clone().narrow(2, features.start, features.len());
    let (low, high) = (part(0..half), part(half..2 * half));
    let mut parts = vec![
        low.clone() * cos.clone() - high.clone() * sin.clone(),
        high * cos.clone() + low * sin.clone(),
    ];
    if 2 * half < size {
        parts.push(part(2 * half..size));
    }
    Tensor::cat(parts, 2)
}

/// See [`activate`](super::activate()).
#[must_use]
pub fn activate(f: Activation, x: Tensor<2>) -> Tensor<2> {
    match f {
        Activation::Gelu => activation::gelu(x),
        Activation::GeluTanh => {
            let inner = x.clone() + x.clone().powi_scalar(3) * 0.044_715;
            let share = (inner * (2.0 / std::f32::consts::PI).sqrt()).tanh() + 1.0;
            x * share * 0.5
        }
        Activation::Relu => activation::relu(x),
        Activation::Silu => activation::silu(x),
    }
}

/// See [`gated`](super::gated()).
#[must_use]
pub fn gated(f: Activation, gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    activate(f, gate) * up
}

/// See [`embedding`](super::embedding()).
#[must_use]
pub fn embedding(weight: &Tensor<2>, ids: &[u32]) -> Tensor<2> {
    let ids = index(ids.iter().map(|&id| id as usize), &weight.device());
    weight.clone().select(0, ids)
}

/// See [`head_logits`](super::head_logits()).
#[must_use]
pub fn head_logits(x: Tensor<2>, head: Head<'_>) -> Tensor<2> {
    let logits = linear(x, head.weight, head.bias);
    match head.soft_cap {
        Some(cap) => (logits / cap).tanh() * cap,
        None => logits,
    }
}

/// See [`head_loss`](super::head_loss()).
#[must_use]
pub fn head_loss(x: Tensor<2>, head: Head<'_>, targets: &[Option<u32>], weights: &[f32]) -> Loss {
    let rows: Vec<usize> = (0..targets.len())
        .filter(|&row| targets[row].is_some())
        .collect();
    if rows.is_empty() {
        return Loss::nothing(x);
    }
    let total: f32 = rows.iter().map(|&row| weights[row]).sum();
    let value = portions::sum(x, head, &rows, portions::LOGITS, |x, head, rows| {
        let device = x.device();
        let wanted = rows.iter().filter_map(|&row| targets[row]);
        let wanted = index(wanted.map(|id| id as usize), &device);
        let likelihood = activation::log_softmax(head_logits(x, head), 1)
            .gather(1, wanted.unsqueeze_dim(1))
            .squeeze_dim::<1>(1);
        let weights: Vec<f32> = rows.iter().map(|&row| weights[row]).collect();
        (likelihood * Tensor::<1>::from_data(weights.as_slice(), &device)).sum()
    });
    Loss {
        value: value.neg() / total.max(f32::MIN_POSITIVE),
        n_supervised: rows.len(),
        total_weight: total,
    }
}

/// See [`head_scores`](super::head_scores()).
#[must_use]
#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape of what it is the plain version of"
)]
pub fn head_scores(x: Tensor<2>, head: Head<'_>, targets: &[(usize, u32)]) -> Vec<Scored> {
    let at_once = (portions::LOGITS / head.weight.dims()[0]).max(1);
    let portions = targets.chunks(at_once);
    portions
        .flat_map(|targets| scores(x.clone(), head, targets))
        .collect()
}

fn scores(x: Tensor<2>, head: Head<'_>, targets: &[(usize, u32)]) -> Vec<Scored> {
    let bias = head.bias.map(|bias| bias.clone().inner());
    let head = Head {
        weight: &head.weight.clone().inner(),
        bias: bias.as_ref(),
        ..head
    };
    let x = x.inner();
    let rows = index(targets.iter().map(|(row, _)| *row), &x.device());
    let tokens = targets.iter().map(|(_, token)| *token as usize);
    let tokens = index(tokens, &x.device()).unsqueeze_dim::<2>(1);
    let logits = head_logits(x.select(0, rows), head);
    let own = logits
        .clone()
        .gather(1, tokens.clone())
        .expand(logits.dims());
    let ranks = logits.clone().greater(own).int().sum_dim(1).into_data();
    let found = activation::log_softmax(logits, 1).gather(1, tokens);
    let found = found.into_data().convert::<f32>();
    let scored = |(log_probability, n_above): (f32, u32)| Scored {
        log_probability,
        rank: 1 + n_above,
    };
    found
        .iter::<f32>()
        .zip(ranks.iter::<u32>())
        .map(scored)
        .collect()
}

/// See [`head_divergence`](super::head_divergence()).
#[must_use]
pub fn head_divergence(
    student: States<'_>,
    teacher: States<'_>,
    divergence: Divergence,
    temperature: f32,
    rows: &[(usize, f32)],
) -> Tensor<1> {
    let common = student.head.weight.dims()[0].min(teacher.head.weight.dims()[0]);
    let logs = |states: States<'_>| {
        let logits = some_logits(states, rows.iter().map(|(row, _)| *row));
        let logits = logits.slice([0..rows.len(), 0..common]);
        activation::log_softmax(logits / temperature, 1)
    };
    let device = student.x.device();
    let (q, p) = (logs(student), logs(teacher).inner());
    let p = if device.is_autodiff() {
        p.autodiff()
    } else {
        p
    };
    let way = divergence.mixture();
    let m = match way.mixture {
        0.0 => q.clone(),
        1.0 => p.clone(),
        share => (p.clone().exp() * share + q.clone().exp() * (1.0 - share)).log(),
    };
    let from_teacher = p.clone().exp() * (p - m.clone()) * way.teacher;
    let from_student = q.clone().exp() * (q - m) * way.student;
    let each = (from_teacher + from_student).sum_dim(1).squeeze_dim::<1>(1);
    let weights: Vec<f32> = rows.iter().map(|(_, weight)| *weight).collect();
    (each * Tensor::<1>::from_data(weights.as_slice(), &device)).sum()
}

/// See [`head_known`](super::head_known()).
#[must_use]
pub fn head_known(student: States<'_>, rows: &[(usize, f32, Known)]) -> Tensor<1> {
    let device = student.x.device();
    let one = |(row, weight, known): &(usize, f32, Known)| {
        let logits = some_logits(student, std::iter::once(*row));
        let logs = activation::log_softmax(logits, 1).squeeze_dim::<1>(0);
        let tokens = index(known.iter().map(|(token, _)| *token as usize), &device);
        let p: Vec<f32> = known.iter().map(|(_, log)| log.exp()).collect();
        let total = p.iter().sum::<f32>();
        let rest = (1.0 - total).max(0.0);
        let p: Vec<f32> = p.iter().map(|p| p / total.max(1.0)).collect();
        let entropy: f32 = p.iter().chain([&rest]).map(|p| p * p.max(1e-30).ln()).sum();
        let known = logs.clone().select(0, tokens);
        let q_rest = (known.clone().exp().sum().neg() + 1.0).log();
        let p = Tensor::<1>::from_data(p.as_slice(), &device);
        ((known * p).sum().neg() - q_rest * rest + entropy) * *weight
    };
    let terms = rows.iter().map(one);
    terms
        .reduce(|a, b| a + b)
        .unwrap_or_else(|| student.x.clone().sum() * 0.0)
}

/// See [`head_likelihoods`](super::head_likelihoods()).
#[must_use]
pub fn head_likelihoods(student: States<'_>, targets: &[(usize, u32)]) -> Tensor<1> {
    let device = student.x.device();
    let tokens = index(targets.iter().map(|(_, token)| *token as usize), &device);
    let logits = some_logits(student, targets.iter().map(|(row, _)| *row));
    activation::log_softmax(logits, 1)
        .gather(1, tokens.unsqueeze_dim(1))
        .squeeze_dim::<1>(1)
}

/// The logits at some rows.
fn some_logits(states: States<'_>, rows: impl Iterator<Item = usize>) -> Tensor<2> {
    let chosen = index(rows, &states.x.device());
    head_logits(states.x.clone().select(0, chosen), states.head)
}

/// See [`adamw`](super::adamw()).
#[must_use]
pub fn adamw<const D: usize>(
    param: Tensor<D>,
    grad: Tensor<D>,
    moments: Moments<D>,
    step: &AdamwStep,
) -> (Tensor<D>, Moments<D>) {
    let is_trained = param.is_require_grad();
    let is_autodiff = param.is_autodiff();
    let grad = grad.inner() * step.grad_scale;
    let first = moments.first * step.beta1 + grad.clone() * (1.0 - step.beta1);
    let second = moments.second * step.beta2 + grad.square() * (1.0 - step.beta2);
    let slope = first.clone() / step.correction1();
    let size = (second.clone() / step.correction2()).sqrt() + step.epsilon;
    let param = param.inner() * (1.0 - step.learning_rate * step.weight_decay);
    let mut param = param - slope / size * step.learning_rate;
    if is_autodiff {
        param = param.autodiff();
    }
    if is_trained {
        param = param.require_grad();
    }
    (param, Moments { first, second })
}

/// See [`squared_norm`](super::squared_norm()).
#[must_use]
pub fn squared_norm<const D: usize>(grad: &Tensor<D>) -> f64 {
    let sum = grad.clone().inner().square().sum();
    f64::from(sum.into_scalar::<f32>())
}

/// See [`squared_norms`](super::squared_norms()).
#[must_use]
pub fn squared_norms(grads: Vec<Tensor<1>>) -> Vec<f64> {
    let sums: Vec<Tensor<1>> = grads
        .into_iter()
        .map(|grad| grad.inner().square().sum())
        .collect();
    if sums.is_empty() {
        return Vec::new();
    }
    Tensor::cat(sums, 0).into_data().iter().collect()
}

/// See [`relative_attention`](super::relative_attention()).
#[must_use]
#[expect(clippy::needless_pass_by_value, reason = "the fused one consumes them")]
pub fn relative_attention(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    bias: Option<RelativeBias<'_>>,
    pairs: &Pairs,
    heads: usize,
) -> Tensor<2> {
    let size = q.dims()[1] / heads;
    // [rows, heads * size] -> [heads, rows, size]
    let split = |x: &Tensor<2>, rows: &Range<usize>| {
        let x = x.clone().slice([rows.clone()]);
        x.reshape([rows.len(), heads, size]).swap_dims(0, 1)
    };
    let outputs = pairs.rows.iter().filter(|(rows, _)| !rows.is_empty());
    let outputs = outputs.map(|(rows, source)| {
        let (n, m) = (rows.len(), source.len());
        let mut scores = split(&q, rows).matmul(split(&k, source).swap_dims(1, 2));
        if let Some(RelativeBias { table, buckets }) = bias {
            let of = |i: usize, j: usize| buckets.of(j.cast_signed() - i.cast_signed());
            let at = (0..n).flat_map(|i| (0..m).map(move |j| of(i, j)));
            let bias = table.clone().select(0, index(at, &q.device()));
            scores = scores + bias.reshape([n, m, heads]).permute([2, 0, 1]);
        }
        if pairs.is_causal {
            let hidden = Tensor::<2, Int>::ones([n, m], &q.device()).triu(1).bool();
            scores = scores.mask_fill(hidden.unsqueeze(), HIDDEN);
        }
        let mixed = activation::softmax(scores, 2).matmul(split(&v, source));
        mixed.swap_dims(0, 1).reshape([n, heads * size])
    });
    Tensor::cat(outputs.collect(), 0)
}

/// Row numbers as an index tensor.
fn index(rows: impl Iterator<Item = usize>, device: &Device) -> Tensor<1, Int> {
    let rows: Vec<u32> = rows.map(|row| row as u32).collect();
    Tensor::from_data(rows.as_slice(), device)
}
