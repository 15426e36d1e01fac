//! A model on this machine as the teacher.

use std::path::{Path, PathBuf};

use stillhouse_core::Error as CoreError;
use stillhouse_core::event::{Event, Observer};
use stillhouse_core::prompt::chat::ChatTemplate;
use stillhouse_student::generate::{Completion, Sampling, generate};
use stillhouse_student::{Error as StudentError, GenerateOptions, Model};
use stillhouse_teacher::{Access, EndPoint, Error as TeacherError, Result as TeacherResult, Said};

use crate::error::Result;
use crate::fingerprint;
use crate::job::Job;

/// The teacher's model, as it is asked.
pub(crate) struct LocalTeacher {
    model: Model,
    chat: Option<ChatTemplate>,
    options: GenerateOptions,
    identity: String,
    name: String,
}

impl LocalTeacher {
    /// The folder of `teacher.model`.
    pub(crate) fn folder(job: &Job<'_>, observe: &mut Observer<'_>) -> Result<PathBuf> {
        let name = job.config.teacher.model.clone().unwrap_or_default();
        let located = job.given.locate(Path::new(&name));
        if located.is_dir() {
            return Ok(located);
        }
        let mut note = |text: &str| {
            let text = text.to_owned();
            let _ = observe(Event::Note { text });
        };
        Ok(stillhouse_hub::find(&name, job.world.hub, &mut note)?.folder)
    }

    pub(crate) fn load(job: &Job<'_>, observe: &mut Observer<'_>) -> Result<Self> {
        let folder = Self::folder(job, observe)?;
        let teacher = &job.config.teacher;
        let sampling = &teacher.sampling;
        let drawn = sampling
            .temperature
            .filter(|temperature| *temperature > 0.0);
        let options = GenerateOptions {
            max_new_tokens: sampling.max_tokens as usize,
            sampling: drawn.map_or(Sampling::Greedy {}, |temperature| Sampling::Random {
                temperature,
                top_k: None,
                top_p: sampling.top_p.unwrap_or(1.0),
            }),
            // A teacher speaks as it was made to; the student's rules are for small models.
            repetition_penalty: 1.0,
            no_repeat_ngram: None,
            stop: sampling.stop.clone(),
            batch_size: teacher.concurrency,
            ..GenerateOptions::default()
        };
        Ok(Self {
            model: Model::load(&folder)?,
            chat: ChatTemplate::load(&folder)?,
            options,
            identity: format!("model:{}", fingerprint::of_model(&folder)?),
            name: teacher.model.clone().unwrap_or_default(),
        })
    }

    /// Under which name its answers stand in the ledger: the hash of its files.
    pub(crate) fn access(&self) -> Access {
        Access {
            end_points: vec![EndPoint {
                base_url: self.identity.clone(),
                model: self.name.clone(),
                key: None,
                proxy: None,
                weight: 1.0,
            }],
            certificates_file: None,
        }
    }

    /// Answers prompts, in the frame of its own chat template where it has one.
    pub(crate) fn speak(
        &self,
        prompts: &[String],
        seed: u64,
        observe: &mut Observer<'_>,
        each: &mut dyn FnMut(usize, Said) -> TeacherResult<()>,
    ) -> TeacherResult<()> {
        let framed = prompts.iter().map(|prompt| match &self.chat {
            Some(chat) => chat.fill(prompt),
            None => Ok(prompt.clone()),
        });
        let framed: Vec<String> = framed.collect::<stillhouse_core::Result<_>>()?;
        // What the ledger says is kept apart: its error is not the model's.
        let mut failed = None;
        let mut keep = |place: usize, completion: Completion| {
            let said = Said {
                prompt_tokens: self.model.prompt_tokens(&framed[place]) as u64,
                completion_tokens: completion.tokens.len() as u64,
                is_truncated: completion.is_truncated,
                text: completion.text,
            };
            each(place, said).map_err(|error| {
                failed = Some(error);
                StudentError::Core(CoreError::Stopped)
            })
        };
        let done = generate(
            &self.model,
            &framed,
            &self.options,
            seed,
            observe,
            &mut keep,
        );
        match (failed, done) {
            (Some(error), _) => Err(error),
            (None, Err(StudentError::Core(error))) => Err(error.into()),
            (None, Err(other)) => {
                let what = other.to_string();
                Err(TeacherError::from(CoreError::option("teacher.model", what)))
            }
            (None, Ok(())) => Ok(()),
        }
    }
}
