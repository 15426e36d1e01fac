//! The data sets that come with the program, by name.

macro_rules! known {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../../datasets/", $name, ".toml")),
        )
    };
}

/// Each dataset file of `datasets/`.
const KNOWN: [(&str, &str); 21] = [
    known!("addsub"),
    known!("aqua"),
    known!("asdiv"),
    known!("climate-fever-evidence"),
    known!("climate-fever"),
    known!("coin-flip"),
    known!("commonsense-qa"),
    known!("date-understanding-open"),
    known!("date-understanding"),
    known!("esnli"),
    known!("gsm8k"),
    known!("last-letters"),
    known!("mcc-kd-numbers"),
    known!("mcc-kd-options"),
    known!("multiarith"),
    known!("quickstart"),
    known!("singleeq"),
    known!("strategy-qa"),
    known!("svamp-rationales"),
    known!("svamp"),
    known!("tracking-shuffled-objects"),
];

/// The dataset file of a name.
pub(crate) fn dataset(name: &str) -> Option<&'static str> {
    let found = KNOWN.iter().find(|(known, _)| *known == name);
    found.map(|(_, text)| *text)
}

/// All names, for a complaint.
pub(crate) fn names() -> String {
    KNOWN.map(|(name, _)| name).join(", ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use stillhouse_core::fs;

    use super::*;

    #[test]
    fn every_dataset_file_is_known_by_name() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets");
        let listed = fs::list(&folder).unwrap();
        let files = listed
            .iter()
            .filter_map(|(file, _)| file.strip_suffix(".toml"));
        assert_eq!(files.collect::<Vec<_>>().join(", "), names());
    }
}
