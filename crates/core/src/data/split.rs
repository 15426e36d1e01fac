//! Train, validation and test: fixed by the seed, near-duplicates together, strata in proportion.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::random::{Random, hash};
use crate::record::{Example, Split};
use crate::text::{jaccard, trigrams};

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
    /// Claims that share this much of their word trigrams (Jaccard) stay in one split.
    pub near_duplicate: f64,
}

impl Default for SplitOptions {
    fn default() -> Self {
        Self {
            validation: 0.1,
            test: 0.15,
            stratified: true,
            near_duplicate: 0.5,
        }
    }
}

/// Sets the split of each example and returns how many groups of near-duplicates there are.
///
/// The result does not depend on the order of the examples.
pub(super) fn assign(examples: &mut [Example], options: &SplitOptions, seed: u64) -> usize {
    let groups = near_duplicate_groups(examples, options.near_duplicate);
    let n_duplicate_groups = groups.iter().filter(|g| g.len() > 1).count();

    // Sorted by stratum and, within it, by a hash of the id: a systematic sample of this order
    // is proportional in every stratum and random within each.
    let mut order: Vec<(String, u64, Vec<usize>)> = groups
        .into_iter()
        .map(|group| {
            let first = &examples[group[0]];
            let strata: Vec<&str> = [first.label.as_str()]
                .into_iter()
                .chain(first.strata.values().map(String::as_str))
                .collect();
            (
                strata.join("\u{1f}"),
                hash(first.id.as_bytes(), seed),
                group,
            )
        })
        .collect();
    order.sort();

    let mut random = Random::new(seed, "split");
    let mut test = Systematic {
        share: options.test,
        position: random.next_f64(),
    };
    let rest = options.validation / (1.0 - options.test).max(f64::EPSILON);
    let mut validation = Systematic {
        share: rest,
        position: random.next_f64(),
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
                share if share < options.test => Split::Test,
                share if share < options.test + options.validation => Split::Validation,
                _ => Split::Train,
            }
        };
        for index in group {
            examples[index].split = split;
        }
    }
    n_duplicate_groups
}

/// Takes every (1/share)-th item, from a random start.
struct Systematic {
    share: f64,
    position: f64,
}

impl Systematic {
    fn takes(&mut self, n: usize) -> bool {
        let before = self.position.floor();
        self.position += self.share * n as f64;
        self.position.floor() > before
    }
}

/// Groups of examples whose claims are near-duplicates, directly or through others; each group
/// sorted by id, so that its first member stands for it.
fn near_duplicate_groups(examples: &[Example], threshold: f64) -> Vec<Vec<usize>> {
    let grams: Vec<_> = examples.iter().map(|e| trigrams(&e.claim)).collect();
    let mut holders: HashMap<u64, Vec<usize>> = HashMap::new();
    let mut parent: Vec<usize> = (0..examples.len()).collect();
    for (index, set) in grams.iter().enumerate() {
        let mut shared: HashMap<usize, usize> = HashMap::new();
        for gram in set {
            let others = holders.entry(*gram).or_default();
            for other in others.iter() {
                *shared.entry(*other).or_default() += 1;
            }
            others.push(index);
        }
        for other in shared.into_keys() {
            if jaccard(set, &grams[other]) >= threshold {
                let (a, b) = (root(&mut parent, index), root(&mut parent, other));
                parent[a.max(b)] = a.min(b);
            }
        }
    }
    let mut groups: HashMap<usize, Vec<usize>> = HashMap::new();
    for index in 0..examples.len() {
        groups
            .entry(root(&mut parent, index))
            .or_default()
            .push(index);
    }
    let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
    for group in &mut groups {
        group.sort_by(|a, b| examples[*a].id.cmp(&examples[*b].id));
    }
    groups
}

fn root(parent: &mut [usize], mut index: usize) -> usize {
    while parent[index] != index {
        parent[index] = parent[parent[index]];
        index = parent[index];
    }
    index
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    fn example(id: usize, claim: &str, label: &str) -> Example {
        Example {
            id: format!("{id:03}"),
            claim: claim.into(),
            evidence: vec![],
            label: label.into(),
            strata: BTreeMap::from([("field".into(), (id % 2).to_string())]),
            split: Split::Train,
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
