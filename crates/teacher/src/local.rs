//! A teacher on this machine: a model that someone else runs, through the same ledger.

use stillhouse_core::event::{Event, Observer, tell};

use crate::answer::Answer;
use crate::error::Result;
use crate::ledger::{Claim, Kept, Ledger};
use crate::request::{Questions, Request};
use crate::wanted::{Asked, Setup, missing};

/// Questions that are answered together; what a kill loses is at most so many.
const TOGETHER: usize = 64;

/// What a model says to one prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The text.
    pub text: String,
    /// Whether the length limit cut it off.
    pub is_truncated: bool,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the text.
    pub completion_tokens: u64,
}

/// A model that continues prompts: hands what it says to each, with the prompt's place, to the
/// function; equal prompts with another seed get other texts.
pub type Speak<'a> = dyn FnMut(
        &[String],
        u64,
        &mut Observer<'_>,
        &mut dyn FnMut(usize, Said) -> Result<()>,
    ) -> Result<()>
    + 'a;

/// Lets `speak` answer every question for every sample that is not in the ledger.
///
/// A sample's seed is that of the options, or of the setup, plus its number.
pub fn ask_local(
    questions: &dyn Questions,
    ledger: &Ledger,
    setup: &Setup<'_>,
    speak: &mut Speak<'_>,
    observe: &mut Observer<'_>,
) -> Result<Asked> {
    let options = setup.options;
    options.check()?;
    let (jobs, from_ledger) = missing(questions, ledger, setup)?;
    let mut asked = Asked {
        wanted: questions.n() * options.n_samples(),
        from_ledger,
        ..Asked::default()
    };
    let model = options.model.as_deref().unwrap_or_default();
    let seed = options.sampling.seed.unwrap_or(setup.seed);
    let mut done = from_ledger;
    for sample in 0..options.n_samples() as u32 {
        let of_sample = jobs.iter().filter(|job| job.samples.contains(&sample));
        let places: Vec<usize> = of_sample.map(|job| job.question).collect();
        for some in places.chunks(TOGETHER) {
            let mut claimed: Vec<Request> = Vec::new();
            let mut prompts = Vec::new();
            ledger.begin()?;
            for at in some {
                let question = questions.question(*at)?;
                let identity = setup.access.identity();
                let request = Request::new(&question, model, identity, &options.sampling);
                match ledger.claim(&request, setup.purpose, sample, None)? {
                    Claim::Ours => {
                        let system = question.system.map(|text| text + "\n\n");
                        prompts.push(system.unwrap_or_default() + &question.prompt);
                        claimed.push(request);
                    }
                    Claim::Answered => done += 1,
                    Claim::Held => {
                        let why = "another process is at it; the same command finds its answer";
                        asked.failed.push((question.id, sample, why.into()));
                    }
                }
            }
            ledger.count_sent(claimed.len() as u64)?;
            ledger.commit()?;

            let begun = (setup.clock)();
            let mut keep = |place: usize, said: Said| {
                let reason = if said.is_truncated { "length" } else { "stop" };
                let answer = Answer {
                    text: said.text,
                    finish_reason: Some(reason.into()),
                    model: Some(model.to_owned()),
                    prompt_tokens: said.prompt_tokens,
                    completion_tokens: said.completion_tokens,
                    ..Answer::default()
                };
                let kept = Kept {
                    answer: &answer,
                    end_point: setup.access.identity(),
                    currency: None,
                    seconds: ((setup.clock)() - begun) / claimed.len().max(1) as f64,
                };
                ledger.begin()?;
                ledger.keep(&claimed[place].hash, sample, &kept)?;
                ledger.commit()
            };
            // The model's own progress counts the prompts of one go; ours counts all answers.
            let mut watch = |event: Event| match event {
                Event::Progress { .. } => observe(Event::Progress {
                    unit: "answers".into(),
                    done,
                    total: asked.wanted,
                }),
                other => observe(other),
            };
            let spoken = if prompts.is_empty() {
                Ok(())
            } else {
                speak(
                    &prompts,
                    seed.wrapping_add(u64::from(sample)),
                    &mut watch,
                    &mut keep,
                )
            };
            // What was not answered before a stop can be asked again, and cost nothing.
            for request in &claimed {
                ledger.release(&request.hash, sample)?;
            }
            spoken?;
            done += claimed.len();
            tell(
                observe,
                Event::Progress {
                    unit: "answers".into(),
                    done,
                    total: asked.wanted,
                },
            )?;
        }
    }
    asked.check(options)
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::access::{Access, EndPoint};
    use crate::error::Error;
    use crate::options::{Kind, TeacherOptions};
    use crate::request::Question;

    struct Ask(usize);

    impl Questions for Ask {
        fn n(&self) -> usize {
            self.0
        }

        fn question(&self, at: usize) -> Result<Question> {
            Ok(Question {
                id: format!("e{at}"),
                system: (at == 0).then(|| "Be brief.".to_owned()),
                prompt: format!("prompt {at}"),
                schema: None,
            })
        }
    }

    /// The prompts and seeds that were spoken to, until `most` texts were said.
    fn ask(folder: &std::path::Path, samples: usize, most: usize) -> (Result<Asked>, Vec<String>) {
        let options = TeacherOptions {
            kind: Kind::Model,
            model: Some("tiny".into()),
            samples: Some(samples),
            ..TeacherOptions::default()
        };
        let access = Access {
            end_points: vec![EndPoint {
                base_url: "model:abc".into(),
                model: "tiny".into(),
                key: None,
                proxy: None,
                weight: 1.0,
            }],
            certificates_file: None,
        };
        let ledger = Ledger::open(&folder.join("ledger.sqlite"), "run").unwrap();
        let setup = Setup {
            options: &options,
            access: &access,
            count: &|text| text.len(),
            seed: 7,
            clock: &|| 0.0,
            purpose: "rationale",
        };
        let mut heard = Vec::new();
        let mut speak = |prompts: &[String],
                         seed: u64,
                         _: &mut Observer<'_>,
                         each: &mut dyn FnMut(usize, Said) -> Result<()>| {
            for (place, prompt) in prompts.iter().enumerate() {
                if heard.len() == most {
                    return Err(stillhouse_core::Error::Stopped.into());
                }
                heard.push(format!("{prompt} {seed}"));
                let said = Said {
                    text: format!("to {prompt}"),
                    completion_tokens: 3,
                    ..Said::default()
                };
                each(place, said)?;
            }
            Ok(())
        };
        let mut quiet = |_: Event| ControlFlow::Continue(());
        let asked = ask_local(&Ask(3), &ledger, &setup, &mut speak, &mut quiet);
        (asked, heard)
    }

    #[test]
    fn a_model_of_this_machine_is_asked_only_for_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let (asked, heard) = ask(folder.path(), 2, 4);
        assert!(matches!(
            asked,
            Err(Error::Core(stillhouse_core::Error::Stopped))
        ));
        assert_eq!(
            heard,
            [
                "Be brief.\n\nprompt 0 7",
                "prompt 1 7",
                "prompt 2 7",
                "Be brief.\n\nprompt 0 8"
            ]
        );
        let (asked, heard) = ask(folder.path(), 2, 99);
        let asked = asked.unwrap();
        assert_eq!((asked.wanted, asked.from_ledger), (6, 4));
        assert_eq!(heard, ["prompt 1 8", "prompt 2 8"]);
        let (_, heard) = ask(folder.path(), 2, 99);
        assert!(heard.is_empty());
    }
}
