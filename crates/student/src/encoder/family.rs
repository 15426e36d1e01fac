//! What tells the families of encoders apart, as data: names of tensors and where positions begin.

/// One family; the transformer itself is the same in all.
#[derive(Debug)]
pub(super) struct Family {
    /// The values of `model_type` in `config.json`.
    model_types: &'static [&'static str],
    /// Under which a model with a head keeps its encoder.
    pub(super) prefix: &'static str,
    /// The products of a layer, and the normalisation after attention, under `encoder.layer.N.`.
    pub(super) query_key_value: [&'static str; 3],
    pub(super) attention_out: &'static str,
    pub(super) attention_norm: &'static str,
    /// The layers of a sequence classifier: one to a tanh, one to the labels.
    pub(super) head: [&'static str; 2],
    /// The padding token where the config names none.
    pub(super) padding: u32,
    /// Whether positions begin after the padding token's id, instead of at 0.
    pub(super) positions_follow_padding: bool,
    /// Whether each token also has the vector of its segment.
    pub(super) has_segments: bool,
    /// Whether attention adds a learnt number for each distance.
    pub(super) has_distances: bool,
}

const BERT: Family = Family {
    model_types: &["bert"],
    prefix: "bert.",
    query_key_value: [
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
    ],
    attention_out: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    head: ["bert.pooler.dense", "classifier"],
    padding: 0,
    positions_follow_padding: false,
    has_segments: true,
    has_distances: false,
};

static FAMILIES: [Family; 3] = [
    BERT,
    Family {
        model_types: &["roberta", "xlm-roberta", "camembert"],
        prefix: "roberta.",
        head: ["classifier.dense", "classifier.out_proj"],
        padding: 1,
        positions_follow_padding: true,
        ..BERT
    },
    Family {
        model_types: &["mpnet"],
        prefix: "mpnet.",
        query_key_value: ["attention.attn.q", "attention.attn.k", "attention.attn.v"],
        attention_out: "attention.attn.o",
        attention_norm: "attention.LayerNorm",
        head: ["classifier.dense", "classifier.out_proj"],
        padding: 1,
        positions_follow_padding: true,
        has_segments: false,
        has_distances: true,
    },
];

/// The family that the others were made after.
pub(super) fn bert() -> &'static Family {
    &FAMILIES[0]
}

/// The family of a `model_type`, or the names that are known.
pub(super) fn find(model_type: &str) -> Result<&'static Family, String> {
    let is_it = |family: &&Family| family.model_types.contains(&model_type);
    FAMILIES.iter().find(is_it).ok_or_else(|| {
        let known = FAMILIES.iter().flat_map(|family| family.model_types);
        let known: Vec<&str> = known.copied().collect();
        let known = known.join("`, `");
        format!("model_type is `{model_type}`, supported are `{known}`")
    })
}

/// The bucket of `MPNet`'s learnt numbers for `key - query`, out of `n` (Raffel et al. 2019).
///
/// Half of the buckets are for what lies behind, half for what lies ahead; in each half, one half
/// is for one distance each, the others widen logarithmically up to 128.
pub(super) fn bucket(distance: isize, n: usize) -> usize {
    const LONGEST: f32 = 128.0;
    let half = n / 2;
    let exact = half / 2;
    let first = if distance > 0 { half } else { 0 };
    let distance = distance.unsigned_abs();
    if distance < exact {
        return first + distance;
    }
    let share = (distance as f32 / exact as f32).ln() / (LONGEST / exact as f32).ln();
    let wide = share * (half - exact) as f32;
    let is_reached = |n: &usize| *n as f32 <= wide;
    first + exact + (1..half - exact).take_while(is_reached).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use stillhouse_core::fs;

    #[test]
    fn buckets_are_those_of_pytorch() {
        let path = "../../fixtures/encoders/buckets.json";
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let expected: Vec<usize> = fs::read_json(&path).expect("the fixture");
        let found: Vec<usize> = (-600..=600).map(|d| bucket(d, 32)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn an_unknown_family_is_told_with_the_known_ones() {
        let error = find("t5").expect_err("no encoder of ours");
        assert!(error.contains("`bert`, `roberta`"), "{error}");
    }
}
