//! `noso adapter`: describe LoRA adapters and merge them into models.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use clap::Subcommand;
use comfy_table::{Table, presets::UTF8_BORDERS_ONLY};
use indicatif::{ProgressBar, ProgressStyle};

use super::{DONE, FINISHED_WITH_FAILURES, Format};
use crate::llm::{
    hub,
    merge::{self, AdapterInfo, Merge, merged_folder},
};

/// Describe a LoRA adapter, or merge it into a model
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Describe an adapter: rank, scale, modules, and whether it can be merged
    Info(InfoArgs),
    /// Merge an adapter into a model and print the folder of the merged model
    Merge(MergeArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example

  noso adapter info adapters/ner")]
struct InfoArgs {
    /// Folder with adapter_config.json and adapter_model.safetensors, as PEFT writes them
    #[arg(value_name = "DIR")]
    adapter: PathBuf,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The merged model is an ordinary model folder. Without --output it is kept in the cache (NOSO_HOME/merged, else
~/.cache/noso/merged) under a hash of its contents, and found there by every later run with the same model and adapter; it
takes as much disk as the model, and may be deleted at any time.

Example: a model for another program, with the adapter inside

  noso adapter merge --model models/Qwen2.5-7B-Instruct --adapter adapters/ner \\
      --output models/qwen-ner")]
struct MergeArgs {
    /// Folder or hub id of the model, with config.json and safetensors files
    #[arg(long)]
    model: String,
    /// Folder of the adapter
    #[arg(long, value_name = "DIR")]
    adapter: PathBuf,
    /// New folder for the merged model [default: one in the cache]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Runs one of the two actions.
///
/// # Errors
/// Whatever kept it from finishing.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Info(args) => info(args),
        Action::Merge(args) => merge(args),
    }
}

fn info(args: &InfoArgs) -> anyhow::Result<ExitCode> {
    let info = merge::info(&args.adapter)?;
    match args.format {
        Format::Json => super::show(serde_json::to_string(&info)?)?,
        Format::Table => super::show(table(&info))?,
    }
    Ok(if info.unsupported.is_none() { DONE } else { ExitCode::from(FINISHED_WITH_FAILURES) })
}

fn table(info: &AdapterInfo) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_BORDERS_ONLY).set_header(["adapter", ""]);
    let pairs = |pairs: Vec<String>| if pairs.is_empty() { "-".to_owned() } else { pairs.join("\n") };
    let scaling = if info.rslora { "α/√r (rsLoRA)" } else { "α/r" };
    for (name, value) in [
        ("base model", info.base_model.clone().unwrap_or_else(|| "-".into())),
        ("rank r", info.rank.to_string()),
        ("α", info.alpha.to_string()),
        ("scale", scaling.into()),
        ("rank by pattern", pairs(info.rank_pattern.iter().map(|(key, rank)| format!("{key}: {rank}")).collect())),
        ("α by pattern", pairs(info.alpha_pattern.iter().map(|(key, alpha)| format!("{key}: {alpha}")).collect())),
        ("targets", pairs(info.targets.clone())),
        ("modules", pairs(modules_by_kind(&info.modules))),
        ("parameters", info.parameters.to_string()),
        ("hash", info.hash.clone()),
        ("can be merged", info.unsupported.as_ref().map_or_else(|| "yes".into(), |reason| format!("no: {reason}"))),
    ] {
        table.add_row([name.to_owned(), value]);
    }
    table
}

/// Counts modules by the last part of their name: an adapter has one of each kind a layer.
fn modules_by_kind(modules: &[String]) -> Vec<String> {
    let mut kinds = BTreeMap::<&str, usize>::new();
    for module in modules {
        *kinds.entry(module.rsplit('.').next().unwrap_or(module)).or_default() += 1;
    }
    kinds.into_iter().map(|(kind, count)| format!("{count} {kind}")).collect()
}

fn merge(args: &MergeArgs) -> anyhow::Result<ExitCode> {
    let merge = Merge::open(&hub::resolve(&args.model)?, &args.adapter)?;
    let style = ProgressStyle::with_template("{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
    // Every byte is hashed once and written once.
    let bar = ProgressBar::new(2 * merge.bytes()).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let progress = |bytes| bar.inc(bytes);
    let folder = match &args.output {
        Some(folder) => merge.write(folder, &progress).map(|()| folder.clone()),
        None => merge.cached(&merged_folder(), &progress),
    };
    bar.finish_and_clear();
    super::show(folder?.display())?;
    Ok(DONE)
}
