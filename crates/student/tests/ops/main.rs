//! Every operation's value and gradients against its composed twin and against finite differences.

mod check;
mod families;

use std::sync::Arc;

use burn::tensor::Tensor;
use stillhouse_student::ops::{
    self, Activation, AdamwStep, AtRest, Attention, Branch, Dropout, Frozen, Head, Heads, KvCache,
    Layout, Moments, Rope, Weight, composed,
};

use check::{
    Operation, TWIN_TOLERANCE, as_matrix, assert_close, check, device, numbers, outcome, row,
    tensor, values,
};

#[test]
fn linear_and_its_gradients() {
    for [n, i, o] in [[7, 5, 3], [33, 48, 65]] {
        let shapes = [[n, i], [o, i], [1, o]];
        check(
            "linear",
            &shapes,
            &|t| ops::linear(t[0].clone(), &t[1], Some(&row(&t[2]))),
            &|t| composed::linear(t[0].clone(), &t[1], Some(&row(&t[2]))),
        );
        check(
            "linear without bias",
            &shapes[..2],
            &|t| ops::linear(t[0].clone(), &t[1], None),
            &|t| composed::linear(t[0].clone(), &t[1], None),
        );
    }
}

type LoraLinear = fn(Tensor<2>, Weight<'_>, Option<&Tensor<1>>, Branch<'_>) -> Tensor<2>;

#[test]
fn lora_linear_and_its_gradients() {
    let nf4 = AtRest::Nf4 { is_double: true };
    for [n, i, o, r] in [[7, 5, 3, 2], [33, 48, 65, 16]] {
        let entries = values(o * i, 8);
        let (weight, bias) = (tensor(&entries, [o, i]), tensor(&values(o, 9), [1, o]));
        let bias = row(&bias);
        let dropout = Some(Dropout { rate: 0.3, key: 5 });
        let cases = [
            (None, None, None),
            (None, Some(&bias), None),
            (None, Some(&bias), dropout),
            (Some(nf4), Some(&bias), None),
            (Some(AtRest::Bf16), None, dropout),
        ];
        for (at_rest, bias, dropout) in cases {
            let frozen = at_rest.map(|at_rest| Arc::new(Frozen::new(&entries, [o, i], at_rest)));
            let weight = frozen
                .as_ref()
                .map_or(Weight::Tensor(&weight), Weight::Frozen);
            let of = |t: &'_ [Tensor<2>], lora_linear: LoraLinear| {
                let branch = Branch {
                    a: &t[1],
                    b: &t[2],
                    scale: 0.7,
                    dropout,
                };
                lora_linear(t[0].clone(), weight, bias, branch)
            };
            check(
                &format!("lora_linear {at_rest:?}"),
                &[[n, i], [r, i], [o, r]],
                &|t| of(t, ops::lora_linear),
                &|t| of(t, composed::lora_linear),
            );
        }
    }
}

#[test]
fn a_product_with_a_weight_at_rest_and_its_gradient() {
    let [n, i, o] = [7, 50, 12];
    let (entries, bias) = (values(o * i, 8), tensor(&values(o, 9), [1, o]));
    let bias = row(&bias);
    for at_rest in [
        AtRest::F32,
        AtRest::Bf16,
        AtRest::Int8,
        AtRest::Nf4 { is_double: false },
        AtRest::Nf4 { is_double: true },
    ] {
        let frozen = Arc::new(Frozen::new(&entries, [o, i], at_rest));
        let weight = Weight::Frozen(&frozen);
        let twin = weight.to_tensor(&device());
        check(
            &format!("{at_rest:?}"),
            &[[n, i]],
            &|t| ops::through(t[0].clone(), weight, Some(&bias)),
            &|t| composed::linear(t[0].clone(), &twin, Some(&bias)),
        );
        let x = tensor(&values(n * i, 1), [n, i]);
        let together = numbers(ops::through_rows(x.clone(), weight, Some(&bias)));
        let whole = numbers(ops::through(x.clone(), weight, Some(&bias)));
        // With 8-bit codes `x` has 16 bits.
        let is_int8 = at_rest == AtRest::Int8;
        let tolerance = if is_int8 { 1e-4 } else { TWIN_TOLERANCE };
        assert_close("rows", &together, &whole, tolerance);
        for at in 0..n {
            let alone = ops::through_rows(x.clone().narrow(0, at, 1), weight, Some(&bias));
            assert_eq!(numbers(alone), together[at * o..(at + 1) * o]);
        }
    }
}

#[test]
fn rms_norm_and_its_gradients() {
    for ([n, h], offset) in [([5, 7], 0.0), ([3, 64], 1.0), ([130, 33], 0.0)] {
        check(
            "rms_norm",
            &[[n, h], [1, h]],
            &|t| ops::rms_norm(t[0].clone(), &row(&t[1]), 1e-5, offset),
            &|t| composed::rms_norm(t[0].clone(), &row(&t[1]), 1e-5, offset),
        );
    }
}

fn frequencies(half: usize) -> Vec<f32> {
    (0..half)
        .map(|i| 10_000f32.powf(-(i as f32) / half as f32))
        .collect()
}

fn heads(heads: usize, kv_heads: usize, head_size: usize) -> Heads {
    Heads {
        heads,
        kv_heads,
        head_size,
    }
}

#[track_caller]
fn check_attention(how: Attention, half: usize, layout: &Layout) {
    let rope = Rope::new(&frequencies(half), layout.longest());
    let (n, shape) = (layout.tokens(), how.heads);
    let kv = [n, shape.kv_size()];
    check(
        &format!("attention {how:?} {layout:?}"),
        &[[n, shape.query_size()], kv, kv],
        &|t| {
            let [q, k, v] = [t[0].clone(), t[1].clone(), t[2].clone()];
            ops::attention(q, k, v, &rope, layout, &how)
        },
        &|t| {
            let [q, k, v] = [t[0].clone(), t[1].clone(), t[2].clone()];
            composed::attention(q, k, v, &rope, layout, &how)
        },
    );
}

#[test]
fn attention_and_its_gradients() {
    let check = |shape, half, lengths: &[usize]| {
        check_attention(Attention::new(shape, 0.5), half, &Layout::new(lengths));
    };
    check(heads(2, 1, 4), 2, &[3]);
    check(heads(4, 2, 16), 8, &[1, 5, 2]);
    check(heads(3, 3, 6), 2, &[9, 4]);
    check(heads(4, 2, 32), 16, &[70, 1, 131]);
}

#[test]
fn attention_with_a_window_or_a_cap_and_its_gradients() {
    let check = |window, soft_cap, layout: Layout| {
        let how = Attention {
            window,
            soft_cap,
            ..Attention::new(heads(4, 2, 16), 0.7)
        };
        check_attention(how, 4, &layout);
    };
    check(Some(2), None, Layout::new(&[4]));
    check(Some(3), None, Layout::new(&[2, 9]));
    check(Some(70), None, Layout::new(&[65, 200]));
    check(None, Some(0.8), Layout::new(&[9, 70]));
    check(Some(40), Some(0.8), Layout::new(&[9, 130]));
    let tree = [(None, 70), (Some(0), 3), (Some(0), 66), (Some(2), 5)];
    check(Some(20), Some(0.8), Layout::tree(&tree));
}

#[test]
fn attention_of_sequences_that_go_on_from_others_and_its_gradients() {
    let check = |parts: &[(Option<usize>, usize)]| {
        let how = Attention::new(heads(4, 2, 16), 0.5);
        check_attention(how, 8, &Layout::tree(parts));
    };
    check(&[(None, 3), (Some(0), 2), (Some(0), 4)]);
    check(&[
        (None, 3),
        (Some(0), 0),
        (None, 2),
        (Some(2), 4),
        (Some(3), 1),
        (Some(2), 2),
    ]);
    check(&[
        (None, 67),
        (Some(0), 70),
        (Some(1), 66),
        (Some(0), 3),
        (Some(1), 130),
    ]);
}

#[test]
fn a_packed_sequence_does_not_see_its_neighbours() {
    let shape = Heads {
        heads: 2,
        kv_heads: 1,
        head_size: 8,
    };
    let rope = Rope::new(&frequencies(4), 16);
    let attend = |n: usize, lengths: &[usize], first: usize| {
        let take = |seed, width: usize| {
            let all = values(12 * width, seed);
            tensor(&all[first * width..(first + n) * width], [n, width])
        };
        let y = ops::attention(
            take(1, 16),
            take(2, 8),
            take(3, 8),
            &rope,
            &Layout::new(lengths),
            &Attention::new(shape, 0.4),
        );
        numbers(y)
    };
    let packed = attend(12, &[5, 7], 0);
    assert_close("first", &packed[..5 * 16], &attend(5, &[5], 0), 1e-6);
    assert_close("second", &packed[5 * 16..], &attend(7, &[7], 5), 1e-6);
}

#[test]
fn embedding_gradients_add_up_where_an_id_stands_twice() {
    let ids = [3, 0, 3, 3, 1];
    check(
        "embedding",
        &[[5, 6]],
        &|t| ops::embedding(&t[0], &ids),
        &|t| composed::embedding(&t[0], &ids),
    );
}

#[test]
fn unsupervised_positions_get_exactly_no_gradient() {
    let targets = [None, Some(2), None, Some(0)];
    let operation: Operation<'_> = &|t| {
        as_matrix(ops::head_loss(
            t[0].clone(),
            Head::new(&t[1]),
            &targets,
            &[1.0; 4],
        ))
    };
    let got = outcome(operation, &[[4, 3], [5, 3]], &[true, true]);
    for (row, target) in got.gradients[0].chunks(3).zip(&targets) {
        assert_eq!(row.iter().all(|&g| g == 0.0), target.is_none());
    }
}

#[test]
fn a_batch_without_targets_has_no_loss_and_no_gradient() {
    let operation: Operation<'_> = &|t| {
        as_matrix(ops::head_loss(
            t[0].clone(),
            Head::new(&t[1]),
            &[None; 4],
            &[1.0; 4],
        ))
    };
    let got = outcome(operation, &[[4, 3], [5, 3]], &[true, false]);
    assert_eq!(
        (got.value, got.gradients[0].clone()),
        (vec![0.0], vec![0.0; 12])
    );
}

#[test]
fn log_likelihoods_are_the_terms_of_the_loss() {
    let (x, weight) = (
        tensor(&values(12, 1), [4, 3]),
        tensor(&values(15, 2), [5, 3]),
    );
    let targets = [Some(4), None, Some(2), Some(0)];
    let rows = [(0, 4), (2, 2), (3, 0)];
    let found = ops::head_scores(x.clone(), Head::new(&weight), &rows);
    let mean = found.iter().map(|token| token.log_probability).sum::<f32>() / 3.0;
    let loss = ops::head_loss(x.clone(), Head::new(&weight), &targets, &[1.0; 4]);
    assert_close("mean", &[-mean], &numbers(loss.value), 1e-6);
    let logits = numbers(ops::head_logits(x, Head::new(&weight)));
    let total: f32 = logits[..5].iter().map(|l| l.exp()).sum();
    assert_close(
        "first",
        &[found[0].log_probability],
        &[logits[4] - total.ln()],
        1e-6,
    );
}

#[test]
fn a_cache_read_piece_by_piece_equals_one_pass() {
    let how = Attention::new(heads(4, 2, 8), 0.3);
    check_cache(how);
    check_cache(Attention {
        window: Some(7),
        soft_cap: Some(0.5),
        ..how
    });
}

fn check_cache(how: Attention) {
    let shape = how.heads;
    let rope = Rope::new(&frequencies(4), 100);
    let lengths = [90, 5, 17];
    let layout = Layout::new(&lengths);
    let [q, k, v] = [(1, 32), (2, 16), (3, 16)].map(|(seed, width)| {
        tensor(
            &values(layout.tokens() * width, seed),
            [layout.tokens(), width],
        )
    });
    let whole = composed::attention(q.clone(), k.clone(), v.clone(), &rope, &layout, &how);
    let mut cache = KvCache::new(2, 4, shape);
    let slots = [2, 0, 3];
    let mut pieces: Vec<Vec<Tensor<2>>> = vec![Vec::new(); 3];
    // Prompts of uneven lengths, then token by token, sequences dropping out as they end.
    let mut done = [0; 3];
    for step in 0.. {
        let active: Vec<usize> = (0..3).filter(|&i| done[i] < lengths[i]).collect();
        if active.is_empty() {
            break;
        }
        let new: Vec<usize> = active
            .iter()
            .map(|&i| if step == 0 { lengths[i] - 2 - i } else { 1 })
            .collect();
        let rows = |t: &Tensor<2>| {
            let of = |(&i, &n): (&usize, &usize)| {
                let start = layout.sequence(i).start + done[i];
                t.clone().narrow(0, start, n)
            };
            Tensor::cat(active.iter().zip(&new).map(of).collect(), 0)
        };
        let slots: Vec<usize> = active.iter().map(|&i| slots[i]).collect();
        let y = ops::attend_cached(
            rows(&q),
            rows(&k),
            rows(&v),
            &rope,
            &Layout::new(&new),
            &slots,
            &mut cache,
            1,
            &how,
        );
        let mut start = 0;
        for (&i, &n) in active.iter().zip(&new) {
            pieces[i].push(y.clone().narrow(0, start, n));
            start += n;
            done[i] += n;
        }
    }
    let joined = Tensor::cat(pieces.into_iter().map(|p| Tensor::cat(p, 0)).collect(), 0);
    assert_close("cached", &numbers(joined), &numbers(whole), TWIN_TOLERANCE);
}

#[test]
fn adamw_equals_its_twin_and_keeps_training() {
    let start = tensor(&values(35, 1), [5, 7]).require_grad();
    let (mut a, mut b) = (start.clone(), start.clone());
    let (mut ma, mut mb) = (Moments::zeros_like(&start), Moments::zeros_like(&start));
    for number in 1..=5 {
        let step = AdamwStep {
            number,
            weight_decay: 0.1,
            grad_scale: 0.5,
            ..AdamwStep::default()
        };
        let grad = tensor(&values(35, number + 10), [5, 7]).inner();
        (a, ma) = ops::adamw(a, grad.clone(), ma, &step);
        (b, mb) = composed::adamw(b, grad, mb, &step);
    }
    assert!(a.is_require_grad() && !a.clone().inner().is_autodiff());
    assert_close("param", &numbers(a), &numbers(b), 1e-6);
    assert_close("first", &numbers(ma.first), &numbers(mb.first), 1e-6);
    assert_close("second", &numbers(ma.second), &numbers(mb.second), 1e-6);
    assert_close("start is untouched", &numbers(start), &values(35, 1), 1e-9);
}

#[test]
fn the_norm_is_the_root_of_the_sum_of_squares() {
    let t = tensor(&[3.0, 4.0], [1, 2]);
    assert!((ops::squared_norm(&t) - 25.0).abs() < 1e-9);
}

#[test]
fn values_and_gradients_repeat_bit_for_bit() {
    let shape = Heads {
        heads: 4,
        kv_heads: 2,
        head_size: 16,
    };
    let layout = Layout::new(&[70, 131, 99]);
    let n = layout.tokens();
    let rope = Rope::new(&frequencies(8), layout.longest());
    let targets: Vec<Option<u32>> = (0..n).map(|i| (i % 3 > 0).then_some(i as u32)).collect();
    let operation: Operation<'_> = &|t| {
        let y = ops::rms_norm(t[0].clone(), &row(&t[1]), 1e-5, 0.0);
        let [q, k, v] = [&t[2], &t[3], &t[4]].map(|w| ops::linear(y.clone(), w, None));
        let y = ops::attention(q, k, v, &rope, &layout, &Attention::new(shape, 0.25));
        let y = ops::gated(Activation::Silu, y.clone(), t[0].clone() + y);
        as_matrix(ops::head_loss(y, Head::new(&t[5]), &targets, &vec![1.0; n]))
    };
    let shapes = [[n, 64], [1, 64], [64, 64], [32, 64], [32, 64], [300, 64]];
    let run = || outcome(operation, &shapes, &[true; 6]);
    let first = run();
    for _ in 0..5 {
        let again = run();
        assert_eq!(
            (again.value, again.gradients),
            (first.value.clone(), first.gradients.clone())
        );
    }
}

#[test]
fn without_autodiff_the_values_are_the_same() {
    let plain = |t: &Tensor<2>| t.clone().inner();
    let (x, w) = (
        tensor(&values(60, 1), [6, 10]),
        tensor(&values(70, 2), [7, 10]),
    );
    let tracked = numbers(ops::linear(x.clone(), &w.clone().require_grad(), None));
    assert_eq!(numbers(ops::linear(plain(&x), &plain(&w), None)), tracked);
    assert_eq!(numbers(ops::linear(x, &plain(&w), None)), tracked);
}
