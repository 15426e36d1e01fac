//! Selectors by a short name, for tables that set them side by side.

use super::options::{Difficulty, IfdRatio, Method, Objective, Ranked};

/// The names, in the order in which they are shown.
pub const NAMES: [&str; 18] = [
    "none",
    "random",
    "accuracy",
    "diversity",
    "diverse",
    "morsd",
    "morsd-stripped",
    "morsd-control",
    "rd-min",
    "rd-max",
    "rsr",
    "ifd",
    "perplexity",
    "length",
    "shortest",
    "judge",
    "mmr",
    "facility-location",
];

/// The method of a name; "+accuracy" and "+diversity" behind it put the filters of "morsd" before
/// a ranking by one score. `None` where there is no such name or no such filter.
pub fn named(name: &str, keep: usize) -> Option<Method> {
    let mut parts = name.split('+');
    let base = parts.next()?;
    let mut own = Ranked {
        keep,
        ..Ranked::default()
    };
    for filter in parts {
        match filter {
            "accuracy" => own.accuracy = true,
            "diversity" => own.max_similarity = Some(0.5),
            _ => return None,
        }
    }
    let is_bare = own.max_similarity.is_none() && !own.accuracy;
    let max_similarity = 0.5;
    let morsd = |difficulty| Method::Morsd {
        keep,
        max_similarity,
        difficulty,
    };
    let joint = |objective| Method::Joint {
        keep,
        accuracy: true,
        objective,
        weight: 0.5,
        difficulty: Difficulty::Plain,
    };
    let composed = match base {
        "none" => Some(Method::All),
        "random" => Some(Method::Random { keep }),
        "accuracy" => Some(Method::Accuracy { keep }),
        "diversity" => Some(Method::Diversity {
            keep,
            max_similarity,
        }),
        "diverse" => Some(Method::Diverse {
            keep,
            max_similarity,
        }),
        "morsd" => Some(morsd(Difficulty::Plain)),
        "morsd-stripped" => Some(morsd(Difficulty::Stripped)),
        "morsd-control" => Some(morsd(Difficulty::Control)),
        "mmr" => Some(joint(Objective::Mmr)),
        "facility-location" => Some(joint(Objective::FacilityLocation)),
        _ => None,
    };
    if composed.is_some() {
        return composed.filter(|_| is_bare);
    }
    match base {
        "rd-min" => Some(Method::RdMin(own)),
        "rd-max" => Some(Method::RdMax(own)),
        "rsr" => Some(Method::Rsr(own)),
        "perplexity" => Some(Method::Perplexity(own)),
        "length" => Some(Method::Length(own)),
        "shortest" => Some(Method::Shortest(own)),
        "judge" => Some(Method::Judge(own)),
        "ifd" => Some(Method::Ifd {
            keep,
            accuracy: own.accuracy,
            max_similarity: own.max_similarity,
            ratio: IfdRatio::default(),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_method_and_filters_go_before_rankings() {
        for name in NAMES {
            assert!(named(name, 4).is_some(), "{name}");
        }
        let plan = named("rsr+accuracy+diversity", 4).unwrap().plan();
        assert!(plan.accuracy && plan.max_similarity.is_some() && plan.keep == 4);
        for wrong in ["", "best", "random+accuracy", "rsr+luck"] {
            assert!(named(wrong, 4).is_none(), "{wrong}");
        }
    }
}
