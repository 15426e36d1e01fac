//! Microseconds a pair of each lexical metric, in alternating rounds.
//!
//! `cargo bench -p stillhouse-core --bench metrics [-- ROUNDS]`: 500 pairs of five sentences of 10 to 20 words, half of them common; the reference is the explanation with every fourth word another.
//! Prints the median over the rounds.

#![expect(clippy::print_stdout, reason = "a bench shows what it measured")]

use std::hint::black_box;
use std::time::Instant;

use stillhouse_core::evaluate::bleu::{self, BleuOptions};
use stillhouse_core::evaluate::chrf::{self, ChrfOptions};
use stillhouse_core::evaluate::meteor::{self, MeteorOptions, Text};
use stillhouse_core::evaluate::{rouge, split, wordnet};
use stillhouse_core::random::Random;

const PAIRS: usize = 500;
const COMMON: [&str; 12] = [
    "the", "of", "and", "because", "which", "is", "a", "to", "by", "it", "in", "so",
];
const OTHERS: [&str; 24] = [
    "glacier",
    "floods",
    "warming",
    "causes",
    "rising",
    "farmers",
    "crops",
    "harvested",
    "temperature",
    "drought",
    "rivers",
    "cities",
    "coastal",
    "carbon",
    "emissions",
    "forest",
    "burned",
    "heated",
    "oceans",
    "melting",
    "economy",
    "prices",
    "growing",
    "storms",
];

struct Pair {
    explanation: String,
    reference: String,
}

/// Measures one pair, and forgets what it found.
type Measure = fn(&Pair);

fn main() {
    let rounds = std::env::args().find_map(|arg| arg.parse().ok());
    let pairs = pairs();

    let start = Instant::now();
    wordnet::synonyms("dog", |name| {
        black_box(name);
    });
    let first = start.elapsed().as_secs_f64() * 1e3;
    println!("first synonym  {first:8.1} ms");

    let metrics: [(&str, Measure); 6] = [
        ("split", |pair| {
            black_box((
                split::sentences(&pair.explanation),
                split::sentences(&pair.reference),
            ));
        }),
        ("bleu", |pair| {
            let options = BleuOptions::default();
            black_box(
                bleu::sacre_counts(&pair.explanation, &[&pair.reference], &options).sentence(),
            );
        }),
        ("rouge", |pair| {
            black_box(rouge::scores(&pair.explanation, &pair.reference, false));
        }),
        ("rouge, stemmed", |pair| {
            black_box(rouge::scores(&pair.explanation, &pair.reference, true));
        }),
        ("chrf", |pair| {
            let options = ChrfOptions::default();
            black_box(chrf::counts(
                &pair.explanation,
                &[&pair.reference],
                &options,
            ));
        }),
        ("split, meteor", |pair| {
            let sentences = [&pair.explanation, &pair.reference].map(|text| split::sentences(text));
            let text = |whole, at: usize| Text {
                whole,
                sentences: &sentences[at],
            };
            let (explanation, reference) = (text(&pair.explanation, 0), text(&pair.reference, 1));
            black_box(meteor::score(
                explanation,
                &[reference],
                &MeteorOptions::default(),
            ));
        }),
    ];
    let mut seconds = metrics.map(|_| Vec::new());
    for _ in 0..rounds.unwrap_or(15) {
        for ((_, measure), seconds) in metrics.iter().zip(&mut seconds) {
            let start = Instant::now();
            pairs.iter().for_each(measure);
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    for ((name, _), mut seconds) in metrics.iter().zip(seconds) {
        seconds.sort_by(f64::total_cmp);
        let median = seconds[seconds.len() / 2] / PAIRS as f64 * 1e6;
        println!("{name:<14} {median:8.1} us a pair");
    }
}

fn pairs() -> Vec<Pair> {
    let mut random = Random::new(7, "bench");
    let mut word = || {
        if random.below(2) == 0 {
            COMMON[random.below(COMMON.len())]
        } else {
            OTHERS[random.below(OTHERS.len())]
        }
    };
    let mut pair = || {
        let (mut explanation, mut reference) = (String::new(), String::new());
        for sentence in 0..5 {
            for at in 0..10 + 2 * sentence {
                let common = word();
                explanation.push_str(if at == 0 { "Heat" } else { common });
                reference.push_str(match at {
                    0 => "Heat",
                    _ if at % 4 == 3 => word(),
                    _ => common,
                });
                explanation.push(' ');
                reference.push(' ');
            }
            explanation.push_str("rises, too. ");
            reference.push_str("rises. ");
        }
        Pair {
            explanation,
            reference,
        }
    };
    (0..PAIRS).map(|_| pair()).collect()
}
