//! How long the page of a large run takes, and how much memory: `cargo bench --bench report [-- PAGE.html [DOCUMENTS]]`.
//!
//! The run is made up: documents of some 300 characters, each with three mentions of fifteen candidates, asked about with prompts of the
//! length of the built-in ones. `scripts/bench_report.sh` then opens the page in a browser.

mod peak;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use noso::experiment::{
    folder::{BRAT, CellManifest, ListedCell, MANIFEST, RunManifest, cell_path, write_json},
    gold::{DOCUMENTS, Gold, GoldDocument, GoldEntity},
    identity::Identity,
    report::report,
    scored::PREDICTIONS,
};
use serde_json::json;

use peak::peak_mib;

const WORDS: [(&str, &str); 8] = [
    ("Хронический гастрит", "K29.5"),
    ("ИБС", "I25.9"),
    ("Стенокардия напряжения", "I20.8"),
    ("Остеохондроз поясничного отдела", "M42.1"),
    ("Сахарный диабет 2 типа", "E11.9"),
    ("ОРВИ", "J06.9"),
    ("Миопия слабой степени", "H52.1"),
    ("Гипертоническая болезнь", "I11.9"),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let page = arguments.first().map_or_else(|| folder.path().join("report.html"), PathBuf::from);
    let documents = arguments.get(1).map_or(100_000, |count| count.parse().expect("a number of documents"));
    made_up(folder.path(), documents);
    let started = Instant::now();
    report(&[folder.path()], &page).expect("the page");
    let seconds = started.elapsed().as_secs_f64();
    let megabytes = fs::metadata(&page).expect("the page").len() as f64 / 1e6;
    println!(
        "{}",
        json!({
            "documents": documents,
            "seconds": (seconds * 10.0).round() / 10.0,
            "page_mb": megabytes.round(),
            "peak_memory_mib": peak_mib().ok(),
        })
    );
}

/// Writes a run of one cell.
fn made_up(run: &Path, documents: usize) {
    let cell = cell_path(run, "made-up");
    fs::create_dir_all(cell.join(BRAT)).expect("a folder");
    let mut gold = BufWriter::new(fs::File::create(run.join(DOCUMENTS)).expect("a file"));
    let mut predictions = BufWriter::new(fs::File::create(cell.join(PREDICTIONS)).expect("a file"));
    for number in 0..documents {
        let (document, prediction) = document(number);
        serde_json::to_writer(&mut gold, &document).expect("a line");
        gold.write_all(b"\n").expect("a line");
        writeln!(predictions, "{prediction}").expect("a line");
    }
    gold.into_inner().expect("a file");
    predictions.into_inner().expect("a file");
    let hash = Gold::load(run).expect("documents").sha256();
    let experiment = toml::from_str("title = 'made up'\ncorpus.gold = 'nowhere'").expect("settings");
    let mut manifest = RunManifest {
        noso: "bench".into(),
        commit: "none".into(),
        machine: "any".into(),
        experiment,
        documents_sha256: hash,
        documents,
        scored_on_dev: None,
        cells: vec![ListedCell {
            name: "made up".into(),
            folder: Some("made-up".into()),
            manifest_sha256: None,
            failure: None,
            paper: None,
            needs: None,
        }],
        stand_in: false,
        trained_sha256: None,
        sha256: String::new(),
    };
    manifest.write(run).expect("a manifest");
    let identity =
        Identity { sha256: "0".repeat(64), files: Vec::new(), prompts: Vec::new(), program_sha256: "0".repeat(64) };
    let cell_manifest = CellManifest {
        name: "made up".into(),
        values: Vec::new(),
        row: None,
        paper: None,
        identity,
        pipeline: noso::config::PipelineConfig::load("default", &[]).expect("a pipeline"),
        models: Vec::new(),
        unknown_codes: BTreeSet::new(),
        failures: Vec::new(),
        predictions_sha256: String::new(),
        brat_sha256: String::new(),
        metrics_sha256: String::new(),
        resamples: 10_000,
    };
    write_json(&cell.join(MANIFEST), &cell_manifest).expect("a manifest");
}

/// Makes a document up, and the line of its prediction, in which about one code of three is wrong.
fn document(number: usize) -> (GoldDocument, serde_json::Value) {
    let mut text = format!("Осмотр {number}. ");
    let (mut gold, mut mentions, mut exchanges) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..3 {
        let (words, code) = WORDS[(number * 7 + turn * 3 + number / 11) % WORDS.len()];
        let (start_char, start_byte) = (text.chars().count(), text.len());
        text.push_str(words);
        let (end_char, end_byte) = (text.chars().count(), text.len());
        let _ = write!(text, ", жалобы на протяжении {} недель, обследован, наблюдается. ", number % 50 + 1);
        gold.push(GoldEntity { start_char, end_char, code: code.into() });
        let given = if (number + turn).is_multiple_of(3) { WORDS[(number + turn) % WORDS.len()].1 } else { code };
        let candidates: Vec<_> = (0..15)
            .map(|rank| {
                let (title, code) = WORDS[(number + turn + rank) % WORDS.len()];
                json!({"code": code, "title": title, "score": 1.0 / f64::from(rank as u32 + 1), "support": []})
            })
            .collect();
        let listed: String = (1..).zip(&candidates).map(|(at, one)| format!("{at}. {}\n", one["title"])).collect();
        mentions.push(json!({
            "start_char": start_char, "end_char": end_char, "start_byte": start_byte, "end_byte": end_byte, "text": words,
            "code": given, "title": words, "confidence": 0.3 + 0.05 * ((number * 13 + turn) % 14) as f64, "group_confidence": 1.0,
            "decided_by": "model", "candidates": candidates,
        }));
        exchanges.push(json!({
            "step": "select", "mention": {"start_byte": start_byte, "end_byte": end_byte},
            "messages": [{"role": "system", "content": PROMPT}, {"role": "user", "content": format!("Исходный диагноз: {words}\n{listed}")}],
            "answer": "1", "outcome": given, "confidence": 0.5, "prompt_tokens": 600, "answer_tokens": 1,
        }));
    }
    let document = GoldDocument { id: number.to_string(), text, gold };
    let codes: BTreeSet<String> = mentions.iter().filter_map(|one| one["code"].as_str().map(str::to_owned)).collect();
    let prediction = json!({"id": number.to_string(), "codes": codes, "mentions": mentions, "trace": {"exchanges": exchanges, "faults": []}});
    (document, prediction)
}

const PROMPT: &str = "Вы кодировщик медицинских записей. Дан исходный диагноз и пронумерованный список диагнозов из базы данных. Выберите из \
                      списка тот, который лучше всего соответствует исходному: обращайте внимание на место, сторону, форму, стадию и причину, \
                      ничего не придумывайте. Ответьте только номером варианта, одним числом; если не подходит ни один, ответьте 0.";
