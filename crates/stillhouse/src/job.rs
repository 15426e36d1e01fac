//! What all stages of one run share: the config, the dataset file, the prompt, the base model.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use stillhouse_core::data::Dataset;
use stillhouse_core::event::{Event, Observer};
use stillhouse_core::fs;
use stillhouse_core::prompt::chat::ChatTemplate;
use stillhouse_core::prompt::{Template, TemplateOptions};
use stillhouse_core::record::{Example, Split};
use stillhouse_core::run::Run;
use stillhouse_student::{Init, Model};

use crate::config::{Config, RunConfig};
use crate::error::{Error, Result};
use crate::fingerprint;
use crate::pipeline::World;

/// One run's shared things.
pub(crate) struct Job<'a> {
    pub(crate) config: &'a RunConfig,
    pub(crate) world: &'a World<'a>,
    pub(crate) dataset: Dataset,
    pub(crate) template: Template,
    /// The config as it was given, for paths.
    pub(crate) given: &'a Config,
    /// Name and hash of the dataset file.
    pub(crate) dataset_file: (String, String),
    base: OnceCell<Found>,
    scorer: OnceCell<Found>,
    encoder: OnceCell<Found>,
    judge: OnceCell<Found>,
    teacher: OnceCell<Found>,
}

/// A model folder and its fingerprint.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) folder: PathBuf,
    pub(crate) fingerprint: String,
}

impl<'a> Job<'a> {
    pub(crate) fn new(given: &'a Config, world: &'a World<'a>) -> Result<Self> {
        let config = &given.run;
        let path = given.locate(&config.data.dataset);
        let dataset: Dataset =
            toml::from_str(&fs::read_text(&path)?).map_err(|e| Error::Config {
                path: path.clone(),
                what: e.to_string().trim_end().to_owned(),
            })?;
        dataset.check(&path)?;
        let template = Template::with(&dataset.prompt, template_options(given, &dataset, world)?)?;
        let dataset_file = ("dataset".to_owned(), fs::sha256(&path)?);
        let [base, scorer, encoder, judge, teacher] = std::array::from_fn(|_| OnceCell::new());
        Ok(Self {
            config,
            world,
            dataset,
            template,
            given,
            dataset_file,
            base,
            scorer,
            encoder,
            judge,
            teacher,
        })
    }

    /// The base model's folder; found, fetched where need be, and fingerprinted once.
    pub(crate) fn base(&self, observe: &mut Observer<'_>) -> Result<&Found> {
        self.find(&self.base, &self.config.student.model, observe)
    }

    /// The sentence encoder's folder, likewise.
    pub(crate) fn encoder(&self, observe: &mut Observer<'_>) -> Result<&Found> {
        self.find(&self.encoder, &self.config.evaluate.encoder, observe)
    }

    /// The folder of the inference model behind "nli", likewise.
    pub(crate) fn judge(&self, name: &str, observe: &mut Observer<'_>) -> Result<&Found> {
        self.find(&self.judge, name, observe)
    }

    /// The folder of the teacher whose distribution is learnt, likewise.
    pub(crate) fn local_teacher(&self, observe: &mut Observer<'_>) -> Result<&Found> {
        let objectives = &self.config.student.train.objectives;
        let name = objectives.teacher.as_ref().map_or("", |t| &t.model);
        self.find(&self.teacher, name, observe)
    }

    fn find<'c>(
        &self,
        cell: &'c OnceCell<Found>,
        name: &str,
        observe: &mut Observer<'_>,
    ) -> Result<&'c Found> {
        if let Some(found) = cell.get() {
            return Ok(found);
        }
        let located = self.given.locate(Path::new(name));
        let name = if located.is_dir() {
            located.to_string_lossy().into_owned()
        } else {
            name.to_owned()
        };
        // A wish to stop takes effect at the next step border.
        let mut note = |text: &str| {
            let _ = observe(Event::Note {
                text: text.to_owned(),
            });
        };
        let folder = stillhouse_hub::find(&name, self.world.hub, &mut note)?.folder;
        let fingerprint = fingerprint::of_model(&folder)?;
        Ok(cell.get_or_init(|| Found {
            folder,
            fingerprint,
        }))
    }

    /// The base model's identity as a stage input: its fingerprint, or its absence, and that of the
    /// adapter that it has from the beginning.
    pub(crate) fn base_input(&self, observe: &mut Observer<'_>) -> Result<(String, String)> {
        let mut hash = match self.config.student.init {
            Init::Pretrained => self.base(observe)?.fingerprint.clone(),
            Init::Random => "random".into(),
        };
        if let Some(folder) = self.adapter() {
            let whole = format!("{hash} {}", fs::sha256_of_tree(&folder)?);
            hash = fs::sha256_of(whole.as_bytes());
        }
        Ok(("base model".into(), hash))
    }

    /// The folder of the adapter that the student has from the beginning.
    fn adapter(&self) -> Option<PathBuf> {
        let folder = self.config.student.adapter.as_ref()?;
        Some(self.given.locate(folder))
    }

    /// The identity of the model whose likelihoods select.
    pub(crate) fn scorer_input(&self, observe: &mut Observer<'_>) -> Result<(String, String)> {
        match &self.config.select.scorer {
            Some(name) => {
                let found = self.find(&self.scorer, name, observe)?;
                Ok(("scorer".into(), found.fingerprint.clone()))
            }
            None => self.base_input(observe),
        }
    }

    /// The model whose likelihoods select: another one, or the student before any training.
    pub(crate) fn scorer(&self, examples: &[Example], observe: &mut Observer<'_>) -> Result<Model> {
        match &self.config.select.scorer {
            Some(name) => Ok(Model::load(
                &self.find(&self.scorer, name, observe)?.folder,
            )?),
            None => self.untrained(examples, observe),
        }
    }

    /// The student before any training: the base model, or random weights with a tokenizer
    /// trained on the training split.
    pub(crate) fn untrained(
        &self,
        examples: &[Example],
        observe: &mut Observer<'_>,
    ) -> Result<Model> {
        let mut model = match self.config.student.init {
            Init::Pretrained => {
                let folder = &self.base(observe)?.folder;
                let mut model = Model::load_at_rest(folder, self.config.student.train.at_rest())?;
                model.set_name(&self.config.student.model);
                model
            }
            Init::Random => {
                let train = examples.iter().filter(|e| e.split == Split::Train);
                let texts: Vec<String> = train
                    .map(|e| self.template.fill(e, usize::MAX))
                    .collect::<stillhouse_core::Result<_>>()?;
                Model::random(
                    &self.config.student.architecture,
                    texts.iter().map(String::as_str),
                    self.config.seed,
                )?
            }
        };
        if let Some(tokens) = self.config.student.context_tokens {
            model.limit_context(tokens);
        }
        if let Some(folder) = self.adapter() {
            model = model.with_adapter(&folder)?;
        }
        Ok(model)
    }

    /// Where a file of the run directory is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.config.out.join(name)
    }
}

/// How prompts and completions are made, as the dataset file says.
fn template_options(
    given: &Config,
    dataset: &Dataset,
    world: &World<'_>,
) -> Result<TemplateOptions> {
    let mut chat = None;
    if dataset.chat {
        let name = &given.run.student.model;
        let located = given.locate(Path::new(name));
        let name = if located.is_dir() {
            located.to_string_lossy().into_owned()
        } else {
            name.clone()
        };
        let folder = stillhouse_hub::find(&name, world.hub, &mut |_: &str| {})?.folder;
        chat = ChatTemplate::load(&folder)?;
        if chat.is_none() {
            let what = "has no chat template, and the dataset file asks for it (chat = true)";
            return Err(stillhouse_core::Error::file(folder, what).into());
        }
    }
    Ok(TemplateOptions {
        show_label: given.run.data.show_label,
        order: dataset.order(),
        names_factual: given.run.student.train.objectives.counterfactual.is_some(),
        answer: dataset.answer.clone(),
        labels: dataset.labels.clone(),
        chat,
    })
}

/// Several files of the run directory as stage inputs.
pub(crate) fn inputs(run: &Run, names: &[&str]) -> Result<Vec<(String, String)>> {
    names.iter().map(|name| Ok(run.input(name)?)).collect()
}
