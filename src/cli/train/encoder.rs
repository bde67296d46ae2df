//! `noso train encoder`.

use std::{path::PathBuf, process::ExitCode};

use super::{
    fit::{Bar, FitArgs, defaults},
    manifest::{MODEL_WEIGHTS, Manifest},
    sizes::SizesArgs,
};
use crate::{
    cli::{DONE, FINISHED_WITH_FAILURES},
    config::{Device, EncoderConfig},
    corpus::{Documents, InputFormat, ReadOptions, Source},
    embed::bert::{device, load_model},
    error::Result,
    nn::{
        fit::{ModelFolder, fingerprint},
        longformer::lengthen,
    },
    train::encoder::{self, EncoderSettings, MaskSettings, Report, Sizes},
};

/// Train an encoder as masked language model, from scratch or from another one
#[derive(Debug, clap::Args)]
#[command(after_long_help = defaults(&EncoderSettings::default().fit) + "

Example

  noso train encoder --texts ruccod/train --texts abstracts.jsonl --output my-encoder
  noso train encoder --init my-encoder --texts notes/ --epochs 3 --output adapted-encoder
  noso train mlm --init my-encoder --window 512 --length 4096 --texts records/ --output longformer")]
pub struct Args {
    /// Texts: a folder (brat or .txt), a .jsonl, .csv or .txt file (may be given several times)
    #[arg(long, value_name = "PATH", required = true)]
    texts: Vec<PathBuf>,
    /// Format of the texts
    #[arg(long, value_enum, default_value_t)]
    input_format: InputFormat,
    /// Go on from the encoder of this folder, hub id or preset instead of drawing a new one
    #[arg(long, value_name = "DIR|ID", conflicts_with_all = ["vocabulary", "cased", "layers", "hidden", "heads", "intermediate", "positions"])]
    init: Option<String>,
    #[command(flatten)]
    sizes: SizesArgs,
    /// Tell capital letters from small ones
    #[arg(long)]
    cased: bool,
    /// Numbers a token within the feed-forward part [default: 4 × hidden]
    #[arg(long, value_name = "N")]
    intermediate: Option<usize>,
    /// Most tokens that the encoder will take
    #[arg(long, value_name = "N", default_value_t = 512)]
    positions: usize,
    /// Most tokens of a training example
    #[arg(long, value_name = "N", default_value_t = 128)]
    length: usize,
    /// Make it a Longformer for examples of that length, whose tokens see so many around them
    #[arg(long, value_name = "N")]
    window: Option<usize>,
    /// Give each text an example of its own instead of putting short ones together
    #[arg(long)]
    no_packing: bool,
    /// Share of the tokens that are hidden
    #[arg(long, value_name = "X", default_value_t = 0.15)]
    mask_share: f64,
    /// Hide single word pieces instead of whole words
    #[arg(long)]
    mask_pieces: bool,
    /// Hold out every N-th text for evaluation; 0 holds out none
    #[arg(long, value_name = "N", default_value_t = 20)]
    held_out: usize,
    /// Where it is trained
    #[arg(long, value_enum, default_value_t = Device::Auto)]
    device: Device,
    /// Folder to write, in the form of Hugging Face
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    fit: FitArgs,
}

/// Trains an encoder and writes its folder.
///
/// # Errors
/// If the texts cannot be read or are too few, a setting is out of its range, or the folder cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let folder = ModelFolder::claim(&args.output, args.fit.resume)?;
    let defaults = EncoderSettings::default();
    let settings = EncoderSettings {
        length: args.length,
        pack: !args.no_packing,
        held_out: args.held_out,
        mask: MaskSettings { share: args.mask_share, whole_words: !args.mask_pieces },
        fit: args.fit.over(defaults.fit),
    };
    settings.fit.check()?;
    args.sizes().check()?;
    let (texts, failed) = args.read()?;
    let model = match &args.init {
        Some(name) => load_model(&EncoderConfig { device: args.device, ..EncoderConfig::of(name) })?.0,
        None => encoder::draw(&texts, &args.sizes(), settings.fit.seed, &device(args.device)?)?,
    };
    let model = match args.window {
        Some(window) => lengthen(&model, window, settings.length.max(model.config.max_tokens()))?,
        None => model,
    };
    let manifest = Manifest::begin(
        &folder,
        &(&settings, args.window, args.init.is_none().then(|| args.sizes())),
        fingerprint(&texts),
    )?;
    let report = encoder::train(model, &texts, &settings, &folder, &mut Bar::new()?)?;
    manifest.finish(&folder, MODEL_WEIGHTS, &report.history)?;
    tell(args, &report);
    Ok(if failed == 0 { DONE } else { ExitCode::from(FINISHED_WITH_FAILURES) })
}

fn tell(args: &Args, report: &Report) {
    let Report { examples, tokens, vocabulary, parameters, .. } = report;
    let output = args.output.display();
    eprintln!(
        "{output}: {parameters} parameters, {vocabulary} word pieces, taught {tokens} tokens in {examples} examples"
    );
    if let Some(reached) = &report.reached {
        let figures: Vec<String> = reached.figures.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
        eprintln!("on hidden words of texts held out: {}", figures.join(", "));
    }
}

impl Args {
    /// Reads all texts; one that cannot be read is told, counted and left out.
    fn read(&self) -> Result<(Vec<String>, usize)> {
        let options = ReadOptions { format: self.input_format, ..ReadOptions::default() };
        let (mut texts, mut failed) = (Vec::new(), 0);
        for path in &self.texts {
            let mut documents = Documents::open(Source::Path(path.clone()), &options)?;
            for document in &mut documents {
                match document {
                    Ok(document) => texts.push(document.text),
                    Err(error) => {
                        eprintln!("warning: {error}");
                        failed += 1;
                    }
                }
            }
            eprintln!("{}: {}", path.display(), documents.report());
        }
        Ok((texts, failed))
    }

    fn sizes(&self) -> Sizes {
        let sizes = self.sizes.sizes();
        let intermediate = self.intermediate.unwrap_or(sizes.intermediate);
        Sizes { lowercase: !self.cased, intermediate, positions: self.positions, ..sizes }
    }
}
