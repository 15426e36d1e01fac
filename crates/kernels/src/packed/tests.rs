//! The packed product against its definition, for every engine.

use super::*;
use crate::bf16::round;
use crate::frozen::AtRest;
use crate::gemm::multiply_plain;
use crate::testing::{archs, assert_close, values};

const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];

#[test]
fn products_agree_with_the_plain_reference_of_rounded_factors() {
    let shapes = [
        [1, 1, 1],
        [3, 5, 7],
        [16, 40, 16],
        [17, 64, 33],
        [65, 71, 129],
        [64, 0, 3],
        [200, 600, 150],
        [40, 33, 1100],
        // More than one piece of the depth.
        [5, 3000, 40],
    ];
    for [m, k, n] in shapes {
        // Products of bf16 are exact in f32; only the order of up to 3000 terms differs.
        let rounded = |n, seed| -> Vec<f32> { values(n, seed).into_iter().map(round).collect() };
        let (a, b) = (rounded(m * k, 1), rounded(k * n, 2));
        for layout in 0..4 {
            let a = if layout & 1 == 0 {
                Matrix::new(&a, m, k)
            } else {
                Matrix::new(&a, k, m).t()
            };
            let b = if layout & 2 == 0 {
                Matrix::new(&b, k, n)
            } else {
                Matrix::new(&b, n, k).t()
            };
            for put in [Put::Over, Put::Onto] {
                let step = n + 3;
                let mut expected = values(m * step, 3);
                let c = MatrixMut::with_step(&mut expected, m, n, step);
                multiply_plain(c, a, b, 0.5, put);
                for kind in kinds() {
                    let mut got = values(m * step, 3);
                    let c = MatrixMut::with_step(&mut got, m, n, step);
                    let mut left = Left::with_kind(kind, m, &[k]);
                    left.pack(0, a);
                    left.multiply(c, &[Right::Matrix(b)], 0.5, put);
                    assert_close(&got, &expected, 5e-6);
                }
            }
        }
    }
}

/// Every engine that this processor has.
fn kinds() -> Vec<Kind> {
    let mut kinds: Vec<Kind> = archs().into_iter().map(Kind::Vectors).collect();
    kinds.extend(PRECISIONS.map(Kind::of));
    kinds
}

#[test]
fn matrices_side_by_side_add_up() {
    let (m, n, depths) = (30, 45, [70, 16]);
    let [a, low] = depths.map(|k| values(m * k, k as u32));
    let [b, up] = depths.map(|k| values(n * k, 7 + k as u32));
    for precision in PRECISIONS {
        let (mut expected, mut got) = (vec![0.0; m * n], vec![9.0; m * n]);
        for (a, b, k, put) in [(&a, &b, 70, Put::Over), (&low, &up, 16, Put::Onto)] {
            let c = MatrixMut::new(&mut expected, m, n);
            multiply_plain(c, Matrix::new(a, m, k), Matrix::new(b, n, k).t(), 1.0, put);
        }
        let mut left = Left::new(precision, m, &depths);
        left.pack(0, Matrix::new(&a, m, 70));
        left.pack(1, Matrix::new(&low, m, 16));
        let rights = [
            Right::Matrix(Matrix::new(&b, n, 70).t()),
            Right::Matrix(Matrix::new(&up, n, 16).t()),
        ];
        left.multiply(MatrixMut::new(&mut got, m, n), &rights, 1.0, Put::Over);
        assert_close(&got, &expected, 1e-2);
        if precision == Precision::F32 {
            assert_close(&got, &expected, 2e-6);
        }
        // The first alone.
        left.multiply(MatrixMut::new(&mut got, m, n), &rights[..1], 1.0, Put::Over);
        let c = MatrixMut::new(&mut expected, m, n);
        let (a, b) = (Matrix::new(&a, m, 70), Matrix::new(&b, n, 70).t());
        multiply_plain(c, a, b, 1.0, Put::Over);
        assert_close(&got, &expected, 1e-2);
    }
}

#[test]
fn frozen_weights_are_widened_as_they_are_packed() {
    for [size_out, size_in] in [[70, 50], [33, 600], [300, 64]] {
        let weight = values(size_out * size_in, 1);
        for at_rest in [
            AtRest::F32,
            AtRest::Bf16,
            AtRest::Int8,
            AtRest::Nf4 { is_double: true },
        ] {
            let frozen = Frozen::new(&weight, [size_out, size_in], at_rest);
            let wide = frozen.rows(0..size_out);
            let wide = Matrix::new(&wide, size_out, size_in);
            for precision in PRECISIONS {
                let x = values(20 * size_in, 2);
                let product = |right| {
                    let mut y = vec![0.0; 20 * size_out];
                    let c = MatrixMut::new(&mut y, 20, size_out);
                    multiply(
                        precision,
                        c,
                        Matrix::new(&x, 20, size_in),
                        right,
                        1.0,
                        Put::Over,
                    );
                    y
                };
                let expected = product(Right::Matrix(wide.t()));
                assert_eq!(product(Right::Transposed(&frozen)), expected);

                let g = values(20 * size_out, 3);
                let product = |right| {
                    let mut dx = vec![0.0; 20 * size_in];
                    let c = MatrixMut::new(&mut dx, 20, size_in);
                    multiply(
                        precision,
                        c,
                        Matrix::new(&g, 20, size_out),
                        right,
                        1.0,
                        Put::Over,
                    );
                    dx
                };
                let expected = product(Right::Matrix(wide));
                assert_eq!(product(Right::Frozen(&frozen)), expected);
            }
        }
    }
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads_or_rows() {
    let (a, b) = (values(300 * 700, 1), values(700 * 500, 2));
    for precision in PRECISIONS {
        let product = |threads, rows| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.expect("threads can be made").install(|| {
                let mut c = vec![0.0; rows * 500];
                let (a, b) = (
                    Matrix::new(&a[..rows * 700], rows, 700),
                    Matrix::new(&b, 700, 500),
                );
                multiply(
                    precision,
                    MatrixMut::new(&mut c, rows, 500),
                    a,
                    Right::Matrix(b),
                    1.0,
                    Put::Over,
                );
                c
            })
        };
        let expected = product(1, 300);
        assert!(expected == product(2, 300) && expected == product(3, 300));
        assert_eq!(product(2, 37), expected[..37 * 500]);
    }
}
