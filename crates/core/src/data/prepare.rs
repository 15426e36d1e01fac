//! The two readings: what is usable and its split first, then each example.

use std::collections::{BTreeMap, HashMap};

use super::files::{self, Source, sha256};
use super::read::{self, Bad, Parsed};
use super::{DataOptions, Dataset, Summary, name_of, split};
use crate::error::{Error, Result};
use crate::random::hash;
use crate::record::Split;
use crate::table::{self, Place, Row};

/// Decides the splits in a first reading, and hands each example on in a second one.
pub(super) fn prepare(
    dataset: &Dataset,
    options: &DataOptions,
    seed: u64,
    mut take: impl FnMut(Parsed) -> Result<()>,
) -> Result<Summary> {
    options.split.check()?;
    let path = &options.path;
    let sources = files::sources(dataset, options)?;
    let mut first = First::new(dataset, options)?;
    read_each(&sources, |place, source, row| {
        first.take(place, source, row)
    })?;
    let First {
        briefs,
        is_taken,
        skipped,
        excuses,
        ..
    } = first;
    if briefs.ids.is_empty() {
        return Err(Error::file(path, "holds no usable record"));
    }
    let mut summary = Summary {
        name: dataset.name.clone(),
        source: dataset.source.clone(),
        sha256: sha256(dataset, options)?,
        labels: dataset.label_set().into_iter().map(str::to_owned).collect(),
        skipped,
        skipped_first: excuses,
        ..Summary::default()
    };
    summary
        .warnings
        .extend(files::other_than_named(dataset, &summary.sha256));
    let fixed = |split: &Split| briefs.fixed.contains(&Some(*split));
    if options.split.hold_out.is_none() {
        summary.official = SPLITS.into_iter().filter(fixed).collect();
    } else if !fixed(&Split::Test) {
        let what = "no record has one of these values, so nothing is held out for the test";
        return Err(Error::option("data.split.hold_out", what));
    }

    let n_expected = briefs.ids.len();
    let assigned = split::assign(briefs, &options.split, seed);
    summary.near_duplicate_groups = assigned.near_duplicate_groups;
    summary.near_duplicates_across = assigned.near_duplicates_across;
    for split in &assigned.splits {
        summary.counts.entry(*split).or_default();
    }
    for split in SPLITS {
        if !summary.counts.contains_key(&split) {
            let alike = if assigned.largest * 4 > n_expected {
                format!(
                    "; {} claims are alike by their words and stay together: \
                     data.split.near_duplicate = false parts them",
                    assigned.largest
                )
            } else {
                String::new()
            };
            let official = if summary.official.is_empty() {
                ""
            } else {
                "; data.split.official = false draws its own splits"
            };
            let what = format!(
                "{n_expected} examples leave none for the {} split; give more examples or change \
                 data.split{alike}{official}",
                name_of(split)
            );
            return Err(Error::file(path, what));
        }
    }

    let mut splits = assigned.splits.into_iter();
    let changed = |place: &Place<'_>| place.error("the file has changed while it was read");
    read_each(&sources, |place, source, row| {
        if !is_taken.get(source.position).copied().unwrap_or(false) {
            return Ok(());
        }
        let all =
            read::parse(dataset, options, row, source.position).map_err(|_| changed(place))?;
        for mut parsed in all {
            parsed.example.split = splits.next().ok_or_else(|| changed(place))?;
            let name = if dataset.answer.is_closed() {
                parsed.example.label.as_str()
            } else {
                "any answer"
            };
            let counts = summary.counts.entry(parsed.example.split).or_default();
            match counts.get_mut(name) {
                Some(count) => *count += 1,
                None => drop(counts.insert(name.to_owned(), 1)),
            }
            take(parsed)?;
        }
        Ok(())
    })?;
    Ok(summary)
}

const SPLITS: [Split; 3] = [Split::Train, Split::Validation, Split::Test];

/// Which record is read: its position over all files, and the split that its file stands for.
#[derive(Clone, Copy)]
struct Spot {
    position: usize,
    split: Option<Split>,
}

fn read_each(
    sources: &[Source],
    mut each: impl FnMut(&Place<'_>, Spot, Row) -> Result<()>,
) -> Result<()> {
    let mut position = 0;
    for source in sources {
        table::read_each(&source.path, &source.table, |place, row| {
            let spot = Spot {
                position,
                split: source.split,
            };
            position += 1;
            each(place, spot, row)
        })?;
    }
    Ok(())
}

/// The first reading: what is usable, and what its split is decided by.
struct First<'a> {
    dataset: &'a Dataset,
    options: &'a DataOptions,
    lists: Option<split::Lists>,
    briefs: split::Briefs,
    /// Where each id was first used, by its hash: the example and the place in words.
    known: HashMap<u64, (usize, usize)>,
    is_taken: Vec<bool>,
    skipped: BTreeMap<String, usize>,
    excuses: Vec<String>,
}

impl<'a> First<'a> {
    fn new(dataset: &'a Dataset, options: &'a DataOptions) -> Result<Self> {
        let lists = options.split.ids.as_deref().map(split::Lists::read);
        Ok(Self {
            dataset,
            options,
            lists: lists.transpose()?,
            briefs: split::Briefs::default(),
            known: HashMap::new(),
            is_taken: vec![],
            skipped: BTreeMap::new(),
            excuses: vec![],
        })
    }

    fn take(&mut self, place: &Place<'_>, spot: Spot, row: Row) -> Result<()> {
        self.is_taken.push(false);
        let parsed = read::parse(self.dataset, self.options, row, spot.position)
            .and_then(|all| self.not_used_before(place, all));
        let bad = match parsed {
            Ok(all) => match self.fixed(&all, spot) {
                Ok(fixed) => {
                    self.is_taken[spot.position] = true;
                    for parsed in &all {
                        self.keep(place, parsed, fixed);
                    }
                    return Ok(());
                }
                // Not a fault of the record.
                Err(bad) => {
                    *self.skipped.entry(bad.reason.into()).or_default() += 1;
                    return Ok(());
                }
            },
            Err(bad) => bad,
        };
        if !self.options.skip_bad {
            let what = format!(
                "{} (set data.skip_bad = true to leave such records out)",
                bad.what
            );
            return Err(place.error(what));
        }
        *self.skipped.entry(bad.reason.into()).or_default() += 1;
        if self.excuses.len() < 20 {
            let file = if self.dataset.files.is_empty() {
                String::new()
            } else {
                format!("{}, ", place.path.display())
            };
            self.excuses
                .push(format!("{file}{}: {}", place.within(), bad.what));
        }
        Ok(())
    }

    fn not_used_before(&self, place: &Place<'_>, all: Vec<Parsed>) -> Result<Vec<Parsed>, Bad> {
        for parsed in &all {
            let id = &parsed.example.id;
            let Some((index, number)) = self.known.get(&hash(id.as_bytes(), 1)) else {
                continue;
            };
            if self.briefs.ids[*index] == *id {
                let unit = place.within();
                let unit = unit.split(' ').next().unwrap_or_default();
                return Err(Bad::new(
                    "duplicate id",
                    format!("id `{id}` was already used in {unit} {number}; ids must be unique"),
                ));
            }
        }
        Ok(all)
    }

    /// The split that the source or the user fixes; none where it is drawn.
    fn fixed(&self, all: &[Parsed], spot: Spot) -> Result<Option<Split>, Bad> {
        let Some(parsed) = all.first() else {
            return Ok(None);
        };
        if let Some(held) = &self.options.split.hold_out {
            let is_held = parsed
                .held_by
                .as_ref()
                .is_some_and(|value| held.values.contains(value));
            return Ok(is_held.then_some(Split::Test));
        }
        if let Some(lists) = &self.lists {
            return match lists.of(&parsed.example.id, spot.position) {
                Some(split) => Ok(Some(split)),
                None => Err(Bad::new("in no list of data.split.ids", "")),
            };
        }
        if self.options.split.official {
            return Ok(parsed.official.or(spot.split));
        }
        Ok(None)
    }

    fn keep(&mut self, place: &Place<'_>, parsed: &Parsed, fixed: Option<Split>) {
        let example = &parsed.example;
        let label = self
            .dataset
            .answer
            .is_closed()
            .then_some(example.label.as_str());
        let strata = example.strata.values().map(String::as_str);
        let strata: Vec<&str> = label.into_iter().chain(strata).collect();
        let claim = self
            .options
            .split
            .near_duplicate
            .filter(|_| !self.dataset.templated)
            .map(|_| example.claim.as_str());
        let number = place.line.filter(|_| place.within().starts_with("line"));
        let used = (self.briefs.ids.len(), number.unwrap_or(place.row));
        self.known.insert(hash(example.id.as_bytes(), 1), used);
        self.briefs.push(
            &example.id,
            claim,
            strata.join("\u{1f}"),
            &parsed.groups,
            fixed,
        );
    }
}
