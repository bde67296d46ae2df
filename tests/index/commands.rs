//! `noso index build` and what is done with its folders.

use std::{fs, path::Path};

use assert_cmd::cargo::cargo_bin;

pub(super) struct Run {
    pub ok: bool,
    pub out: String,
    pub told: String,
}

pub(super) fn noso(arguments: &[&str]) -> Run {
    let output = std::process::Command::new(cargo_bin("noso")).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Run { ok: output.status.success(), out: text(&output.stdout), told: text(&output.stderr) }
}

pub(super) fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}

const CATALOG: &str = "code\ttitle\nJ00\tОстрый насморк\nJ20\tОстрый бронхит\nK29\tГастрит\nI10\tГипертензия\n";

pub(super) fn write_catalog(folder: &Path) -> String {
    fs::write(folder.join("our.tsv"), CATALOG).unwrap();
    path(folder, "our.tsv")
}

#[test]
fn a_changed_catalogue_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, index) = (write_catalog(folder.path()), path(folder.path(), "index"));
    let built = noso(&["index", "build", "--catalog", &catalog, "--factory", "Flat", "--output", &index]);
    assert!(built.ok, "{}", built.told);
    let search = ["index", "search", "--index", &index, "насморк"];
    assert!(noso(&search).out.contains("Острый насморк"), "the index's own titles are shown");
    fs::write(&catalog, CATALOG.replace("Гастрит", "Гастрит и дуоденит")).unwrap();
    let changed = noso(&search);
    assert!(
        !changed.ok && changed.told.contains("our.tsv") && changed.told.contains("build the index again"),
        "{}",
        changed.told
    );
    let named = noso(&[&search[..], &["--catalog", &catalog]].concat());
    assert!(named.ok, "{}", named.told);
    fs::remove_file(&catalog).unwrap();
    let gone = noso(&search);
    assert!(gone.ok && gone.told.contains("is gone"), "{}", gone.told);
}

#[test]
fn another_kind_of_encoder_is_refused() {
    let asked = noso(&["code", "--set", "retrieval.encoder=bert", "Гастрит"]);
    assert!(!asked.ok && asked.told.contains("retrieval.encoder") && asked.told.contains("ngram"), "{}", asked.told);
    let fused = noso(&["code", "--set", "retrieval.fusion=rrf", "Гастрит"]);
    assert!(!fused.ok && fused.told.contains("retrieval.fusion"), "{}", fused.told);
}

/// A folder as those of NEREL-BIO: words for concepts.
fn write_vocabulary(folder: &Path) -> String {
    fs::create_dir_all(folder.join("linked/part")).unwrap();
    let annotation = "T1\tDISO 0 6\tринит\nN1\tReference T1 UMLS:C0000001\tнасморк острый\n\
        T2\tDISO 7 12\tзаложенность носа\nN2\tReference T2 UMLS:C0000001\tзаложенность носа\n\
        T3\tDISO 20 26\tлюмбаго\nN3\tReference T3 UMLS:C0000002\tлюмбаго\nT4\tDISO 1 2\tх\nN4\tReference T4 UMLS:NULL\tх\n";
    fs::write(folder.join("linked/part/1.ann"), annotation).unwrap();
    path(folder, "linked")
}

#[test]
fn words_of_other_corpora_go_in_by_equal_names_or_by_umls() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, vocabulary) = (write_catalog(folder.path()), write_vocabulary(folder.path()));
    let index = path(folder.path(), "index");
    let base =
        ["index", "build", "--catalog", &catalog, "--vocabulary", &vocabulary, "--factory", "Flat", "--output", &index];
    let unmapped = noso(&base);
    assert!(!unmapped.ok && unmapped.told.contains("--map by-name"), "{}", unmapped.told);
    let by_name = noso(&[&base[..], &["--map", "by-name"]].concat());
    assert!(by_name.ok && by_name.told.contains("1 of 2 concepts have codes, 3 of 4 terms go in"), "{}", by_name.told);
    let umls = path(folder.path(), "MRCONSO.RRF");
    let row = |concept: &str, language: &str, source: &str, code: &str, name: &str| {
        format!("{concept}|{language}|P|L|PF|S|Y|A||||{source}|PT|{code}|{name}|0|N||\n")
    };
    let rows = [
        row("C0000001", "ENG", "ICD10", "J00", "Common cold"),
        row("C0000002", "ENG", "ICD10CM", "M54.5", "Low back pain"),
        row("C0000002", "RUS", "MSHRUS", "D1", "Прострел поясницы"),
    ];
    fs::write(&umls, rows.concat()).unwrap();
    let by_umls = noso(&[&base[..], &["--umls", &umls, "--umls-names"]].concat());
    assert!(by_umls.ok && by_umls.told.contains("2 of 2 concepts have codes"), "{}", by_umls.told);
    for (text, code) in [("заложенность носа", "J00"), ("прострел поясницы", "M54.5"), ("люмбаго", "M54.5")]
    {
        let found = noso(&["index", "search", "--index", &index, "--top-k", "1", text]);
        assert!(found.out.contains(code) && found.out.contains("vocabulary"), "{text}: {}{}", found.out, found.told);
    }
    let info = noso(&["index", "info", &index]);
    assert!(info.out.contains("vocabulary linked, 4 texts"), "{}", info.out);
}

#[test]
fn the_retrieval_table_has_a_line_an_order_and_both_scores() {
    let folder = tempfile::tempdir().unwrap();
    let gold = folder.path().join("gold");
    fs::create_dir(&gold).unwrap();
    for (n, (text, code)) in [("Гастрит", "K29"), ("Бронхит острый", "J20"), ("Гипертензия", "I15")].iter().enumerate()
    {
        let note = format!("T1\ticd_code 0 {}\t{text}\nN1\tReference T1 ICD_codes:0\t{code}\n", text.chars().count());
        fs::write(gold.join(format!("{n}.txt")), text).unwrap();
        fs::write(gold.join(format!("{n}.ann")), note).unwrap();
    }
    let (catalog, index) = (write_catalog(folder.path()), path(folder.path(), "index"));
    assert!(noso(&["index", "build", "--catalog", &catalog, "--factory", "Flat", "--output", &index]).ok);
    let gold = gold.to_str().unwrap();
    let measured = noso(&["retrieval", "--gold", gold, "--index", &index, "--bootstrap", "100", "--format", "json"]);
    assert!(measured.ok, "{}", measured.told);
    let rows: serde_json::Value = serde_json::from_str(&measured.out).unwrap();
    assert_eq!((rows[0]["order"].as_str(), rows[1]["order"].as_str()), (Some("nearest"), Some("vote ^8")));
    let third = rows[0]["accuracy"][0].as_f64().unwrap();
    assert!((third - 2.0 / 3.0).abs() < 1e-9 && rows[0]["mentions"] == 3, "{rows}");
    let table = noso(&["retrieval", "--gold", gold, "--index", &index, "--index", "shipped", "--bootstrap", "100"]);
    assert!(table.ok && table.out.contains("shipped") && table.out.contains("0.6667"), "{}{}", table.out, table.told);
}
