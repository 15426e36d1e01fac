//! Tables of how metrics react to changed texts.

use std::collections::BTreeSet;

use super::Format;
use super::grid::{Cell, Grid};
use crate::evaluate::causal::Share;
use crate::evaluate::stress::{GOOD, Stress};

/// Three tables: the mean of every metric by kind of change, the AUC of good kinds over bad ones,
/// and what the comparison of causal links found, by group.
pub fn stress(stress: &Stress, format: Format) -> String {
    let tables = [means(stress), contrasts(stress), detection(stress)];
    let tables: Vec<String> = tables.iter().map(|grid| grid.write(format)).collect();
    tables.join("\n")
}

fn means(stress: &Stress) -> Grid {
    let means = stress.reactions.iter().flat_map(|reaction| &reaction.means);
    let kinds: BTreeSet<&String> = means.map(|(kind, _)| kind).collect();
    let mut grid = Grid::new("Mean", kinds.iter().map(|kind| kind.as_str()));
    for reaction in &stress.reactions {
        let cells = kinds.iter().map(|kind| {
            let mean = reaction.means.get(*kind);
            let is_part = mean.is_some_and(|mean| mean.unscored > 0);
            let value = Cell::estimate(mean.map(|mean| mean.mean), None, 3);
            value.with_n(mean.map_or(0, |mean| mean.n), is_part)
        });
        grid.row(&reaction.metric, cells.collect::<Vec<_>>());
    }
    grid
}

fn contrasts(stress: &Stress) -> Grid {
    let all = stress
        .reactions
        .iter()
        .flat_map(|reaction| &reaction.contrasts);
    let pairs: BTreeSet<(&String, &String)> = all.map(|c| (&c.good, &c.bad)).collect();
    let names: Vec<String> = pairs
        .iter()
        .map(|(good, bad)| format!("{good} over {bad}"))
        .collect();
    let mut grid = Grid::new("AUC", names.iter().map(String::as_str));
    for reaction in &stress.reactions {
        let cells = pairs.iter().map(|(good, bad)| {
            let found = reaction.contrasts.iter();
            let mut found = found.filter(|c| (&c.good, &c.bad) == (*good, *bad));
            Cell::number(found.next().map(|contrast| contrast.auc), 3)
        });
        grid.row(&reaction.metric, cells.collect::<Vec<_>>());
    }
    grid
}

/// Percent of texts: with a link in the reference, then with a reversed or contradicted link, by
/// kind; of kinds that keep every link both count as false alarms.
fn detection(stress: &Stress) -> Grid {
    let mut kinds: BTreeSet<&String> = BTreeSet::new();
    for found in stress.detection.values() {
        kinds.extend(found.reversed.keys());
    }
    let is_good = |kind: &str| GOOD.contains(&kind);
    let mut head = vec!["Links found %".to_owned()];
    for kind in &kinds {
        let what = if is_good(kind) {
            "false alarms"
        } else if kind.starts_with("negat") {
            "contradicted"
        } else {
            "reversed"
        };
        head.push(format!("{what} in {kind} %"));
    }
    let mut grid = Grid::new("Group", head.iter().map(String::as_str));
    let percent = |share: Option<&Share>| Cell::number(share.and_then(|share| share.percent()), 1);
    for (group, found) in &stress.detection {
        let mut cells = vec![percent(Some(&found.found))];
        cells.extend(kinds.iter().map(|kind| {
            percent(if is_good(kind) {
                found.false_alarms.get(*kind)
            } else if kind.starts_with("negat") {
                found.contradicted.get(*kind)
            } else {
                found.reversed.get(*kind)
            })
        }));
        grid.row(group, cells);
    }
    grid
}
