//! The BERT pipeline end to end with tiny models trained on the spot, and mixtures of it with the other engines.

use std::{fs, path::Path, sync::Arc};

use assert_cmd::cargo::cargo_bin;
use noso::{
    config::PipelineConfig,
    data::{DecidedBy, Document},
    llm::{
        Answer, Generate,
        scripted::{Scripted, said},
    },
    pipeline::{Models, Pipeline},
};
use serde_json::Value;

use super::linker::tiny_encoder;

const CATALOG: &str = "code\ttitle\nK29\tГастрит\nJ20\tОстрый бронхит\nI10\tГипертоническая болезнь\nM17\tГонартроз\n";
/// Documents, each with one diagnosis and its code.
const NOTES: [(&str, &str, &str); 8] = [
    ("жалобы на боли выявлен гастрит хронический вне обострения", "гастрит хронический", "K29"),
    ("при осмотре бронхит острый лечение начато", "бронхит острый", "J20"),
    ("давно болезнь гипертоническая контроль давления", "болезнь гипертоническая", "I10"),
    ("жалобы на колено выявлен гонартроз справа вне обострения", "гонартроз справа", "M17"),
    ("при осмотре гастрит хронический лечение начато", "гастрит хронический", "K29"),
    ("давно бронхит острый контроль давления", "бронхит острый", "J20"),
    ("при осмотре болезнь гипертоническая лечение начато", "болезнь гипертоническая", "I10"),
    ("давно гонартроз справа контроль давления", "гонартроз справа", "M17"),
];

/// Runs the program, which must succeed, and returns what it printed.
fn noso(arguments: &[&str]) -> String {
    let output = std::process::Command::new(cargo_bin("noso")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(arguments: &[&str]) -> String {
    let output = std::process::Command::new(cargo_bin("noso")).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Trains recogniser, encoder and re-ranker into `folder`, and builds an index.
fn train_all(folder: &Path) -> impl Fn(&str) -> String {
    let place = folder.to_owned();
    let path = move |name: &str| place.join(name).to_str().unwrap().to_owned();
    fs::create_dir(path("corpus")).unwrap();
    for (number, (text, mention, code)) in NOTES.iter().enumerate() {
        let start = text[..text.find(mention).unwrap()].chars().count();
        let end = start + mention.chars().count();
        let note = format!("T1\ticd_code {start} {end}\t{mention}\nN1\tReference T1 ICD_codes:1\t{code}\n");
        fs::write(folder.join(format!("corpus/{number}.txt")), text).unwrap();
        fs::write(folder.join(format!("corpus/{number}.ann")), note).unwrap();
    }
    fs::write(folder.join("our.tsv"), CATALOG).unwrap();
    let texts: Vec<&str> = NOTES.iter().map(|(text, ..)| *text).chain(CATALOG.split_terminator(['\t', '\n'])).collect();
    tiny_encoder(&texts, 0.0).save(&folder.join("tiny")).unwrap();
    let (corpus, catalog, tiny) = (path("corpus"), path("our.tsv"), path("tiny"));
    let loop_settings = ["--encoder", &tiny, "--learning-rate", "0.003", "--batch", "4"];
    noso(
        &[&["train", "ner", "--corpus", &corpus, "--output", &path("ner"), "--epochs", "60"], &loop_settings[..]]
            .concat(),
    );
    let linker = ["train", "linker", "--corpus", &corpus, "--catalog", &catalog, "--output", &path("linker")];
    noso(&[&linker[..], &["--candidates", "4", "--temperature", "0.1", "--epochs", "20"], &loop_settings[..]].concat());
    let index = ["index", "build", "--catalog", &catalog, "--mentions", &corpus, "--output", &path("index")];
    noso(&[&index[..], &["--encoder", &path("linker"), "--factory", "Flat"]].concat());
    path
}

/// Codes the first notes by the program and returns their codes.
fn codes(settings: &[String]) -> Vec<Vec<String>> {
    let set: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting.as_str()]).collect();
    let text = |note: &(&str, &str, &str)| {
        let out = noso(&[&["code", "--pipeline", "bert", "--output-format", "jsonl"], &set[..], &[note.0]].concat());
        let coded: Value = serde_json::from_str(out.trim()).unwrap();
        let code = |coding: &Value| coding["code"].as_str().unwrap_or("none").to_owned();
        coded["mentions"].as_array().unwrap().iter().map(code).collect()
    };
    NOTES[..4].iter().map(text).collect()
}

#[test]
fn the_whole_pipeline_codes_notes_and_mixes_with_other_engines() {
    let folder = tempfile::tempdir().unwrap();
    let path = train_all(folder.path());
    let models = [format!("ner.model={}", path("ner")), format!("retrieval.index={}", path("index"))];
    let right: Vec<Vec<String>> = NOTES[..4].iter().map(|(_, _, code)| vec![(*code).to_owned()]).collect();
    assert_eq!(codes(&models), right);

    // A re-ranker trained over the index's encoder stands in the last stage.
    noso(&[
        "train",
        "nearest",
        "--corpus",
        &path("corpus"),
        "--catalog",
        &path("our.tsv"),
        "--index",
        &path("index"),
        "--output",
        &path("nearest.bin"),
    ]);
    let nearest =
        ["rerank.engine=nearest".into(), format!("rerank.model={}", path("nearest.bin")), "retrieval.unit=code".into()];
    assert_eq!(codes(&[&models[..], &nearest].concat()), right);
    // The shipped recogniser before the index, the index's recogniser before shipped n-grams.
    let found = codes(&["ner.engine=crf".into(), models[1].clone()]);
    let known = |code: &String| ["K29", "J20", "I10", "M17"].contains(&code.as_str());
    assert!(found.iter().all(|codes| !codes.is_empty() && codes.iter().all(known)), "{found:?}");
    let found = codes(&[
        models[0].clone(),
        "retrieval.encoder=ngram".into(),
        "retrieval.unit=code".into(),
        "rerank.engine=nearest".into(),
    ]);
    assert!(found[0].iter().all(|code| code.starts_with("K29")) && !found[0].is_empty(), "{found:?}");

    // Models that do not belong together are named.
    let told = refused(&["code", "--pipeline", "bert", "--set", &models[0], NOTES[0].0]);
    assert!(told.contains("retrieval.encoder") && told.contains("ngram"), "{told}");
    let model = format!("rerank.model={}", path("nearest.bin"));
    let told = refused(&["code", "--set", &model, NOTES[0].0]);
    assert!(told.contains("nearest.bin") && told.contains("bert-"), "{told}");
    let told = refused(&["code", "--pipeline", "bert", "--set", &models[1], NOTES[0].0]);
    assert!(told.contains("ner.model"), "{told}");

    // An experiment gives the same codes, from its cache, too.
    let grid = format!(
        "pipeline = 'bert'\nset = ['{}', '{}']\n[corpus]\ngold = '{}'\n[axes]\n'retrieval.batch_tokens' = [512, 16]",
        models[0],
        models[1],
        path("corpus")
    );
    fs::write(path("grid.toml"), grid).unwrap();
    let predictions = ["first", "second"].map(|run| {
        let (output, cache) = (path(run), path("cache"));
        noso(&["experiment", "run", &path("grid.toml"), "--output", &output, "--cache", &cache]);
        let mut cells: Vec<_> =
            fs::read_dir(path(&format!("{run}/cells"))).unwrap().map(|cell| cell.unwrap().path()).collect();
        cells.sort();
        cells.iter().map(|cell| fs::read_to_string(cell.join("predictions.jsonl")).unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(predictions[0], predictions[1]);
    // How many are encoded at a time changes nothing.
    assert_eq!(predictions[0][0], predictions[0][1]);
    assert!(
        predictions[0]
            .iter()
            .all(|lines| lines.lines().count() == NOTES.len() && lines.contains("\"codes\":[\"K29\"]"))
    );

    what_changes_under_its_name_is_noticed(&path);

    // A language model chooses among what the index proposes.
    let first = |request: &noso::llm::Request| -> noso::Result<Answer> { Ok(said(request, "1")) };
    let select: Arc<dyn Generate> = Arc::new(Scripted::new(first));
    let settings = ["llm.model=x".into(), "rerank.engine=llm".into(), "rerank.llm.direct_match=false".into()];
    let config = PipelineConfig::load("bert", &[&models[..], &settings].concat()).unwrap();
    let pipeline = Pipeline::with_models(&config, &Models { extract: None, select: Some(select) }).unwrap();
    let document = Document { id: "1".into(), text: NOTES[1].0.into() };
    let coded = pipeline.code(&[document]).remove(0).unwrap();
    assert_eq!(coded.codings[0].code, Some("J20".parse().unwrap()));
    assert_eq!(coded.codings[0].decided_by, DecidedBy::Model);
}

/// Runs experiments, changing between them what their settings name; each has the results of today, as `verify` finds without a cache.
fn what_changes_under_its_name_is_noticed(path: &impl Fn(&str) -> String) {
    let home = path("home");
    fs::create_dir_all(format!("{home}/models")).unwrap();
    fs::rename(path("ner"), format!("{home}/models/mine")).unwrap();
    let list = path("list.tsv");
    let build = |factory: &str| {
        let index = ["index", "build", "--catalog", &path("our.tsv"), "--output", &path("titles")];
        noso(&[&index[..], &["--encoder", &path("linker"), "--factory", factory]].concat());
    };
    build("Flat");
    let set = format!("'ner.model=mine', 'retrieval.index={}', 'retrieval.abbreviations={list}'", path("titles"));
    let file = format!("pipeline = 'bert'\nset = [{set}]\n[corpus]\ngold = '{}'", path("corpus"));
    fs::write(path("changed.toml"), file).unwrap();
    let experiment = |arguments: &[&str]| {
        let mut command = std::process::Command::new(cargo_bin("noso"));
        let output = command.env("NOSO_HOME", &home).arg("experiment").args(arguments).output().unwrap();
        let [told, warned] = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap());
        assert!(output.status.success(), "{arguments:?}: {told}{warned}");
    };
    let run = |name: &str| {
        experiment(&["run", &path("changed.toml"), "--output", &path(name)]);
        experiment(&["verify", &path(name), "--sample", "8"]);
        let cell = fs::read_dir(path(&format!("{name}/cells"))).unwrap().next().unwrap().unwrap().path();
        let manifest = fs::read_to_string(cell.join("manifest.json")).unwrap();
        assert!(manifest.contains(r#""key": "ner.model""#), "{manifest}");
        fs::read_to_string(cell.join("predictions.jsonl")).unwrap()
    };
    fs::write(&list, "гастрит\tострый бронхит\n").unwrap();
    let before = run("list-1");
    fs::write(&list, "гастрит\tгонартроз\n").unwrap();
    let after = run("list-2");
    assert!(before != after);
    fs::remove_dir_all(path("titles")).unwrap();
    build("SQ4");
    assert!(run("rebuilt") != after);
    fs::rename(format!("{home}/models/mine"), path("ner")).unwrap();
}
