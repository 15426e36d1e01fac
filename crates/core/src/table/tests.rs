use std::fmt::Write as _;
use std::io::Write as _;

use super::*;
use crate::fs;
use flate2::write::GzEncoder;

/// Reads a file of this name and content; rows as JSON lines, each after its place.
fn rows(name: &str, content: impl AsRef<[u8]>, options: &TableOptions) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    shown(&path, options).replace(&format!("{}/", folder.path().display()), "")
}

fn shown(path: &Path, options: &TableOptions) -> String {
    let mut page = String::new();
    let done = read_each(path, options, |place, row| {
        writeln!(page, "{}: {}", place.within(), Value::Object(row)).unwrap();
        Ok(())
    });
    if let Err(error) = done {
        writeln!(page, "error: {error}").unwrap();
    }
    page.trim_end().to_owned()
}

fn check(name: &str, content: &str, expected: &str) {
    assert_eq!(
        rows(name, content, &TableOptions::default()),
        expected,
        "{name}: {content}"
    );
}

#[test]
fn every_form_gives_rows_with_their_places() {
    check(
        "a.jsonl",
        "{\"id\": 1}\n\n{\"id\": 2}",
        "line 1: {\"id\":1}\nline 3: {\"id\":2}",
    );
    check(
        "a.json",
        "[{\"id\": 1},\n {\"id\": [2, {\"b\": null}]}]",
        "record 1: {\"id\":1}\nrecord 2: {\"id\":[2,{\"b\":null}]}",
    );
    check("a.json", " [] ", "");
    // Named JSON, but one object a line.
    check(
        "a.json",
        "{\"id\": 1}\n{\"id\": 2}\n",
        "line 1: {\"id\":1}\nline 2: {\"id\":2}",
    );
    check(
        "a.csv",
        "\u{feff}id,text\r\n1,\"a, \"\"b\"\"\r\nc\"\r\n\r\n2,\r\n",
        "line 2: {\"id\":\"1\",\"text\":\"a, \\\"b\\\"\\r\\nc\"}\nline 5: {\"id\":\"2\",\"text\":\"\"}",
    );
    check(
        "a.csv",
        "id\n\n\n\"a\nb\"\n\nc",
        "line 4: {\"id\":\"a\\nb\"}\nline 7: {\"id\":\"c\"}",
    );
    check(
        "a.tsv",
        "id\ttext\n1\ta, b\n",
        "line 2: {\"id\":\"1\",\"text\":\"a, b\"}",
    );
    check(
        "a.txt",
        "\u{feff}one\r\n\ntwo",
        "line 1: {\"text\":\"one\"}\nline 2: {\"text\":\"\"}\nline 3: {\"text\":\"two\"}",
    );
}

#[test]
fn text_is_read_through_gzip() {
    let mut gz = GzEncoder::new(vec![], flate2::Compression::fast());
    gz.write_all(b"id,text\n1,a\n").unwrap();
    let bytes = gz.finish().unwrap();
    assert_eq!(
        rows("A.CSV.GZ", &bytes, &TableOptions::default()),
        "line 2: {\"id\":\"1\",\"text\":\"a\"}"
    );
    let cut = rows(
        "a.csv.gz",
        &bytes[..bytes.len() - 9],
        &TableOptions::default(),
    );
    assert!(cut.contains("error: a.csv.gz: "), "{cut}");
}

#[test]
fn a_list_is_found_under_a_pointer() {
    let check = |at: &str, content: &str, expected: &str| {
        let options = TableOptions {
            at: Some(at.into()),
            ..Default::default()
        };
        assert_eq!(rows("a.json", content, &options), expected);
    };
    let content = "{\"about\": {\"b\": [1]},\n\"a/b\": {\"list\":\n [{\"id\": 1}]}, \"rest\": []}";
    check("/a~1b/list", content, "record 1: {\"id\":1}");
    check(
        "/about/list",
        content,
        "error: a.json:1: `/about` has no `list`; its keys: `b`",
    );
    check(
        "/about/b/c",
        content,
        "error: a.json:1: `/about/b` is a list, expected an object",
    );
    check(
        "/about/b",
        content,
        "error: a.json:1: record 1: is a number, expected an object",
    );
    check(
        "/a~1b/list/0",
        content,
        "error: a.json:3: `/a/b/list` is a list, expected an object",
    );
    check(
        "list",
        content,
        "error: a.json: `at = \"list\"` is no JSON pointer; did you mean `/list`?",
    );
}

#[test]
fn what_is_broken_is_named_with_its_place() {
    check(
        "a.jsonl",
        "{\"id\": 1}\n{\"id\": }\n",
        "line 1: {\"id\":1}\nerror: a.jsonl:2: expected value at line 1 column 8",
    );
    check(
        "a.jsonl",
        "[{\"id\": 1}]\n",
        "error: a.jsonl:1: is a list, expected one object a line; a list is read with format = \"json\"",
    );
    check(
        "a.jsonl",
        "{\"id\": 1}\n7\n",
        "line 1: {\"id\":1}\nerror: a.jsonl:2: is a number, expected an object",
    );
    check(
        "a.json",
        "[{\"id\": 1},\n{\"id\": 2},\n\"x\"]",
        "record 1: {\"id\":1}\nrecord 2: {\"id\":2}\nerror: a.json:3: record 3: is a text, expected an object",
    );
    check(
        "a.json",
        "[{\"id\": 1},\n{\"id\": 2}",
        "record 1: {\"id\":1}\nrecord 2: {\"id\":2}\nerror: a.json:2: EOF while parsing a list at line 2 column 9",
    );
    check(
        "a.json",
        "{\"examples\": []}",
        "error: a.json:1: the file is an object with the keys `examples`; say where the list of \
         records stands, such as at = \"/examples\"",
    );
    check(
        "a.json",
        "true",
        "error: a.json:1: the file is true or false, expected a list of records",
    );
    check(
        "a.csv",
        "id,text\n1,a\n2\n",
        "line 2: {\"id\":\"1\",\"text\":\"a\"}\nerror: a.csv:3: has 1 fields, expected the 2 of the header: `id`, `text`",
    );
    check(
        "a.csv",
        "id,text\n1,\"a\n2,b\n3,c\n4,d,e\n",
        "line 2: {\"id\":\"1\",\"text\":\"a\\n2,b\\n3,c\\n4,d,e\\n\"}\nerror: a.csv:2: a quote is opened and never closed",
    );
    check(
        "a.csv",
        "id,text\n\"1,a\n2,b\n",
        "error: a.csv:2: has 1 fields, expected the 2 of the header: `id`, `text` (a quoted cell goes over several lines: is a quote never closed?)",
    );
    check(
        "a.csv",
        "id,id\n1,a\n",
        "error: a.csv:1: the header names the column `id` twice",
    );
    check(
        "a.csv",
        "",
        "error: a.csv: is empty, expected a header line",
    );
    check(
        "a.xls",
        "",
        "error: a.xls: its extension names no form; expected .jsonl, .json, .csv, .tsv, .parquet \
         or .txt, text also with .gz, or a `format`",
    );
    assert_eq!(
        rows("a.csv", b"id\nx\n\xff\n", &TableOptions::default()),
        "line 2: {\"id\":\"x\"}\nerror: a.csv:3: not valid UTF-8; save the file as UTF-8"
    );
}

#[test]
fn a_record_that_never_ends_is_refused() {
    let long = "x".repeat(17 << 20);
    let check = |name: &str, content: String, expected: &str| {
        let got = rows(name, content, &TableOptions::default());
        assert!(got.contains(expected), "{got:.200}");
    };
    check(
        "a.csv",
        format!("id,text\n1,\"{long}\"\n"),
        "error: a.csv:2: a record is longer than 16 MiB",
    );
    check(
        "a.json",
        format!("[{{}},\n{{\"a\": \"{long}\"}}]"),
        "error: a.json:2: a record is longer than 16 MiB",
    );
    check(
        "a.txt",
        long,
        "error: a.txt:1: a record is longer than 16 MiB",
    );
}

#[test]
fn parallel_files_stay_in_step() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| fs::write(&folder.path().join(name), text).unwrap();
    file("s1.dev", "A dog runs.\nA man eats.\n");
    file("labels.dev", "entailment\nneutral");
    file("short.dev", "entailment\n");
    let of = |second: &str| {
        let options = TableOptions {
            lines: [("premise", "s1.dev"), ("label", second)]
                .map(|(name, file)| (name.to_owned(), file.into()))
                .into(),
            ..Default::default()
        };
        shown(folder.path(), &options)
    };
    assert_eq!(
        of("labels.dev"),
        "line 1: {\"label\":\"entailment\",\"premise\":\"A dog runs.\"}\n\
         line 2: {\"label\":\"neutral\",\"premise\":\"A man eats.\"}"
    );
    let error = of("short.dev");
    assert!(
        error.contains("short.dev: ends after 1 lines, but `s1.dev` goes on"),
        "{error}"
    );
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_of_pyarrow_and_pandas_is_read() {
    use serde_json::json;

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/tables");
    let read = |name: &str| read(&folder.join(name), &TableOptions::default()).unwrap();
    let all = read("snappy.parquet");
    assert_eq!(all.len(), 5);
    assert_eq!(
        Value::Object(all[2].clone()),
        json!({
            "id": 2,
            "claim": "Claim 2: ice \u{2744} melts, \"mostly\"",
            "evidences": [
                {"evidence": "passage 2.0", "entropy": 0.0, "votes": ["SUPPORTS", null]},
                {"evidence": "passage 2.1", "entropy": 0.25, "votes": ["SUPPORTS", null]},
            ],
            "label": null,
            "share": 0.1,
            "small": 0.1,
            "is_new": false,
            "day": "2020-02-03",
            "seen": "2020-02-03 12:30:00.000000 +00:00",
            "price": "2.50",
            "scores": {"yes": 2, "no": -2},
        })
    );
    assert_eq!(all[1]["share"], Value::Null);
    assert_eq!(all[0]["evidences"], json!([]));
    assert_eq!(read("zstd.parquet"), all);
    assert_eq!(read("gzip.parquet"), all);
    let pandas: Vec<Value> = read("pandas.parquet")
        .into_iter()
        .map(Value::Object)
        .collect();
    assert_eq!(pandas[1]["label"], "no");
    assert_eq!(pandas[2]["count"], Value::Null);
    assert_eq!(pandas[2]["when"], Value::Null);

    let broken = rows("a.parquet", "id,text\n", &TableOptions::default());
    assert!(broken.starts_with("error: a.parquet: "), "{broken}");
}
