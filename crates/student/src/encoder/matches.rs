//! Which tokens of two texts answer each other: BERTScore's greedy matching.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;

use stillhouse_core::Result;
use stillhouse_core::evaluate::{TokenMatch, TokenSide};
use stillhouse_core::event::{Event, Observer, tell};
use stillhouse_kernels::gemm::{Matrix, MatrixMut, Put, Threads, multiply};

use super::{Encoder, TokenStates};

/// Different texts whose states are held at once: 512 tokens of 1,024 features each are 128 MB.
const TEXTS_A_WINDOW: usize = 64;

/// The states of texts, every token brought to length 1.
type Known<'a> = HashMap<&'a str, TokenStates>;

/// Each token's best cosine with a token of the other side, pair by pair.
///
/// A window of pairs at a time: a text that the next window needs too is kept, so callers put the
/// pairs of one text near each other.
pub(super) fn match_tokens(
    encoder: &Encoder,
    pairs: &[(&str, &str)],
    layer: usize,
    observe: &mut Observer<'_>,
) -> Result<Vec<TokenMatch>> {
    let mut known = Known::new();
    let mut matches = Vec::with_capacity(pairs.len());
    while matches.len() < pairs.len() {
        let (window, texts) = window(&pairs[matches.len()..]);
        known.retain(|text, _| texts.contains(text));
        let mut unknown: Vec<&str> = texts
            .into_iter()
            .filter(|t| !known.contains_key(t))
            .collect();
        // The order of a hash set must not decide what is computed beside what.
        unknown.sort_unstable();
        // As the package does: some tokenizers heed white space at the ends.
        let stripped: Vec<&str> = unknown.iter().map(|text| text.trim()).collect();
        let states = encoder.token_states(&stripped, layer, usize::MAX, &mut |_| {
            std::ops::ControlFlow::Continue(())
        })?;
        known.extend(
            unknown
                .into_iter()
                .zip(states.into_par_iter().map(unit).collect::<Vec<_>>()),
        );
        let found: Vec<TokenMatch> = window
            .par_iter()
            .map(|(explanation, reference)| matched(&known[explanation], &known[reference]))
            .collect();
        matches.extend(found);
        let (done, total) = (matches.len(), pairs.len());
        tell(
            observe,
            Event::Progress {
                unit: "pairs".to_owned(),
                done,
                total,
            },
        )?;
    }
    Ok(matches)
}

/// The first pairs that need at most so many different texts, at least one pair, and the texts.
fn window<'a, 'b>(pairs: &'b [(&'a str, &'a str)]) -> (&'b [(&'a str, &'a str)], HashSet<&'a str>) {
    let mut texts = HashSet::new();
    for (n, (explanation, reference)) in pairs.iter().enumerate() {
        let n_new = [explanation, reference]
            .iter()
            .filter(|t| !texts.contains(**t))
            .count();
        if n > 0 && texts.len() + n_new > TEXTS_A_WINDOW {
            return (&pairs[..n], texts);
        }
        texts.extend([explanation, reference]);
    }
    (pairs, texts)
}

fn unit(mut states: TokenStates) -> TokenStates {
    let hidden = states.states.len() / states.ids.len().max(1);
    for row in states.states.chunks_exact_mut(hidden.max(1)) {
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
        for x in row {
            *x /= length;
        }
    }
    states
}

fn matched(explanation: &TokenStates, reference: &TokenStates) -> TokenMatch {
    let (rows, columns) = (explanation.ids.len(), reference.ids.len());
    let hidden = explanation.states.len() / rows.max(1);
    let mut cosines = vec![0.0; rows * columns];
    multiply(
        MatrixMut::new(&mut cosines, rows, columns),
        Matrix::new(&explanation.states, rows, hidden),
        Matrix::new(&reference.states, columns, hidden).t(),
        1.0,
        Put::Over,
        Threads::One,
    );
    let mut of_explanation = vec![f32::NEG_INFINITY; rows];
    let mut of_reference = vec![f32::NEG_INFINITY; columns];
    for (row, best) in cosines
        .chunks_exact(columns.max(1))
        .zip(&mut of_explanation)
    {
        for (cosine, other) in row.iter().zip(&mut of_reference) {
            *best = best.max(*cosine);
            *other = other.max(*cosine);
        }
    }
    let side = |states: &TokenStates, best| TokenSide {
        ids: states.ids.clone(),
        is_special: states.is_special.clone(),
        best,
    };
    TokenMatch {
        explanation: side(explanation, of_explanation),
        reference: side(reference, of_reference),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The product against the definition, token by token.
    #[test]
    fn every_token_takes_its_best_partner() {
        let states = |rows: &[[f32; 2]]| {
            unit(TokenStates {
                ids: (0..rows.len() as u32).collect(),
                is_special: vec![false; rows.len()],
                states: rows.concat(),
            })
        };
        let found = matched(&states(&[[2.0, 0.0], [0.0, 1.0]]), &states(&[[3.0, 3.0]]));
        let half = 0.5f32.sqrt();
        for best in found.explanation.best.iter().chain(&found.reference.best) {
            assert!((best - half).abs() < 1e-6);
        }
        assert_eq!(
            (found.explanation.ids.len(), found.reference.ids.len()),
            (2, 1)
        );
    }

    #[test]
    fn a_window_ends_before_it_holds_too_many_texts() {
        let texts: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let pairs: Vec<(&str, &str)> = texts.iter().map(|t| (t.as_str(), "reference")).collect();
        let (first, known) = window(&pairs);
        assert_eq!(
            (first.len(), known.len()),
            (TEXTS_A_WINDOW - 1, TEXTS_A_WINDOW)
        );
        let (rest, _) = window(&pairs[first.len()..]);
        assert_eq!(rest.len(), 100 - first.len());
    }
}
