//! `stillhouse score MODEL TEXTS`.

use stillhouse::score::{ScoreOptions, Texts, score, show_score_lines, show_scores};

use crate::args::Score;
use crate::progress::{print, watch};

/// Scores a file of completions and prints a table, or JSON lines.
pub(crate) fn run(args: &Score) -> anyhow::Result<()> {
    let texts = Texts {
        model: args.model.clone(),
        adapter: args.adapter.clone(),
        path: args.texts.clone(),
    };
    let options = ScoreOptions::default();
    let rows = score(&texts, &options, &super::run::hub_options(), &mut watch())?;
    print(&if args.json {
        show_score_lines(&rows)
    } else {
        show_scores(&rows)
    })
}
