//! `noso embed`: texts come in, a line each; their vectors leave, as JSON lines or a NumPy file.

use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use indicatif::{ProgressBar, ProgressStyle};

use tempfile::NamedTempFile;

use super::{DONE, encoder::EncoderArgs};
use crate::{
    artifact,
    embed::{Embed, bert::BertEncoder},
    error::{Error, Result},
};

/// Texts encoded between two steps of the progress bar.
const CHUNK_TEXTS: usize = 1024;

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
    /// Texts, one a line [default: standard input]
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// File for the vectors: NumPy if it ends in .npy, else JSON lines [default: standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    bert: EncoderArgs,
}

/// Encodes and writes.
///
/// # Errors
/// Those of loading the encoder, reading the texts and writing the vectors.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let encoder = BertEncoder::load(&args.bert.over(args.encoder.as_deref()))?;
    let texts = read(args.input.as_deref())?;
    let started = Instant::now();
    let mut output = Output::open(args.output.as_deref(), texts.len(), encoder.dim())?;
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} texts, {per_sec}, {eta} left");
    let bar = ProgressBar::new(texts.len() as u64).with_style(style?);
    for chunk in texts.chunks(CHUNK_TEXTS) {
        let chunk: Vec<&str> = chunk.iter().map(String::as_str).collect();
        output.write(&encoder.embed(&chunk)?)?;
        bar.inc(chunk.len() as u64);
    }
    output.finish()?;
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
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

/// Where vectors go, chunk by chunk: a file that appears when all are there, or standard output.
struct Output {
    path: PathBuf,
    to: To,
    numpy: bool,
    dim: usize,
}

enum To {
    File(BufWriter<NamedTempFile>),
    Stdout(BufWriter<std::io::Stdout>),
}

impl Output {
    fn open(path: Option<&Path>, texts: usize, dim: usize) -> Result<Self> {
        let Some(path) = path else {
            let to = To::Stdout(BufWriter::new(std::io::stdout()));
            return Ok(Self { path: "standard output".into(), to, numpy: false, dim });
        };
        let file = artifact::stage_beside(path)?;
        let numpy = path.extension().is_some_and(|ending| ending == "npy");
        let mut output = Self { path: path.to_owned(), to: To::File(BufWriter::new(file)), numpy, dim };
        if numpy {
            output.write_bytes(&numpy_header(texts, dim))?;
        }
        Ok(output)
    }

    fn write(&mut self, vectors: &[f32]) -> Result<()> {
        if self.numpy {
            return self.write_bytes(&vectors.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>());
        }
        for row in vectors.chunks_exact(self.dim) {
            let numbers: Vec<String> = row.iter().map(f32::to_string).collect();
            self.write_bytes(format!("[{}]\n", numbers.join(",")).as_bytes())?;
        }
        Ok(())
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let written = match &mut self.to {
            To::File(file) => file.write_all(bytes),
            To::Stdout(out) => out.write_all(bytes),
        };
        written.map_err(|e| Error::write(&self.path, e))
    }

    fn finish(self) -> Result<()> {
        let done = match self.to {
            To::Stdout(mut out) => out.flush(),
            To::File(file) => file.into_inner().map_err(|e| e.into_error()).and_then(|file| {
                file.as_file().sync_all()?;
                file.persist(&self.path).map(drop).map_err(|e| e.error)
            }),
        };
        done.map_err(|e| Error::write(&self.path, e))
    }
}

/// Begins a NumPy file of `(rows, dim)` numbers in f32.
///
/// # Source
/// Format version 1.0: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.
fn numpy_header(rows: usize, dim: usize) -> Vec<u8> {
    let shape = (rows, dim);
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape:?}, }}");
    // Magic, version, length and header together are a multiple of 64 bytes.
    let blanks = 63 - (10 + header.len()) % 64;
    header.push_str(&" ".repeat(blanks));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numpy_header_fills_whole_blocks() {
        for rows in [0, 1, 10, 1000] {
            let header = numpy_header(rows, 3);
            assert!(header.len().is_multiple_of(64) && header.ends_with(b"\n"));
        }
    }
}
