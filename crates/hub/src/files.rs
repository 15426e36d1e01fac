//! Which files of a repository make a model; everything else stays where it is.

const WANTED: [&str; 15] = [
    "adapter_config.json",
    "added_tokens.json",
    "chat_template.jinja",
    "config.json",
    "config_sentence_transformers.json",
    "generation_config.json",
    "merges.txt",
    "modules.json",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.txt",
];

/// The files to fetch out of all `names` of a repository.
///
/// Weights are safetensors at the top; other formats and other folders (ONNX, `OpenVINO`, the
/// original checkpoint) are left.
pub(crate) fn wanted<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let is_weights = |name: &str| {
        let is_safetensors =
            name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json");
        is_safetensors && !name.contains(['/', '\\'])
    };
    // Some repositories hold the same weights a second time as `consolidated.safetensors`.
    let has_model = names
        .iter()
        .any(|name| is_weights(name) && name.starts_with("model"));
    let mut wanted: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| {
            WANTED.contains(name)
                || is_module(name)
                || is_weights(name) && (!has_model || name.starts_with("model"))
        })
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

/// The settings of a sentence-transformers module: `1_Pooling/config.json`.
fn is_module(name: &str) -> bool {
    let Some(folder) = name.strip_suffix("/config.json") else {
        return false;
    };
    let Some((number, word)) = folder.split_once('_') else {
        return false;
    };
    !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit())
        && !word.is_empty()
        && word.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// What a folder with these files lacks to be a model.
pub(crate) fn missing(names: &[&str]) -> Option<String> {
    let weights: Vec<&str> = names
        .iter()
        .filter_map(|name| name.strip_suffix(".safetensors"))
        .collect();
    let is_pickle = |name: &&str| {
        [".bin", ".pt", ".pth"]
            .iter()
            .any(|end| name.ends_with(end))
    };
    if !names.contains(&"config.json") && !names.contains(&"adapter_config.json") {
        return Some("config.json".to_owned());
    }
    if weights.is_empty() && names.iter().any(is_pickle) {
        return Some("safetensors weights (there are pickles, which are never loaded)".to_owned());
    }
    if weights.is_empty() {
        return Some("safetensors weights".to_owned());
    }
    // `model-00001-of-00003` says how many there must be.
    let parts = weights.iter().filter_map(|name| name.rsplit_once("-of-"));
    let n_expected = parts.clone().find_map(|(_, n)| n.parse::<usize>().ok())?;
    let n = parts.count();
    (n < n_expected).then(|| format!("whole weights: {n} of {n_expected} files are there"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_safetensors_and_only_once() {
        check(
            "config.json model.safetensors pytorch_model.bin",
            "config.json model.safetensors",
        );
        check(
            "model.safetensors consolidated.safetensors",
            "model.safetensors",
        );
        check("adapter_model.safetensors", "adapter_model.safetensors");
        check(
            "model-00001-of-00002.safetensors model.safetensors.index.json x.pt tf_model.h5",
            "model-00001-of-00002.safetensors model.safetensors.index.json",
        );
        check("onnx/model.onnx original/model.safetensors README.md", "");
    }

    #[test]
    fn modules_come_along_and_nothing_climbs_out_of_the_folder() {
        check(
            "1_Pooling/config.json modules.json",
            "1_Pooling/config.json modules.json",
        );
        check(
            "../config.json /config.json 1_../config.json ../x.safetensors",
            "",
        );
        check("..\\x.safetensors", "");
    }

    fn check(names: &str, expected: &str) {
        let names: Vec<&str> = names.split(' ').collect();
        assert_eq!(wanted(&names).join(" "), expected);
    }

    #[test]
    fn a_model_is_whole_when_config_and_all_weights_are_there() {
        let check = |names: &str, expected: &str| {
            let names: Vec<&str> = names.split(' ').collect();
            assert_eq!(missing(&names).unwrap_or_default(), expected);
        };
        check("config.json model.safetensors", "");
        check("adapter_config.json adapter_model.safetensors", "");
        check("model.safetensors", "config.json");
        check("config.json", "safetensors weights");
        check(
            "config.json pytorch_model.bin",
            "safetensors weights (there are pickles, which are never loaded)",
        );
        let first = "config.json model-00001-of-00002.safetensors";
        check(first, "whole weights: 1 of 2 files are there");
        check(&format!("{first} model-00002-of-00002.safetensors"), "");
    }
}
