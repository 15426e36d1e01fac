//! The models behind the metrics, from their folders.

use std::path::{Path, PathBuf};

use stillhouse_core::evaluate::cache::Cached;
use stillhouse_core::evaluate::{Embed, EvaluateOptions, MetricName, Models};
use stillhouse_student::encoder::{Classifier, Encoder};

use crate::HubOptions;
use crate::error::Result;

/// Vectors on disk take at most so many bytes for each encoder; then their file is begun anew.
const MOST_CACHE_BYTES: u64 = 2 << 30;

/// An encoder and a classifier, where the metrics need them.
pub(crate) struct Loaded {
    encoder: Option<Box<dyn Embed>>,
    judge: Option<Classifier>,
}

impl Loaded {
    /// `find` gives the folder of a name.
    pub(crate) fn new(
        options: &EvaluateOptions,
        cache: Option<&Path>,
        mut find: impl FnMut(&str) -> Result<PathBuf>,
    ) -> Result<Self> {
        let mut encoder: Option<Box<dyn Embed>> = None;
        if options.needs_encoder() {
            let plain = Encoder::load(&find(&options.encoder)?, &options.encoder)?;
            encoder = Some(match cache {
                None => Box::new(plain),
                Some(folder) => {
                    let key = plain.key().to_owned();
                    let most = Some(MOST_CACHE_BYTES);
                    Box::new(Cached::open(plain, &key, folder, most)?)
                }
            });
        }
        let mut judge = None;
        if let (true, Some(name)) = (
            options.metrics.contains(&MetricName::Nli),
            &options.nli.model,
        ) {
            let classifier = Classifier::load(&find(name)?, name)?;
            classifier.nli()?;
            judge = Some(classifier);
        }
        Ok(Self { encoder, judge })
    }

    pub(crate) fn models(&mut self) -> Models<'_> {
        Models {
            encoder: self.encoder.as_deref_mut().map(|encoder| encoder as _),
            judge: self.judge.as_mut().map(|judge| judge as _),
            judged: None,
        }
    }
}

/// Where vectors are kept.
pub(crate) fn vectors_folder(hub: &HubOptions) -> PathBuf {
    hub.cache_folder.join("vectors")
}
