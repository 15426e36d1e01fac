use super::*;

/// Numbers that look like none in particular.
fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 - 0.5
    };
    (0..n).map(|_| next()).collect()
}

struct Case {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    table: Vec<f32>,
    buckets: Vec<u32>,
    pairs: Vec<(Range<usize>, Range<usize>)>,
    is_causal: bool,
    has_bias: bool,
}

const HEADS: usize = 3;
const SIZE: usize = 5;
const LONGEST: usize = 150;

impl Case {
    fn input(&self) -> Input<'_> {
        Input {
            q: &self.q,
            k: &self.k,
            v: &self.v,
            bias: self.has_bias.then_some(Bias {
                table: &self.table,
                buckets: &self.buckets,
                before: LONGEST,
            }),
            pairs: &self.pairs,
            heads: HEADS,
            head_size: SIZE,
            is_causal: self.is_causal,
        }
    }

    fn new(pairs: &[(Range<usize>, Range<usize>)], is_causal: bool, has_bias: bool) -> Self {
        let rows = |end: usize, seed| numbers(end * HEADS * SIZE, seed);
        let queries = pairs.iter().map(|(rows, _)| rows.end).max().unwrap();
        let keys = pairs.iter().map(|(_, rows)| rows.end).max().unwrap();
        Self {
            q: rows(queries, 1),
            k: rows(keys, 2),
            v: rows(keys, 3),
            table: numbers(7 * HEADS, 4),
            buckets: (0..=2 * LONGEST as u32).map(|i| i * i % 7).collect(),
            pairs: pairs.to_vec(),
            is_causal,
            has_bias,
        }
    }
}

fn cases() -> Vec<Case> {
    let own = [(0..3, 0..3), (3..4, 3..4), (4..144, 4..144)];
    let across = [(0..2, 5..80), (2..72, 0..5), (72..75, 5..80)];
    vec![
        Case::new(&own, true, true),
        Case::new(&own, false, true),
        Case::new(&across, false, false),
        Case::new(&across, false, true),
    ]
}

#[test]
fn attention_is_that_of_the_plain_reference() {
    for case in cases() {
        let input = case.input();
        let (mut y, mut log_sums) = (vec![0.0; case.q.len()], vec![0.0; case.q.len() / SIZE]);
        attend(input, &mut y, &mut log_sums);
        let plain = attend_plain(input);
        let worst = y
            .iter()
            .zip(&plain)
            .fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(worst < 1e-5, "{worst:e}");
    }
}

#[test]
fn gradients_are_the_slopes_of_the_plain_reference() {
    for mut case in cases() {
        let grad = numbers(case.q.len(), 9);
        let (mut y, mut log_sums) = (vec![0.0; case.q.len()], vec![0.0; case.q.len() / SIZE]);
        attend(case.input(), &mut y, &mut log_sums);
        let mut q = vec![0.0; case.q.len()];
        let (mut k, mut v) = (vec![0.0; case.k.len()], vec![0.0; case.v.len()]);
        let mut table = vec![0.0; case.table.len()];
        let out = Gradients {
            q: &mut q,
            k: &mut k,
            v: &mut v,
            table: case.has_bias.then_some(&mut table),
        };
        attend_backward(case.input(), &log_sums, &grad, out);
        let loss = |case: &Case| -> f64 {
            let y = attend_plain(case.input());
            y.iter()
                .zip(&grad)
                .map(|(y, g)| f64::from(*y) * f64::from(*g))
                .sum()
        };
        for (which, found) in [q, k, v, table].iter().enumerate() {
            for at in (0..found.len()).step_by(found.len() / 9 + 1) {
                let mut moved = |by: f32| {
                    let part = match which {
                        0 => &mut case.q,
                        1 => &mut case.k,
                        2 => &mut case.v,
                        _ => &mut case.table,
                    };
                    let before = part[at];
                    part[at] += by;
                    let loss = loss(&case);
                    match which {
                        0 => case.q[at] = before,
                        1 => case.k[at] = before,
                        2 => case.v[at] = before,
                        _ => case.table[at] = before,
                    }
                    loss
                };
                let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
                let difference = (slope - f64::from(found[at])).abs();
                assert!(difference < 2e-3, "{which} {at}: {slope} {}", found[at]);
            }
        }
    }
}

#[test]
fn a_row_against_a_cache_is_the_last_row_of_the_whole() {
    let case = &cases()[0];
    let width = HEADS * SIZE;
    let plain = attend_plain(case.input());
    let past = crate::cached::Past {
        keys: case.k[4 * width..].to_vec(),
        values: case.v[4 * width..].to_vec(),
    };
    let n = 140;
    let bias: Vec<f32> = (0..HEADS)
        .flat_map(|head| {
            (0..n).map(move |j| {
                let bucket = case.buckets[LONGEST + j - (n - 1)] as usize;
                case.table[bucket * HEADS + head]
            })
        })
        .collect();
    let (mut y, mut scores) = (vec![0.0; width], vec![0.0; n]);
    attend_row(
        &case.q[143 * width..],
        &past,
        HEADS,
        &bias,
        &mut scores,
        &mut y,
    );
    let worst = y
        .iter()
        .zip(&plain[143 * width..])
        .fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(worst < 1e-5, "{worst:e}");
}
