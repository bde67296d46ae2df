//! What people look at: the page, prompts side by side, what a prompt lacks.

use std::{fs, io::Read};

use predicates::{prelude::PredicateBooleanExt, str::contains};
use serde_json::Value;

use super::{file, noso, notes};

/// Unpacks a block of the page.
fn block(page: &str, name: &str) -> Value {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let start = page.find(&format!("id=\"{name}\">")).unwrap_or_else(|| panic!("no block {name}"));
    let text = &page[page[start..].find('>').unwrap() + start + 1..];
    let packed = STANDARD.decode(&text[..text.find('<').unwrap()]).unwrap();
    let mut json = String::new();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_string(&mut json).unwrap();
    serde_json::from_str(&json).unwrap()
}

#[test]
fn a_page_holds_every_document_and_loads_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    notes(&at("notes"), 250);
    // What looks like HTML stays text.
    crate::annotated::record(&at("notes"), "3", "</script><b>ОРВИ</b>, Миопия", &[("ОРВИ", "J06.9")]);
    file(
        folder.path(),
        "grid.toml",
        "title = 'Пробы <1>'\n[corpus]\ngold = 'notes'\n[axes]\n'rerank.candidates' = [15, 3]",
    );
    noso(folder.path(), &["run", "grid.toml"]).assert().success();
    noso(folder.path(), &["report", "runs/grid"]).assert().success().stderr(contains("report.html"));
    let page = fs::read_to_string(at("runs/grid/report.html")).unwrap();
    assert!(page.contains("<title>Пробы &lt;1&gt;</title>") && !page.contains("<b>ОРВИ"));
    for loaded in ["src=", "href=\"http", "url(", "@import", "fetch("] {
        assert!(!page.contains(loaded), "the page has {loaded}");
    }
    // 250 documents in blocks of 200; the third has its text, its gold entity and what was predicted.
    assert_eq!(block(&page, "d1").as_array().unwrap().len(), 50);
    let third = &block(&page, "d0")[2];
    assert_eq!((&third[0], &third[1]), (&"3".into(), &"</script><b>ОРВИ</b>, Миопия".into()));
    let predicted = block(&page, "p1-0");
    assert!(predicted[2][0].as_array().unwrap().iter().any(|mention| mention[2] == "Миопия"), "{}", predicted[2]);
    assert!(
        predicted.as_array().unwrap().iter().all(|one| one[0].as_array().unwrap().iter().all(|mention| mention[6]
            .as_array()
            .unwrap()
            .len()
            <= 3))
    );
    assert_eq!(block(&page, "c0").as_array().unwrap().len(), 250);
    let meta = &page[page.find("id=\"meta\">").unwrap() + 10..];
    let meta: Value = serde_json::from_str(&meta[..meta.find("</script>").unwrap()]).unwrap();
    assert_eq!((&meta["documents"], meta["cells"].as_array().unwrap().len()), (&250.into(), 2));
}

#[test]
fn two_cells_are_shown_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    notes(&folder.path().join("notes"), 6);
    let grid = "[corpus]\ngold = 'notes'\n[axes]\n'decision.min_confidence' = [0.0, 1.0]";
    file(folder.path(), "grid.toml", grid);
    noso(folder.path(), &["run", "grid.toml"]).assert().success();
    let prompt = |arguments: &[&str]| {
        let mut command = assert_cmd::Command::cargo_bin("noso").unwrap();
        command.current_dir(folder.path()).arg("prompt").args(arguments).assert()
    };
    prompt(&["diff", "runs/grid", "=0.0", "=0.0"]).code(1).stderr(contains("min_confidence=0.0 twice"));
    let diff = prompt(&["diff", "runs/grid", "0.0", "1.0", "--shown", "2"]).success();
    // Where no code was right, giving none is better: fewer are wrong.
    diff.stdout(contains("1 better with B, 5 worse, 0 neither").and(contains("no code")).and(contains("worse (F1 -")));
    prompt(&["diff", "runs/grid", "0.0", "none such"]).code(1).stderr(contains("min_confidence=1.0"));

    file(
        folder.path(),
        "broken.toml",
        "name = 'x'\nversion = 1\nlanguage = 'ru'\ntask = 'select'\nuser = '{{ mentoin }}'",
    );
    prompt(&["lint", "broken.toml"]).code(2).stdout(contains("wrong").and(contains("mentoin")));
    let user = "\"\"\"\nСлово \\\"mentoin\\\"\nдалее\n{{ mentoin }}\"\"\"";
    let escaped = format!("name = 'x'\nversion = 1\nlanguage = 'ru'\ntask = 'select'\nuser = {user}");
    file(folder.path(), "escaped.toml", &escaped);
    prompt(&["lint", "escaped.toml"]).code(2).stdout(contains("line 8, `user`"));
    let poor = "name = 'x'\nversion = 1\nlanguage = 'ru'\ntask = 'select'\nuser = 'Выберите: {{ mention }}'";
    file(folder.path(), "poor.toml", poor);
    prompt(&["lint", "poor.toml"]).code(2).stdout(contains("poor.toml:5: wrong: `candidates` is never shown"));
    prompt(&["lint", "select-ru", "ner-en"]).success();
}
