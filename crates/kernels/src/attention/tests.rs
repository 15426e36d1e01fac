use super::*;
use crate::testing::{assert_close, values};

struct Case {
    arrays: [Vec<f32>; 3],
    tables: [Vec<f32>; 2],
    sequences: Vec<Sequence>,
    shape: Shape,
    precision: Precision,
}

impl Case {
    fn new(
        heads: usize,
        kv_heads: usize,
        head_size: usize,
        half: usize,
        lengths: &[usize],
    ) -> Self {
        let shape = Shape {
            heads,
            kv_heads,
            head_size,
            half,
            scale: 0.6,
            window: None,
            soft_cap: None,
        };
        let tokens: usize = lengths.iter().sum();
        let angles = |i: usize| (i / half) as f32 / (1 + i % half) as f32;
        let table = |f: fn(f32) -> f32| (0..tokens * half).map(|i| f(angles(i))).collect();
        let mut start = 0;
        let sequence = |length: &usize| {
            start += length;
            Sequence {
                rows: start - length..start,
                parent: None,
            }
        };
        Self {
            arrays: [(1, heads), (2, kv_heads), (3, kv_heads)]
                .map(|(seed, heads)| values(tokens * heads * head_size, seed)),
            tables: [table(f32::cos), table(f32::sin)],
            sequences: lengths.iter().map(sequence).collect(),
            shape,
            precision: Precision::F32,
        }
    }

    /// With the parent of each sequence.
    fn tree(mut self, parents: &[Option<usize>]) -> Self {
        for (sequence, parent) in self.sequences.iter_mut().zip(parents) {
            sequence.parent = *parent;
        }
        self
    }

    fn window(mut self, window: usize) -> Self {
        self.shape.window = Some(window);
        self
    }

    fn soft_cap(mut self, cap: f32) -> Self {
        self.shape.soft_cap = Some(cap);
        self
    }

    fn input(&self) -> Input<'_> {
        let [q, k, v] = &self.arrays;
        let [cos, sin] = &self.tables;
        Input {
            q,
            k,
            v,
            tables: Tables { cos, sin },
            sequences: &self.sequences,
            shape: self.shape,
            precision: self.precision,
        }
    }

    fn attend(&self) -> [Vec<f32>; 2] {
        let n = self.arrays[0].len();
        let (mut y, mut log_sums) = (vec![0.0; n], vec![0.0; n / self.shape.head_size]);
        attend(self.input(), &mut y, &mut log_sums);
        [y, log_sums]
    }

    fn backward(&self) -> [Vec<f32>; 3] {
        let [_, log_sums] = self.attend();
        let mut out = self.arrays.clone().map(|a| vec![0.0; a.len()]);
        let [q, k, v] = &mut out;
        attend_backward(
            self.input(),
            &log_sums,
            &self.probe(),
            Gradients { q, k, v },
        );
        out
    }

    fn probe(&self) -> Vec<f32> {
        values(self.arrays[0].len(), 9)
    }
}

#[test]
fn rows_agree_with_the_plain_reference() {
    for case in [
        Case::new(1, 1, 2, 1, &[1]),
        Case::new(4, 2, 6, 2, &[3, 0, 5]),
        Case::new(3, 3, 16, 8, &[65, 1, 130]),
        Case::new(3, 3, 16, 8, &[65, 1, 230]).window(70),
        Case::new(2, 1, 6, 2, &[9, 3]).window(1),
        Case::new(2, 1, 6, 2, &[9, 3]).soft_cap(0.3),
        Case::new(2, 1, 6, 2, &[7, 3, 4, 1, 2]).tree(&DEEP),
        Case::new(4, 2, 16, 8, &[100, 70, 40, 66, 3])
            .tree(&DEEP)
            .window(80)
            .soft_cap(0.4),
    ] {
        assert_close(&case.attend()[0], &attend_plain(case.input()), 1e-5);
    }
}

/// The second goes on from the first, the third and the fourth from the second.
const DEEP: [Option<usize>; 5] = [None, Some(0), Some(1), Some(1), None];

#[test]
fn gradients_are_slopes() {
    check_slopes(Case::new(4, 2, 6, 2, &[3, 4]));
    check_slopes(Case::new(4, 2, 6, 2, &[3, 4]).window(2));
    check_slopes(Case::new(4, 2, 6, 2, &[3, 4]).soft_cap(0.5));
    check_slopes(Case::new(4, 2, 6, 2, &[3, 2, 0, 2, 1]).tree(&DEEP));
    check_slopes(
        Case::new(4, 2, 6, 2, &[3, 2, 2, 1, 1])
            .tree(&DEEP)
            .window(3)
            .soft_cap(0.5),
    );
}

fn check_slopes(mut case: Case) {
    let got = case.backward();
    let probe = case.probe();
    for (array, got) in got.iter().enumerate() {
        let mut expected = vec![0.0; got.len()];
        for (i, expected) in expected.iter_mut().enumerate() {
            let before = case.arrays[array][i];
            let mut loss = |step: f32| -> f64 {
                case.arrays[array][i] = before + step;
                let y = attend_plain(case.input());
                y.iter().zip(&probe).map(|(y, p)| f64::from(y * p)).sum()
            };
            *expected = ((loss(1e-2) - loss(-1e-2)) / 2e-2) as f32;
            case.arrays[array][i] = before;
        }
        assert_close(got, &expected, 2e-3);
    }
}

#[test]
fn gradients_repeat_bit_for_bit() {
    let case = Case::new(4, 2, 16, 8, &[70, 3, 131, 80, 2]).tree(&DEEP);
    let first = case.backward();
    assert!((0..5).all(|_| case.backward() == first));
}

#[test]
fn heads_together_are_heads_alone() {
    let on = |threads: usize, case: &Case| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().expect("a pool").install(|| case.attend())
    };
    for case in [
        Case::new(6, 2, 16, 8, &[70, 3, 131, 80, 2]).tree(&DEEP),
        Case::new(8, 1, 8, 4, &[40, 90]).window(20),
    ] {
        // As many tasks as trees and key-value heads suffice for one thread, not for many.
        for (together, alone) in on(1, &case).iter().zip(on(16, &case)) {
            assert_close(together, &alone, 1e-6);
        }
    }
}

#[test]
fn a_branch_equals_its_whole_chain_alone() {
    let shared = Case::new(2, 1, 8, 4, &[20, 70, 5, 30, 9]).tree(&DEEP);
    let found = shared.attend()[0].clone();
    // The first three sequences stand one after the other, as if they were one.
    let mut alone = Case::new(2, 1, 8, 4, &[20, 70, 5, 30, 9]);
    alone.sequences = vec![Sequence {
        rows: 0..95,
        parent: None,
    }];
    assert_close(&found[..95 * 16], &alone.attend()[0][..95 * 16], 1e-6);
}

#[test]
fn rounded_products_are_near_exact_ones() {
    let mut case = Case::new(6, 2, 16, 8, &[70, 3, 150]).tree(&[None, Some(0), Some(0)]);
    let (exact, slopes) = (case.attend(), case.backward());
    case.precision = Precision::Bf16;
    let (rounded, rounded_slopes) = (case.attend(), case.backward());
    for (rounded, exact) in rounded.iter().zip(&exact) {
        assert_close(rounded, exact, 1e-2);
    }
    for (rounded, exact) in rounded_slopes.iter().zip(&slopes) {
        assert_close(rounded, exact, 2e-2);
    }
}
