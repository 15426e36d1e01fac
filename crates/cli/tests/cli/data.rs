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

/// Serves one file at `/garden.csv`, again and again.
fn serve(table: String) -> String {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/garden.csv", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = String::new();
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            while lines.read_line(&mut request).is_ok_and(|n| n > 2) {}
            let n = table.len();
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {n}\r\nconnection: close\r\n\r\n");
            // A client that hangs up early is a part of the play.
            let _ = stream.write_all((head + &table).as_bytes());
        }
    });
    url
}

#[test]
fn records_are_fetched_from_where_the_dataset_file_says() {
    let folder = tempfile::tempdir().unwrap();
    let rows = (0..40).map(|nr| format!("Bed {nr} needs water,{}\n", nr % 2));
    let url = serve(format!("claim,ok\n{}", rows.collect::<String>()));
    let described = folder.path().join("garden.toml");
    let dataset = format!(
        "name = \"garden\"\ntemplated = true\nprompt = \"{{{{ claim }}}}\"\n[from]\nurl = \"{url}\"\n\
         [fields]\nclaim = \"claim\"\nlabel = \"ok\"\n[labels]\nyes = [\"1\"]\nno = [\"0\"]\n"
    );
    std::fs::write(&described, dataset).unwrap();
    let cache = folder.path().join("cache");
    let run = |args: &[&str], offline: &str| {
        let mut command = stillhouse(args);
        command
            .env("STILLHOUSE_CACHE", &cache)
            .env("HF_HUB_OFFLINE", offline);
        command.output().unwrap()
    };
    let described = described.to_str().unwrap();
    // Not here, and not to be fetched: said before anything else.
    let said = expect(&run(&["data", described], "1"), 3);
    assert!(said.contains("not asked: HF_HUB_OFFLINE is set"), "{said}");

    let page = run(&["data", described], "0");
    expect(&page, 0);
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    assert!(
        page.contains("data set    garden") && page.contains("address     http://"),
        "{page}"
    );
    // From now on it is in the cache.
    expect(&run(&["data", described], "1"), 0);
    let pulled = run(&["pull", described], "1");
    expect(&pulled, 0);
    let pulled = String::from_utf8_lossy(&pulled.stdout).into_owned();
    assert!(pulled.trim_end().ends_with("garden.csv"), "{pulled}");
    let config = small_config(folder.path());
    let set = format!("data.dataset={described}");
    let to_data = [
        "run",
        config.to_str().unwrap(),
        "--to",
        "data",
        "--set",
        &set,
    ];
    let output = run(&[&to_data[..], &["--set", "data.path="]].concat(), "1");
    expect(&output, 0);
    assert!(folder.path().join("out/examples.jsonl").exists());

    let said = expect(&run(&["data", "no-such-set"], "1"), 2);
    assert!(said.contains("known by name: addsub, aqua, "), "{said}");
    let said = expect(&run(&["data", "esnli"], "1"), 2);
    assert!(said.contains("data.path: is not set"), "{said}");
}
