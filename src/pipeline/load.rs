//! From settings to running stages: the one place that knows which engine a name stands for.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Pipeline,
    retrieve::{load_encoder, load_retriever},
    second_look::SecondLook,
    shots::draw_select_shots,
};
#[cfg(feature = "neural")]
use crate::ner::bert::BertNer;
use crate::{
    config::{Device, LlmConfig, NerConfig, NerEngine, PipelineConfig, RerankEngine},
    corpus,
    data::AnnotatedDocument,
    embed::{Embed, ngram::NgramEncoder},
    error::{Error, Result},
    llm::{self, Generate},
    ner::{Ner, crf::CrfNer, llm::LlmNer},
    prompt::{Prompt, Task},
    rerank::{
        Rerank,
        first::First,
        llm::LlmRerank,
        nearest::{Nearest, NearestModel},
    },
    retrieval::Retriever,
};

impl Pipeline {
    /// Loads every model that `config` names, or the shipped one where it names none.
    ///
    /// # Errors
    /// Those of reading models, index and catalogue, and [`crate::Error::Encoder`] if index and encoder do not belong together.
    pub fn load(config: &PipelineConfig) -> Result<Self> {
        // A model takes minutes to load: what could stop the run anyway is found before.
        check_prompts(config)?;
        Self::with_models(config, &Models::load(config)?)
    }

    /// Loads everything but the language models, which are given.
    ///
    /// # Errors
    /// As [`Pipeline::load`]; [`Error::Setting`] if a stage asks a model that is not given.
    pub fn with_models(config: &PipelineConfig, models: &Models) -> Result<Self> {
        // The recogniser shares nothing with the rest, and start-up is what a user waits for.
        let (ner, linking) = rayon::join(
            || load_ner(config, models.extract.as_ref()),
            || {
                let encoder = load_encoder(&config.retrieval)?;
                let retriever = load_retriever(&config.retrieval, &encoder)?;
                let rerank = load_rerank(config, &encoder, &retriever, models.select.as_ref())?;
                Ok::<_, Error>((retriever, rerank))
            },
        );
        let (retriever, (rerank, second_look)) = linking?;
        let decision = config.decision;
        let asks = models.extract.is_some() || models.select.is_some();
        Ok(Self {
            ner: ner?,
            retriever,
            rerank,
            decision,
            min_probability: config.ner.min_probability,
            second_look,
            chunk_documents: if asks { asked_documents(&config.llm) } else { super::CHUNK_DOCUMENTS },
            asks,
        })
    }
}

/// The language models of the stages that ask one; a model that both ask is loaded once.
#[derive(Clone, Default)]
pub struct Models {
    /// Asked for the diagnoses of a document.
    pub extract: Option<Arc<dyn Generate>>,
    /// Asked for the candidate that fits, for other wordings, and for branches of the classification.
    pub select: Option<Arc<dyn Generate>>,
}

impl Models {
    /// Loads what `config` names and its stages ask.
    ///
    /// # Errors
    /// Those of [`llm::load`].
    pub fn load(config: &PipelineConfig) -> Result<Self> {
        Self::made_by(config, llm::load)
    }

    /// Has each model that a stage of `config` asks made by `make`, from the settings, the shipped model filled in, and an adapter.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn made_by(
        config: &PipelineConfig,
        mut make: impl FnMut(&LlmConfig, Option<&Path>) -> Result<Arc<dyn Generate>>,
    ) -> Result<Self> {
        #[cfg(feature = "llm")]
        let settings = &llm::filled_in(&config.llm)?;
        #[cfg(not(feature = "llm"))]
        let settings = &config.llm;
        let (extracts, selects) = (config.ner.engine == NerEngine::Llm, config.rerank.engine == RerankEngine::Llm);
        let mut load = |adapter: &Option<PathBuf>| make(settings, adapter.as_deref());
        let extract = extracts.then(|| load(&settings.adapter_ner)).transpose()?;
        let select = match &extract {
            _ if !selects => None,
            Some(model) if settings.adapter_ner == settings.adapter_rerank => Some(model.clone()),
            _ => Some(load(&settings.adapter_rerank)?),
        };
        Ok(Self { extract, select })
    }
}

/// Loads every prompt that will be needed and lets it go again.
fn check_prompts(config: &PipelineConfig) -> Result<()> {
    let look = &config.second_look;
    let prompts = [
        (config.ner.engine == NerEngine::Llm, config.extract_prompt(), Task::Extract),
        (config.rerank.engine == RerankEngine::Llm, config.select_prompt(), Task::Select),
        (look.rounds > 1, look.reword.clone(), Task::Reword),
        (look.rounds > 2 && !look.descend.is_empty(), look.descend.clone(), Task::Descend),
    ];
    let mut needed = prompts.into_iter().filter(|(needed, ..)| *needed);
    needed.try_for_each(|(_, name, task)| Prompt::load_for(&name, task).map(drop))
}

/// Documents whose questions are asked together: enough that the engines never wait, few enough that results come in a steady
/// flow and an interrupted run loses little.
fn asked_documents(config: &LlmConfig) -> usize {
    match config.servers.len() {
        // On the CPU a model works on one request at a time.
        0 if config.device == Device::Cpu || !cfg!(feature = "cuda") => 1,
        servers => 2 * servers.max(1) * config.requests_in_flight(),
    }
}

fn load_ner(config: &PipelineConfig, model: Option<&Arc<dyn Generate>>) -> Result<Box<dyn Ner>> {
    let ner = &config.ner;
    match ner.engine {
        NerEngine::Llm => {
            let model = model.cloned().ok_or_else(no_model)?;
            let settings = ner.llm.clone();
            let examples =
                settings.examples.as_deref().filter(|_| settings.shots > 0).map(load_examples).transpose()?;
            let prompt = Prompt::load_for(&config.extract_prompt(), Task::Extract)?;
            Ok(Box::new(LlmNer::new(model, prompt, settings, examples.unwrap_or_default())))
        }
        NerEngine::Bert => load_bert(ner),
        NerEngine::Crf => Ok(Box::new(match &ner.model {
            Some(path) => CrfNer::load(path)?,
            None => CrfNer::shipped()?,
        })),
    }
}

#[cfg(feature = "neural")]
fn load_bert(config: &NerConfig) -> Result<Box<dyn Ner>> {
    let missing =
        || Error::Setting { key: "ner.model".into(), expected: "the folder of a model".into(), got: "none".into() };
    let folder = config.model.as_ref().ok_or_else(missing)?;
    Ok(Box::new(BertNer::load(&folder.to_string_lossy(), config)?))
}

#[cfg(not(feature = "neural"))]
fn load_bert(_: &NerConfig) -> Result<Box<dyn Ner>> {
    Err(Error::NotBuilt { engine: "the engine `bert`", feature: "neural" })
}

fn no_model() -> Error {
    Error::Setting { key: "llm.model".into(), expected: "a model".into(), got: "none".into() }
}

fn load_examples(folder: &Path) -> Result<Vec<AnnotatedDocument>> {
    Ok(corpus::brat::load(folder)?.0)
}

/// Loads the engine that chooses, and with a language model what looks again where it is unsure.
fn load_rerank(
    config: &PipelineConfig,
    encoder: &Arc<dyn Embed>,
    retriever: &Retriever,
    model: Option<&Arc<dyn Generate>>,
) -> Result<(Box<dyn Rerank>, Option<SecondLook>)> {
    let PipelineConfig { rerank, second_look, .. } = config;
    match rerank.engine {
        RerankEngine::Llm => {
            let model = model.cloned().ok_or_else(no_model)?;
            let prompt = Prompt::load_for(&config.select_prompt(), Task::Select)?;
            let settings = rerank.llm.clone();
            let mut engine = LlmRerank::new(model.clone(), prompt, settings, rerank.candidates);
            if let Some(folder) = rerank.llm.examples.as_deref().filter(|_| rerank.llm.shots > 0) {
                let examples = load_examples(folder)?;
                let shots = draw_select_shots(&examples, retriever, &engine, rerank.llm.shots, rerank.candidates)?;
                engine = engine.with_shots(shots);
            }
            let engine = Arc::new(engine);
            let look = (second_look.rounds > 1)
                .then(|| SecondLook::new(second_look, engine.clone(), model, rerank.candidates));
            Ok((Box::new(engine), look.transpose()?))
        }
        RerankEngine::First => Ok((Box::new(First::new(rerank.candidates)), None)),
        RerankEngine::Nearest => {
            let model = match &rerank.model {
                Some(path) => NearestModel::load(path)?,
                None => NearestModel::shipped()?,
            };
            // A user's index may come with an encoder of its own, but the model reads vectors of the one it was trained with.
            let mut encoders = vec![encoder.clone()];
            if encoder.fingerprint() != model.encoder {
                encoders.push(Arc::new(NgramEncoder::shipped()?));
            }
            if encoders.iter().all(|encoder| encoder.fingerprint() != model.encoder) {
                let name = rerank.model.as_ref().map_or_else(|| "(shipped)".into(), |path| path.display().to_string());
                let (wanted, got) = (&model.encoder, encoder.fingerprint());
                let reason = format!("it reads vectors of the encoder {wanted}, the index is one of {got}");
                return Err(Error::Artifact { what: "re-ranking model", name, reason });
            }
            Ok((Box::new(Nearest::new(model, &encoders, rerank.candidates)), None))
        }
    }
}
