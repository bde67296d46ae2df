//! `noso index bench`: what a FAISS factory costs and finds on made-up vectors.

use std::{collections::HashSet, process::ExitCode, time::Instant};

use super::super::{DONE, show};
use crate::{
    data::Origin,
    embed::Embed,
    error::Result,
    index::{Index, IndexSettings, SourceRow},
};

/// Neighbours that are compared with those of an exact search.
const NEIGHBOURS: usize = 15;
/// Rows of a chapter, a block, a category and a code: texts of relatives lie together, uniform noise would have no neighbours, and
/// codes without relatives would be islands that no graph leads to.
const GROUP_ROWS: [u64; 4] = [100_000, 10_000, 1_000, 100];
/// Length of a row's deviation from its code's centre, whose length is about 1.
const SPREAD: f32 = 0.7;

#[derive(Debug, clap::Args)]
pub(super) struct BenchArgs {
    /// Rows
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    rows: u64,
    /// Dimensions
    #[arg(long, value_name = "N", default_value_t = 256)]
    dim: usize,
    /// Queries, rows moved a little
    #[arg(long, value_name = "N", default_value_t = 200)]
    queries: u64,
    /// FAISS factory string
    #[arg(long, default_value = "Flat")]
    factory: String,
    /// HNSW: candidates that a search keeps in view
    #[arg(long, default_value_t = 160)]
    ef_search: u32,
    /// IVF: clusters that a search looks through
    #[arg(long, default_value_t = 16)]
    nprobe: u32,
    /// Threads that build
    #[arg(long, default_value_t = 1)]
    threads: u16,
    /// File of the exact neighbours: written by factory Flat, read by all others
    #[arg(long, value_name = "FILE")]
    exact: std::path::PathBuf,
    /// Folder of the index: written where it is missing, otherwise loaded and searched only
    #[arg(long, value_name = "DIR")]
    folder: std::path::PathBuf,
}

/// Prints one JSON line.
pub(super) fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let vectors = MadeUp { dim: args.dim };
    if !args.folder.join("manifest.toml").exists() {
        let started = Instant::now();
        build(args, &vectors)?;
        let mut line =
            serde_json::json!({ "step": "build", "factory": args.factory, "rows": args.rows, "dim": args.dim });
        line["threads"] = args.threads.into();
        line["build_s"] = seconds(started).into();
        line["peak_mib"] = peak_mib().into();
        show(line)?;
        return Ok(DONE);
    }
    let started = Instant::now();
    let index = Index::load(&args.folder)?;
    let load_s = seconds(started);
    let (mut found, mut took) = (Vec::new(), Vec::new());
    for query in 0..args.queries {
        let vector = vectors.embed(&[&format!("query {}", query * args.rows / args.queries)])?;
        let started = Instant::now();
        let hits = index.search(&vector, NEIGHBOURS)?;
        took.push(started.elapsed().as_secs_f64() * 1000.0);
        found.push(hits.concat().iter().map(|hit| hit.entry).collect::<Vec<usize>>());
    }
    if args.factory == "Flat" {
        std::fs::write(&args.exact, serde_json::to_vec(&found)?)?;
    }
    let exact: Vec<Vec<usize>> = serde_json::from_slice(&std::fs::read(&args.exact)?)?;
    took.sort_by(f64::total_cmp);
    let at = |share: f64| took.get((share * (took.len() - 1) as f64) as usize).copied().unwrap_or(0.0);
    let mut line = serde_json::json!({ "step": "search", "factory": args.factory, "rows": index.entries().len() });
    line["queries"] = args.queries.into();
    line["load_s"] = load_s.into();
    line["query_ms_p50"] = round(at(0.50)).into();
    line["query_ms_p99"] = round(at(0.99)).into();
    line["recall_at_15"] = round(recall(&exact, &found)).into();
    line["peak_mib"] = peak_mib().into();
    show(line)?;
    Ok(DONE)
}

fn build(args: &BenchArgs, vectors: &MadeUp) -> anyhow::Result<()> {
    let code: crate::icd::IcdCode = "Z00".parse()?;
    let row = |n: u64| SourceRow { text: format!("row {n}"), code: code.clone(), origin: Origin::Synonym };
    let rows: Vec<SourceRow> = (0..args.rows).map(row).collect();
    let settings = IndexSettings {
        factory: args.factory.clone(),
        ef_search: args.ef_search,
        nprobe: args.nprobe,
        threads: args.threads,
        ..IndexSettings::default()
    };
    Ok(Index::build(&rows, vectors, settings)?.save(&args.folder)?)
}

/// Share of the exact neighbours that were found.
fn recall(exact: &[Vec<usize>], found: &[Vec<usize>]) -> f64 {
    let hits = exact.iter().zip(found).map(|(exact, found)| {
        let found: HashSet<&usize> = found.iter().collect();
        exact.iter().filter(|entry| found.contains(entry)).count()
    });
    hits.sum::<usize>() as f64 / exact.iter().map(Vec::len).sum::<usize>().max(1) as f64
}

/// Turns `row N` into the N-th of vectors that lie in groups within groups, and `query N` into one near it.
struct MadeUp {
    dim: usize,
}

impl Embed for MadeUp {
    fn dim(&self) -> usize {
        self.dim
    }

    fn fingerprint(&self) -> &str {
        "made-up"
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<f32>> {
        let mut vectors = Vec::with_capacity(texts.len() * self.dim);
        for text in texts {
            let (kind, number) = text.split_once(' ').unwrap_or((text, "0"));
            let number: u64 = number.parse().unwrap_or(0);
            let mut vector = vec![0.0; self.dim];
            for (level, rows) in (3..).zip(GROUP_ROWS) {
                add_noise(&mut vector, level << 40 | (number / rows), 0.5);
            }
            add_noise(&mut vector, 1 << 40 | number, SPREAD);
            if kind == "query" {
                add_noise(&mut vector, 2 << 40 | number, SPREAD / 2.0);
            }
            let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            vectors.extend(vector.iter().map(|x| x / norm));
        }
        Ok(vectors)
    }
}

/// Adds a pseudo-random vector of about the given length: four uniform bytes summed are near enough to normal.
fn add_noise(vector: &mut [f32], seed: u64, length: f32) {
    // A sum of four uniform bytes has a standard deviation of 147.8.
    let scale = length / (147.8 * (vector.len() as f32).sqrt());
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d;
    for pair in vector.chunks_mut(2) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bytes = xxhash_rust::xxh3::xxh3_64(&state.to_le_bytes()).to_le_bytes();
        for (x, bytes) in pair.iter_mut().zip(bytes.chunks(4)) {
            *x += (bytes.iter().map(|&byte| f32::from(byte)).sum::<f32>() - 510.0) * scale;
        }
    }
}

fn seconds(started: Instant) -> f64 {
    round(started.elapsed().as_secs_f64())
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Peak of this process's memory in MiB, as Linux tells it; 0 elsewhere.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
