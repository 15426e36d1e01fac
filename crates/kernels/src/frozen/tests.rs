//! A frozen weight against bitsandbytes, and against its own dequantised form.

use super::*;
use crate::gemm::multiply_plain;
use crate::testing::{assert_close, values};
use safetensors::{SafeTensors, tensor::TensorView};

const GOLDEN: &[u8] = include_bytes!("../../../../fixtures/quantised/golden.safetensors");
const ALL: [AtRest; 5] = [
    AtRest::F32,
    AtRest::Bf16,
    AtRest::Int8,
    AtRest::Nf4 { is_double: false },
    AtRest::Nf4 { is_double: true },
];

fn golden<R>(name: &str, read: impl FnOnce(TensorView<'_>) -> R) -> R {
    let file = SafeTensors::deserialize(GOLDEN).expect("the fixture is whole");
    read(file.tensor(name).expect("the fixture has it"))
}

fn floats(name: &str) -> Vec<f32> {
    golden(name, |t| {
        let (fours, _) = t.data().as_chunks::<4>();
        fours.iter().map(|b| f32::from_le_bytes(*b)).collect()
    })
}

fn bytes(name: &str) -> Vec<u8> {
    golden(name, |t| t.data().to_vec())
}

#[test]
fn codes_are_those_of_bitsandbytes_block_by_block() {
    assert_eq!(nf4::CODES.to_vec(), floats("nf4"));
    for (name, shape) in [("plain", [6, 64]), ("many", [40, 448]), ("odd", [9, 50])] {
        let weight = floats(&format!("{name}.weight"));
        let single = Frozen::new(&weight, shape, AtRest::Nf4 { is_double: false });
        let Entries::Nf4(Nf4 { codes, sizes }) = &single.entries else {
            unreachable!()
        };
        assert_eq!(*codes, bytes(&format!("{name}.codes")));
        let Sizes::Plain(absmax) = sizes else {
            unreachable!()
        };
        assert_eq!(*absmax, floats(&format!("{name}.absmax")));

        let double = Frozen::new(&weight, shape, AtRest::Nf4 { is_double: true });
        let Entries::Nf4(Nf4 { sizes, .. }) = &double.entries else {
            unreachable!()
        };
        let Sizes::Double {
            codes,
            absmax,
            offset,
        } = sizes
        else {
            unreachable!()
        };
        assert_eq!(*codes, bytes(&format!("{name}.double.codes")));
        // The offset is a mean, which PyTorch sums in f32 in an order of its own: it and what depends on it may be off in the last place.
        assert_close(absmax, &floats(&format!("{name}.double.absmax")), 2.4e-7);
        let expected = floats(&format!("{name}.double.offset"));
        assert_close(&[*offset], &expected, 2.4e-7);
        if name != "many" {
            assert_eq!(single.rows(0..shape[0]), floats(&format!("{name}.value")));
            let value = floats(&format!("{name}.double.value"));
            assert_close(&double.rows(0..shape[0]), &value, 2.4e-7);
        }

        let eight = Frozen::new(&weight, shape, AtRest::Int8);
        let Entries::Int8 { codes, absmax } = &eight.entries else {
            unreachable!()
        };
        let codes: Vec<u8> = codes.iter().map(|c| c.cast_unsigned()).collect();
        assert_eq!(codes, bytes(&format!("{name}.int8.codes")));
        assert_eq!(*absmax, floats(&format!("{name}.int8.absmax")));
    }
}

#[test]
fn portions_do_not_matter() {
    let (weight, shape) = (values(37 * 50, 1), [37, 50]);
    for at_rest in ALL {
        let whole = Frozen::new(&weight, shape, at_rest).rows(0..37);
        let mut freezing = Freezing::new(shape, at_rest);
        weight.chunks(33).for_each(|part| freezing.push(part));
        let frozen = freezing.finish();
        assert_eq!(frozen.rows(0..37), whole);
        assert_eq!(frozen.at_rest(), at_rest);
        // From anywhere to anywhere.
        for (first, n) in [(0, 1), (1, 64), (63, 130), (777, 500), (1849, 1)] {
            let mut part = vec![0.0; n];
            frozen.dequantise(first, &mut part);
            assert_eq!(part, whole[first..first + n]);
        }
    }
}

#[test]
fn what_rests_is_near_what_came_and_takes_few_bytes() {
    // Half the widest gap of each kind of code, and bytes an entry.
    check(AtRest::F32, 0.0, 4.0);
    check(AtRest::Bf16, 0.5 / 256.0, 2.0);
    check(AtRest::Int8, 0.5 / 127.0, 1.016);
    check(AtRest::Nf4 { is_double: false }, 0.153, 0.5625);
    check(AtRest::Nf4 { is_double: true }, 0.155, 0.5160);

    #[track_caller]
    fn check(at_rest: AtRest, difference: f32, bytes: f64) {
        let (weight, shape) = (values(64 * 256, 1), [64, 256]);
        let frozen = Frozen::new(&weight, shape, at_rest);
        let largest = frozen.rows(0..64).into_iter().zip(&weight);
        let largest = largest.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest <= difference, "{largest} > {difference}");
        let found = frozen.bytes() as f64 / weight.len() as f64;
        assert!(found < bytes + 1e-3, "{found} bytes an entry");
    }
}

#[test]
fn products_are_those_of_the_dequantised_weight() {
    for ([size_out, size_in], n) in [([5, 7], 3), ([70, 50], 33), ([300, 128], 40)] {
        let weight = values(size_out * size_in, 1);
        let (x, g) = (values(n * size_in, 2), values(n * size_out, 3));
        let bias = values(size_out, 4);
        for at_rest in ALL {
            let frozen = Frozen::new(&weight, [size_out, size_in], at_rest);
            let wide = frozen.rows(0..size_out);
            let wide = Matrix::new(&wide, size_out, size_in);
            let x_matrix = Matrix::new(&x, n, size_in);

            let mut expected = bias.repeat(n);
            let y = MatrixMut::new(&mut expected, n, size_out);
            multiply_plain(y, x_matrix, wide.t(), 1.0, Put::Onto);
            let mut y = vec![9.0; n * size_out];
            frozen.product(Precision::F32, &x, Some(&bias), &mut y);
            assert_close(&y, &expected, 2e-6);
            frozen.product(Precision::Bf16, &x, Some(&bias), &mut y);
            assert_close(&y, &expected, 1e-2);

            let y = MatrixMut::new(&mut expected, n, size_out);
            multiply_plain(y, x_matrix, wide.t(), 1.0, Put::Over);
            // With 8-bit codes `x` has 16 bits.
            let is_int8 = at_rest == AtRest::Int8;
            let tolerance = if is_int8 { 1e-4 } else { 2e-6 };
            assert_close(&frozen.few_rows(&x), &expected, tolerance);

            let mut expected = x.clone();
            let dx = MatrixMut::new(&mut expected, n, size_in);
            multiply_plain(dx, Matrix::new(&g, n, size_out), wide, 1.0, Put::Onto);
            let mut dx = x.clone();
            frozen.product_back(Precision::F32, &g, &mut dx, Put::Onto);
            assert_close(&dx, &expected, 2e-6);
        }
    }
}

#[test]
fn a_row_has_the_same_bits_whatever_stands_beside_it() {
    let (size_out, size_in, n) = (70, 83, 11);
    let (weight, x) = (values(size_out * size_in, 1), values(n * size_in, 2));
    for at_rest in ALL {
        let frozen = Frozen::new(&weight, [size_out, size_in], at_rest);
        let together = frozen.few_rows(&x);
        for (row, expected) in x.chunks(size_in).zip(together.chunks(size_out)) {
            assert_eq!(frozen.few_rows(row), expected);
        }
    }
}
