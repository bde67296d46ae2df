//! `noso doctor`: what is installed, which engines can run, what is missing and how to get it.

use std::process::ExitCode;

use comfy_table::{Table, presets::UTF8_BORDERS_ONLY};

use super::{CANNOT_START, DONE};
use crate::{
    catalog::{Abbreviations, Catalog},
    config,
    embed::{Embed, ngram::NgramEncoder},
    error::{Error, Result},
    index::Index,
    ner::crf::CrfNer,
    prompt::{Prompt, built_in_prompts},
    rerank::nearest::NearestModel,
};

/// Say what is installed, which engines can run, and what is missing
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example\n\n  noso doctor")]
pub struct Args {}

/// Checks each part by loading it, and prints a line for each.
///
/// # Errors
/// None: a part that fails is a line of the table, and the exit code is then 1.
pub fn run(_: &Args) -> anyhow::Result<ExitCode> {
    let checks = [
        ("processor", processor()),
        ("catalogue", Catalog::shipped().map(|c| format!("shipped, {} codes", c.entries().len()))),
        ("abbreviations", Ok(format!("shipped, {}", Abbreviations::shipped().len()))),
        ("ner crf", CrfNer::shipped().map(|_| "shipped, CPU".into())),
        (
            "encoder ngram",
            NgramEncoder::shipped().map(|e| format!("shipped, {}, {} dimensions", e.fingerprint(), e.dim())),
        ),
        ("encoders", Ok(encoders())),
        ("index", index()),
        ("rerank nearest", rerank()),
        ("prompts", prompts()),
        ("language models", language_models()),
        ("pipelines", Ok(config::built_in_pipelines().collect::<Vec<_>>().join(", "))),
    ];
    let mut table = Table::new();
    table.load_preset(UTF8_BORDERS_ONLY).set_header(["part", "", "what was found"]);
    let mut healthy = true;
    for (part, outcome) in checks {
        match outcome {
            Ok(found) => table.add_row([part, "ok", &found]),
            Err(error) => {
                healthy = false;
                let hint = error.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
                table.add_row([part, "missing", &format!("{error}{hint}")])
            }
        };
    }
    let (version, os, machine) = (env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH);
    super::show(format_args!("noso {version} on {os} {machine}\n{table}"))?;
    Ok(if healthy { DONE } else { ExitCode::from(CANNOT_START) })
}

fn processor() -> Result<String> {
    let threads = rayon::current_num_threads();
    crate::index::available().map(|()| format!("{threads} threads, all that FAISS needs"))
}

fn prompts() -> Result<String> {
    let all = built_in_prompts().map(Prompt::load).collect::<Result<Vec<_>>>()?;
    Ok(format!("{} built in; `noso prompt list` shows them", all.len()))
}

/// A build without encoders is whole without them.
#[cfg(not(feature = "neural"))]
fn encoders() -> String {
    "BERT is left out of this build; `cargo build --release --features neural` brings it".into()
}

#[cfg(feature = "neural")]
fn encoders() -> String {
    use crate::{config::Preset, embed::presets_on_this_machine};
    let known = Preset::ALL.map(Preset::name).join(", ");
    let held = match presets_on_this_machine().map(Preset::name).collect::<Vec<_>>() {
        none if none.is_empty() => "none of them on this machine".into(),
        some => format!("on this machine: {}", some.join(", ")),
    };
    format!(
        "BERT and XLM-RoBERTa (CPU), none ships: name a folder, a hub id or a preset with --encoder\npresets: {known}; {held}"
    )
}

/// A build without language models is whole without them.
fn language_models() -> Result<String> {
    let engines = match (cfg!(feature = "llm"), cfg!(feature = "cuda")) {
        (false, _) => "left out of this build; `cargo build --release --features llm` brings them",
        (true, false) => {
            "mistral.rs in this process (CPU), OpenAI-compatible servers; noso-lm ships; another one with --model"
        }
        (true, true) => {
            "mistral.rs in this process (CPU, CUDA), OpenAI-compatible servers; noso-lm ships; another one with --model"
        }
    };
    Ok(engines.into())
}

fn rerank() -> Result<String> {
    let (model, encoder) = (NearestModel::shipped()?, NgramEncoder::shipped()?);
    if model.encoder == encoder.fingerprint() {
        return Ok(format!("shipped, CPU, {} codes known", model.counts.len()));
    }
    let (name, searched_with) = ("(shipped)".into(), encoder.fingerprint().to_owned());
    Err(Error::Encoder { name, built_with: model.encoder, searched_with })
}

fn index() -> Result<String> {
    let index = Index::shipped()?;
    index.check_encoder(&NgramEncoder::shipped()?)?;
    let manifest = index.manifest();
    Ok(format!("shipped, {} texts, {} rows, {}", manifest.entries, manifest.rows, manifest.factory))
}
