//! Train, validation and test: fixed by the seed, near-duplicates and groups together, strata in
//! proportion; or as the source says.

mod near;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use near::Claims;

use super::read::split_named;
use crate::error::{Error, Result};
use crate::fs;
use crate::random::{Random, hash};
use crate::record::Split;

/// How the examples are split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SplitOptions {
    /// Share of the examples for validation, on which every choice is made.
    pub validation: f64,
    /// Share of the examples for the test, looked at once.
    pub test: f64,
    /// Keep the shares in every label and stratum. Off, each example goes where its own hash
    /// says, so that examples added later never move the ones before.
    pub stratified: bool,
    /// Claims that share this much of their word trigrams (Jaccard) stay in one split; `false`
    /// compares none.
    #[serde(with = "crate::off")]
    pub near_duplicate: Option<f64>,
    /// Examples that share a value of one of these fields stay in one split.
    pub group: Vec<String>,
    /// The test is what has one of these values: a field of knowledge that training never sees.
    pub hold_out: Option<HoldOut>,
    /// Keep to the splits of the source, where it has some; what it lacks is drawn from its
    /// training split.
    pub official: bool,
    /// A JSON file with a list for each split: numbers are positions of records, counted from 0,
    /// texts are ids. What stands in no list is left out.
    pub ids: Option<PathBuf>,
}

impl Default for SplitOptions {
    fn default() -> Self {
        Self {
            validation: 0.1,
            test: 0.15,
            stratified: true,
            near_duplicate: Some(0.5),
            group: vec![],
            hold_out: None,
            official: true,
            ids: None,
        }
    }
}

/// What is kept for the test.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldOut {
    /// The field whose value decides.
    pub field: String,
    /// The values that go to the test.
    pub values: Vec<String>,
}

impl SplitOptions {
    /// Checks the shares.
    pub(super) fn check(&self) -> Result<()> {
        for (key, share) in [("validation", self.validation), ("test", self.test)] {
            if !(share > 0.0 && share < 1.0) {
                return Err(Error::option(
                    format!("data.split.{key}"),
                    format!("is {share}, expected a share between 0 and 1"),
                ));
            }
        }
        if self.validation + self.test >= 1.0 {
            return Err(Error::option(
                "data.split",
                "validation and test leave nothing to train on",
            ));
        }
        if self.near_duplicate.is_some_and(|t| !(t > 0.0 && t <= 1.0)) {
            return Err(Error::option(
                "data.split.near_duplicate",
                "expected a share above 0 and up to 1, or false",
            ));
        }
        Ok(())
    }
}

/// What a split is decided by; one entry an example.
#[derive(Default)]
pub(super) struct Briefs {
    pub(super) ids: Vec<String>,
    /// The stratum of each example, as an index into `names`.
    strata: Vec<u32>,
    names: Vec<String>,
    known: HashMap<String, u32>,
    /// The split that an example already has.
    pub(super) fixed: Vec<Option<Split>>,
    claims: Claims,
    union: Union,
    groups: HashMap<u64, u32>,
}

impl Briefs {
    pub(super) fn push(
        &mut self,
        id: &str,
        claim: Option<&str>,
        stratum: String,
        groups: &[String],
        fixed: Option<Split>,
    ) {
        let index = self.union.push();
        self.ids.push(id.to_owned());
        if let Some(claim) = claim {
            self.claims.push(claim);
        }
        let next = self.names.len() as u32;
        let stratum = *self.known.entry(stratum).or_insert_with_key(|name| {
            self.names.push(name.clone());
            next
        });
        self.strata.push(stratum);
        self.fixed.push(fixed);
        for group in groups {
            let first = *self
                .groups
                .entry(hash(group.as_bytes(), 0))
                .or_insert(index);
            self.union.join(first, index);
        }
    }
}

/// What came of it.
pub(super) struct Assigned {
    pub(super) splits: Vec<Split>,
    /// Groups of near-duplicate claims.
    pub(super) near_duplicate_groups: usize,
    /// Those of them that stand in several splits, since the source puts them there.
    pub(super) near_duplicates_across: usize,
    /// Examples in the largest group of near-duplicates.
    pub(super) largest: usize,
}

/// Decides the split of each example. The result does not depend on their order.
pub(super) fn assign(briefs: Briefs, options: &SplitOptions, seed: u64) -> Assigned {
    let n = briefs.ids.len();
    let mut near = Union::default();
    for _ in 0..n {
        near.push();
    }
    let mut union = briefs.union;
    if let Some(threshold) = options.near_duplicate {
        briefs.claims.join(threshold, &briefs.ids, &mut |a, b| {
            near.join(a, b);
            union.join(a, b);
        });
    }

    // What the source fixes stays; what it lacks is drawn, from its training split too.
    let is_fixed = |split| briefs.fixed.contains(&Some(split));
    let draws = Draws {
        test: !is_fixed(Split::Test),
        validation: !is_fixed(Split::Validation),
    };
    let is_open = |index: usize| match briefs.fixed[index] {
        None => true,
        Some(Split::Train) => draws.test || draws.validation,
        Some(_) => false,
    };
    let mut splits: Vec<Split> = briefs.fixed.iter().map(|f| f.unwrap_or_default()).collect();
    let groups = union.groups(&briefs.ids, is_open);
    draw(
        &groups,
        &briefs.ids,
        &(&briefs.strata, &briefs.names),
        options,
        draws,
        seed,
        &mut splits,
    );

    let duplicates: Vec<Vec<u32>> = near
        .groups(&briefs.ids, |_| true)
        .into_iter()
        .filter(|group| group.len() > 1)
        .collect();
    let across = |group: &&Vec<u32>| {
        let first = splits[group[0] as usize];
        group.iter().any(|index| splits[*index as usize] != first)
    };
    Assigned {
        largest: duplicates.iter().map(Vec::len).max().unwrap_or(0),
        near_duplicate_groups: duplicates.len(),
        near_duplicates_across: duplicates.iter().filter(across).count(),
        splits,
    }
}

/// Which splits are drawn.
#[derive(Clone, Copy)]
struct Draws {
    test: bool,
    validation: bool,
}

/// Sorted by stratum and, within it, by a hash of the id: a systematic sample of this order is
/// proportional in every stratum and random within each.
fn draw(
    groups: &[Vec<u32>],
    ids: &[String],
    (strata, names): &(&Vec<u32>, &Vec<String>),
    options: &SplitOptions,
    draws: Draws,
    seed: u64,
    splits: &mut [Split],
) {
    let mut order: Vec<(&str, u64, &Vec<u32>)> = groups
        .iter()
        .map(|group| {
            let first = group[0] as usize;
            let stratum = names[strata[first] as usize].as_str();
            (stratum, hash(ids[first].as_bytes(), seed), group)
        })
        .collect();
    order.sort_unstable_by(|a, b| {
        let id = |group: &Vec<u32>| &ids[group[0] as usize];
        (a.0, a.1, id(a.2)).cmp(&(b.0, b.1, id(b.2)))
    });

    let share_of_test = if draws.test { options.test } else { 0.0 };
    let share_of_validation = if draws.validation {
        options.validation
    } else {
        0.0
    };
    let has_large_groups = groups.iter().any(|group| group.len() > SMALL_GROUP);
    let mut random = Random::new(seed, "split");
    let mut test = Systematic {
        share: share_of_test,
        owed: random.next_f64(),
        has_large_groups,
    };
    let mut validation = Systematic {
        share: share_of_validation / (1.0 - share_of_test).max(f64::EPSILON),
        owed: random.next_f64(),
        has_large_groups,
    };
    for (_, id_hash, group) in order {
        let split = if options.stratified {
            if test.takes(group.len()) {
                Split::Test
            } else if validation.takes(group.len()) {
                Split::Validation
            } else {
                Split::Train
            }
        } else {
            match id_hash as f64 / u64::MAX as f64 {
                share if share < share_of_test => Split::Test,
                share if share < share_of_test + share_of_validation => Split::Validation,
                _ => Split::Train,
            }
        };
        for index in group {
            splits[*index as usize] = split;
        }
    }
}

/// Takes every (1/share)-th item, from a random start.
///
/// Of small groups, each that holds such an item is taken whole, which takes slightly more than
/// the share; splits of earlier versions rest on it. Where there are larger ones, as many are
/// taken as hold the share.
struct Systematic {
    share: f64,
    /// Items that should have been taken by now and were not.
    owed: f64,
    has_large_groups: bool,
}

/// The size up to which groups are small.
const SMALL_GROUP: usize = 3;

impl Systematic {
    fn takes(&mut self, n: usize) -> bool {
        self.owed += self.share * n as f64;
        if !self.has_large_groups {
            let is_taken = self.owed >= 1.0;
            self.owed -= self.owed.floor();
            return is_taken;
        }
        // A large group waits until at least half of it is owed, so that none outgrows its share.
        let is_taken = self.owed >= (n as f64 / 2.0).max(1.0);
        if is_taken {
            self.owed -= n as f64;
        }
        is_taken
    }
}

/// Disjoint groups that grow together.
#[derive(Default)]
pub(super) struct Union(Vec<u32>);

impl Union {
    fn push(&mut self) -> u32 {
        let index = u32::try_from(self.0.len()).expect("fewer than 4 billion examples");
        self.0.push(index);
        index
    }

    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b) as usize] = a.min(b);
    }

    fn root(&mut self, mut index: u32) -> u32 {
        while self.0[index as usize] != index {
            self.0[index as usize] = self.0[self.0[index as usize] as usize];
            index = self.0[index as usize];
        }
        index
    }

    /// The groups of those that `is_in`, each sorted by id, so that its first stands for it.
    fn groups(&mut self, ids: &[String], is_in: impl Fn(usize) -> bool) -> Vec<Vec<u32>> {
        let mut by_root: HashMap<u32, Vec<u32>> = HashMap::new();
        for index in (0..self.0.len()).filter(|index| is_in(*index)) {
            let index = u32::try_from(index).expect("indices were made of these");
            by_root.entry(self.root(index)).or_default().push(index);
        }
        let mut groups: Vec<Vec<u32>> = by_root.into_values().collect();
        for group in &mut groups {
            group.sort_unstable_by_key(|index| &ids[*index as usize]);
        }
        groups
    }
}

/// Which split a list of ids and positions gives each example.
#[derive(Debug)]
pub(super) struct Lists {
    positions: HashMap<usize, Split>,
    ids: HashMap<String, Split>,
}

impl Lists {
    /// Reads a file of lists.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let wrong = |what: String| Error::file(path, what);
        let file: BTreeMap<String, Vec<Value>> = fs::read_json(path)?;
        let mut lists = Self {
            positions: HashMap::new(),
            ids: HashMap::new(),
        };
        for (name, list) in file {
            let split = split_named(&name).map_err(wrong)?;
            for value in list {
                let before = match &value {
                    Value::String(id) => lists.ids.insert(id.clone(), split),
                    Value::Number(n) if n.is_u64() => {
                        let position = n.as_u64().unwrap_or_default() as usize;
                        lists.positions.insert(position, split)
                    }
                    other => {
                        let what = format!("`{name}` holds {other}, expected positions or ids");
                        return Err(wrong(what));
                    }
                };
                if before.is_some() {
                    return Err(wrong(format!("names {value} twice")));
                }
            }
        }
        Ok(lists)
    }

    /// The split of an example.
    pub(super) fn of(&self, id: &str, position: usize) -> Option<Split> {
        let by_position = || self.positions.get(&position);
        self.ids.get(id).or_else(by_position).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::record::Example;

    /// Sets the split of each example and returns how many groups of near-duplicates there are.
    fn assign(examples: &mut [Example], options: &SplitOptions, seed: u64) -> usize {
        let mut briefs = Briefs::default();
        for example in examples.iter() {
            let stratum = format!("{}\u{1f}{}", example.label, example.strata["field"]);
            briefs.push(&example.id, Some(&example.claim), stratum, &[], None);
        }
        let assigned = super::assign(briefs, options, seed);
        for (example, split) in examples.iter_mut().zip(assigned.splits) {
            example.split = split;
        }
        assigned.near_duplicate_groups
    }

    fn example(id: usize, claim: &str, label: &str) -> Example {
        Example {
            id: format!("{id:03}"),
            claim: claim.into(),
            evidence: vec![],
            label: label.into(),
            strata: [("field".into(), (id % 2).to_string())].into(),
            ..Example::default()
        }
    }

    fn examples(n: usize) -> Vec<Example> {
        (0..n)
            .map(|i| {
                example(
                    i,
                    &format!("claim {i} is about {}", i * 7),
                    ["yes", "no"][i % 3 / 2],
                )
            })
            .collect()
    }

    #[test]
    fn shares_hold_in_every_stratum() {
        let mut examples = examples(600);
        assign(
            &mut examples,
            &SplitOptions {
                validation: 0.1,
                test: 0.2,
                ..Default::default()
            },
            7,
        );
        for (label, field, n) in [
            ("yes", "0", 200),
            ("yes", "1", 200),
            ("no", "0", 100),
            ("no", "1", 100),
        ] {
            let of = |split| {
                examples
                    .iter()
                    .filter(|e| e.label == label && e.strata["field"] == field && e.split == split)
                    .count()
            };
            assert!(
                of(Split::Test).abs_diff(n / 5) <= 1,
                "{label} {field}: {}",
                of(Split::Test)
            );
            assert!(of(Split::Validation).abs_diff(n / 10) <= 1);
        }
    }

    #[test]
    fn shares_hold_with_large_groups_too() {
        for seed in 0..20 {
            let mut briefs = Briefs::default();
            for id in 0..2000 {
                let group = [format!("{}", id / 5)];
                briefs.push(&format!("{id:04}"), None, "all".into(), &group, None);
            }
            let splits = super::assign(briefs, &SplitOptions::default(), seed).splits;
            let n = splits.iter().filter(|split| **split == Split::Test).count();
            assert!(n.abs_diff(300) <= 10, "{n}");
            assert!((0..2000).all(|id| splits[id] == splits[id / 5 * 5]));
        }
    }

    #[test]
    fn near_duplicates_stay_together() {
        for seed in 0..50 {
            let mut all = examples(40);
            all.push(example(
                100,
                "sea ice in the arctic shrinks every single summer",
                "yes",
            ));
            all.push(example(
                101,
                "Sea ice in the Arctic shrinks every single winter.",
                "no",
            ));
            assert_eq!(
                assign(
                    &mut all,
                    &SplitOptions {
                        test: 0.4,
                        ..Default::default()
                    },
                    seed
                ),
                1
            );
            assert_eq!(all[40].split, all[41].split);
        }
    }

    proptest! {
        #[test]
        fn order_does_not_matter(seed in 0u64..1000, n in 1usize..60, stratified: bool) {
            let options = SplitOptions { stratified, ..Default::default() };
            let mut straight = examples(n);
            let mut shuffled = straight.clone();
            Random::new(seed, "test").shuffle(&mut shuffled);
            assign(&mut straight, &options, seed);
            assign(&mut shuffled, &options, seed);
            shuffled.sort_by(|a, b| a.id.cmp(&b.id));
            prop_assert_eq!(straight, shuffled);
        }

        #[test]
        fn added_examples_move_nothing_when_not_stratified(seed in 0u64..1000, n in 1usize..60) {
            let options = SplitOptions { stratified: false, ..Default::default() };
            let (mut few, mut many) = (examples(n), examples(n + 20));
            assign(&mut few, &options, seed);
            assign(&mut many, &options, seed);
            prop_assert_eq!(&few[..], &many[..n]);
            let ids: HashSet<_> = many.iter().map(|e| &e.id).collect();
            prop_assert_eq!(ids.len(), n + 20);
        }
    }
}
