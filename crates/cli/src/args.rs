//! The words of the command line.
#![expect(
    clippy::doc_markdown,
    reason = "these comments are the help, which shows no Markdown"
)]

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use stillhouse::Stage;

/// Distils explanations from a large teacher into a compact student, and says how good they are.
#[derive(Debug, Parser)]
#[command(name = "stillhouse", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a config file: data, teacher, select, train, generate, evaluate, report
    ///
    /// A stage whose inputs have not changed is skipped. Stop with Ctrl-C at any time: the same
    /// command goes on where it was.
    Run(RunArgs),
    /// Measure files of predictions against references, without a run
    ///
    /// JSONL, JSON, CSV, TSV, Parquet (text forms also as .gz), or plain text, one prediction a
    /// line. Fields: id, prediction, reference or references; optional: system, evidence, claim,
    /// label, gold_label, prediction_sentences, reference_sentences.
    Evaluate(Evaluate),
    /// Score given completions after given prompts with a model: log-probabilities, ranks
    ///
    /// Rows of id, prompt and completion: JSONL, JSON, CSV, TSV, Parquet (text forms also as .gz).
    /// Prompt and completion are tokenised apart; what texts have in common is computed once.
    Score(Score),
    /// Compare selectors at equal cost: the same rationales, each selector, number to keep and seed
    /// a student of its own
    ///
    /// The teacher is asked once, all candidates are scored once; cells stand below the run
    /// directory and are not done again. Stop with Ctrl-C at any time: the same command goes on.
    Ablate(Ablate),
    /// Show what a run's data look like: counts, lengths, leaks, one prompt with its trained tokens
    Data(DataArgs),
    /// Fetch and verify a model or a data set, for work without a network later
    Pull(Pull),
    /// Print the commented default config, or a config file checked and resolved
    Config(ConfigArgs),
    /// Show what this machine has: cores and their instructions, caches, end points
    Doctor,
    /// Print a shell completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag on the command line"
)]
pub(crate) struct RunArgs {
    /// The config file, such as examples/quickstart/run.toml
    pub(crate) config: PathBuf,
    /// Begin at this stage; the ones before must be done, and are taken as they are
    #[arg(long, value_name = "STAGE")]
    pub(crate) from: Option<StageName>,
    /// End with this stage
    #[arg(long, value_name = "STAGE")]
    pub(crate) to: Option<StageName>,
    /// Put a value over the config: student.train.epochs=2 (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// The run directory, instead of the config's `out`
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// What the student computes on: cpu, gpu or auto, instead of the config's `student.device`
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<String>,
    /// Do finished stages again whose options or inputs have changed, and replace their results
    #[arg(long)]
    pub(crate) redo: bool,
    /// Check the config and say what each stage would do; change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print nothing but errors
    #[arg(long, short, conflicts_with = "json")]
    pub(crate) quiet: bool,
    /// Print every event as a JSON line on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Evaluate {
    /// The predictions
    pub(crate) predictions: PathBuf,
    /// References by id, where the predictions carry none
    pub(crate) references: Option<PathBuf>,
    /// Another file of predictions; its system is NAME, else what its rows say, else the file's
    /// name (repeatable)
    #[arg(long, value_name = "[NAME=]FILE")]
    pub(crate) also: Vec<String>,
    /// Which column holds a field: prediction=output, claim=/input/claim; several columns of
    /// predictions, prediction=a,b, are systems of these names (repeatable)
    #[arg(long, value_name = "FIELD=COLUMN")]
    pub(crate) column: Vec<String>,
    /// An option of the config's evaluate table: resamples=500 (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Measure how each metric reacts to changed texts instead: each row's `reference` against
    /// versions of it, given (same_close, reversed_far, paraphrase, ...) or made by reversing causes,
    /// denying, changing numbers, dropping, adding and shuffling
    #[arg(long, conflicts_with_all = ["references", "human", "pairs", "column"])]
    pub(crate) stress: bool,
    /// Ratings of the predictions by people (id, system, rating): how each metric agrees with them
    #[arg(long, value_name = "RATINGS")]
    pub(crate) human: Option<PathBuf>,
    /// Write each metric of each pair to this file (JSONL)
    #[arg(long, value_name = "FILE")]
    pub(crate) pairs: Option<PathBuf>,
    /// Seed of the bootstrap and of the random-pair floor
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Neither read nor keep vectors of sentences on disk
    #[arg(long)]
    pub(crate) no_cache: bool,
    #[command(flatten)]
    pub(crate) form: Form,
}

/// The form of the results; tables for the terminal unless one is chosen.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag on the command line"
)]
pub(crate) struct Form {
    /// Print everything as JSON, with signatures, intervals and paired tests
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the tables as CSV
    #[arg(long)]
    pub(crate) csv: bool,
    /// Print the tables as Markdown
    #[arg(long)]
    pub(crate) markdown: bool,
    /// Print the tables for LaTeX
    #[arg(long)]
    pub(crate) latex: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Score {
    /// A model folder, or a model's name
    pub(crate) model: String,
    /// The texts: rows of id, prompt and completion
    pub(crate) texts: PathBuf,
    /// Put this PEFT adapter beside the model's weights
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: Option<PathBuf>,
    /// Print one JSON line for each text: id, token_ids, logprobs, ranks, perplexity
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag on the command line"
)]
pub(crate) struct Ablate {
    /// Config files; several give one table with means over data sets and kinds of task
    #[arg(required = true, value_name = "RUN")]
    pub(crate) configs: Vec<PathBuf>,
    /// Selectors: none, random, accuracy, diversity, diverse, morsd, morsd-stripped, morsd-control,
    /// rd-min, rd-max, rsr, ifd, perplexity, length, shortest, judge, mmr, facility-location; those by
    /// one score also with filters, as in rsr+accuracy+diversity
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "none,random,accuracy,diversity,morsd,rsr"
    )]
    pub(crate) select: Vec<String>,
    /// Numbers of rationales to keep for each example
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,6,8")]
    pub(crate) keep: Vec<usize>,
    /// How many seeds
    #[arg(long, default_value_t = 3)]
    pub(crate) seeds: usize,
    /// What is equal in all cells
    #[arg(long, value_enum, default_value_t = BudgetName::Steps)]
    pub(crate) budget: BudgetName,
    /// By what test examples are called simple or complex: the steps of their right rationales, or
    /// how unlikely the untrained student finds the answer
    #[arg(long, value_enum, default_value_t = ComplexityName::Steps)]
    pub(crate) complexity: ComplexityName,
    /// Let every student answer the test split too, and count right answers
    #[arg(long)]
    pub(crate) generate: bool,
    /// Keep the trained students
    #[arg(long)]
    pub(crate) keep_models: bool,
    /// Folder of the cells and the result, instead of `ablate` in each run directory
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Put a value over the configs: select.scorer=some/model (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Print cells and tables as JSON
    #[arg(long, conflicts_with = "markdown")]
    pub(crate) json: bool,
    /// Print the tables as Markdown
    #[arg(long)]
    pub(crate) markdown: bool,
    /// Print nothing but the result and errors
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// What is equal in all cells of an ablation.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum BudgetName {
    /// Updates
    Steps,
    /// Tokens read in training
    Tokens,
    /// Passes over what was kept
    Epochs,
}

/// By what test examples are divided.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum ComplexityName {
    /// Steps of right rationales
    Steps,
    /// The untrained student's likelihood of the answer
    Prior,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DataArgs {
    /// A config file, a dataset file, or the name of a known data set, such as gsm8k
    pub(crate) config: PathBuf,
    /// Put a value over the config: data.split.test=0.2 (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Print everything as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Pull {
    /// A model's name, such as sentence-transformers/all-MiniLM-L6-v2; a known data set, such as
    /// gsm8k; or a dataset file
    pub(crate) name: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    /// A config file to check and resolve
    pub(crate) config: Option<PathBuf>,
    /// Put a value over the config: student.train.epochs=2 (repeatable)
    #[arg(long, value_name = "KEY=VALUE", requires = "config")]
    pub(crate) set: Vec<String>,
}

/// A stage as a word on the command line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StageName(pub(crate) Stage);

impl clap::ValueEnum for StageName {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [StageName; 7] = {
            let mut all = [StageName(Stage::Data); 7];
            let mut at = 0;
            while at < 7 {
                all[at] = StageName(Stage::ALL[at]);
                at += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.0.name()))
    }
}
