//! The way out of an error, in a line that the command prints below it.

use std::path::PathBuf;

use super::{Error, SECTIONS};

const EXPERIMENT: &str = "`noso experiment run --help` shows an experiment's file";

impl Error {
    /// Says what a user can do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        use std::io::ErrorKind;
        let hint = match self {
            Self::Read { source, .. } if source.kind() == ErrorKind::NotFound => "check the spelling of the path".into(),
            Self::Read { source, .. } if source.kind() == ErrorKind::IsADirectory => {
                "a file is expected here; a folder belongs to another engine or option".into()
            }
            Self::Read { source, .. } if source.kind() == ErrorKind::NotADirectory => {
                "a folder is expected here; a file belongs to another engine or option".into()
            }
            Self::Read { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                "you may not read this file; ask its owner or run as a user who may".into()
            }
            Self::Read { source, .. } if source.kind() == ErrorKind::InvalidData => {
                "the file is not UTF-8; convert it, for example `iconv -f CP1251 -t UTF-8`".into()
            }
            Self::Parse { what: "catalogue", .. } => {
                "a catalogue is a .tsv or .csv with a header line (code, title, synonyms), a .jsonl of objects with these keys, or a .yaml of `code: title`".into()
            }
            Self::Write { source, .. } if source.kind() == ErrorKind::StorageFull => {
                "the disk is full; free some space, then run the same command with --resume".into()
            }
            Self::Write { source, .. } if matches!(source.kind(), ErrorKind::FileTooLarge | ErrorKind::QuotaExceeded) => {
                "a limit on files stands in the way (`ulimit -f`, a quota, the file system); lift it, then run the same command with --resume".into()
            }
            Self::Write { source, .. } if source.kind() == ErrorKind::AlreadyExists => {
                "choose another folder for the output, or continue that run with --resume where the command has it".into()
            }
            Self::Write { source, .. } if source.kind() == ErrorKind::DirectoryNotEmpty => {
                "choose another folder with --output, or empty this one".into()
            }
            Self::Write { source, .. } if source.kind() == ErrorKind::ResourceBusy => {
                "wait for that run, or choose another place with --output".into()
            }
            Self::Write { .. } => "choose a folder you may write to with --output".into(),
            Self::Cache { source, .. } if source.kind() == ErrorKind::ResourceBusy => {
                "a folder of one's own is given with --cache; answers that are known elsewhere are asked again".into()
            }
            Self::Cache { .. } => "set NOSO_HOME to a folder that you may write to; experiments take one with --cache".into(),
            Self::Parse { what: "job", .. } => "`noso train lora --help` shows a job's file with every key".into(),
            Self::Parse { what: "experiment", .. } => EXPERIMENT.into(),
            Self::Code { .. } => "write codes as K29.5, J06 or the block J00-J06, in Latin letters".into(),
            Self::Artifact { .. } => {
                "build it again with this version of noso (`noso index build`, `noso train …`), or leave the option out to use the shipped one".into()
            }
            Self::Encoder { .. } => "search with the encoder that built the index, or build the index again".into(),
            Self::NotFinite { .. } => {
                "its weights are damaged or its training failed: copy it again, or train again with a lower --learning-rate".into()
            }
            Self::CatalogChanged { path, .. } => format!(
                "build the index again; or name the catalogue, --catalog {}, and its titles are encoded at every start",
                path.display()
            ),
            Self::Setting { key, .. } if key == "factory" => {
                "a factory string of FAISS is, for example, Flat, SQ8, HNSW16, HNSW8,SQ8, IVF256,Flat or PCA64,IVF256,SQ8; the first three learn little or nothing".into()
            }
            Self::Prompt { .. } => "`noso prompt show NAME` renders a prompt; prompts/ in the source holds the built-in ones".into(),
            Self::ModelLoad { hint, .. } | Self::EncoderLoad { hint, .. } => hint.clone(),
            Self::Adapter { .. } => "`noso adapter info DIR` shows what an adapter holds; PEFT LoRA adapters are read".into(),
            Self::NotBuilt { feature, .. } => format!("build it in with `cargo build --release --features {feature}`"),
            Self::Sequence { .. } => "tokenizer and model must come from one folder; texts are cut to `max_tokens`".into(),
            Self::Tensor(reason) if reason.to_lowercase().contains("memory") => "lower --batch-tokens; where a model is trained, --shards or add --recompute (in a job's file: fit.batch_tokens, fit.recompute)".into(),
            Self::Diverged { checkpoint, best, .. } => {
                let told = |what: &str, path: &Option<PathBuf>| {
                    path.as_ref().map(|path| format!("; {what} {}", path.display())).unwrap_or_default()
                };
                let cure = match checkpoint {
                    // A longer warm-up would make another run of it.
                    Some(path) => format!("lower the learning rate or clip gradients harder; with --resume the run goes on from {}", path.display()),
                    None => "lower the learning rate, lengthen the warm-up, or clip gradients harder".to_owned(),
                };
                format!("{cure}{}", told("the best weights so far are in", best))
            }
            Self::Interrupted { .. } => "run the same command again to go on".into(),
            Self::Stopped { .. } => "run the same command with --resume to go on".into(),
            Self::Checkpoint { hint, .. } => (*hint).into(),
            Self::Memory { lower, .. } => format!("lower {lower}"),
            Self::Setting { key, .. } => {
                match key.split_once(['.', ' ']).map(|(section, _)| section) {
                    Some("axes" | "corpus") => EXPERIMENT.into(),
                    _ if key == "cell" => "name a cell by words that stand in no other's name".into(),
                    _ if key == "runs" => "name runs and cells of the same experiment file, or of others on the same corpus".into(),
                    _ if key == "base" || key == "finetune" => "`noso train lora --help` shows a job's file with every key".into(),
                    Some("finetune" | "pretrain" | "adapter") => "`noso train lora --help` shows a job's file with every key".into(),
                    Some(section) if section == "pipeline" || SECTIONS.contains(&section) => {
                        "pipelines/default.toml and llm.toml in the source list every key with its range".into()
                    }
                    _ => "`--help` after the same command lists its options with their defaults".into(),
                }
            }
            _ => return None,
        };
        Some(hint)
    }
}
