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
use crate::known;
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
    records: OnceCell<PathBuf>,
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
        let text = dataset_text(&path)?;
        let dataset = read_dataset(&text, &path)?;
        if config.data.path.as_os_str().is_empty() && dataset.from.is_none() {
            let what = "is not set, and the dataset file names no place ([from]) to fetch the records from";
            return Err(stillhouse_core::Error::option("data.path", what).into());
        }
        let template = Template::with(&dataset.prompt, template_options(given, &dataset, world)?)?;
        let dataset_file = ("dataset".to_owned(), fs::sha256_of(text.as_bytes()));
        let [base, scorer, encoder, judge, teacher] = std::array::from_fn(|_| OnceCell::new());
        Ok(Self {
            config,
            world,
            dataset,
            template,
            given,
            dataset_file,
            records: OnceCell::new(),
            base,
            scorer,
            encoder,
            judge,
            teacher,
        })
    }

    /// Where the records are: the config's path, or where the dataset file's `[from]` leads; found
    /// once, and fetched where need be.
    pub(crate) fn records(&self, observe: &mut Observer<'_>) -> Result<&Path> {
        if let Some(found) = self.records.get() {
            return Ok(found);
        }
        let path = &self.config.data.path;
        let found = if path.as_os_str().is_empty() {
            let mut note = |text: &str| {
                let _ = observe(Event::Note {
                    text: text.to_owned(),
                });
            };
            fetch(&self.dataset, self.world.hub, &mut note)?
        } else {
            self.given.locate(path)
        };
        Ok(self.records.get_or_init(|| found))
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
            Some(name) => {
                let folder = &self.find(&self.scorer, name, observe)?.folder;
                Ok(Model::load(folder)?.on(&self.config.student.place()?))
            }
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
        Ok(model.on(&self.config.student.place()?))
    }

    /// Where a file of the run directory is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.config.out.join(name)
    }
}

/// A dataset file's text: of the file, or of the data set of this name that comes with the program.
fn dataset_text(path: &Path) -> Result<String> {
    let name = path.to_str().filter(|_| !path.exists());
    match name.and_then(known::dataset) {
        Some(text) => Ok(text.to_owned()),
        None => Ok(fs::read_text(path)?),
    }
}

fn read_dataset(text: &str, path: &Path) -> Result<Dataset> {
    let dataset: Dataset = toml::from_str(text).map_err(|e| Error::Config {
        path: path.to_owned(),
        what: e.to_string().trim_end().to_owned(),
    })?;
    dataset.check(path)?;
    Ok(dataset)
}

/// The data set of a name or of a dataset file; `None` where it is neither.
pub(crate) fn dataset_named(name: &Path) -> Result<Option<Dataset>> {
    let is_file = name.extension().is_some_and(|end| end == "toml") && name.is_file();
    let is_known = !name.exists()
        && name
            .to_str()
            .is_some_and(|name| known::dataset(name).is_some());
    if !is_file && !is_known {
        return Ok(None);
    }
    Ok(Some(read_dataset(&dataset_text(name)?, name)?))
}

/// The records of a data set, from where its `[from]` says: the file, or the folder of several.
pub(crate) fn fetch(
    dataset: &Dataset,
    hub: &stillhouse_hub::HubOptions,
    note: &mut dyn FnMut(&str),
) -> Result<PathBuf> {
    let Some(from) = &dataset.from else {
        let what = format!(
            "`{}` names no place ([from]) to fetch its records from; give their path",
            dataset.name
        );
        return Err(stillhouse_core::Error::option("data.path", what).into());
    };
    let files = dataset.file_names();
    let origin = stillhouse_hub::Origin {
        hub: from.hub.as_deref(),
        revision: from.revision.as_deref(),
        url: from.url.as_deref(),
        files: files.iter().map(String::as_str).collect(),
        // Of several files it is the hash of their names and hashes, which the data stage makes.
        sha256: from.sha256.as_deref().filter(|_| files.len() < 2),
    };
    let found = stillhouse_hub::find_data(&origin, hub, note)?;
    let is_one = dataset.files.is_empty() && dataset.table.lines.is_empty();
    Ok(match found.files.first() {
        Some(file) if is_one => found.folder.join(file),
        _ => found.folder,
    })
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
