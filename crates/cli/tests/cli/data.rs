//! `stillhouse data`, and a data set of one's own by a TOML file alone.

use crate::common::{expect, small_config, stillhouse};

/// What the command says of a data set in `folder`.
fn look(dataset: &str, table: (&str, &str), sets: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let config = small_config(folder.path());
    let (described, records) = (folder.path().join("own.toml"), folder.path().join(table.0));
    std::fs::write(&described, dataset).unwrap();
    std::fs::write(&records, table.1).unwrap();
    let sets: Vec<String> = [
        format!("data.dataset={}", described.display()),
        format!("data.path={}", records.display()),
    ]
    .into_iter()
    .chain(sets.iter().map(|set| (*set).to_owned()))
    .collect();
    let mut args = vec!["data", config.to_str().unwrap()];
    for set in &sets {
        args.extend(["--set", set]);
    }
    let output = stillhouse(&args).output().unwrap();
    expect(&output, 0);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_table_with_columns_of_its_own_needs_a_toml_file_alone() {
    let dataset = r#"
        name = "garden"
        licence = "ours"
        metrics = ["accuracy", "cec"]
        prompt = "Is it so? {{ claim }}\nSource: {{ evidence[0] }}\nVerdict:"
        [fields]
        id = "Nr."
        claim = "what is said"
        evidence = "seen"
        label = "ok?"
        explanations = ["why"]
        [labels]
        right = ["1"]
        wrong = ["0"]
    "#;
    let row = |nr: usize| {
        let ok = nr % 2;
        format!(
            "{nr},\"Bed {nr} needs water, now\",Soil {nr} is dry.,{ok},Dry soil {nr} needs water.\n"
        )
    };
    let rows: Vec<String> = (0..60).map(row).collect();
    let table = format!("Nr.,what is said,seen,ok?,why\n{}", rows.concat());
    let page = look(dataset, ("garden.csv", &table), &[]);
    let has = |expected: &str| assert!(page.contains(expected), "`{expected}` in: {page}");
    has("data set    garden");
    has("licence     ours");
    has("metrics     accuracy, cec");
    has("train       4");
    has("wrong 2");
    has("0 of them stand in several splits");
    has("prompts, train: 4");
    has("completions: 60 texts");
    has("<bos>Is it so? Bed ");
    has("needs water, now\nSource: Soil ");
    has("Dry soil ");
    has("needs water.<eos>»");
}

#[test]
fn reasoning_comes_before_the_answer_and_apart_from_it_where_wanted() {
    let dataset = |more: &str| {
        format!(
            r#####"
            name = "sums"
            prompt = "Question: {{{{ claim }}}}\nAnswer:"
            {more}
            [fields]
            claim = "q"
            label = "a"
            explanations = ["a"]
            [answer]
            kind = "number"
            gold = "text"
            marks = ["####"]
        "#####
        )
    };
    let lines: Vec<String> = (0..40)
        .map(|n| {
            format!(
                "{{\"q\": \"{n} + 1 = ?\", \"a\": \"One more than {n}. #### {}.0\"}}",
                n + 1
            )
        })
        .collect();
    let table = ("sums.jsonl", lines.join("\n"));
    let page = look(
        &dataset(""),
        (table.0, &table.1),
        &["data.split.near_duplicate=false"],
    );
    assert!(page.contains("any answer"), "{page}");
    let shown = page.split('«').next_back().unwrap();
    assert!(
        shown.starts_with(" One more than ") && shown.contains(". The answer is "),
        "{page}"
    );

    let page = look(
        &dataset("order = \"two-prompts\""),
        (table.0, &table.1),
        &["data.split.near_duplicate=false"],
    );
    assert!(page.contains("<bos>[label] Question: "), "{page}");
}

#[test]
fn a_wrong_field_or_table_ends_with_what_to_do() {
    let check = |dataset: &str, expected: &str| {
        let folder = tempfile::tempdir().unwrap();
        let config = small_config(folder.path());
        let described = folder.path().join("own.toml");
        std::fs::write(&described, dataset).unwrap();
        let set = format!("data.dataset={}", described.display());
        let args = ["data", config.to_str().unwrap(), "--set", &set];
        let output = stillhouse(&args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && said.contains(expected),
            "{said}"
        );
    };
    check(
        "name = \"x\"\nprompt = \"x\"\n[fields]\nclaim = \"clam\"\nlabel = \"label\"\n[labels]\na = []\nb = []\n",
        "claims.jsonl:1: `clam` is missing; the fields there: `id`, ",
    );
    check(
        "name = \"x\"\nprompt = \"x\"\n[fields]\nclaim = \"claim\"\nlabel = \"label\"\n",
        "[labels] names 0 label, expected at least two, or [answer] with another kind",
    );
    check(
        "name = \"x\"\nprompt = \"x\"\n[fields]\nclaims = \"a\"\n",
        "unknown field `claims`",
    );
}
