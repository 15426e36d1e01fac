//! The encoder against `PyTorch`: a tiny random BERT, and the real `MiniLM` where it was pulled.
#![expect(
    clippy::unwrap_used,
    reason = "a helper that cannot go on fails its test"
)]

mod classifier;
mod families;
mod golden;

use std::ops::ControlFlow;
use stillhouse_core::evaluate::Embed;
use stillhouse_core::event::Event;
use stillhouse_core::{Error, fs};
use stillhouse_hub::{HubOptions, find};
use stillhouse_student::encoder::Encoder;

use golden::{Golden, assert_near, fixture, go_on, strs, texts};

#[test]
fn hidden_states_equal_those_of_pytorch_after_every_layer() {
    let (encoder, texts, golden) = (tiny(), texts("bert-tiny"), Golden::read("bert-tiny"));
    for layer in 0..=2 {
        let found = encoder
            .token_states(&strs(&texts), layer, 32, &mut go_on)
            .unwrap();
        for (i, found) in found.iter().enumerate() {
            assert_eq!(found.ids, golden.ids(&format!("ids.{i}")), "{}", texts[i]);
            assert_near(
                &found.states,
                &golden.numbers(&format!("states.{layer}.{i}")),
            );
            let n = found.ids.len();
            let expected: Vec<bool> = (0..n).map(|at| at == 0 || at == n - 1).collect();
            assert_eq!(found.is_special, expected);
        }
    }
}

#[test]
fn embeddings_equal_the_normalised_mean_of_pytorch() {
    let (mut encoder, texts) = (tiny(), texts("bert-tiny"));
    let found = encoder.embed(&strs(&texts), &mut go_on).unwrap();
    assert_near(&found.concat(), &Golden::read("bert-tiny").numbers("mean"));
}

#[test]
fn pooling_is_read_from_the_folder() {
    for settings in [
        r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#,
        r#"{"pooling_mode": "cls"}"#,
    ] {
        let folder = changed("1_Pooling/config.json", |_| settings.to_owned());
        let mut encoder = Encoder::load(folder.path(), "tiny").unwrap();
        let found = encoder
            .embed(&strs(&texts("bert-tiny")), &mut go_on)
            .unwrap();
        assert_near(&found.concat(), &Golden::read("bert-tiny").numbers("cls"));
    }
}

#[test]
fn the_longest_text_is_what_the_folder_says_and_not_the_tokenizer() {
    let encoder = tiny();
    assert_eq!(encoder.max_tokens(), 32);
    let text = "the sea is warm ".repeat(20);
    let tokens = |max_tokens| {
        let states = encoder
            .token_states(&[&text], 0, max_tokens, &mut go_on)
            .unwrap();
        states[0].ids.len()
    };
    assert_eq!([tokens(32), tokens(10), tokens(1000)], [32, 10, 40]);
}

#[test]
fn a_vector_does_not_depend_on_its_neighbours_bit_for_bit() {
    let (mut encoder, texts) = (tiny(), texts("bert-tiny"));
    // Enough of them for several tasks.
    let number = |i: usize| texts.iter().map(move |text| format!("{text} {i}"));
    let many: Vec<String> = (0..40).flat_map(number).collect();
    let together = encoder.embed(&strs(&many), &mut go_on).unwrap();
    for (text, vector) in many.iter().zip(&together) {
        let alone = encoder.embed(&[text], &mut go_on).unwrap();
        assert_eq!(&alone[0], vector, "{text}");
    }
}

#[test]
fn no_texts_give_no_vectors_and_equal_texts_equal_ones() {
    let mut encoder = tiny();
    assert!(encoder.embed(&[], &mut go_on).unwrap().is_empty());
    let found = encoder.embed(&["ice", "sea", "ice"], &mut go_on).unwrap();
    assert_eq!(found[0], found[2]);
    assert_ne!(found[0], found[1]);
}

#[test]
fn progress_is_told_and_a_wish_to_stop_is_heard() {
    let mut encoder = tiny();
    let mut heard = Vec::new();
    encoder
        .embed(&["ice", "sea"], &mut |event| {
            heard.push(event);
            ControlFlow::Continue(())
        })
        .unwrap();
    let unit = "sentences".to_owned();
    assert_eq!(
        heard,
        [Event::Progress {
            unit,
            done: 2,
            total: 2
        }]
    );
    let stopped = encoder.embed(&["ice"], &mut |_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(Error::Stopped)));
}

#[test]
fn a_folder_that_cannot_work_is_refused_with_the_file_and_the_reason() {
    check(
        "config.json",
        "\"bert\"",
        "\"llama\"",
        "model_type is `llama`",
    );
    check(
        "config.json",
        "\"gelu\"",
        "\"swish\"",
        "hidden_act is `swish`",
    );
    check("config.json", "36", "38", "does not divide into 3 heads");
    check(
        "config.json",
        "36",
        "72",
        "tensor `embeddings.word_embeddings.weight` is [",
    );
    check(
        "config.json",
        "\"num_hidden_layers\": 2",
        "\"num_hidden_layers\": 3",
        "is missing",
    );
    check("config.json", "{", "", "not the expected JSON");
    check(
        "modules.json",
        "models.Normalize",
        "models.Dense",
        "models.Dense` is not supported",
    );
    let (mean, last) = ("pooling_mode_mean_tokens", "pooling_mode_lasttoken");
    check(
        "1_Pooling/config.json",
        mean,
        last,
        "pooling by `lasttoken`",
    );
    check("tokenizer.json", "{", "", "is not a tokenizer");
    check(
        "tokenizer.json",
        "\"##9\":",
        "\"##x1\": 999, \"##9\":",
        "the model knows",
    );
}

fn check(file: &str, from: &str, to: &str, expected: &str) {
    let folder = changed(file, |text| {
        assert!(text.contains(from), "{file} has no {from}");
        text.replacen(from, to, 1)
    });
    let error = Encoder::load(folder.path(), "tiny")
        .unwrap_err()
        .to_string();
    assert!(error.contains(expected), "{error}");
    assert!(
        error.starts_with(folder.path().to_str().unwrap()),
        "{error}"
    );
}

#[test]
fn weights_that_are_cut_are_refused() {
    let folder = changed("config.json", str::to_owned);
    let path = folder.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = Encoder::load(folder.path(), "tiny")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("model.safetensors: is not a safetensors file"),
        "{error}"
    );
}

#[test]
fn minilm_gives_the_vectors_that_sentence_transformers_gives() {
    let (mut encoder, texts) = (minilm(), texts("minilm"));
    assert_eq!(encoder.name(), "all-MiniLM-L6-v2@53aa5117");
    assert_eq!(
        (
            encoder.max_tokens(),
            encoder.hidden_size(),
            encoder.n_layers()
        ),
        (256, 384, 6)
    );
    let found = encoder.embed(&strs(&texts), &mut go_on).unwrap();
    assert_near(
        &found.concat(),
        &Golden::read("minilm").numbers("embeddings"),
    );

    // The example of the model's own documentation, printed there with four digits.
    let texts = [
        "The weather is lovely today.",
        "It's so sunny outside!",
        "He drove to the stadium.",
    ];
    let v = encoder.embed(&texts, &mut go_on).unwrap();
    let cosine = |a: usize, b: usize| v[a].iter().zip(&v[b]).map(|(a, b)| a * b).sum::<f32>();
    for (a, b, expected) in [(0, 1, 0.6660), (0, 2, 0.1046), (1, 2, 0.1411)] {
        assert!(
            (cosine(a, b) - expected).abs() < 6e-5,
            "{} is not {expected}",
            cosine(a, b)
        );
    }
}

/// The real encoder, which the README's test command pulls first.
fn minilm() -> Encoder {
    let name = "sentence-transformers/all-MiniLM-L6-v2";
    let vars = |var: &str| std::env::var(var).ok();
    let options = HubOptions {
        offline: true,
        ..HubOptions::from_vars(vars)
    };
    let found = find(name, &options, &mut |_| {}).unwrap_or_else(|e| {
        panic!("{e}\nthis test needs the encoder: run `stillhouse pull {name}` once, then again")
    });
    Encoder::load(&found.folder, name).unwrap()
}

fn tiny() -> Encoder {
    Encoder::load(&fixture("bert-tiny/model"), "bert-tiny").unwrap()
}

/// A copy of the tiny model with one file changed.
fn changed(file: &str, change: impl Fn(&str) -> String) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_folder(&folder.path().join("1_Pooling")).unwrap();
    for name in [
        "config.json",
        "modules.json",
        "1_Pooling/config.json",
        "sentence_bert_config.json",
        "tokenizer.json",
        "model.safetensors",
    ] {
        let bytes = fs::read(&fixture("bert-tiny/model").join(name)).unwrap();
        fs::write(&folder.path().join(name), bytes).unwrap();
    }
    let path = folder.path().join(file);
    fs::write(&path, change(&fs::read_text(&path).unwrap())).unwrap();
    folder
}
