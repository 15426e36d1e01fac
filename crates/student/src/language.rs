//! Whether a student keeps its language: how likely it finds a general text.

use crate::error::Result;
use crate::model::Model;
use crate::score::log_likelihood;

/// Shorter pieces say nothing.
const FEWEST_WORDS: usize = 8;

/// The perplexity of a text's paragraphs, each after its own first third; nothing for a text of a
/// few words.
///
/// Paragraphs stand between empty lines; those longer than the context are halved until they fit.
/// It depends on the tokenizer: compare it with that of the same model before training, and with
/// nothing else.
pub fn perplexity(model: &Model, text: &str) -> Result<Option<f64>> {
    let (mut sum, mut n) = (0.0, 0);
    for paragraph in text.split("\n\n") {
        let words: Vec<&str> = paragraph.split_whitespace().collect();
        for piece in pieces(model, &words) {
            let (before, after) = piece.split_at(piece.len() / 3);
            let after = format!(" {}", after.join(" "));
            let found = log_likelihood(model, &before.join(" "), &after)?;
            let logs = found.log_probabilities.iter();
            sum += logs.map(|log| f64::from(*log)).sum::<f64>();
            n += found.log_probabilities.len();
        }
    }
    Ok((n > 0).then(|| (-sum / n as f64).exp()))
}

fn pieces<'a>(model: &Model, words: &'a [&'a str]) -> Vec<&'a [&'a str]> {
    if words.len() < FEWEST_WORDS {
        return Vec::new();
    }
    let text = words.join(" ");
    if model.prompt_tokens(&text) + 2 <= model.context_tokens() {
        return vec![words];
    }
    let (first, second) = words.split_at(words.len() / 2);
    [pieces(model, first), pieces(model, second)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ArchitectureOptions;

    #[test]
    fn a_random_student_finds_every_token_equally_likely_and_a_long_paragraph_is_cut() {
        let options = ArchitectureOptions {
            hidden_size: 16,
            layers: 1,
            heads: 2,
            kv_heads: 1,
            intermediate_size: 16,
            vocabulary: 259,
            context: 100,
        };
        let model = Model::random(&options, std::iter::once("abc"), 1).unwrap();
        let paragraph = "one two three four five six seven eight nine ten ".repeat(5);
        let text = format!("{paragraph}\n\ntoo short\n\n{paragraph}");
        let found = perplexity(&model, &text).unwrap().unwrap();
        assert!((found - 259.0).abs() < 26.0, "{found}");
        assert_eq!(perplexity(&model, "too short").unwrap(), None);
        let words: Vec<&str> = paragraph.split_whitespace().collect();
        let pieces = pieces(&model, &words);
        assert_eq!(pieces.concat(), words);
        assert_eq!(pieces.len(), 4);
    }
}
