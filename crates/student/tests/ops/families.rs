//! The operations in which families of models differ: norms, activations, gates and heads.

use burn::tensor::Tensor;
use stillhouse_student::ops::{self, Activation, Head, composed};

use crate::check::{as_matrix, assert_close, check, numbers, row, tensor, values};

const ACTIVATIONS: [Activation; 4] = [
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Relu,
    Activation::Silu,
];

#[test]
fn layer_norm_and_its_gradients() {
    for [n, h] in [[5, 7], [3, 64], [130, 33]] {
        check(
            "layer_norm",
            &[[n, h], [1, h], [1, h]],
            &|t| ops::layer_norm(t[0].clone(), &row(&t[1]), &row(&t[2]), 1e-5),
            &|t| composed::layer_norm(t[0].clone(), &row(&t[1]), &row(&t[2]), 1e-5),
        );
    }
}

#[test]
fn a_norm_of_each_head_and_its_gradients() {
    let (n, heads, size) = (9, 3, 8);
    let by_head = |x: &Tensor<2>| x.clone().reshape([n * heads, size]);
    check(
        "rms_norm of heads",
        &[[n, heads * size], [1, size]],
        &|t| ops::rms_norm(by_head(&t[0]), &row(&t[1]), 1e-5, 1.0).reshape([n, heads * size]),
        &|t| composed::rms_norm(by_head(&t[0]), &row(&t[1]), 1e-5, 1.0).reshape([n, heads * size]),
    );
}

#[test]
fn activations_and_gates_and_their_gradients() {
    for f in ACTIVATIONS {
        for shape in [[3, 5], [17, 64]] {
            check(
                &format!("gated by {f:?}"),
                &[shape, shape],
                &|t| ops::gated(f, t[0].clone() * 3.0, t[1].clone()),
                &|t| composed::gated(f, t[0].clone() * 3.0, t[1].clone()),
            );
            check(
                &format!("{f:?}"),
                &[shape],
                &|t| ops::activate(f, t[0].clone() * 3.0),
                &|t| composed::activate(f, t[0].clone() * 3.0),
            );
        }
    }
}

#[test]
fn head_loss_and_its_gradients() {
    for ([n, h, vocab], soft_cap) in [
        ([6, 5, 11], None),
        ([40, 16, 300], None),
        ([6, 5, 11], Some(0.7)),
        ([40, 16, 300], Some(2.0)),
    ] {
        let targets: Vec<Option<u32>> = (0..n)
            .map(|i| (i % 3 != 1).then_some((i * 7 % vocab) as u32))
            .collect();
        let weights: Vec<f32> = (0..n).map(|i| 0.5 + (i % 4) as f32).collect();
        let (targets, weights) = (&targets[..], &weights[..]);
        let shapes = [[n, h], [vocab, h], [1, vocab]];
        let with_bias: fn(&[Tensor<2>]) -> Option<Tensor<1>> = |t| Some(row(&t[2]));
        let without: fn(&[Tensor<2>]) -> Option<Tensor<1>> = |_| None;
        for (n_inputs, bias) in [(3, with_bias), (2, without)] {
            let head = |t: &[Tensor<2>], loss: &dyn Fn(Head<'_>) -> Tensor<2>| {
                loss(Head {
                    weight: &t[1],
                    bias: bias(t).as_ref(),
                    soft_cap,
                })
            };
            check(
                &format!("head_loss with a cap of {soft_cap:?}, {n_inputs} inputs"),
                &shapes[..n_inputs],
                &|t| {
                    head(t, &|head| {
                        as_matrix(ops::head_loss(t[0].clone(), head, targets, weights))
                    })
                },
                &|t| {
                    head(t, &|head| {
                        as_matrix(composed::head_loss(t[0].clone(), head, targets, weights))
                    })
                },
            );
        }
    }
}

#[test]
fn logits_rows_and_likelihoods_agree_with_their_twins() {
    let (x, weight, bias) = (
        tensor(&values(24, 1), [8, 3]),
        tensor(&values(33, 2), [11, 3]),
        row(&tensor(&values(11, 3), [1, 11])),
    );
    let head = Head {
        weight: &weight,
        bias: Some(&bias),
        soft_cap: Some(0.8),
    };
    let expected = numbers(composed::head_logits(x.clone(), head));
    let (logits, rows) = (
        ops::head_logits(x.clone(), head),
        ops::head_rows(x.clone(), head, None),
    );
    assert_close("logits", &numbers(logits), &expected, 1e-6);
    assert_close("rows", &numbers(rows), &expected, 1e-6);
    // A row may foretell several tokens.
    let targets: Vec<(usize, u32)> = (0..16).map(|i| (i % 8, i as u32 % 11)).collect();
    let [found, expected] = [ops::head_scores, composed::head_scores].map(|f| {
        let tokens = f(x.clone(), head, &targets).into_iter();
        tokens
            .map(|token| (token.log_probability, token.rank))
            .unzip::<f32, u32, Vec<_>, Vec<_>>()
    });
    assert_close("likelihoods", &found.0, &expected.0, 1e-6);
    assert_eq!(found.1, expected.1);
}
