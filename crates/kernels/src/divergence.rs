//! How far the output head's distribution is from a teacher's, logits in pieces and never whole.

use rayon::prelude::*;

use crate::head::{Gradients, Input, in_pieces, under_cap};
use crate::math::{exp, exponentiate, highest, ln, sum};
use crate::vectorised::vectorised;

/// A divergence of the student's distribution q from the teacher's p through a mixture of both:
/// `teacher * KL(p || m) + student * KL(q || m)` with `m = mixture * p + (1 - mixture) * q`.
///
/// | | teacher | student | mixture |
/// |---|---|---|---|
/// | forward KL(p, q) | 1 | 0 | 0 |
/// | reverse KL(q, p) | 0 | 1 | 1 |
/// | Jensen-Shannon with beta | beta | 1 - beta | beta |
/// | skew KL with alpha | 1 | 0 | alpha |
/// | skew reverse KL with alpha | 0 | 1 | 1 - alpha |
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Divergence {
    /// The weight of KL(p, m).
    pub teacher: f32,
    /// The weight of KL(q, m).
    pub student: f32,
    /// The teacher's share of the mixture.
    pub mixture: f32,
}

/// The sum of `weights[i]` times the divergence at row `i`, in nats, and its gradients for the student.
///
/// Both inputs have the same rows and the same vocabulary; their targets are not looked at.
/// Both models' logits are divided by `temperature`; nothing is multiplied by its square.
/// `logits` and `other` are memory for the pieces, [`Input::logits_at_a_time`] entries each.
///
/// # Panics
/// If the shapes do not fit together.
#[expect(clippy::too_many_arguments, reason = "two models and where results go")]
pub fn loss(
    student: Input<'_>,
    teacher: Input<'_>,
    divergence: Divergence,
    temperature: f32,
    weights: &[f32],
    out: Gradients<'_>,
    logits: &mut [f32],
    other: &mut [f32],
) -> f64 {
    teacher.check();
    assert_eq!(weights.len(), student.targets.len(), "a weight per row");
    assert_eq!(student.targets.len(), teacher.targets.len(), "as many rows");
    assert_eq!(student.vocab(), teacher.vocab(), "the same vocabulary");
    let (vocab, size) = (student.vocab(), teacher.size());
    in_pieces(student, out, logits, |first, logits| {
        let rows = logits.len() / vocab;
        let other = &mut other[..rows * vocab];
        teacher.logits(&teacher.x[first * size..][..rows * size], other);
        let rows = logits
            .par_chunks_mut(vocab)
            .zip(other.par_chunks_mut(vocab));
        let losses: Vec<f64> = rows
            .zip(&weights[first..])
            .map_init(Vec::new, |memory, ((row, teacher), &weight)| {
                let value = under_cap(row, student.soft_cap, memory, |row| {
                    slopes(row, teacher, divergence, temperature.recip(), weight)
                });
                f64::from(weight) * f64::from(value)
            })
            .collect();
        losses.iter().sum()
    })
}

/// The tokens that a teacher finds likeliest at one position, with the logarithms of their probabilities.
pub type Known = [(u32, f32)];

/// The sum of `weights[i]` times KL(p, q) over k + 1 classes, the tokens of `known[i]` and all others together, and its gradients.
///
/// Both distributions are lumped in the same way, so this is a lower bound of the KL over the whole vocabulary.
/// A teacher's probabilities that sum to more than 1 are divided by their sum.
/// `logits` is memory for the pieces, [`Input::logits_at_a_time`] entries.
///
/// # Panics
/// If the shapes do not fit together.
pub fn known_loss(
    student: Input<'_>,
    known: &[&Known],
    weights: &[f32],
    out: Gradients<'_>,
    logits: &mut [f32],
) -> f64 {
    assert_eq!(weights.len(), student.targets.len(), "a weight per row");
    assert_eq!(known.len(), student.targets.len(), "known tokens per row");
    let vocab = student.vocab();
    in_pieces(student, out, logits, |first, logits| {
        let rows = logits.par_chunks_mut(vocab).zip(&known[first..]);
        let losses: Vec<f64> = rows
            .zip(&weights[first..])
            .map_init(Vec::new, |memory, ((row, known), &weight)| {
                let value = under_cap(row, student.soft_cap, memory, |row| {
                    known_slopes(row, known, weight)
                });
                f64::from(weight) * value
            })
            .collect();
        losses.iter().sum()
    })
}

vectorised! {
    /// The student's logits become the divergence's gradient for them times `weight`; the teacher's are overwritten; returns the divergence.
    fn slopes(student: &mut [f32], teacher: &mut [f32], divergence: Divergence, scale: f32, weight: f32) -> f32 {
        let n = student.len().min(teacher.len());
        let (student, teacher) = (&mut student[..n], &mut teacher[..n]);
        let log_sum = |row: &[f32]| {
            let top = highest(row) * scale;
            top + sum(n, |i| exp(row[i] * scale - top)).ln()
        };
        let (log_student, log_teacher) = (log_sum(student), log_sum(teacher));
        let Divergence { teacher: a, student: b, mixture: c } = divergence;
        // `student` becomes q, `teacher` q times the slope for q, without what is the same for all.
        let mut value = 0.0;
        for (q, p) in student.chunks_mut(64).zip(teacher.chunks_mut(64)) {
            let mut part = 0.0;
            for (q, p) in q.iter_mut().zip(p.iter_mut()) {
                let (log_q, log_p) = (*q * scale - log_student, *p * scale - log_teacher);
                let (own, other) = (exp(log_q), exp(log_p));
                let mixed = (c * other + (1.0 - c) * own).max(f32::MIN_POSITIVE);
                let log_m = if c == 0.0 {
                    log_q
                } else if c == 1.0 {
                    log_p
                } else {
                    ln(mixed)
                };
                let share = (1.0 - c) * own / mixed;
                part += a * other * (log_p - log_m) + b * own * (log_q - log_m);
                *q = own;
                *p = b * own * (log_q - log_m + 1.0 - share) - a * other * share;
            }
            value += part;
        }
        let mean = sum(n, |i| teacher[i]);
        let factor = weight * scale;
        for (q, h) in student.iter_mut().zip(teacher.iter()) {
            *q = factor * (h - *q * mean);
        }
        value
    }
}

/// Logits become the gradient of the KL over known tokens and the rest, times `weight`; returns the KL.
fn known_slopes(row: &mut [f32], known: &Known, weight: f32) -> f64 {
    let probabilities: Vec<f32> = known.iter().map(|(_, log)| log.exp()).collect();
    let total: f32 = probabilities.iter().sum();
    let shrink = total.max(1.0).recip();
    let rest = (1.0 - total).max(0.0);
    exponentials(row);
    let taken: Vec<f32> = known
        .iter()
        .map(|&(token, _)| std::mem::take(&mut row[token as usize]))
        .collect();
    // The rest is summed by itself: 1 minus the known would lose its digits.
    let unknown = entries(row).max(f32::MIN_POSITIVE);
    let sum = unknown + taken.iter().sum::<f32>();
    let term = |p: f32, q: f32| {
        let (p, q) = (f64::from(p), f64::from(q / sum).max(1e-45));
        if p > 0.0 { p * (p / q).ln() } else { 0.0 }
    };
    let factor = weight * (sum.recip() - rest / unknown);
    for slope in row.iter_mut() {
        *slope *= factor;
    }
    let mut value = term(rest, unknown);
    for ((&(token, _), q), p) in known.iter().zip(taken).zip(probabilities) {
        let p = p * shrink;
        row[token as usize] = weight * (q / sum - p);
        value += term(p, q);
    }
    value
}

vectorised! {
    /// Each entry becomes its exponential over that of the highest.
    fn exponentials(row: &mut [f32]) {
        let top = highest(row);
        exponentiate(row, 1.0, top);
    }
}

vectorised! {
    /// The sum of all entries.
    fn entries(row: &[f32]) -> f32 {
        sum(row.len(), |i| row[i])
    }
}

/// The plain reference of [`loss`] at one row of logits.
#[must_use]
pub fn divergence_plain(
    student: &[f64],
    teacher: &[f64],
    divergence: Divergence,
    temperature: f64,
) -> f64 {
    let logs = |row: &[f64]| -> Vec<f64> {
        let total: f64 = row.iter().map(|z| (z / temperature).exp()).sum();
        row.iter().map(|z| z / temperature - total.ln()).collect()
    };
    let Divergence {
        teacher: a,
        student: b,
        mixture: c,
    } = divergence;
    let [a, b, c] = [a, b, c].map(f64::from);
    let pairs = logs(student).into_iter().zip(logs(teacher));
    pairs
        .map(|(q, p)| {
            let m = (c * p.exp() + (1.0 - c) * q.exp()).ln();
            a * p.exp() * (p - m) + b * q.exp() * (q - m)
        })
        .sum()
}

/// The plain reference of [`known_loss`] at one row of logits.
#[must_use]
pub fn known_plain(student: &[f64], known: &Known) -> f64 {
    let total: f64 = student.iter().map(|z| z.exp()).sum();
    let (mut p_rest, mut q_rest, mut value) = (1.0, 1.0, 0.0);
    for &(token, log) in known {
        let (p, q) = (f64::from(log).exp(), student[token as usize].exp() / total);
        value += p * (p / q).ln();
        p_rest -= p;
        q_rest -= q;
    }
    value + p_rest * (p_rest / q_rest).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::Precision;
    use crate::testing::{assert_close, values};

    const SIZE: usize = 5;
    const WIDE: usize = 7;
    const VOCAB: usize = 37;
    const ROWS: usize = 6;
    /// Near the logits, so that it bends them.
    const CAP: Option<f32> = Some(3.0);

    pub(super) const KINDS: [Divergence; 6] = [
        Divergence {
            teacher: 1.0,
            student: 0.0,
            mixture: 0.0,
        },
        Divergence {
            teacher: 0.0,
            student: 1.0,
            mixture: 1.0,
        },
        Divergence {
            teacher: 0.5,
            student: 0.5,
            mixture: 0.5,
        },
        Divergence {
            teacher: 0.2,
            student: 0.8,
            mixture: 0.2,
        },
        Divergence {
            teacher: 1.0,
            student: 0.0,
            mixture: 0.1,
        },
        Divergence {
            teacher: 0.0,
            student: 1.0,
            mixture: 0.9,
        },
    ];

    fn logits(x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<Vec<f64>> {
        let size = weight.len() / VOCAB;
        let one = |x: &[f32]| {
            let of = |(w, b): (&[f32], &f32)| {
                let products = x.iter().zip(w).map(|(a, b)| f64::from(*a) * f64::from(*b));
                let cap = CAP.map_or(1.0, f64::from);
                cap * ((products.sum::<f64>() + f64::from(*b)) / cap).tanh()
            };
            weight.chunks(size).zip(bias).map(of).collect()
        };
        x.chunks(size).map(one).collect()
    }

    type Run<'a> = &'a dyn Fn(Input<'_>, &[f32], Gradients<'_>, &mut [f32]) -> f64;

    /// Checks value and gradients of `run` against `plain`, a function of one row's logits.
    fn check(run: Run<'_>, plain: &dyn Fn(usize, &[f64]) -> f64) {
        let (x, weight, bias) = (
            values(ROWS * SIZE, 1),
            values(VOCAB * SIZE, 2),
            values(VOCAB, 3),
        );
        let weights: Vec<f32> = (0..ROWS).map(|i| 0.5 + i as f32).collect();
        let expected = |x: &[f32], weight: &[f32], bias: &[f32]| -> f64 {
            let rows = logits(x, weight, bias);
            let rows = rows.iter().zip(&weights).enumerate();
            rows.map(|(i, (row, w))| f64::from(*w) * plain(i, row))
                .sum()
        };
        let targets = [0; ROWS];
        let input = Input {
            x: &x,
            weight: &weight,
            bias: Some(&bias),
            soft_cap: CAP,
            targets: &targets,
            precision: Precision::F32,
        };
        let (mut dx, mut dw, mut db) = (
            vec![0.0; x.len()],
            vec![0.0; weight.len()],
            vec![0.0; VOCAB],
        );
        let out = Gradients {
            x: Some(&mut dx),
            weight: Some(&mut dw),
            bias: Some(&mut db),
        };
        let got = run(
            input,
            &weights,
            out,
            &mut vec![0.0; input.logits_at_a_time()],
        );
        let value = expected(&x, &weight, &bias);
        assert!(
            (got - value).abs() < 2e-6 * value.abs().max(1.0),
            "{got}, expected {value}"
        );
        let slopes = |v: &[f32], loss: &dyn Fn(&[f32]) -> f64| -> Vec<f32> {
            let mut v = v.to_vec();
            (0..v.len())
                .map(|i| {
                    let before = v[i];
                    v[i] = before + 1e-2;
                    let above = loss(&v);
                    v[i] = before - 1e-2;
                    let below = loss(&v);
                    v[i] = before;
                    ((above - below) / 2e-2) as f32
                })
                .collect()
        };
        assert_close(&dx, &slopes(&x, &|x| expected(x, &weight, &bias)), 1e-3);
        assert_close(&dw, &slopes(&weight, &|w| expected(&x, w, &bias)), 1e-3);
        assert_close(&db, &slopes(&bias, &|b| expected(&x, &weight, b)), 1e-3);
    }

    #[test]
    fn every_divergence_agrees_with_the_plain_reference() {
        let (x, weight, bias) = (
            values(ROWS * WIDE, 4),
            values(VOCAB * WIDE, 5),
            values(VOCAB, 6),
        );
        let targets = [0; ROWS];
        let teacher = Input {
            x: &x,
            weight: &weight,
            bias: Some(&bias),
            soft_cap: CAP,
            targets: &targets,
            precision: Precision::F32,
        };
        let rows = logits(&x, &weight, &bias);
        for divergence in KINDS {
            for temperature in [1.0, 2.5] {
                check(
                    &|student, weights, out, memory| {
                        let other = &mut vec![0.0; memory.len()];
                        loss(
                            student,
                            teacher,
                            divergence,
                            temperature,
                            weights,
                            out,
                            memory,
                            other,
                        )
                    },
                    &|row, student| {
                        divergence_plain(student, &rows[row], divergence, temperature.into())
                    },
                );
            }
        }
    }

    #[test]
    fn a_model_is_no_way_from_itself() {
        let x = values(ROWS * SIZE, 1);
        let weight = values(VOCAB * SIZE, 2);
        let targets = [0; ROWS];
        let input = Input {
            x: &x,
            weight: &weight,
            bias: None,
            soft_cap: CAP,
            targets: &targets,
            precision: Precision::F32,
        };
        for divergence in KINDS {
            let mut memory = vec![0.0; 2 * input.logits_at_a_time()];
            let (logits, other) = memory.split_at_mut(input.logits_at_a_time());
            let mut dx = vec![1.0; x.len()];
            let out = Gradients {
                x: Some(&mut dx),
                ..Gradients::default()
            };
            let value = loss(
                input,
                input,
                divergence,
                1.0,
                &[1.0; ROWS],
                out,
                logits,
                other,
            );
            assert!(value.abs() < 1e-5, "{divergence:?}: {value}");
            assert!(dx.iter().all(|g| g.abs() < 1e-5), "{divergence:?}: {dx:?}");
        }
    }

    #[test]
    fn known_tokens_and_the_rest_agree_with_the_plain_reference() {
        let one: &Known = &[(3, -0.5), (30, -2.0), (7, -3.0)];
        let known = [
            one,
            &[(36, -1e-3)],
            &[(0, -4.0), (1, -4.5)],
            &[],
            &[(5, -1.0)],
            one,
        ];
        check(
            &|student, weights, out, memory| known_loss(student, &known, weights, out, memory),
            &|row, student| known_plain(student, known[row]),
        );
    }

    #[test]
    fn lumping_never_shows_more_than_the_whole_vocabulary() {
        let (student, teacher) = (values(VOCAB, 1), values(VOCAB, 2));
        let wide = |row: &[f32]| {
            row.iter()
                .map(|v| 3.0 * f64::from(*v))
                .collect::<Vec<f64>>()
        };
        let (student, teacher) = (wide(&student), wide(&teacher));
        let total: f64 = teacher.iter().map(|z| z.exp()).sum();
        let whole = divergence_plain(&student, &teacher, KINDS[0], 1.0);
        let mut order: Vec<usize> = (0..VOCAB).collect();
        order.sort_by(|a, b| teacher[*b].total_cmp(&teacher[*a]));
        let mut last = 0.0;
        for k in [1, 5, 20, VOCAB - 1] {
            let known: Vec<(u32, f32)> = order[..k]
                .iter()
                .map(|&token| (token as u32, (teacher[token] - total.ln()) as f32))
                .collect();
            let value = known_plain(&student, &known);
            assert!(
                value >= last - 1e-6 && value <= whole + 1e-6,
                "{k}: {value}, {whole}"
            );
            last = value;
        }
        assert!(
            (last - whole).abs() < 1e-5,
            "all but one known is all known"
        );
    }
}
