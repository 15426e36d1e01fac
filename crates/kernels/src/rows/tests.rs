//! Products of a few rows against their definition, on every path that this processor has.

use super::*;
use crate::testing::values;

/// Every level up to the processor's.
fn levels() -> impl Iterator<Item = Level> {
    [Level::Plain, Level::Avx2, Level::Avx512]
        .into_iter()
        .filter(|wanted| *wanted <= level())
}

/// A path's product, without threads.
fn product(n: usize, size_out: usize, path: impl FnOnce(Out)) -> Vec<f32> {
    let mut y = vec![0.0; n * size_out];
    path(Out {
        first: y.as_mut_ptr(),
        step: size_out,
        shape: [n, size_out],
    });
    y
}

/// The inner product of entry `i` of the output, and the sum of the absolute products.
fn inner_product(i: usize, x: &[f32], w: &[f32], size_in: usize) -> (f64, f64) {
    let size_out = w.len() / size_in;
    let x = &x[i / size_out * size_in..][..size_in];
    let w = &w[i % size_out * size_in..][..size_in];
    let products = x.iter().zip(w).map(|(a, b)| f64::from(*a) * f64::from(*b));
    products.fold((0.0, 0.0), |(sum, all), p| (sum + p, all + p.abs()))
}

const SHAPES: [[usize; 3]; 6] = [
    [1, 3, 5],
    [5, 130, 48],
    [9, 70, 17],
    [4, 64, 16],
    [15, 21, 300],
    [3, 5, 1100],
];

#[test]
fn each_entry_is_an_inner_product() {
    for [n, size_out, size_in] in SHAPES {
        let (x, w) = (values(n * size_in, 1), values(size_out * size_in, 2));
        let bits: Vec<u16> = w.iter().map(|w| crate::bf16::narrow(*w)).collect();
        let rounded: Vec<f32> = bits.iter().map(|b| crate::bf16::widen(*b)).collect();
        let check = |y: &[f32], w: &[f32]| {
            for (i, y) in y.iter().enumerate() {
                let (sum, all) = inner_product(i, &x, w, size_in);
                // Sums of partial sums: far fewer roundings in a row than entries.
                let most = all * 16.0 * f64::from(f32::EPSILON);
                assert!((f64::from(*y) - sum).abs() <= most, "{y}, expected {sum}");
            }
        };
        check(&multiply(&x, &w, size_in), &w);
        check(&multiply_bf16(&x, &bits, size_in), &rounded);
        for level in levels() {
            let y = product(n, size_out, |y| wide_rows(level, &x, &w, size_in, y));
            check(&y, &w);
            let y = product(n, size_out, |y| wide_rows(level, &x, &bits, size_in, y));
            check(&y, &rounded);
        }
    }
}

/// Codes, the largest entry of each row, and the weight.
fn coded(size_out: usize, size_in: usize) -> (Vec<i8>, Vec<f32>, Vec<f32>) {
    let codes: Vec<i8> = values(size_out * size_in, 3)
        .iter()
        .map(|v| (v * 127.0).round() as i8)
        .collect();
    let absmax: Vec<f32> = values(size_out, 4).iter().map(|v| v.abs() + 0.1).collect();
    let weight = codes
        .iter()
        .enumerate()
        .map(|(i, code)| f32::from(*code) * (absmax[i / size_in] / 127.0))
        .collect();
    (codes, absmax, weight)
}

#[test]
fn a_weight_in_codes_is_off_by_no_more_than_the_rounding_of_x() {
    for [n, size_out, size_in] in SHAPES {
        let mut x = values(n * size_in, 1);
        // One entry that is far larger than those beside it.
        x[size_in / 2] = 300.0;
        let (codes, absmax, weight) = coded(size_out, size_in);
        let y = multiply_int8(&x, &codes, &absmax, size_in);
        for (i, y) in y.iter().enumerate() {
            let (sum, all) = inner_product(i, &x, &weight, size_in);
            let x = &x[i / size_out * size_in..][..size_in];
            let w = &weight[i % size_out * size_in..][..size_in];
            let blocks = x.chunks(whole::BLOCK).zip(w.chunks(whole::BLOCK));
            let rounding: f64 = blocks
                .map(|(x, w)| {
                    let absmax = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                    let w: f64 = w.iter().map(|w| f64::from(w.abs())).sum();
                    f64::from(absmax) / 65_534.0 * w
                })
                .sum();
            let most = rounding * 1.001 + all * 16.0 * f64::from(f32::EPSILON);
            assert!(
                (f64::from(*y) - sum).abs() <= most,
                "{y}, expected {sum} +- {most}"
            );
        }
    }
}

#[test]
fn products_of_codes_have_the_same_bits_on_every_processor() {
    for [n, size_out, size_in] in SHAPES {
        let x = values(n * size_in, 5);
        let (codes, absmax, _) = coded(size_out, size_in);
        let expected = multiply_int8(&x, &codes, &absmax, size_in);
        let coded = Codes::of(&x, size_in);
        for level in levels() {
            let y = product(n, size_out, |y| {
                whole_rows(level, &coded, &codes, &absmax, size_in, y);
            });
            assert_eq!(y, expected, "{level:?}");
        }
    }
}

#[test]
fn the_largest_codes_do_not_overflow() {
    let size = 2 * whole::BLOCK;
    let y = multiply_int8(&vec![-1.0; size], &vec![-127; size], &[127.0], size);
    assert!((y[0] - 127.0 * size as f32).abs() < 1e-2, "{}", y[0]);
}

#[test]
fn what_is_not_finite_is_not_hidden_by_codes() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut x = values(3 * 40, 1);
        x[40 + 7] = bad;
        let y = multiply_int8(&x, &[1; 80], &[1.0, 2.0], 40);
        let finite: Vec<bool> = y.iter().map(|y| y.is_finite()).collect();
        assert_eq!(finite, [true, true, false, false, true, true]);
    }
    let zeros = multiply_int8(&[0.0; 40], &[1; 40], &[1.0], 40);
    assert_eq!(zeros, [0.0]);
    let tiny = multiply_int8(&[1e-44; 40], &[1; 40], &[1.0], 40);
    assert!(tiny[0].abs() < 1e-40);
}

#[test]
fn a_row_has_the_same_bits_whatever_stands_beside_it() {
    let (n, size_in, size_out) = (15, 331, 70);
    let (x, w) = (values(n * size_in, 3), values(size_out * size_in, 4));
    let bits: Vec<u16> = w.iter().map(|w| crate::bf16::narrow(*w)).collect();
    let (codes, absmax, _) = coded(size_out, size_in);
    type Path<'a> = &'a dyn Fn(Level, &[f32], Out);
    let paths: [Path<'_>; 3] = [
        &|level, x, y| wide_rows(level, x, &w, size_in, y),
        &|level, x, y| wide_rows(level, x, &bits, size_in, y),
        &|level, x, y| whole_rows(level, &Codes::of(x, size_in), &codes, &absmax, size_in, y),
    ];
    for path in paths {
        for level in levels() {
            let whole = product(n, size_out, |y| path(level, &x, y));
            for first in 0..n {
                for end in first + 1..=n {
                    let part = &x[first * size_in..end * size_in];
                    let y = product(end - first, size_out, |y| path(level, part, y));
                    assert_eq!(y, whole[first * size_out..end * size_out], "{level:?}");
                }
            }
        }
    }
}
