//! Every family against `PyTorch`, and folders that cannot be used.

use half::bf16;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use stillhouse_core::evaluate::Embed;
use stillhouse_core::event::Event;
use stillhouse_core::fs;
use stillhouse_student::encoder::Encoder;

use crate::golden::{Golden, assert_near, fixture, go_on, strs, texts};

/// Max pooling and f32; [CLS], bf16 and two shards; the mean over the root, and relu; f16.
const FAMILIES: [&str; 4] = ["bert", "roberta", "xlm-roberta", "mpnet"];

#[test]
fn hidden_states_of_every_family_equal_those_of_pytorch() {
    let texts = texts("encoders");
    for family in FAMILIES {
        let (encoder, golden) = load(family);
        for layer in 0..=2 {
            let found = encoder
                .token_states(&strs(&texts), layer, 40, &mut go_on)
                .unwrap();
            for (i, found) in found.iter().enumerate() {
                assert_eq!(found.ids, golden.ids(&format!("ids.{i}")), "{family} {i}");
                let expected = golden.numbers(&format!("states.{layer}.{i}"));
                assert_near(&found.states, &expected);
            }
        }
    }
}

#[test]
fn vectors_of_every_family_equal_those_of_sentence_transformers() {
    let texts = texts("encoders");
    for family in FAMILIES {
        let (mut encoder, golden) = load(family);
        let found = encoder.embed(&strs(&texts), &mut go_on).unwrap();
        // Those that the folder does not bring to length 1 came out so too.
        assert_near(&found.concat(), &golden.numbers("vectors"));
    }
}

#[test]
fn one_pass_serves_token_states_and_vectors() {
    let texts = texts("encoders");
    let (mut encoder, _) = load("mpnet");
    let (layer, max_tokens) = (encoder.n_layers(), encoder.max_tokens());
    let states = encoder
        .token_states(&strs(&texts), layer, max_tokens, &mut go_on)
        .unwrap();
    let vectors = encoder.embed(&strs(&texts), &mut go_on).unwrap();
    for (states, vector) in states.iter().zip(&vectors) {
        assert_eq!(encoder.pool(states), *vector);
    }
}

#[test]
fn an_empty_text_is_its_special_tokens() {
    let (encoder, _) = load("roberta");
    let states = encoder.token_states(&[""], 2, 40, &mut go_on).unwrap();
    assert_eq!(states[0].is_special, [true, true]);
}

#[test]
fn positions_after_the_padding_token_are_not_counted_as_room() {
    let (encoder, _) = load("roberta");
    let text = "the sea is warm ".repeat(20);
    let states = encoder.token_states(&[&text], 0, 1000, &mut go_on).unwrap();
    assert_eq!(states[0].ids.len(), 48);
    let error = encoder
        .token_states(&[&text], 0, 2, &mut go_on)
        .unwrap_err();
    assert!(
        error.to_string().contains("cannot cut texts at 2 tokens"),
        "{error}"
    );
}

#[test]
fn a_text_of_a_megabyte_is_cut_and_told() {
    let (mut encoder, _) = load("bert");
    let text = "the sea is warm ".repeat(1 << 16);
    let mut heard = Vec::new();
    let found = encoder
        .embed(&[&text, "ice"], &mut |event| {
            heard.push(event);
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(found.len(), 2);
    let text = "1 of 2 texts have more than 40 tokens; the encoder reads no further".to_owned();
    assert_eq!(heard[0], Event::Warning { text });
}

#[test]
fn all_missing_and_misshapen_tensors_are_listed_at_once() {
    let folder = copy("mpnet");
    let config = folder.path().join("config.json");
    let text = fs::read_text(&config).unwrap();
    let text = text.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
    fs::write(
        &config,
        text.replace("\"vocab_size\": 125", "\"vocab_size\": 126"),
    )
    .unwrap();
    let error = Encoder::load(folder.path(), "x").unwrap_err().to_string();
    assert_eq!(error.matches("is missing").count(), 16, "{error}");
    assert!(
        error.contains(
            "tensor `embeddings.word_embeddings.weight` is [125, 24], expected [126, 24]"
        ),
        "{error}"
    );
}

#[test]
fn a_weight_that_is_no_number_is_refused() {
    let folder = copy("bert");
    let path = folder.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let name = "bert.encoder.layer.1.output.dense.bias";
    let spoilt: Vec<u8> = (0..24)
        .flat_map(|i| bf16::from_f32(if i == 5 { f32::NAN } else { 0.0 }).to_le_bytes())
        .collect();
    let spoilt = TensorView::new(Dtype::BF16, vec![24], &spoilt).unwrap();
    let mut all = tensors.tensors();
    all.iter_mut()
        .filter(|(n, _)| n == name)
        .for_each(|(_, view)| *view = spoilt.clone());
    fs::write(&path, safetensors::serialize(all, None).unwrap()).unwrap();
    let error = Encoder::load(folder.path(), "x").unwrap_err().to_string();
    assert!(
        error.contains(&format!("tensor `{name}` holds NaN at entry 5")),
        "{error}"
    );
}

#[test]
fn another_architecture_is_refused_with_those_that_work() {
    let folder = copy("bert");
    fs::write(
        &folder.path().join("config.json"),
        r#"{"model_type": "t5", "d_model": 3}"#,
    )
    .unwrap();
    let error = Encoder::load(folder.path(), "x").unwrap_err().to_string();
    assert!(
        error.contains("model_type is `t5`, supported are `bert`, `roberta`"),
        "{error}"
    );
}

#[test]
fn the_key_tells_apart_what_gives_other_vectors() {
    let key = |folder: &std::path::Path| Encoder::load(folder, "x").unwrap().key().to_owned();
    let folder = copy("bert");
    assert_eq!(key(folder.path()), key(&fixture("encoders/bert")));
    let pooling = folder.path().join("1_Pooling/config.json");
    fs::write(&pooling, r#"{"pooling_mode": "cls"}"#).unwrap();
    assert_ne!(key(folder.path()), key(&fixture("encoders/bert")));
}

fn load(family: &str) -> (Encoder, Golden) {
    let encoder = Encoder::load(&fixture("encoders").join(family), family).unwrap();
    (
        encoder,
        Golden::at(&format!("encoders/{family}.golden.safetensors")),
    )
}

/// A copy of a family's folder.
fn copy(family: &str) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let from = fixture("encoders").join(family);
    fs::create_folder(&to.path().join("1_Pooling")).unwrap();
    for (name, _) in fs::list(&from).unwrap() {
        let name = if name == "1_Pooling" {
            "1_Pooling/config.json".to_owned()
        } else {
            name
        };
        fs::write(&to.path().join(&name), fs::read(&from.join(&name)).unwrap()).unwrap();
    }
    to
}
