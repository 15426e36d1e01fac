//! Which token comes next, given the logits: the rules against repetition, and the draw.

use stillhouse_core::random::Random;

use super::GenerateOptions;

/// Applies the rules against repetition, in the order and with the meaning of transformers.
pub(super) fn penalise(logits: &mut [f32], tokens: &[u32], options: &GenerateOptions) {
    let penalty = options.repetition_penalty as f32;
    let mut said = tokens.to_vec();
    said.sort_unstable();
    said.dedup();
    for token in said {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit = if *logit < 0.0 {
                *logit * penalty
            } else {
                *logit / penalty
            };
        }
    }
    if let Some(n) = options.no_repeat_ngram
        && tokens.len() + 1 >= n
    {
        let tail = &tokens[tokens.len() + 1 - n..];
        for window in tokens.windows(n).filter(|window| window[..n - 1] == *tail) {
            if let Some(logit) = logits.get_mut(window[n - 1] as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }
}

/// The token of the highest logit; of equals the first.
pub(super) fn likeliest(logits: &[f32]) -> u32 {
    const LANES: usize = 16;
    let (chunks, rest) = logits.as_chunks::<LANES>();
    let mut tops = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (top, logit) in tops.iter_mut().zip(chunk) {
            *top = if *logit > *top { *logit } else { *top };
        }
    }
    let tops = tops.iter().chain(rest).copied();
    let top = tops.fold(f32::NEG_INFINITY, f32::max);
    let first = logits.iter().position(|logit| *logit >= top);
    first.unwrap_or(0) as u32
}

/// The `k` tokens of the highest logits, the likeliest first, of equals the lower one first;
/// only those are sorted.
pub(super) fn highest(logits: &[f32], k: usize) -> Vec<u32> {
    let order = |a: &u32, b: &u32| {
        let (x, y) = (logits[*a as usize], logits[*b as usize]);
        y.total_cmp(&x).then(a.cmp(b))
    };
    let mut tokens: Vec<u32> = (0..logits.len() as u32).collect();
    if k < tokens.len() {
        tokens.select_nth_unstable_by(k, order);
        tokens.truncate(k);
    }
    tokens.sort_unstable_by(order);
    tokens
}

/// Draws a token: the logits over the temperature, then the `top_k` likeliest, then the smallest set
/// of the likeliest of those whose probability reaches `top_p`.
pub(super) fn draw(
    logits: &[f32],
    temperature: f64,
    top_k: Option<usize>,
    top_p: f64,
    random: &mut Random,
) -> u32 {
    let most = f64::from(logits[likeliest(logits) as usize]);
    let weight = |token: u32| ((f64::from(logits[token as usize]) - most) / temperature).exp();
    let kept = kept(logits, top_k, top_p, weight);
    let mut left = random.next_f64() * kept.iter().map(|token| weight(*token)).sum::<f64>();
    let chosen = kept.iter().find(|token| {
        left -= weight(**token);
        left < 0.0
    });
    chosen.or(kept.last()).copied().unwrap_or(0)
}

/// The tokens that may be drawn.
fn kept(logits: &[f32], top_k: Option<usize>, top_p: f64, weight: impl Fn(u32) -> f64) -> Vec<u32> {
    let n = logits.len();
    let most = top_k.unwrap_or(n).min(n);
    if top_p >= 1.0 {
        return if most < n {
            highest(logits, most)
        } else {
            (0..n as u32).collect()
        };
    }
    let mut ranked = highest(logits, most.min(64));
    let total: f64 = if most < n {
        highest(logits, most).into_iter().map(&weight).sum()
    } else {
        (0..n as u32).map(&weight).sum()
    };
    // A few of the likeliest mostly reach it; else more are looked at, until all are.
    loop {
        let mut reached = 0.0;
        let enough = ranked.iter().position(|token| {
            reached += weight(*token);
            reached >= top_p * total
        });
        match enough {
            Some(last) => {
                ranked.truncate(last + 1);
                return ranked;
            }
            None if ranked.len() >= most => return ranked,
            None => ranked = highest(logits, most.min(8 * ranked.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_was_said_loses_and_a_said_ngram_is_barred() {
        let options = GenerateOptions {
            repetition_penalty: 2.0,
            no_repeat_ngram: Some(2),
            ..Default::default()
        };
        let mut logits = [4.0, -1.0, 1.0, 3.0];
        // 0 1 was said, and 0 stands at the end again: 1 may not follow.
        penalise(&mut logits, &[0, 1, 0], &options);
        assert_eq!(
            logits.map(f32::to_bits),
            [2.0, f32::NEG_INFINITY, 1.0, 3.0].map(f32::to_bits)
        );
    }

    #[test]
    fn the_likeliest_is_the_first_of_the_highest_wherever_it_stands() {
        for n in [1, 15, 16, 17, 100] {
            for at in 0..n {
                let mut logits = vec![-2.0; n];
                logits[at..].fill(-1.0);
                assert_eq!(likeliest(&logits), at as u32, "{at} of {n}");
            }
        }
        assert_eq!(likeliest(&[f32::NAN, 1.0, 3.0, f32::NAN, 3.0]), 2);
        assert_eq!(likeliest(&[f32::NEG_INFINITY; 20]), 0);
    }

    #[test]
    fn top_p_keeps_the_smallest_set_that_reaches_it() {
        let logits: Vec<f32> = [0.5f32, 0.3, 0.15, 0.05].iter().map(|p| p.ln()).collect();
        let mut random = Random::new(1, "draw");
        for _ in 0..200 {
            assert!(
                draw(&logits, 1.0, None, 0.6, &mut random) < 2,
                "0.5 does not reach 0.6, 0.8 does"
            );
        }
        let mut counts = [0; 4];
        for _ in 0..4000 {
            counts[draw(&logits, 1.0, None, 1.0, &mut random) as usize] += 1;
        }
        assert!((1800..2200).contains(&counts[0]), "{counts:?}");
        assert!(counts[3] > 100, "{counts:?}");
    }

    /// By sorting all, as transformers does: the logits over the temperature, top-k, top-p.
    fn kept_by_sorting(logits: &[f32], temperature: f64, k: usize, p: f64) -> Vec<u32> {
        let mut ranked: Vec<u32> = (0..logits.len() as u32).collect();
        ranked.sort_by(|a, b| {
            logits[*b as usize]
                .total_cmp(&logits[*a as usize])
                .then(a.cmp(b))
        });
        ranked.truncate(k);
        let weight = |token: &u32| (f64::from(logits[*token as usize]) / temperature).exp();
        let total: f64 = ranked.iter().map(weight).sum();
        let mut before = 0.0;
        ranked.retain(|token| {
            let is_kept = before < p * total;
            before += weight(token);
            is_kept
        });
        ranked
    }

    #[test]
    fn what_may_be_drawn_is_what_sorting_the_vocabulary_would_keep() {
        let mut random = Random::new(3, "logits");
        for n in [1, 7, 500, 3000] {
            let logits: Vec<f32> = (0..n).map(|_| random.normal() as f32 * 2.0).collect();
            for (temperature, k, p) in [
                (1.0, n, 0.9),
                (0.5, n, 0.3),
                (2.0, n, 0.999),
                (1.0, 5, 1.0),
                (1.0, 100, 0.95),
                (0.7, 1, 0.5),
            ] {
                let weight = |token: u32| (f64::from(logits[token as usize]) / temperature).exp();
                let mut found = kept(&logits, Some(k), p, weight);
                let mut expected = kept_by_sorting(&logits, temperature, k, p);
                found.sort_unstable();
                expected.sort_unstable();
                assert_eq!(
                    found, expected,
                    "{n} tokens, temperature {temperature}, {k}, {p}"
                );
            }
        }
    }
}
