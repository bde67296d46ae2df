//! Every error the library can return: one variant per cause, with the fields that name the place.
//!
//! [`Error::hint`] gives the way out, which the command prints on a line of its own.

mod hint;

use std::path::{Path, PathBuf};

/// Sections of a pipeline file, which keys of its settings begin with.
pub(crate) const SECTIONS: [&str; 6] = ["ner", "retrieval", "rerank", "decision", "llm", "second_look"];

/// Result of a library call.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("failed to read {}: {source}", path.display())]
    Read {
        /// File or folder.
        path: PathBuf,
        /// Cause reported by the system.
        #[source]
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("failed to write {}: {source}", path.display())]
    Write {
        /// File or folder.
        path: PathBuf,
        /// Cause reported by the system.
        #[source]
        source: std::io::Error,
    },
    /// The user's cache folder cannot be written.
    #[error("failed to write the cache {}: {source}", folder.display())]
    Cache {
        /// Folder.
        folder: PathBuf,
        /// Cause reported by the system.
        #[source]
        source: std::io::Error,
    },
    /// A line or record of an input file breaks the format.
    #[error("failed to parse {what}: {}:{line}: expected {expected}, got {got}", path.display())]
    Parse {
        /// Kind of file, such as `catalogue`.
        what: &'static str,
        /// File.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What the format asks for.
        expected: String,
        /// What stands there. Never patient text.
        got: String,
    },
    /// A string is no ICD-10 code.
    #[error("not an ICD-10 code: `{code}` ({rule})")]
    Code {
        /// The string as given.
        code: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// A string is no concept of UMLS.
    #[error("not a UMLS concept: `{id}` (expected C and seven digits)")]
    Concept {
        /// The string as given.
        id: String,
    },
    /// A span does not fit its text.
    #[error("span {start_byte}..{end_byte} does not fit a text of {length_bytes} bytes: {rule}")]
    Span {
        /// First byte.
        start_byte: usize,
        /// One past the last byte.
        end_byte: usize,
        /// Length of the text in bytes.
        length_bytes: usize,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// Vectors have the wrong length.
    #[error("expected vectors of {expected} numbers, got {got}")]
    Dimension {
        /// What the index or encoder holds.
        expected: usize,
        /// What was given.
        got: usize,
    },
    /// A model or index file is damaged, or was written by another version.
    #[error("cannot use {what} {name}: {reason}")]
    Artifact {
        /// Kind of file, such as `CRF model`.
        what: &'static str,
        /// File, or `(shipped)`.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An index was built with another encoder than the one that searches it.
    #[error("index {name} was built with encoder {built_with}, cannot be searched with {searched_with}")]
    Encoder {
        /// Index folder, or `(shipped)`.
        name: String,
        /// Fingerprint in the index's manifest.
        built_with: String,
        /// Fingerprint of the loaded encoder.
        searched_with: String,
    },
    /// A model computes numbers that mean nothing. They never get into an index, where a search among them would not end.
    #[error("{model} gives numbers that are not finite")]
    NotFinite {
        /// Encoder, recogniser or index.
        model: String,
    },
    /// The catalogue that an index was built from is another one now.
    #[error("index {name} was built from {} as it was then ({built_with}); now it holds other titles ({found})", path.display())]
    CatalogChanged {
        /// Index folder.
        name: String,
        /// The catalogue.
        path: PathBuf,
        /// Fingerprint in the index's manifest.
        built_with: String,
        /// Fingerprint of the file today.
        found: String,
    },
    /// FAISS reported an error.
    #[error("FAISS: {0}")]
    Faiss(String),
    /// A setting has a value outside its range.
    #[error("setting `{key}`: expected {expected}, got {got}")]
    Setting {
        /// Name, with its section.
        key: String,
        /// Allowed values.
        expected: String,
        /// Value given.
        got: String,
    },
    /// A prompt file breaks the form, or a prompt cannot be rendered.
    #[error("prompt `{name}`: {reason}")]
    Prompt {
        /// Name of a built-in prompt, or path of a file.
        name: String,
        /// What is wrong, with the line where there is one.
        reason: String,
    },
    /// A language model cannot be loaded.
    #[error("cannot load the language model {name}: {reason}")]
    ModelLoad {
        /// Folder, file or hub id.
        name: String,
        /// What is wrong.
        reason: String,
        /// The way out.
        hint: String,
    },
    /// An encoder cannot be loaded.
    #[error("cannot load the encoder {name}: {reason}")]
    EncoderLoad {
        /// Folder or hub id.
        name: String,
        /// What is wrong, with the file and the tensor.
        reason: String,
        /// The way out.
        hint: String,
    },
    /// A LoRA adapter cannot be used.
    #[error("cannot use the adapter {}: {reason}", path.display())]
    Adapter {
        /// Folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A language model took a request and gave no answer. Never holds patient text.
    #[error("{engine} did not answer: {reason}")]
    Generation {
        /// Engine or server.
        engine: String,
        /// What happened.
        reason: String,
        /// Whether the engine itself is dead or wedged, so that the next request would fail too.
        engine_lost: bool,
    },
    /// An engine was left out of this build.
    #[error("{engine} is not part of this build of noso")]
    NotBuilt {
        /// What was asked for.
        engine: &'static str,
        /// Cargo feature that brings it.
        feature: &'static str,
    },
    /// A token sequence does not fit the model.
    #[error("token sequence: expected {expected}, got {got}")]
    Sequence {
        /// What the model takes.
        expected: String,
        /// What was given.
        got: String,
    },
    /// The tensor library refused an operation.
    #[error("computing with tensors: {0}")]
    Tensor(String),
    /// Training data cannot give a model.
    #[error("cannot train {what}: {reason}")]
    Training {
        /// Kind of model.
        what: &'static str,
        /// What is missing.
        reason: String,
    },
    /// The loss of a training run is no number any more, or has risen far above where it began.
    #[error("the loss is {} in step {step}, at learning rate {learning_rate:.3e}: training diverged", told_loss(*.loss))]
    Diverged {
        /// Step, from 1.
        step: usize,
        /// Loss; NaN where it, or a gradient or a weight, is no number.
        loss: f64,
        /// Learning rate of the step.
        learning_rate: f64,
        /// Last good checkpoint, where one was written.
        checkpoint: Option<PathBuf>,
        /// Weights of the best evaluation, where there was one.
        best: Option<PathBuf>,
    },
    /// A training run was asked to stop, and wrote a checkpoint.
    #[error("stopped after step {step} of {steps}; {} holds the run", checkpoint.display())]
    Stopped {
        /// Steps done.
        step: usize,
        /// Steps of the whole run.
        steps: usize,
        /// Where to go on from.
        checkpoint: PathBuf,
    },
    /// Work that a later run of the same command goes on with was asked to stop.
    #[error("stopped while {what}; what is done is kept")]
    Interrupted {
        /// What was being done.
        what: &'static str,
    },
    /// A training run cannot go on from its checkpoint.
    #[error("cannot go on from {}: {reason}", path.display())]
    Checkpoint {
        /// File.
        path: PathBuf,
        /// What is wrong with it, or not as it was.
        reason: String,
        /// The way out.
        hint: &'static str,
    },
    /// A page of results cannot be laid out.
    #[error("cannot lay out the page: {reason}")]
    Page {
        /// Part of the page, and what is wrong with it.
        reason: String,
    },
    /// A training would not fit into memory.
    #[error("{what} needs about {needed_mib} MiB, {available_mib} MiB are free")]
    Memory {
        /// What would not fit.
        what: &'static str,
        /// Options that make it smaller.
        lower: &'static str,
        /// Estimate.
        needed_mib: u64,
        /// What the system says.
        available_mib: u64,
    },
}

#[cfg(feature = "neural")]
impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::Tensor(error.to_string())
    }
}

/// Passes numbers on that are all finite.
///
/// # Errors
/// - [`Error::NotFinite`] of `model` otherwise.
pub fn check_finite(model: &str, numbers: &[f32]) -> Result<()> {
    match numbers.iter().all(|number| number.is_finite()) {
        true => Ok(()),
        false => Err(Error::NotFinite { model: model.to_owned() }),
    }
}

/// Shortens what serde says of an unknown key or value: names it and, of those that may stand there, the nearest one. Other messages come
/// back as they are.
pub(crate) fn nearest_name(message: &str) -> String {
    let Some((_, rest)) = message.split_once("unknown ") else { return message.to_owned() };
    let names: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
    let Some((unknown, known)) = names.split_first() else { return message.to_owned() };
    let near = |name: &&&str| strsim::jaro_winkler(unknown, name);
    match known.iter().max_by(|a, b| near(a).total_cmp(&near(b))) {
        Some(nearest) => format!("unknown `{unknown}`, nearest is `{nearest}` (of {})", known.join(", ")),
        None => message.to_owned(),
    }
}

/// Returns the line of a text, from 1, that a byte lies in.
pub(crate) fn line_at(text: &str, byte: usize) -> usize {
    text.as_bytes()[..byte.min(text.len())].iter().filter(|&&byte| byte == b'\n').count() + 1
}

/// Passes where a setting `is` as expected.
///
/// # Errors
/// - [`Error::Setting`] otherwise.
pub fn check_setting(is: bool, key: &str, expected: &str, got: impl ToString) -> Result<()> {
    match is {
        true => Ok(()),
        false => Err(Error::Setting { key: key.into(), expected: expected.into(), got: got.to_string() }),
    }
}

impl Error {
    /// Makes a read error for `path`.
    pub fn read(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Read { path: path.as_ref().to_owned(), source }
    }

    /// Makes a write error for `path`.
    pub fn write(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Write { path: path.as_ref().to_owned(), source }
    }

    /// Says what makes it smaller in the words of the command at hand, where memory does not suffice.
    #[must_use]
    pub fn lowered_by(self, lower: &'static str) -> Self {
        match self {
            Self::Memory { what, needed_mib, available_mib, .. } => {
                Self::Memory { what, lower, needed_mib, available_mib }
            }
            other => other,
        }
    }

    /// Says that it was the user's cache that could not be written.
    #[must_use]
    pub fn of_cache(self, folder: &Path) -> Self {
        match self {
            Self::Write { source, .. } => Self::Cache { folder: folder.to_owned(), source },
            other => other,
        }
    }

    /// Names a setting in full: `key` of a part becomes `section.key`.
    #[must_use]
    pub fn within(self, section: &str) -> Self {
        match self {
            Self::Setting { key, expected, got } => Self::Setting { key: format!("{section}.{key}"), expected, got },
            other => other,
        }
    }
}

fn told_loss(loss: f64) -> String {
    if loss.is_finite() { format!("{loss:.4}, far above where it began,") } else { "no number".to_owned() }
}
