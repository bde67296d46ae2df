//! The command as a user meets it: the shipped engine end to end, bad input, resuming after a kill.

mod prompts;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use assert_cmd::cargo::cargo_bin;
use serde_json::Value;

const NOTE: &str = "ИБС. Стенокардия напряжения. ГБ 3 ст, риск ССО 4. СД 2 типа, ожирение 1 ст.";

/// What a run left behind.
struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn noso(args: &[&str], input: Option<&[u8]>) -> Run {
    let mut child = Command::new(cargo_bin("noso"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes = input.unwrap_or_default().to_vec();
    let writer = std::thread::spawn(move || {
        let _ = std::io::Write::write_all(&mut stdin, &bytes);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Run {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Codes `input` and returns a JSON object a document.
fn coded(args: &[&str], input: &[u8]) -> Vec<Value> {
    let run = noso(&[&["code", "--output-format", "jsonl"], args].concat(), Some(input));
    run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn groups(document: &Value) -> Vec<String> {
    let mut groups: Vec<String> =
        document["codes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap()[..3].to_owned()).collect();
    groups.sort();
    groups.dedup();
    groups
}

#[test]
fn a_note_gets_the_codes_a_coder_expects() {
    let documents = coded(&[NOTE], b"");
    assert_eq!(groups(&documents[0]), ["E11", "E66", "I11", "I20", "I25"]);
    let characters: Vec<char> = NOTE.chars().collect();
    for mention in documents[0]["mentions"].as_array().unwrap() {
        let (start, end) = (mention["start_char"].as_u64().unwrap(), mention["end_char"].as_u64().unwrap());
        let words: String = characters[start as usize..end as usize].iter().collect();
        assert_eq!(mention["text"], words.as_str());
        assert_eq!(
            &NOTE[mention["start_byte"].as_u64().unwrap() as usize..mention["end_byte"].as_u64().unwrap() as usize],
            words
        );
        assert!((0.0..=1.0).contains(&mention["confidence"].as_f64().unwrap()));
    }
}

#[test]
fn the_table_names_code_and_title() {
    let run = noso(&["code", "Сахарный диабет 2 типа"], None);
    assert_eq!(run.code, Some(0));
    assert!(run.stdout.contains("E11") && run.stdout.contains("сахарный диабет"), "{}", run.stdout);
    assert!(run.stderr.contains("1 documents, 1 mentions"), "{}", run.stderr);
}

#[test]
fn explaining_shows_candidates_and_what_speaks_for_them() {
    let document = &coded(&["--explain", "--top-k", "4", "Хронический гастрит"], b"")[0];
    let candidates = document["mentions"][0]["candidates"].as_array().unwrap();
    assert_eq!(candidates.len(), 4);
    assert!(candidates[0]["code"].as_str().unwrap().starts_with("K29"));
    let first = candidates[0].to_string();
    assert!(first.contains("similarity") && first.contains("score"), "{first}");
}

#[test]
fn the_limits_of_confidence_withhold_or_shorten_codes() {
    let none = &coded(&["--min-confidence", "1", NOTE], b"")[0];
    assert!(none["codes"].as_array().unwrap().is_empty());
    let sure = |document: &Value| document["codes"].as_array().unwrap().len();
    let (strict, backed) =
        (coded(&["--min-confidence", "0.6", NOTE], b""), coded(&["--min-confidence", "0.6", "--back-off", NOTE], b""));
    assert!(sure(&backed[0]) > sure(&strict[0]), "{} {}", strict[0], backed[0]);
    assert!(backed[0].to_string().contains("back_off"));
}

#[test]
fn empty_blank_and_odd_texts_are_documents_like_others() {
    for text in [
        "",
        "   \t ",
        "\u{0}",
        "🙂🙂",
        "е\u{301}\u{301}\u{301}",
        "a\u{0}b ринит",
        "ГEPБ (Latin E, P)",
        "\r\r\n",
        "...",
        "1234567890",
    ] {
        let documents = coded(&["--input", "-", "--input-format", "text"], text.as_bytes());
        assert_eq!(documents.len(), 1, "{text:?}");
    }
    let documents = coded(&["--input", "-", "--input-format", "lines"], "Ринит\r\n\r\nОтит\n".as_bytes());
    assert_eq!(documents.len(), 3, "a blank line is a document without mentions");
}

#[test]
fn a_document_of_ten_megabytes_is_coded() {
    let filler = "2024-05-17 12:00 — 14:30; ".repeat(200);
    let text = format!("Хронический гастрит, ремиссия. {filler}\n").repeat(1_900);
    assert!(text.len() > 10 << 20);
    let run =
        noso(&["code", "--input", "-", "--input-format", "text", "--output-format", "jsonl"], Some(text.as_bytes()));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(groups(&document), ["K29"]);
}

#[test]
fn broken_records_are_told_and_the_rest_is_coded() {
    let mut lines: Vec<Vec<u8>> =
        (0..2000).map(|n| format!("{{\"id\":{n},\"text\":\"Ринит {n}\"}}").into_bytes()).collect();
    lines[700] = b"{\"id\":700,\"text\":".to_vec();
    lines[900] = b"{\"id\":900,\"text\":\"\xff\xfe\"}".to_vec();
    let run = noso(
        &["code", "--input", "-", "--input-format", "jsonl", "--output-format", "jsonl"],
        Some(&lines.join(&b'\n')),
    );
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert_eq!(run.stdout.lines().count(), 1998);
    assert!(run.stderr.contains(":701:") && run.stderr.contains("901"), "{}", run.stderr);
    assert!(!run.stderr.contains("Ринит"), "texts must not reach stderr");
}

#[test]
fn what_cannot_start_says_why_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("t.csv");
    fs::write(&table, "number,diagnosis\n1,Ринит\n").unwrap();
    let broken = folder.path().join("broken.bin");
    fs::write(&broken, b"NOSO and then nothing of use").unwrap();
    let (table, broken) = (table.to_str().unwrap(), broken.to_str().unwrap());
    let model = format!("ner.model={broken}");
    let cases: [(&[&str], &str); 9] = [
        (&["code", "--input", "/no/such/file"], "/no/such/file"),
        (&["code", "--input", table], "diagnosis"),
        (&["code", "--pipeline", "nonsense", "x"], "nonsense"),
        (&["code", "--set", "ner.nonsense=1", "x"], "nonsense"),
        (&["code", "--min-confidence", "7", "x"], "from 0 to 1"),
        (&["code", "--set", &model, "x"], "broken.bin"),
        (&["code", "--index", "/no/such/index", "x"], "/no/such/index"),
        (&["code", "--catalog", table, "x"], "column `code`"),
        (&["code", "--output", "/proc/no/output", "--output-format", "jsonl", "x"], "/proc/no"),
    ];
    for (args, told) in cases {
        let run = noso(args, None);
        assert_eq!(run.code, Some(1), "{args:?}: {}", run.stderr);
        assert!(run.stderr.starts_with("error: ") && run.stderr.contains(told), "{args:?}: {}", run.stderr);
        assert!(run.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn a_full_disk_is_an_error_with_a_hint() {
    if !Path::new("/dev/full").exists() {
        return eprintln!("skipped: this system has no /dev/full");
    }
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Command::new(cargo_bin("noso"))
        .args(["code", "--output-format", "jsonl", "Ринит"])
        .stdin(Stdio::null())
        .stdout(full)
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("hint:"), "{stderr}");
}

#[test]
fn no_command_panics_on_a_full_disk() {
    if !Path::new("/dev/full").exists() {
        return eprintln!("skipped: this system has no /dev/full");
    }
    for args in [&["index", "search", "грипп"][..], &["index", "info"], &["doctor"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = Command::new(cargo_bin("noso")).args(args).stdin(Stdio::null()).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn an_id_that_makes_no_file_name_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("brat");
    let input = format!(
        "{{\"id\":\"a\",\"text\":\"Ринит\"}}\n{{\"id\":\"{}\",\"text\":\"Отит\"}}\n{{\"id\":\"c\",\"text\":\"\"}}\n",
        "x".repeat(300)
    );
    let arguments = [
        "code",
        "--input",
        "-",
        "--input-format",
        "jsonl",
        "--output",
        output.to_str().unwrap(),
        "--output-format",
        "brat",
    ];
    let run = noso(&arguments, Some(input.as_bytes()));
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(output.join("a.ann").exists() && output.join("c.ann").exists());
    assert!(run.stderr.contains("1 failed") && run.stderr.contains("without a letter or digit"), "{}", run.stderr);
}

#[test]
fn wrong_usage_cannot_start() {
    assert_eq!(noso(&["code", "--no-such-option"], None).code, Some(1));
    assert_eq!(noso(&["code", "--threads", "100000", "x"], None).code, Some(1));
    assert_eq!(noso(&["--help"], None).code, Some(0));
}

#[test]
fn a_catalogue_of_the_users_own_decides_which_codes_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = folder.path().join("our.tsv");
    fs::write(&catalog, "code\ttitle\nK29\tГастрит и дуоденит\nJ31\tХронический ринит\n").unwrap();
    let documents = coded(&["--catalog", catalog.to_str().unwrap(), "Хронический гастрит. Хронический ринит."], b"");
    assert_eq!(documents[0]["codes"].to_string(), r#"["J31","K29"]"#);
}

#[test]
fn an_index_of_the_users_own_brings_its_codes() {
    let folder = tempfile::tempdir().unwrap();
    let (corpus, index) = (folder.path().join("corpus"), folder.path().join("index"));
    fs::create_dir(&corpus).unwrap();
    fs::write(corpus.join("1.txt"), "Аллергический дерматит").unwrap();
    fs::write(corpus.join("1.ann"), "T1\ticd_code 0 22\tАллергический дерматит\nN1\tReference T1 ICD_codes:0\tL30.8\n")
        .unwrap();
    let built =
        noso(&["index", "build", "--mentions", corpus.to_str().unwrap(), "--output", index.to_str().unwrap()], None);
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    let found =
        noso(&["index", "search", "--index", index.to_str().unwrap(), "--top-k", "15", "аллергический дерматит"], None);
    assert!(found.stdout.contains("L30.8"), "{}", found.stdout);
    let told = noso(&["index", "info", index.to_str().unwrap()], None);
    assert!(told.stdout.contains("HNSW8,SQ8"), "{}", told.stdout);
    let documents = coded(&["--explain", "--index", index.to_str().unwrap(), "Аллергический дерматит"], b"");
    assert!(documents[0].to_string().contains("L30.8"), "{}", documents[0]);
}

#[test]
fn a_killed_run_is_continued_with_nothing_lost_or_doubled() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("notes.txt"), folder.path().join("out.jsonl"));
    let notes: String = (0..4000).map(|n| format!("Хронический гастрит {n}. Острый ринит, день {n}.\n")).collect();
    fs::write(&input, notes).unwrap();
    let arguments = [
        "code",
        "--input",
        input.to_str().unwrap(),
        "--input-format",
        "lines",
        "--output",
        output.to_str().unwrap(),
        "--output-format",
        "jsonl",
    ];
    let mut child =
        Command::new(cargo_bin("noso")).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(700));
    child.kill().unwrap();
    child.wait().unwrap();
    let run = noso(&[&arguments[..], &["--resume"]].concat(), None);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let ids: Vec<String> = fs::read_to_string(&output)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, (1..=4000).map(|n| n.to_string()).collect::<Vec<_>>());
    let manifest: Value =
        serde_json::from_slice(&fs::read(format!("{}.manifest.json", output.display())).unwrap()).unwrap();
    assert_eq!(manifest["command"], "code");
    assert!(manifest["models"].to_string().contains("crf-"));
}

#[test]
fn brat_output_is_scored_as_perfect_against_itself() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("brat");
    let output = output.to_str().unwrap();
    let input = format!("{NOTE}\nОРВИ, средней степени тяжести. Хр. тонзиллит\n");
    let run = noso(
        &["code", "--input", "-", "--input-format", "lines", "--output", output, "--output-format", "brat"],
        Some(input.as_bytes()),
    );
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let run = noso(&["eval", "--gold", output, "--predicted", output, "--format", "json"], None);
    let figures: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(figures["code_assignment"]["f1"], 1.0);
    assert_eq!(figures["documents"], 2);
    let run = noso(&["stages", "--gold", output, "--format", "json"], None);
    let stages: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(stages["strict"]["ner"]["f1"], 1.0, "{}", run.stderr);
    assert_eq!(
        stages["losses"]["found"].as_u64().unwrap(),
        stages["strict"]["code_assignment"]["tp"].as_u64().unwrap()
    );
}

#[test]
fn the_doctor_finds_everything_that_ships() {
    let run = noso(&["doctor"], None);
    assert_eq!(run.code, Some(0), "{}", run.stdout);
    assert!(!run.stdout.contains("missing"), "{}", run.stdout);
}

#[test]
fn threads_make_no_difference() {
    let input: String = (0..200).map(|n| format!("Гипертоническая болезнь {n}. Мигрень, приступ {n}\n")).collect();
    let lines = ["--input", "-", "--input-format", "lines", "--threads"];
    let one = coded(&[&lines[..], &["1"]].concat(), input.as_bytes());
    let two = coded(&[&lines[..], &["2"]].concat(), input.as_bytes());
    assert!(one.len() == 200 && one == two);
}
