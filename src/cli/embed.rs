//! `noso embed`: texts come in, a line each; their vectors leave, as JSON lines or a NumPy file.

use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::DONE;
use crate::{
    artifact::write_atomic,
    config::{EncoderConfig, Pooling, Preset},
    embed::{Embed, bert::BertEncoder},
    error::{Error, Result},
};

/// Texts encoded between two steps of the progress bar.
const CHUNK_TEXTS: usize = 8192;

/// Turn texts into vectors with an encoder
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Settings that are not given come from noso.toml or the sentence-transformers files in the encoder's folder, else from its preset.

Example

  noso embed --encoder models/sapbert --preset sapbert --input titles.txt --output titles.npy")]
pub struct Args {
    /// Folder of a BERT or XLM-RoBERTa encoder, or hub id [default: that of the preset]
    #[arg(long, value_name = "DIR", required_unless_present = "preset")]
    encoder: Option<String>,
    /// Settings of a published encoder: bergamot, sapbert, coder, bge-m3 or rubiobert
    #[arg(long, value_name = "NAME")]
    preset: Option<Preset>,
    /// How the vectors of tokens become one: cls, mean or pooler
    #[arg(long, value_name = "NAME")]
    pooling: Option<Pooling>,
    /// Tokens of a text that are read
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Tokens encoded at a time on a core
    #[arg(long, value_name = "N", default_value_t = EncoderConfig::default().batch_tokens)]
    batch_tokens: usize,
    /// Texts, one a line [default: standard input]
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// File for the vectors: NumPy if it ends in .npy, else JSON lines [default: standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Encodes and writes.
///
/// # Errors
/// Those of loading the encoder, reading the texts and writing the vectors.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let encoder = BertEncoder::load(&EncoderConfig {
        model: args.encoder.clone(),
        preset: args.preset,
        pooling: args.pooling,
        max_tokens: args.max_tokens,
        batch_tokens: args.batch_tokens,
        ..EncoderConfig::default()
    })?;
    let texts = read(args.input.as_deref())?;
    let started = Instant::now();
    let mut vectors = Vec::with_capacity(texts.len() * encoder.dim());
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} texts, {per_sec}, {eta} left");
    let bar = ProgressBar::new(texts.len() as u64).with_style(style?);
    for chunk in texts.chunks(CHUNK_TEXTS) {
        let chunk: Vec<&str> = chunk.iter().map(String::as_str).collect();
        vectors.extend(encoder.embed(&chunk)?);
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    write(args.output.as_deref(), &vectors, encoder.dim())?;
    let cut = match encoder.cut_texts() {
        0 => String::new(),
        cut => format!("{cut} cut to {} tokens, ", encoder.settings().max_tokens),
    };
    let (count, dim) = (texts.len(), encoder.dim());
    eprintln!("{count} texts, {dim} dimensions, {cut}{seconds:.2} s, {:.1} texts/s", count as f64 / seconds);
    Ok(DONE)
}

fn read(path: Option<&Path>) -> Result<Vec<String>> {
    let failed = |e| Error::read(path.unwrap_or(Path::new("standard input")), e);
    let input: Box<dyn Read> = match path {
        Some(path) => Box::new(File::open(path).map_err(failed)?),
        None => Box::new(std::io::stdin()),
    };
    BufReader::new(input).lines().collect::<std::io::Result<_>>().map_err(failed)
}

fn write(path: Option<&Path>, vectors: &[f32], dim: usize) -> Result<()> {
    if let Some(path) = path.filter(|path| path.extension().is_some_and(|ending| ending == "npy")) {
        return write_atomic(path, &numpy(vectors, dim));
    }
    let mut lines = Vec::new();
    for row in vectors.chunks_exact(dim) {
        let numbers: Vec<String> = row.iter().map(f32::to_string).collect();
        lines.extend_from_slice(format!("[{}]\n", numbers.join(",")).as_bytes());
    }
    match path {
        Some(path) => write_atomic(path, &lines),
        None => {
            BufWriter::new(std::io::stdout().lock()).write_all(&lines).map_err(|e| Error::write("standard output", e))
        }
    }
}

/// Lays vectors out as a NumPy file, `(n, dim)` in f32.
///
/// # Source
/// Format version 1.0: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.
fn numpy(vectors: &[f32], dim: usize) -> Vec<u8> {
    let shape = (vectors.len() / dim.max(1), dim);
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape:?}, }}");
    // Magic, version, length and header together are a multiple of 64 bytes.
    let blanks = 63 - (10 + header.len()) % 64;
    header.push_str(&" ".repeat(blanks));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend(vectors.iter().flat_map(|number| number.to_le_bytes()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numpy_header_fills_whole_blocks() {
        for rows in [0, 1, 10, 1000] {
            let bytes = numpy(&vec![0.5; rows * 3], 3);
            let data = bytes.len() - rows * 12;
            assert!(data.is_multiple_of(64) && bytes[data - 1] == b'\n');
        }
    }
}
