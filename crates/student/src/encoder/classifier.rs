//! Sequence classifiers: an encoder with a head that gives each pair of texts a label.

use std::fmt;
use std::path::{Path, PathBuf};

use tokenizers::EncodeInput;

use stillhouse_core::evaluate::Entail;
use stillhouse_core::event::Observer;
use stillhouse_core::{Error, Result};

use super::folder::Config;
use super::schedule;
use super::tensors::Tensors;
use super::tokens::Tokens;
use super::transformer::{Linear, Sequence, Transformer};
use super::{load_parts, short_name};

/// A BERT, `RoBERTa`, XLM-R or `MPNet` with a sequence-classification head.
///
/// ```no_run
/// use std::ops::ControlFlow;
/// use stillhouse_student::encoder::Classifier;
///
/// # fn main() -> stillhouse_core::Result<()> {
/// let nli = Classifier::load("models/some-nli".as_ref(), "some-nli")?;
/// let entailment = nli.nli()?.entailment;
/// let pairs = [("The sea is warm, so ice melts.", "Ice melts.")];
/// let probabilities = nli.classify(&pairs, &mut |_| ControlFlow::Continue(()))?;
/// assert!(probabilities[0][entailment] > 0.5);
/// # Ok(())
/// # }
/// ```
pub struct Classifier {
    name: String,
    folder: PathBuf,
    tokens: Tokens,
    transformer: Transformer,
    /// To a tanh.
    dense: Linear,
    /// To the labels.
    out: Linear,
    labels: Vec<String>,
}

impl fmt::Debug for Classifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Classifier")
            .field("name", &self.name)
            .field("labels", &self.labels)
            .finish_non_exhaustive()
    }
}

/// Where the three labels of natural language inference stand in [`Classifier::labels`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NliLabels {
    /// The first text says that the second is true.
    pub entailment: usize,
    /// It says neither.
    pub neutral: usize,
    /// It says that the second is false.
    pub contradiction: usize,
}

impl Classifier {
    /// Loads the classifier of `folder`; `name` is what signatures will call it.
    pub fn load(folder: &Path, name: &str) -> Result<Self> {
        let config = Config::read(folder)?;
        let labels = read_labels(folder, &config)?;
        let head = |tensors: &Tensors| {
            let load = |name: &str, columns| {
                let read = |name: &str, shape: &[usize]| tensors.read_full(name, shape);
                Linear::load(read, &[name.to_owned()], columns, config.hidden_size)
            };
            let [dense, out] = config.family.head;
            (load(dense, config.hidden_size), load(out, labels.len()))
        };
        let max_tokens = config.max_tokens(folder)?;
        let parts = load_parts(folder, &config, max_tokens, head)?;
        let (dense, out) = parts.head;
        Ok(Self {
            name: short_name(name, &parts.sha256),
            folder: folder.to_owned(),
            tokens: parts.tokens,
            transformer: parts.transformer,
            dense,
            out,
            labels,
        })
    }

    /// The name for signatures, with the beginning of the hash of the weights.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The labels in the order of the probabilities, as `config.json` calls them.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Tokens of a pair that are read, special tokens counted; the longer text is cut first.
    pub fn max_tokens(&self) -> usize {
        self.tokens.max_tokens()
    }

    /// Which labels mean entailment, neutral and contradiction, read from their names.
    pub fn nli(&self) -> Result<NliLabels> {
        nli_labels(&self.labels).ok_or_else(|| {
            let what = format!(
                "labels are `{}`; expected entailment, neutral and contradiction, as `id2label` in config.json names them",
                self.labels.join("`, `")
            );
            Error::file(&self.folder, what)
        })
    }

    /// The probabilities of the labels for each pair, in the order of [`Classifier::labels`].
    pub fn classify(
        &self,
        pairs: &[(&str, &str)],
        observe: &mut Observer<'_>,
    ) -> Result<Vec<Vec<f32>>> {
        let input = |(first, second): &(&str, &str)| {
            EncodeInput::Dual((*first).to_owned().into(), (*second).to_owned().into())
        };
        let encoded = self.tokens.encode(pairs, input, observe)?;
        let sequences: Vec<Sequence<'_>> = encoded.iter().map(|e| e.sequence()).collect();
        let layer = self.transformer.n_layers();
        let head = |states: &[f32]| self.probabilities(states);
        schedule::map(&self.transformer, &sequences, layer, head, "pairs", observe)
    }

    /// The head sees the first token alone.
    fn probabilities(&self, states: &[f32]) -> Vec<f32> {
        let first = &states[..self.transformer.hidden_size()];
        let (arch, mut buffer) = (self.transformer.arch(), Vec::new());
        let (mut pooled, mut logits) = (Vec::new(), Vec::new());
        self.dense
            .apply(arch, first, 1, None, &mut pooled, &mut buffer);
        for x in &mut pooled {
            *x = x.tanh();
        }
        self.out
            .apply(arch, &pooled, 1, None, &mut logits, &mut buffer);
        let max = logits.iter().copied().fold(f32::MIN, f32::max);
        for x in &mut logits {
            *x = (*x - max).exp();
        }
        let sum: f32 = logits.iter().sum();
        for x in &mut logits {
            *x /= sum;
        }
        logits
    }
}

impl Entail for Classifier {
    fn name(&self) -> &str {
        &self.name
    }

    fn judge(
        &mut self,
        pairs: &[(&str, &str)],
        observe: &mut Observer<'_>,
    ) -> Result<Vec<[f32; 3]>> {
        let at = self.nli()?;
        let judged = self.classify(pairs, observe)?.into_iter();
        Ok(judged
            .map(|p| [p[at.entailment], p[at.neutral], p[at.contradiction]])
            .collect())
    }
}

fn read_labels(folder: &Path, config: &Config) -> Result<Vec<String>> {
    let bad = |what: String| Err(Error::file(folder.join("config.json"), what));
    if let Some(kind) = &config.problem_type
        && kind != "single_label_classification"
    {
        return bad(format!(
            "problem_type is `{kind}`, expected `single_label_classification`"
        ));
    }
    let n = config.id2label.len();
    if !config.id2label.keys().copied().eq(0..n) {
        return bad("id2label does not number its labels from 0 on".to_owned());
    }
    if n < 2 {
        return bad(format!("id2label names {n} labels, expected at least two"));
    }
    Ok(config.id2label.values().cloned().collect())
}

fn nli_labels(labels: &[String]) -> Option<NliLabels> {
    let find = |word: &str| {
        let ends = ["", "ment", "ion"];
        let mut found = labels.iter().enumerate().filter(|(_, label)| {
            let label = label.to_lowercase();
            ends.iter().any(|end| label.strip_suffix(end) == Some(word))
        });
        let (at, _) = found.next()?;
        found.next().is_none().then_some(at)
    };
    Some(NliLabels {
        entailment: find("entail")?,
        neutral: find("neutral")?,
        contradiction: find("contradict")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nli_labels_are_found_by_their_names_in_any_order_and_case() {
        check(&["entailment", "neutral", "contradiction"], Some([0, 1, 2]));
        check(&["CONTRADICTION", "Entailment", "NEUTRAL"], Some([1, 2, 0]));
        check(
            &["contradict", "entail", "neutral", "other"],
            Some([1, 2, 0]),
        );
        check(&["LABEL_0", "LABEL_1", "LABEL_2"], None);
        check(&["entailment", "not_entailment"], None);
        check(
            &["entailment", "Entailment", "neutral", "contradiction"],
            None,
        );
    }

    fn check(labels: &[&str], expected: Option<[usize; 3]>) {
        let labels: Vec<String> = labels.iter().map(|l| (*l).to_owned()).collect();
        let found = nli_labels(&labels).map(|n| [n.entailment, n.neutral, n.contradiction]);
        assert_eq!(found, expected, "{labels:?}");
    }
}
