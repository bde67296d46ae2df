//! Indexes of a BERT and of a hybrid: their folders suffice to be searched.

use std::{fs, path::PathBuf};

use super::commands::{noso, path};

/// A tiny BERT with random weights.
fn bert() -> String {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/nn/encoders-transformers-5.24.0");
    fixtures.join("cased").to_str().unwrap().to_owned()
}

#[test]
fn an_index_brings_its_bert() {
    let folder = tempfile::tempdir().unwrap();
    let (index, encoder, catalog) =
        (path(folder.path(), "index"), bert(), super::commands::write_catalog(folder.path()));
    let built = noso(&[
        "index",
        "build",
        "--catalog",
        &catalog,
        "--encoder",
        &encoder,
        "--factory",
        "Flat",
        "--output",
        &index,
    ]);
    assert!(built.ok, "{}", built.told);
    let info = noso(&["index", "info", &index]);
    assert!(info.out.contains("bert, bert-"), "{}", info.out);
    let search = ["index", "search", "--index", &index, "--top-k", "1", "Острый насморк"];
    let found = noso(&search);
    assert!(found.ok && found.out.contains("J00"), "{}{}", found.out, found.told);
    let manifest = folder.path().join("index/manifest.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("lowercase = false", "lowercase = true")).unwrap();
    let other = noso(&search);
    assert!(!other.ok && other.told.contains("was built with encoder bert-"), "{}", other.told);
}

#[test]
fn a_hybrid_is_one_index_with_a_weight_from_cross_validation_or_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = folder.path().join("coded");
    fs::create_dir(&corpus).unwrap();
    for (n, (text, code)) in [
        ("ОРВИ", "J06.9"),
        ("орви лёгкая", "J06.9"),
        ("Острый гастрит", "K29.1"),
        ("гастрит", "K29"),
        ("ОРВИ, ринит", "J06.9"),
    ]
    .iter()
    .enumerate()
    {
        let note = format!("T1\ticd_code 0 {}\t{text}\nN1\tReference T1 ICD_codes:0\t{code}\n", text.chars().count());
        fs::write(corpus.join(format!("{n}.txt")), text).unwrap();
        fs::write(corpus.join(format!("{n}.ann")), note).unwrap();
    }
    let catalog = super::commands::write_catalog(folder.path());
    let (index, encoder, corpus) = (path(folder.path(), "index"), bert(), corpus.to_str().unwrap());
    let base =
        ["index", "build", "--catalog", &catalog, "--encoder", &encoder, "--factory", "Flat", "--output", &index];
    let few = noso(&[&base[..], &["--weight", "auto"]].concat());
    assert!(!few.ok && few.told.contains("--mentions"), "{}", few.told);
    let auto = noso(&[&base[..], &["--mentions", corpus, "--weight", "auto"]].concat());
    assert!(auto.ok && auto.told.contains("share of the BERT") && auto.told.contains("  0.9: "), "{}", auto.told);
    let tuned = noso(&[&base[..], &["--tune", corpus, "--weight", "auto"]].concat());
    assert!(tuned.ok && tuned.told.contains("share of the BERT"), "{}", tuned.told);
    let by_hand = noso(&[&base[..], &["--mentions", corpus, "--weight", "0.3"]].concat());
    assert!(by_hand.ok, "{}", by_hand.told);
    assert!(fs::read_to_string(folder.path().join("index/manifest.toml")).unwrap().contains("weight = 0.3"));
    for fusion in ["weighted", "rrf"] {
        let set = format!("retrieval.fusion={fusion}");
        let coded = noso(&["code", "--index", &index, "--set", &set, "--explain", "Острый бронхит"]);
        assert!(coded.ok && coded.out.contains("J20"), "{fusion}: {}{}", coded.out, coded.told);
    }
    let rows = noso(&[
        "retrieval",
        "--gold",
        corpus,
        "--index",
        &index,
        "--index",
        &format!("rrf:{index}"),
        "--bootstrap",
        "100",
    ]);
    assert!(rows.ok && rows.out.matches("vote").count() == 2, "{}{}", rows.out, rows.told);
}

#[test]
fn weights_out_of_range_or_without_a_bert_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (index, encoder) = (path(folder.path(), "index"), bert());
    let wrong = noso(&["index", "build", "--encoder", &encoder, "--weight", "1.5", "--output", &index]);
    assert!(!wrong.ok && wrong.told.contains("0.001 to 0.999"), "{}", wrong.told);
    let ngram = noso(&["index", "build", "--weight", "0.5", "--output", &index]);
    assert!(!ngram.ok && ngram.told.contains("--encoder"), "{}", ngram.told);
}

#[test]
fn an_index_takes_the_encoder_alone_and_keeps_none_of_an_earlier_one() {
    let folder = tempfile::tempdir().unwrap();
    let (index, catalog) = (path(folder.path(), "index"), super::commands::write_catalog(folder.path()));
    let trained = folder.path().join("trained");
    fs::create_dir(&trained).unwrap();
    for file in fs::read_dir(bert()).unwrap().map(Result::unwrap).filter(|file| file.path().is_file()) {
        fs::copy(file.path(), trained.join(file.file_name())).unwrap();
    }
    for of_the_run in ["checkpoint.safetensors", "best.safetensors", "losses.jsonl"] {
        fs::write(trained.join(of_the_run), "a run's").unwrap();
    }
    let build = ["index", "build", "--catalog", &catalog, "--factory", "Flat", "--output", &index];
    let built = noso(&[&build[..], &["--encoder", trained.to_str().unwrap()]].concat());
    assert!(built.ok, "{}", built.told);
    let inside = folder.path().join("index/encoder");
    assert!(inside.join("model.safetensors").exists() && inside.join("config.json").exists());
    assert!(fs::read_dir(&inside).unwrap().flatten().all(|file| fs::read(file.path()).unwrap() != b"a run's"));
    let built = noso(&build);
    assert!(built.ok && !inside.exists(), "{}", built.told);
    let found = noso(&["index", "search", "--index", &index, "--top-k", "1", "Острый насморк"]);
    assert!(found.ok && found.out.contains("J00"), "{}{}", found.out, found.told);
    // From its own folder, which is then left as it is.
    assert!(noso(&[&build[..], &["--encoder", trained.to_str().unwrap()]].concat()).ok);
    let built = noso(&[&build[..], &["--encoder", inside.to_str().unwrap()]].concat());
    assert!(built.ok && inside.join("model.safetensors").exists(), "{}", built.told);
    fs::remove_dir_all(&inside).unwrap();
    let lost = noso(&["index", "search", "--index", &index, "Острый насморк"]);
    assert!(!lost.ok && lost.told.contains(&format!("cannot use index {index}: its encoder is gone")), "{}", lost.told);
}

#[test]
fn a_preset_is_known_by_its_name_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let (output, texts) = (path(folder.path(), "out"), path(folder.path(), "texts.txt"));
    fs::write(&texts, "Грипп\n").unwrap();
    for arguments in [
        &["index", "build", "--encoder", "sapbert", "--output", &output][..],
        &["train", "ner", "--encoder", "sapbert", "--corpus", &texts, "--output", &output],
        &["train", "encoder", "--init", "sapbert", "--texts", &texts, "--output", &output],
    ] {
        let told = assert_cmd::Command::cargo_bin("noso")
            .unwrap()
            .args(arguments)
            .env("HF_HOME", folder.path())
            .env("HF_HUB_OFFLINE", "1")
            .output();
        let told = String::from_utf8(told.unwrap().stderr).unwrap();
        assert!(told.contains("cambridgeltl/SapBERT"), "{arguments:?}: {told}");
    }
}
