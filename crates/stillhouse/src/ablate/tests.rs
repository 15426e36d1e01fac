//! Tables from made-up cells.

use super::*;

fn cell(select: &str, keep: Option<usize>, seed: usize, values: [f64; 4]) -> Cell {
    let measured = |value: f64| Measured {
        answer: Some(value),
        ..Measured::default()
    };
    let ids = ["a", "b", "c", "d"].map(str::to_owned);
    Cell {
        select: select.into(),
        keep,
        seed,
        key: format!("{select}{keep:?}{seed}"),
        covered: [9, 10],
        cost: Cost::default(),
        measures: ids.into_iter().zip(values.map(measured)).collect(),
    }
}

fn run(name: &str, task: &str, lift: f64) -> AblatedRun {
    let complexity = [("a", 1.0), ("b", 2.0), ("c", 3.0), ("d", 4.0)];
    AblatedRun {
        name: name.into(),
        task: task.into(),
        complexity: complexity.map(|(id, c)| (id.to_owned(), c)).into(),
        candidates: 40,
        scoring_seconds: 1.0,
        untrained: Measures::new(),
        cells: vec![
            cell("random", Some(1), 0, [-1.0, -1.0, -2.0, -2.0]),
            cell("random", Some(1), 1, [-3.0, -3.0, -4.0, -4.0]),
            cell("morsd", Some(1), 0, [-1.0 + lift, -1.0, -2.0, -2.0 + lift]),
            cell("morsd", Some(1), 1, [-3.0 + lift, -3.0, -4.0, -4.0 + lift]),
        ],
    }
}

fn ablation() -> Ablation {
    Ablation {
        version: 1,
        options: AblateOptions {
            select: vec!["random".into(), "morsd".into()],
            keep: vec![1],
            seeds: 2,
            ..AblateOptions::default()
        },
        runs: vec![run("one", "number", 1.0), run("two", "label", 0.5)],
    }
}

#[test]
fn a_row_is_the_mean_over_seeds_and_is_compared_by_example() {
    let tables = table(&ablation());
    assert_eq!(tables.len(), 1);
    let row = tables[0]
        .rows
        .iter()
        .find(|r| r.run == "one" && r.select == "morsd")
        .unwrap();
    assert_eq!(
        (row.value, row.simple, row.complex),
        (Some(-2.0), Some(-1.5), Some(-2.5))
    );
    let compared = row.compared.unwrap();
    assert!((compared.difference - 0.5).abs() < 1e-12);
    assert!(compared.p_holm >= compared.p);
    assert!(
        tables[0]
            .rows
            .iter()
            .all(|r| r.select == "morsd" || r.compared.is_none())
    );
}

#[test]
fn averages_are_over_data_sets_and_over_kinds_of_task() {
    let tables = table(&ablation());
    let of = |group: &str| {
        let found = tables[0].averages.iter();
        found
            .clone()
            .find(|a| a.group == group && a.select == "morsd")
            .unwrap()
            .difference
    };
    assert_eq!(of("all"), Some(0.375));
    assert_eq!(of("number"), Some(0.5));
    assert_eq!(of("label"), Some(0.25));
}

#[test]
fn every_form_shows_every_selector() {
    for form in [Form::Text, Form::Markdown, Form::Json, Form::Html] {
        let page = show(&ablation(), form);
        assert!(page.contains("morsd") && page.contains("random") && !page.contains("NaN"));
    }
}

#[test]
fn wrong_options_are_named() {
    let check = |options: AblateOptions, expected: &str| {
        let error = options.check().unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    };
    let with = AblateOptions::default;
    check(
        AblateOptions {
            select: vec!["best".into()],
            ..with()
        },
        "--select: `best` is no selector",
    );
    check(
        AblateOptions {
            keep: vec![0],
            ..with()
        },
        "--keep",
    );
    check(AblateOptions { seeds: 0, ..with() }, "--seeds");
    let cells = with().cells();
    assert_eq!(
        cells.len(),
        3 + 5 * 5 * 3,
        "what keeps everything has one number to keep"
    );
}
