//! What the data of a run look like: counts, balance, lengths, leaks, and one prompt with the
//! tokens that are trained.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write as _};

use serde::Serialize;
use stillhouse_core::data::{self, Candidate, Summary, name_of};
use stillhouse_core::event::Observer;
use stillhouse_core::record::{Example, Reference, Split};
use stillhouse_student::batch::LossOn;
use stillhouse_student::tokenizer::Tokenizer;
use stillhouse_student::{Init, Interface};
use stillhouse_teacher::read_candidates;

use crate::config::Config;
use crate::error::Result;
use crate::job::Job;
use crate::pipeline::World;
use crate::stage;

/// What `stillhouse data` shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Look {
    /// Counts by split and label, and what was left out.
    pub summary: Summary,
    /// Licence, citation and the metrics that fit, as the dataset file says.
    pub about: Vec<(&'static str, String)>,
    /// Tokens of the whole prompts, by split.
    pub prompts: BTreeMap<Split, Lengths>,
    /// Tokens of the completions that could be made.
    pub completions: Lengths,
    /// The student's context in tokens.
    pub context: usize,
    /// Examples that lose evidence, and how many passages in all.
    pub shortened: (usize, usize),
    /// Examples that do not fit even without evidence; the first ones' ids.
    pub too_long: (usize, Vec<String>),
    /// The first training example, as the student reads it.
    pub example: Option<Shown>,
}

/// How long texts are, in tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lengths {
    /// How many texts.
    pub n: usize,
    /// The shortest, the median, the 95th percentile and the longest.
    pub quantiles: [usize; 4],
    /// Counts in ranges of equal width.
    pub bins: Vec<usize>,
    /// The width of a range.
    pub width: usize,
}

/// One example in tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Its id.
    pub id: String,
    /// What is read and not learnt, special tokens too.
    pub read: String,
    /// What is learnt.
    pub learnt: String,
    /// Tokens of each.
    pub tokens: (usize, usize),
    /// Whether the completion is the data set's own or stands in for a rationale to come.
    pub is_placeholder: bool,
}

/// Reads a run's data and looks at them with the eyes of its student.
pub fn look(config: &Config, world: &World<'_>, observe: &mut Observer<'_>) -> Result<Look> {
    let job = Job::new(config, world)?;
    let options = stage::data::located(&job, observe)?;
    // Only a tokenizer that is yet to be trained needs all examples at once.
    let all = match job.config.student.init {
        Init::Random => data::load(&job.dataset, &options, job.config.seed)?.examples,
        Init::Pretrained => vec![],
    };
    let student = Reader::new(&job, &all, observe)?;
    drop(all);
    let recorded = recorded(&job)?;

    let mut prompts: BTreeMap<Split, Vec<usize>> = BTreeMap::new();
    let mut completions = Vec::new();
    let mut look = Look {
        summary: Summary::default(),
        about: about(&job),
        prompts: BTreeMap::new(),
        completions: Lengths::default(),
        context: student.interface.context,
        shortened: (0, 0),
        too_long: (0, vec![]),
        example: None,
    };
    let seed = job.config.seed;
    look.summary = data::read_each(&job.dataset, &options, seed, |example, reference, own| {
        let rationale = rationale(&example, own, reference, &recorded);
        let whole = job.template.fill(&example, usize::MAX)?;
        let n_prompt = student.prompt(&whole).len();
        prompts.entry(example.split).or_default().push(n_prompt);
        let answer = student.completion(&job, &example, rationale.as_deref());
        if rationale.is_some() {
            completions.push(answer.len());
        }
        look.take(&job, &student, &example, answer, rationale.is_none())
    })?;
    look.prompts = prompts
        .into_iter()
        .map(|(split, n)| (split, lengths(n)))
        .collect();
    look.completions = lengths(completions);
    Ok(look)
}

impl Look {
    /// Counts what one example loses to the context, and shows the first of training.
    fn take(
        &mut self,
        job: &Job<'_>,
        student: &Reader,
        example: &Example,
        answer: Vec<u32>,
        is_placeholder: bool,
    ) -> stillhouse_core::Result<()> {
        let tokenizer = &student.tokenizer;
        let answer_room = match example.split {
            Split::Test => job.config.student.generate.max_new_tokens,
            _ => answer.len(),
        };
        let room = student.interface.prompt_room(answer_room);
        let fits = |text: &str| Ok(student.prompt(text).len() <= room);
        let Some(prompt) = job.template.fit(example, fits)? else {
            self.too_long.0 += 1;
            if self.too_long.1.len() < 5 {
                self.too_long.1.push(example.id.clone());
            }
            return Ok(());
        };
        self.shortened.0 += usize::from(prompt.evidence_dropped > 0);
        self.shortened.1 += prompt.evidence_dropped;
        if self.example.is_none() && example.split == Split::Train {
            let tokens = student.prompt(&prompt.text);
            let n_read = match job.config.student.train.loss_on {
                LossOn::All if !student.interface.is_encoder_decoder() => 1.min(tokens.len()),
                _ => tokens.len(),
            };
            let all: Vec<u32> = tokens.into_iter().chain(answer).collect();
            self.example = Some(Shown {
                id: example.id.clone(),
                read: tokenizer.decode_all(&all[..n_read]),
                learnt: tokenizer.decode_all(&all[n_read..]),
                tokens: (n_read, all.len() - n_read),
                is_placeholder,
            });
        }
        Ok(())
    }
}

/// What the student reads with.
struct Reader {
    tokenizer: Tokenizer,
    interface: Interface,
}

impl Reader {
    /// The student's tokenizer and what texts it reads, without its weights where it has a folder.
    fn new(job: &Job<'_>, examples: &[Example], observe: &mut Observer<'_>) -> Result<Self> {
        if job.config.student.init == Init::Random {
            let model = job.untrained(examples, observe)?;
            return Ok(Self {
                tokenizer: model.tokenizer().clone(),
                interface: model.interface(),
            });
        }
        let folder = &job.base(observe)?.folder;
        let mut interface = Interface::load(folder)?;
        if let Some(tokens) = job.config.student.context_tokens {
            interface.limit_context(tokens);
        }
        Ok(Self {
            tokenizer: Tokenizer::load(folder, &interface)?,
            interface,
        })
    }

    /// The tokens of a prompt as the model reads it.
    fn prompt(&self, text: &str) -> Vec<u32> {
        self.interface.prompt(&self.tokenizer, text)
    }

    /// The tokens that are learnt.
    fn completion(&self, job: &Job<'_>, example: &Example, rationale: Option<&str>) -> Vec<u32> {
        let text = rationale.unwrap_or("(the teacher's rationale)");
        let text = job.template.completion(&example.label, text);
        let mut tokens = self.tokenizer.completion(&text);
        tokens.extend(self.interface.eos.first());
        tokens
    }
}

/// Rationales that are recorded apart from the data, by example.
fn recorded(job: &Job<'_>) -> Result<HashMap<String, Vec<Candidate>>> {
    let mut found: HashMap<String, Vec<Candidate>> = HashMap::new();
    if let Some(path) = &job.config.teacher.path {
        let fields = &job.config.teacher.fields;
        for candidate in read_candidates(&job.given.locate(path), fields, &job.dataset)? {
            let of = found.entry(candidate.example.clone()).or_default();
            of.push(candidate);
        }
    }
    Ok(found)
}

/// A rationale for an example's gold label: recorded in the data, recorded apart, or the reference.
fn rationale(
    example: &Example,
    own: Vec<Candidate>,
    reference: Option<Reference>,
    recorded: &HashMap<String, Vec<Candidate>>,
) -> Option<String> {
    let apart = recorded.get(&example.id).into_iter().flatten().cloned();
    let mut all = own.into_iter().chain(apart);
    let for_gold = all.find(|candidate| candidate.label.as_ref() == Some(&example.label));
    let for_gold = for_gold.map(|candidate| candidate.text);
    for_gold.or_else(|| reference?.explanations.into_iter().next())
}

fn about(job: &Job<'_>) -> Vec<(&'static str, String)> {
    let dataset = &job.dataset;
    let from = dataset.from.clone().unwrap_or_default();
    let hub = match (from.hub, from.revision) {
        (Some(hub), Some(revision)) => format!("{hub}, revision {revision}"),
        (hub, _) => hub.unwrap_or_default(),
    };
    let mut about = vec![
        ("source", dataset.source.clone()),
        ("hub", hub),
        ("address", from.url.unwrap_or_default()),
        ("licence", dataset.licence.clone()),
        ("cite", dataset.citation.clone()),
        ("metrics", dataset.metrics.join(", ")),
    ];
    if job.config.data.show_label {
        let text = "the gold label stands in the prompt; label metrics mean nothing";
        about.push(("label", text.into()));
    }
    about.retain(|(_, text)| !text.is_empty());
    about
}

fn lengths(mut tokens: Vec<usize>) -> Lengths {
    const N_BINS: usize = 8;
    tokens.sort_unstable();
    let (Some(shortest), Some(longest)) = (tokens.first(), tokens.last()) else {
        return Lengths::default();
    };
    let at = |share: usize| tokens[(tokens.len() - 1) * share / 100];
    let width = (longest / N_BINS + 1).next_multiple_of(8);
    let mut bins = vec![0; longest / width + 1];
    for n in &tokens {
        bins[n / width] += 1;
    }
    Lengths {
        n: tokens.len(),
        quantiles: [*shortest, at(50), at(95), *longest],
        bins,
        width,
    }
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let summary = &self.summary;
        writeln!(f, "data set    {}", summary.name)?;
        for (name, text) in &self.about {
            writeln!(f, "{name:<11} {text}")?;
        }
        for (split, labels) in &summary.counts {
            let n: usize = labels.values().sum();
            let official = if summary.official.contains(split) {
                " (the source's own)"
            } else {
                ""
            };
            let mut balance = String::new();
            for (label, count) in labels {
                let share = 100.0 * *count as f64 / n.max(1) as f64;
                write!(
                    balance,
                    "{}{label} {count} ({share:.0} %)",
                    if balance.is_empty() { "" } else { ", " }
                )?;
            }
            writeln!(f, "{:<11} {n}: {balance}{official}", name_of(*split))?;
        }
        writeln!(
            f,
            "duplicates  {} groups of near-duplicate claims; {} of them stand in several splits",
            summary.near_duplicate_groups, summary.near_duplicates_across
        )?;
        for text in &summary.warnings {
            writeln!(f, "warning     {text}")?;
        }
        for (reason, n) in &summary.skipped {
            writeln!(f, "left out    {n} x {reason}")?;
        }
        for first in summary.skipped_first.iter().take(3) {
            writeln!(f, "            {first}")?;
        }
        let (examples, passages) = self.shortened;
        let too_long = match self.too_long.1.as_slice() {
            [] => String::new(),
            ids => format!(", the first `{}`", ids.join("`, `")),
        };
        writeln!(
            f,
            "context     {} tokens: {examples} examples lose {passages} passages of evidence, {} fit not at all{}",
            self.context, self.too_long.0, too_long
        )?;
        for (split, lengths) in &self.prompts {
            lengths.draw(f, &format!("prompts, {}", name_of(*split)))?;
        }
        self.completions.draw(f, "completions")?;
        if let Some(example) = &self.example {
            let (read, learnt) = example.tokens;
            let placeholder = if example.is_placeholder {
                "; no rationale is recorded yet"
            } else {
                ""
            };
            writeln!(
                f,
                "\nexample `{}`: {read} tokens are read, the {learnt} between « and » are learnt{placeholder}\n",
                example.id
            )?;
            writeln!(f, "{}«{}»", example.read, example.learnt)?;
        }
        Ok(())
    }
}

impl Lengths {
    fn draw(&self, f: &mut fmt::Formatter<'_>, title: &str) -> fmt::Result {
        if self.n == 0 {
            return Ok(());
        }
        let [shortest, median, high, longest] = self.quantiles;
        writeln!(
            f,
            "\n{title}: {} texts of {shortest} to {longest} tokens, median {median}, 95 % up to {high}",
            self.n
        )?;
        let most = self.bins.iter().max().copied().unwrap_or(1).max(1);
        for (index, count) in self.bins.iter().enumerate() {
            let bar = "#".repeat((count * 40).div_ceil(most));
            let (from, to) = (index * self.width, (index + 1) * self.width - 1);
            let line = format!("  {from:>6} to {to:<6} {count:>7} {bar}");
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}
