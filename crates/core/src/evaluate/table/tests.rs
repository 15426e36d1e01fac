//! Tables as they are read.

use std::collections::BTreeMap;

use super::*;
use crate::evaluate::bootstrap::Interval;
use crate::evaluate::signature::Signature;
use crate::evaluate::summary::{SystemMetrics, VERSION};

fn metric(value: f64, n: usize, scale: &str) -> Metric {
    Metric {
        value: Some(value),
        interval: Some(Interval {
            low: value - 0.0123,
            high: value + 0.0123,
        }),
        n,
        unscored: BTreeMap::new(),
        signature: Signature::new("m").with("scale", scale),
    }
}

fn file() -> MetricsFile {
    let system = |name: &str, metrics: Vec<(&str, Metric)>| SystemMetrics {
        system: name.to_owned(),
        metrics: metrics
            .into_iter()
            .map(|(k, m)| (k.to_owned(), m))
            .collect(),
        labels: None,
        outcomes: BTreeMap::new(),
        mean_words: None,
        contrast: None,
    };
    MetricsFile {
        version: VERSION,
        split: "test".to_owned(),
        n_examples: 40,
        seed: 7,
        resamples: 2000,
        systems: vec![
            system(
                "phi_2 & co|x",
                vec![
                    ("cec", metric(0.91, 38, "1")),
                    ("bleu", metric(24.719, 40, "100")),
                    ("rouge1", metric(-0.0001, 40, "1")),
                    ("own", metric(0.5, 40, "1")),
                ],
            ),
            system("say \"hi\", you", vec![("cec", metric(-0.25, 40, "1"))]),
        ],
        differences: vec![Difference {
            metric: "bleu".to_owned(),
            system: "phi_2 & co|x".to_owned(),
            minus: "b".to_owned(),
            value: Some(1.5),
            interval: None,
            excludes_zero: None,
            n: 40,
            bca: Some(Interval {
                low: -1.0,
                high: 2.0,
            }),
            tests: None,
        }],
    }
}

#[test]
fn the_paper_s_table_has_its_columns_and_dashes() {
    let plain = paper(&file(), Format::Plain);
    assert_eq!(
        plain,
        "System          BLEU  ROUGE-1  ROUGE-2  ROUGE-L  METEOR  BERTScore     CEC\n\
         phi_2 & co|x   0.247    0.000        -        -       -          -   0.910\n\
         say \"hi\", you      -        -        -        -       -          -  -0.250\n"
    );
    let markdown = paper(&file(), Format::Markdown);
    assert_eq!(
        markdown.lines().nth(2).unwrap(),
        "| phi_2 & co\\|x | 0.247 | 0.000 | - | - | - | - | 0.910 |"
    );
    assert_eq!(
        markdown.lines().nth(1).unwrap(),
        "|---|---:|---:|---:|---:|---:|---:|---:|"
    );
    let latex = paper(&file(), Format::Latex);
    assert!(
        latex.starts_with("\\begin{tabular}{lrrrrrrr}\n\\toprule\nSystem & BLEU & "),
        "{latex}"
    );
    assert!(
        latex.contains("\nphi\\_2 \\& co|x & 0.247 & 0.000 & - & "),
        "{latex}"
    );
    assert!(
        latex.contains("- & $-$0.250 \\\\\n\\bottomrule\n\\end{tabular}\n"),
        "{latex}"
    );
    let csv = paper(&file(), Format::Csv);
    let rows: Vec<&str> = csv.split("\r\n").collect();
    assert_eq!(
        rows[0],
        "System,BLEU,ROUGE-1,ROUGE-2,ROUGE-L,METEOR,BERTScore,CEC"
    );
    assert_eq!(rows[2], "\"say \"\"hi\"\", you\",,,,,,,-0.25");
}

#[test]
fn the_full_table_has_intervals_and_says_where_examples_are_missing() {
    let plain = full(&file(), Format::Plain);
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = plain.lines().map(words).collect();
    assert_eq!(lines[1], "bleu 24.72 [24.71, 24.73] -");
    assert_eq!(
        lines[3],
        "cec 0.910 [0.898, 0.922] (n 38) -0.250 [-0.262, -0.238]"
    );
    assert_eq!(lines[4], "own 0.500 [0.488, 0.512] -");
    let latex = full(&file(), Format::Latex);
    assert!(
        latex.contains("$-$0.250 {[}$-$0.262, $-$0.238{]}"),
        "{latex}"
    );
}

#[test]
fn csv_rows_have_equally_many_columns() {
    let mut named = file();
    named.systems[1].system = "plain".to_owned();
    for csv in [full(&named, Format::Csv), differences(&named, Format::Csv)] {
        let rows: Vec<&str> = csv.trim_end().split("\r\n").collect();
        let commas = |row: &str| row.matches(',').count();
        assert!(
            rows.iter().all(|row| commas(row) == commas(rows[0])),
            "{csv}"
        );
    }
    let empty = MetricsFile {
        systems: Vec::new(),
        differences: Vec::new(),
        ..file()
    };
    assert_eq!(full(&empty, Format::Csv), "Metric\r\n");
    assert_eq!(full(&empty, Format::Plain), "Metric\n");
}

#[test]
fn differences_show_what_there_is() {
    let plain = differences(&file(), Format::Plain);
    let words: Vec<&str> = plain.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(
        words.join(" "),
        "bleu b 40 1.50 [-1.00, 2.00] - - - - - - - - -"
    );
}
