//! What counts as a causal link and what does not, case by case.

use std::sync::OnceLock;

use super::*;
use crate::evaluate::split::sentences;

#[test]
fn a_clause_names_the_cause() {
    check(
        "The dam broke because the rain was heavy.",
        "rain was heavy => dam broke",
    );
    check(
        "Because the rain was heavy, the dam broke.",
        "rain was heavy => dam broke",
    );
    check(
        "Since nothing grew there, the soil blew away.",
        "nothing grew there => soil blew away",
    );
    check_wide(
        "The lamp failed, for its wire had rusted.",
        "wire had rusted => lamp failed",
    );
    check_wide(
        "The shop closed, as nobody came any more.",
        "nobody came any more => shop closed",
    );
    check(
        "Given that funds ran out, the work stopped.",
        "funds ran out => work stopped",
    );
    check(
        "The house was quiet, the children having left.",
        "children having left => house was quiet",
    );
    check(
        "The boats stayed, not because the sea was rough.",
        "NOT sea was rough => boats stayed",
    );
}

#[test]
fn a_denied_cause_is_negated() {
    check(
        "The boats stayed, but not because the sea was rough.",
        "NOT sea was rough => boats stayed",
    );
    check(
        "The boats stayed, though not because the sea was rough.",
        "NOT sea was rough => boats stayed",
    );
}

#[test]
fn a_phrase_names_the_cause() {
    check(
        "The match was cancelled because of fog.",
        "fog => match was cancelled",
    );
    check(
        "Due to fog, the match was cancelled.",
        "fog => match was cancelled",
    );
    check(
        "Due to tinnitus many welders slept badly.",
        "tinnitus => many welders slept badly",
    );
    check(
        "Thanks to the new pump the cellar stayed dry.",
        "new pump => cellar stayed dry",
    );
    check("The delay was due to rain.", "rain => delay");
    check_wide("He signed it out of fear.", "fear => He signed");
}

#[test]
fn a_result_follows_its_cause() {
    check(
        "The road froze, so the bus was late.",
        "road froze => bus was late",
    );
    check(
        "The road froze. As a result, the bus was late.",
        "road froze => bus was late",
    );
    check(
        "The road froze, and for that reason the bus was late.",
        "road froze => bus was late",
    );
    check(
        "The road froze, which is why the bus was late.",
        "road froze => bus was late",
    );
    check(
        "The road froze. That is why the bus was late.",
        "road froze => bus was late",
    );
    check(
        "The road was so icy that the bus was late.",
        "road was so icy => bus was late",
    );
    check(
        "The road froze, and the bus was therefore late.",
        "road froze => bus was therefore late",
    );
    check(
        "The road froze. The bus was late as a result.",
        "road froze => bus was late",
    );
    check(
        "The road froze; hence the bus was late.",
        "road froze => bus was late",
    );
}

#[test]
fn a_verb_joins_cause_and_effect() {
    check("Smoking causes cancer.", "Smoking => cancer");
    check("Cancer is caused by smoking.", "smoking => Cancer");
    check("The strike led to shortages.", "strike => shortages");
    check(
        "The shortages resulted from a strike.",
        "strike => shortages",
    );
    check("Bugs caused by haste cost money.", "haste => Bugs");
    check("It is haste that causes errors.", "haste => errors");
    check("What causes errors is haste.", "haste => errors");
    check("Haste is what causes errors.", "Haste => errors");
    check("The storm did not cause the floods.", "NOT storm => floods");
    check("The delay was not caused by rain.", "NOT rain => delay");
    check(
        "The rain had nothing to do with the delay.",
        "NOT rain => delay",
    );
    check("The delay owed nothing to the rain.", "NOT rain => delay");
    check(
        "Hardware failure is caused by heat.",
        "heat => Hardware failure",
    );
    check("The storm failed to cause floods.", "NOT storm => floods");
    check("They blame the delay on the rain.", "rain => delay");
    check("From haste came many errors.", "haste => many errors");
}

#[test]
fn a_noun_joins_cause_and_effect() {
    check("Haste is the cause of errors.", "Haste => errors");
    check("Errors are the result of haste.", "haste => Errors");
    check(
        "The result of the strike was a shortage.",
        "strike => shortage",
    );
    check(
        "The reason for the shortage was a strike.",
        "strike => shortage",
    );
    check(
        "The reason the shop closed is that nobody came.",
        "nobody came => shop closed",
    );
    check("Haste is not the cause of errors.", "NOT Haste => errors");
}

#[test]
fn a_pronoun_stands_for_what_was_said() {
    check(
        "The ice melted, which caused a flood.",
        "ice melted => flood",
    );
    check(
        "The ice melted. This caused a flood.",
        "ice melted => flood",
    );
    check(
        "The ice melted, and this led to a flood.",
        "ice melted => flood",
    );
    check("The ice melted, causing a flood.", "ice melted => flood");
}

#[test]
fn the_wide_lexicon_knows_changes_conditions_and_order() {
    check_wide("Frost ruined the harvest.", "Frost => harvest");
    check_wide("The harvest was ruined by frost.", "frost => harvest");
    check_wide(
        "Warm water keeps the channel open.",
        "Warm water => channel open",
    );
    check_wide(
        "When the wind drops, the fog returns.",
        "wind drops => fog returns",
    );
    check_wide(
        "The fog returns once the wind drops.",
        "wind drops => fog returns",
    );
    check_wide(
        "The warmer the sea gets, the thinner the clouds become.",
        "warmer the sea gets => thinner the clouds become",
    );
    check_wide(
        "The clouds become thinner the warmer the sea gets.",
        "warmer the sea gets => clouds become thinner",
    );
    check_wide(
        "Had it rained, the field would have recovered.",
        "it rained => field would have recovered",
    );
    check_wide(
        "The mill closed, and the young people left.",
        "mill closed => young people left",
    );
    check_wide(
        "The company skimped on repairs until its locks leaked.",
        "company skimped on repairs => locks leaked",
    );
    check_wide(
        "Kept indoors too long, the goats began to fight.",
        "Kept indoors too long => goats began to fight",
    );
    check_wide(
        "Although it rained, the field stayed dry.",
        "NOT it rained => field stayed dry",
    );
    check_wide(
        "The field stayed dry regardless of the rain.",
        "NOT rain => field stayed dry",
    );
}

#[test]
fn false_friends_make_no_link() {
    for text in [
        "The club has met here since 1990.",
        "So far nobody has complained.",
        "She drives a car.",
        "The essay is due on Monday.",
        "Cats as well as dogs slept.",
        "He was as tall as his father.",
        "The results came in late.",
        "One thing after another happened.",
        "He worked at the mill and so on.",
        "The causes are unknown.",
        "",
        "...",
        "Why?",
    ] {
        check(text, "");
    }
    check_wide("The film is due to start at noon.", "");
    check_wide("By noon the loosened bolts had gone.", "");
    check_wide("They met once a week by the river.", "");
}

#[test]
fn one_sentence_may_hold_several_links() {
    check(
        "Rain fell because clouds rose, so the river flooded.",
        "clouds rose => Rain fell | Rain fell => river flooded",
    );
    check(
        "Haste causes errors, and errors lead to delays.",
        "Haste => errors | errors => delays",
    );
}

#[test]
fn other_scripts_and_long_texts_are_read_without_harm() {
    check("\u{4eca}\u{5929}\u{4e0b}\u{96e8}\u{3002}", "");
    let long = "word ".repeat(50_000);
    assert!(extract(&[long], lexicon(Width::Wide)).is_empty());
}

/// Reads the file once for all tests.
fn lexicon(width: Width) -> &'static Lexicon {
    static BOTH: OnceLock<[Lexicon; 2]> = OnceLock::new();
    let [core, wide] = BOTH.get_or_init(|| [Width::Core, Width::Wide].map(Lexicon::new));
    if width == Width::Core { core } else { wide }
}

mod any_words {
    use proptest::prelude::*;

    use super::*;

    /// Words that begin, join and end what the rules look for.
    const WORDS: [&str; 48] = [
        "because",
        "so",
        "that",
        "the",
        "more",
        "rain",
        "fell",
        "causes",
        "caused",
        "by",
        "is",
        "was",
        "not",
        "it",
        "which",
        "and",
        ",",
        ".",
        ";",
        "since",
        "as",
        "for",
        "what",
        "reason",
        "result",
        "of",
        "due",
        "to",
        "after",
        "having",
        "been",
        "had",
        "without",
        "making",
        "who",
        "blame",
        "on",
        "then",
        "but",
        "from",
        "came",
        "behind",
        "with",
        "thank",
        "no",
        "Rome",
        "12",
        "\u{e9}t\u{e9}",
    ];

    proptest! {
        #[test]
        fn are_read_and_compared_without_a_panic(places in proptest::collection::vec(0..WORDS.len(), 0..24)) {
            let text = places.iter().map(|place| WORDS[*place]).collect::<Vec<_>>().join(" ");
            let split = sentences(&text);
            for width in [Width::Core, Width::Wide] {
                let links = extract(&split, lexicon(width));
                prop_assert!(links.iter().all(|link| !link.cause.is_empty() && !link.effect.is_empty() && link.sentence < split.len()));
                let linked = Linked { sentences: &split, links: &links };
                let same = compare(linked, linked, &|_| None, &CompareOptions::default());
                prop_assert_eq!(same.reversed, 0);
            }
        }
    }
}

#[test]
fn ranges_that_cross_each_other_have_nothing_between_them() {
    let words = super::token::tokens("Ice melts");
    #[expect(clippy::reversed_empty_ranges, reason = "that is what is tested")]
    let crossed = super::token::part(&words, 2..1);
    assert!(crossed.is_empty() && super::token::part(&words, 1..9).is_empty());
}

fn check(text: &str, expected: &str) {
    check_with(Width::Core, text, expected);
}

fn check_wide(text: &str, expected: &str) {
    check_with(Width::Wide, text, expected);
}

fn check_with(width: Width, text: &str, expected: &str) {
    let links = extract(&sentences(text), lexicon(width));
    let shown = links.iter().map(|link| {
        format!(
            "{}{} => {}",
            if link.is_negated { "NOT " } else { "" },
            link.cause,
            link.effect
        )
    });
    assert_eq!(shown.collect::<Vec<_>>().join(" | "), expected, "{text}");
}

mod comparison {
    use super::*;

    #[test]
    fn each_link_is_covered_missing_reversed_or_contradicted() {
        check(
            "Smoking causes cancer.",
            "Cancer is caused by smoking.",
            "covered 1 fidelity 1",
        );
        check(
            "Smoking causes cancer.",
            "Cancer causes smoking.",
            "reversed 1 fidelity 0",
        );
        check(
            "Smoking causes cancer.",
            "Smoking does not cause cancer.",
            "contradicted 1 fidelity 0",
        );
        check(
            "Smoking causes cancer.",
            "Frost causes cracks.",
            "missing 1 unsupported 1",
        );
        check("Smoking causes cancer.", "Cancer is deadly.", "missing 1");
        check(
            "The sky is blue.",
            "Cancer causes smoking.",
            "unsupported 1",
        );
    }

    #[test]
    fn a_chain_may_be_told_in_one_step() {
        check(
            "Drought causes hunger. Hunger causes flight.",
            "Drought causes flight.",
            "skipped 2",
        );
        check(
            "Drought causes hunger. Hunger causes flight.",
            "Drought causes hunger. Hunger causes flight.",
            "covered 2 fidelity 1",
        );
    }

    #[test]
    fn a_feedback_told_both_ways_is_covered() {
        check(
            "Fear causes silence. Silence causes fear.",
            "Silence causes fear.",
            "covered 1 missing 1 reversed 0 fidelity 1",
        );
        check(
            "Fear causes silence.",
            "Fear causes silence, and silence causes fear.",
            "covered 1 unsupported 0 fidelity 1",
        );
    }

    #[test]
    fn order_alone_reverses_nothing_unless_asked() {
        let order = CompareOptions {
            order: true,
            ..CompareOptions::default()
        };
        let (a, b) = (
            "The mill closed, and the town emptied.",
            "The town emptied, and the mill closed.",
        );
        check(a, b, "missing 1");
        check_with(a, b, &order, "reversed 1 fidelity 0");
        check(
            a,
            "The mill closed because the town emptied.",
            "reversed 1 fidelity 0",
        );
    }

    #[test]
    fn parity_is_reported_and_is_no_error() {
        let parity = CompareOptions {
            parity: true,
            ..CompareOptions::default()
        };
        let (a, b) = (
            "Admissions rose because beds were free.",
            "Admissions never rose because beds were free.",
        );
        assert_eq!(
            compared(a, b, &parity).findings[0].verdict,
            Verdict::PolarityDiffers
        );
        assert_eq!(
            compared(a, b, &CompareOptions::default()).findings[0].verdict,
            Verdict::Covered
        );
    }

    #[test]
    fn vectors_join_what_shares_no_word() {
        let (reference, explanation) = (
            sentences("Smoking causes cancer."),
            sentences("Tobacco causes tumours."),
        );
        let lexicon = lexicon(Width::Core);
        let (ours, theirs) = (extract(&reference, lexicon), extract(&explanation, lexicon));
        let vector_of = |text: &str| -> Option<&'static [f32]> {
            Some(if ["Smoking", "Tobacco"].contains(&text) {
                &[1.0, 0.0]
            } else {
                &[0.0, 1.0]
            })
        };
        let (reference, explanation) = (
            Linked {
                sentences: &reference,
                links: &ours,
            },
            Linked {
                sentences: &explanation,
                links: &theirs,
            },
        );
        let found = compare(
            reference,
            explanation,
            &vector_of,
            &CompareOptions::default(),
        );
        assert_eq!((found.covered, found.findings[0].same), (1, 0.7));
        assert_eq!(phrases(&ours).collect::<Vec<_>>(), ["Smoking", "cancer"]);
    }

    #[test]
    fn nothing_to_judge_is_said_and_is_never_one() {
        let reason = |a: &str, b: &str| {
            compared(a, b, &CompareOptions::default())
                .unscored
                .unwrap_or_default()
        };
        assert_eq!(
            reason("The sky is blue.", "Smoking causes cancer."),
            "no causal link was found in the reference"
        );
        assert_eq!(
            reason("Smoking causes cancer.", ""),
            "no causal link was found in the explanation"
        );
        assert_eq!(
            reason("Smoking causes cancer.", "Frost causes cracks."),
            "no causal link of the reference was found again in the explanation"
        );
        assert_eq!(
            reason("Smoking causes cancer.", "Smoking causes cancer."),
            ""
        );
    }

    #[test]
    fn more_links_than_any_explanation_has_are_not_compared() {
        let text = "Haste causes errors. ".repeat(1_001);
        let found = compared(&text, &text, &CompareOptions::default());
        assert_eq!(
            found.unscored.unwrap(),
            "1001 and 1001 causal links are too many to compare"
        );
        assert_eq!(found.fidelity, None);
    }

    fn check(reference: &str, explanation: &str, expected: &str) {
        check_with(reference, explanation, &CompareOptions::default(), expected);
    }

    /// Compares the counts that are named; the others are not looked at.
    fn check_with(reference: &str, explanation: &str, options: &CompareOptions, expected: &str) {
        let found = compared(reference, explanation, options);
        let shown = serde_json::to_value(&found).unwrap();
        let named: Vec<&str> = expected.split(' ').step_by(2).collect();
        let counts = named.iter().map(|name| {
            format!(
                "{name} {}",
                shown[*name]
                    .as_f64()
                    .map_or("null".to_owned(), |value| value.to_string())
            )
        });
        assert_eq!(
            counts.collect::<Vec<_>>().join(" "),
            expected,
            "{reference} / {explanation}"
        );
    }

    fn compared(reference: &str, explanation: &str, options: &CompareOptions) -> Comparison {
        let (reference, explanation) = (sentences(reference), sentences(explanation));
        let lexicon = lexicon(Width::Wide);
        let (ours, theirs) = (extract(&reference, lexicon), extract(&explanation, lexicon));
        compare(
            Linked {
                sentences: &reference,
                links: &ours,
            },
            Linked {
                sentences: &explanation,
                links: &theirs,
            },
            &|_| None,
            options,
        )
    }
}
