//! The dataset files that come with the program, against samples of our own in their schemas.

use std::path::{Path, PathBuf};

use super::{DataOptions, Dataset, Unit, read};
use crate::{fs, table};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn dataset(name: &str) -> Dataset {
    let path = root().join(format!("datasets/{name}.toml"));
    let dataset: Dataset = toml::from_str(&fs::read_text(&path).unwrap())
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    dataset.check(&path).unwrap();
    dataset
}

/// What each record of a sample becomes, one line an example.
fn shown(name: &str, unit: Unit) -> String {
    let mut dataset = dataset(name);
    let fixtures = root().join("fixtures/datasets");
    let listed = fs::list(&fixtures).unwrap();
    let is_it = |file: &&String| Path::new(file).file_stem().is_some_and(|stem| stem == name);
    let file = listed.iter().map(|(file, _)| file).find(is_it);
    for lines in dataset.table.lines.values_mut() {
        *lines = lines.to_string_lossy().replace("{split}", "dev").into();
    }
    let options = DataOptions {
        unit,
        ..DataOptions::default()
    };
    let mut page = String::new();
    let mut position = 0;
    table::read_each(
        &fixtures.join(file.unwrap()),
        &dataset.table,
        |place, row| {
            let parsed = read::parse(&dataset, &options, row, position)
                .map_err(|bad| place.error(bad.what))?;
            for parsed in parsed {
                let example = parsed.example;
                let mut parts = vec![
                    example.id,
                    example.claim,
                    example.evidence.join(" ; "),
                    example.label,
                ];
                let votes = example.notes.iter().map(|note| format!("{:?}", note.votes));
                parts.push(votes.collect::<Vec<_>>().join(" ; "));
                let explanations = parsed.reference.map(|r| r.explanations.join(" ; "));
                parts.push(explanations.unwrap_or_default());
                let candidates = parsed.candidates.iter();
                parts.extend(candidates.map(|c| format!("{:?} {}", c.label.as_deref(), c.text)));
                parts.retain(|part| !part.is_empty());
                page += &parts.join(" | ").replace('\n', "/");
                page.push('\n');
            }
            position += 1;
            Ok(())
        },
    )
    .unwrap();
    page
}

#[test]
fn every_dataset_file_reads_the_schema_it_names() {
    let check =
        |name: &str, expected: &str| assert_eq!(shown(name, Unit::Claim), expected, "{name}");
    check(
        "gsm8k",
        "0 | Ana has 3 hens. Each lays 4 eggs a week. How many eggs are there in 2 weeks? | 24 | In a week there are 3*4 = 12 eggs./In two weeks 2*12 = $24.\n\
         1 | A shop sells 600 pens and 600 pencils. How many things? | 1200 | 600+600 = 1200\n",
    );
    check(
        "svamp",
        "own-1 | A pack of cards costs 12 dollars What do 4 packs cost? | 48\n\
         own-2 | Mia had 9 plums. She ate 2. How many are left? | 7\n",
    );
    check(
        "svamp-rationales",
        "0 | Mia had 9 plums and ate 2. How many are left? | 7 | Some(\"7\") She had 9 plums./She ate 2, so 9 - 2 = 7 are left. | Some(\"11\") 9 + 2 = 11 plums are left. | None She has plums.\n",
    );
    check(
        "mcc-kd-numbers",
        "0 | A rope of 12 m is cut into 4 parts. How long is each? | 3 | Some(\"3\") 12 / 4 = 3 m/Therefore, the answer is 3 .\n",
    );
    check(
        "asdiv",
        "0 | A square has a perimeter of 20 cm. How long is a side? | 5\n",
    );
    check(
        "mcc-kd-options",
        "0 | Where does a boat float? Answer Choices:/A. sand/B. lake/C. roof/D. oven/E. drawer | B\n",
    );
    check(
        "aqua",
        "0 | A train runs 60 km in 40 minutes. How far in an hour? Answer Choices: (A) 80 km (B) 90 km (C) 100 km (D) 70 km (E) None of these | B | Explanation :/60/40 = 1.5 km a minute./1.5 * 60 = 90.\n",
    );
    check(
        "addsub",
        "0 | Leo found 70 shells . He gave 20 away . How many shells does he have ? | 50\n",
    );
    check(
        "multiarith",
        "0 | Two bags hold 30 and 40 nuts. 35 are eaten. How many are left? | 35\n",
    );
    check(
        "singleeq",
        "0 | A plank is 2.5 m long. How long are 3 of them ? | 7.5\n",
    );
    check(
        "commonsense-qa",
        "own-1 | Where would you put a reading lamp? Answer Choices: (A) river (B) soup (C) cloud (D) desk (E) shoe | D\n",
    );
    check(
        "strategy-qa",
        "0 | Could a goldfish outlive a mayfly? | yes | Yes. A goldfish lives for years. A grown mayfly lives for a day.\n\
         1 | Can ice sink in water? | no | No. Ice is less dense than water.\n",
    );
    check(
        "date-understanding",
        "0 | Yesterday was March 3, 2020. What is the date today in MM/DD/YYYY? Answer Choices: (A) 04/04/2020 (B) 03/04/2020 (C) 03/03/2020 (D) 03/05/2020 (E) 03/11/2020 (F) 03/04/1920 | B\n",
    );
    check(
        "date-understanding-open",
        "0 | Yesterday was March 3, 2020. What is the date today in MM/DD/YYYY? | 03/04/2020\n",
    );
    check(
        "tracking-shuffled-objects",
        "0 | Ann, Ben and Cleo hold a ball each: Ann red, Ben blue, Cleo green. Ann and Ben swap. At the end Ben has the Answer Choices: (A) blue ball. (B) red ball. (C) green ball. | B\n",
    );
    check(
        "coin-flip",
        "0 | A coin is heads up. Noor flips the coin. Is the coin still heads up? | no\n",
    );
    check(
        "last-letters",
        "0 | Take the last letters of each words in \"Noor Ivo Ana\" and concatenate them. | roa\n",
    );
    check(
        "esnli",
        "0 | An animal is outside . | A dog runs along the beach .  | entailment | a dog is an animal and a beach is outside . ; beaches are outside . ; dogs are animals .\n\
         1 | The men are asleep . | Two men play cards .  | contradiction | men who play cards are not asleep . ; one cannot sleep and play .\n",
    );
    check(
        "climate-fever",
        "9001 | Winters in the valley have become milder. | January is two degrees warmer than in 1950. ; Frost harms buds. | supported\n",
    );
}

#[test]
fn evidence_brings_its_labels_and_votes_and_can_stand_alone() {
    assert_eq!(
        shown("climate-fever-evidence", Unit::Claim),
        "9001 | Winters in the valley have become milder. | January is two degrees warmer than in 1950. ; Frost harms buds. | supported | {\"supported\": 2} ; {\"not enough info\": 1, \"supported\": 1}\n"
    );
    assert_eq!(
        shown("climate-fever-evidence", Unit::Evidence),
        "9001:1 | Winters in the valley have become milder. | January is two degrees warmer than in 1950. | supported | {\"supported\": 2}\n\
         9001:2 | Winters in the valley have become milder. | Frost harms buds. | not enough info | {\"not enough info\": 1, \"supported\": 1}\n"
    );
}

#[test]
fn every_dataset_file_has_a_sample_here_and_a_prompt() {
    for (file, _) in fs::list(&root().join("datasets")).unwrap() {
        let Some(name) = file.strip_suffix(".toml") else {
            continue;
        };
        let dataset = dataset(name);
        crate::prompt::Template::new(&dataset.prompt, false).unwrap();
        let samples = fs::list(&root().join("fixtures/datasets")).unwrap();
        let is_sampled = samples
            .iter()
            .any(|(file, _)| file.split('.').next() == Some(name));
        // The quickstart's own records stand in examples/.
        assert!(is_sampled || name == "quickstart", "{name} has no sample");
    }
}
