//! `noso code --pipeline llm` with a tiny random model, as a user runs it.

use std::{fs, path::Path};

use assert_cmd::Command;
use predicates::{prelude::PredicateBooleanExt, str::contains};
use serde_json::Value;

use super::tiny::{Form, write_adapter, write_model};

const TEXTS: &str = "ИБС. Стенокардия напряжения. ГБ 3 ст\nХронический гастрит, ремиссия\nСД 2 типа\n";

fn noso(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("noso").unwrap();
    command.args(arguments).env("NOSO_LOG", "off");
    command
}

fn model(folder: &Path) -> String {
    write_model("llama", Form::Transformers5, &folder.join("model"));
    folder.join("model").display().to_string()
}

/// Writes prompts short enough for a tiny model's context and returns the options that name them.
fn short_prompts(folder: &Path) -> [String; 4] {
    let write = |task: &str, user: &str| {
        let path = folder.join(format!("{task}.toml"));
        let prompt =
            format!("name = \"{task}\"\nversion = 1\nlanguage = \"ru\"\ntask = \"{task}\"\nuser = \"{user}\"\n");
        fs::write(&path, prompt).unwrap();
        path.display().to_string()
    };
    let extract = write("extract", "{{ text }}");
    let select = write("select", "{{ mention }}:{% for it in candidates %} {{ it.number }} {{ it.code }}{% endfor %}");
    ["--set".into(), format!("ner.llm.prompt={extract}"), "--set".into(), format!("rerank.llm.prompt={select}")]
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn texts_are_coded_counted_and_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let (input, output) = (folder.path().join("notes.txt"), folder.path().join("coded.jsonl"));
    fs::write(&input, TEXTS).unwrap();
    let (input, out) = (input.display().to_string(), output.display().to_string());
    let prompts = short_prompts(folder.path());
    let prompts: Vec<&str> = prompts.iter().map(String::as_str).collect();
    let run = |more: &[&str]| {
        let fixed = ["code", "--pipeline", "llm", "--model", &model, "--input", &input, "--input-format", "lines"];
        let rest = ["--output", &out, "--output-format", "jsonl", "--explain", "--set", "ner.llm.max_tokens=60"];
        noso(&[&fixed[..], &rest[..], &prompts, more].concat()).assert().success()
    };
    run(&[]).stderr(contains("model: ").and(contains("prompt and")));
    let whole = lines(&output);
    assert_eq!(whole.len(), 3);
    for (line, text) in whole.iter().zip(TEXTS.lines()) {
        assert_eq!(line["trace"]["exchanges"][0]["messages"][0]["content"], text);
        for mention in line["mentions"].as_array().unwrap() {
            assert!(text.contains(mention["text"].as_str().unwrap()));
        }
    }
    let manifest: Value = serde_json::from_slice(&fs::read(format!("{out}.manifest.json")).unwrap()).unwrap();
    assert!(
        manifest["models"].to_string().contains("llm-mistralrs-")
            && manifest["summary"]["asked"]["questions"].as_u64() >= Some(3)
    );

    // Cut off after the first document: the rest is coded again, to the same bytes.
    let bytes = fs::read(&output).unwrap();
    let first = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    fs::write(format!("{out}.partial"), &bytes[..first + 5]).unwrap();
    fs::remove_file(&output).unwrap();
    run(&["--resume"]).stderr(contains("1 done before"));
    assert_eq!(fs::read(&output).unwrap(), bytes);

    // By another engine it is not: half of the file would be somebody else's.
    let other = [
        "code",
        "--input",
        &input,
        "--input-format",
        "lines",
        "--output",
        &out,
        "--output-format",
        "jsonl",
        "--resume",
    ];
    noso(&other).assert().code(1).stderr(contains("the same pipeline as in").and(contains("hint: ")));
    assert_eq!(fs::read(&output).unwrap(), bytes);
}

#[cfg(unix)]
#[test]
fn a_run_that_is_stopped_keeps_what_it_has_and_goes_on_later() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let (input, output) = (folder.path().join("notes.txt"), folder.path().join("coded.jsonl"));
    let notes: String = (1..=40).map(|stage| format!("ХПН {stage} ст. Гастрит\n")).collect();
    fs::write(&input, notes).unwrap();
    let prompts = short_prompts(folder.path());
    let arguments = |more: &[&str]| {
        let fixed =
            ["code", "--pipeline", "llm", "--model", &model, "--input-format", "lines", "--output-format", "jsonl"];
        let paths = ["--input".into(), input.display().to_string(), "--output".into(), output.display().to_string()];
        let all = fixed.iter().map(|it| (*it).to_owned()).chain(paths).chain(prompts.iter().cloned());
        all.chain(more.iter().map(|it| (*it).to_owned())).collect::<Vec<_>>()
    };
    let partial = folder.path().join("coded.jsonl.partial");
    let written = || fs::read_to_string(&partial).map_or(0, |text| text.lines().count());
    let run = std::process::Command::new(assert_cmd::cargo::cargo_bin("noso"))
        .args(arguments(&[]))
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    while written() == 0 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    std::process::Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap();
    let stopped = run.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&stopped.stderr).into_owned();
    assert!(stopped.status.code() == Some(2) && said.contains("--resume"), "{:?}: {said}", stopped.status);
    assert!(!output.exists() && (1..40).contains(&written()), "{} of 40", written());

    let resumed = arguments(&["--resume"]);
    noso(&resumed.iter().map(String::as_str).collect::<Vec<_>>()).assert().success().stderr(contains("done before"));
    let ids: Vec<String> = lines(&output).iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, (1..=40).map(|number| number.to_string()).collect::<Vec<_>>());
}

/// More documents than threads: a model that shared its threads with those that wait for it would never answer.
#[test]
fn every_stage_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let prompts = short_prompts(folder.path());
    let gold = folder.path().join("gold");
    fs::create_dir(&gold).unwrap();
    for number in 0..12 {
        let text = format!("Гастрит, {number} сутки");
        fs::write(gold.join(format!("{number}.txt")), text).unwrap();
        let annotation = "T1\ticd_code 0 7\tГастрит\nN1\tReference T1 ICD_codes:1 K29.7\tK29.7\n";
        fs::write(gold.join(format!("{number}.ann")), annotation).unwrap();
    }
    let gold = gold.display().to_string();
    let fixed = ["stages", "--gold", &gold, "--format", "json", "--pipeline", "llm", "--model", &model];
    let rest = ["--set", "ner.engine=crf", "--set", "rerank.llm.direct_match=false"];
    let prompts: Vec<&str> = prompts.iter().map(String::as_str).collect();
    let said =
        noso(&[&fixed[..], &rest, &prompts].concat()).timeout(std::time::Duration::from_secs(120)).assert().success();
    let report: Value = serde_json::from_slice(&said.get_output().stdout).unwrap();
    assert_eq!(report["confidence_of_links"]["codings"], 12);
    assert!(report["confidence_of_links"]["expected_calibration_error"].as_f64().is_some());
}

#[test]
fn each_stage_has_its_adapter() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let adapter = |name: &str| {
        write_adapter("llama", name, &folder.path().join(name));
        folder.path().join(name).display().to_string()
    };
    let (ner, rerank) = (adapter("ner"), adapter("rerank"));
    let manifest = |arguments: &[&str]| {
        let out = folder.path().join("out.jsonl").display().to_string();
        let fixed =
            ["code", "--pipeline", "llm", "--model", &model, "--output", &out, "--output-format", "jsonl", "ИБС"];
        noso(&[&fixed[..], arguments].concat()).env("NOSO_HOME", folder.path()).assert().success();
        let manifest: Value = serde_json::from_slice(&fs::read(format!("{out}.manifest.json")).unwrap()).unwrap();
        let print = |stage: &str| {
            let models = manifest["models"].as_array().unwrap();
            let print = models.iter().find(|model| model[0] == stage).unwrap()[1].as_str().unwrap();
            print.split("mistralrs-").nth(1).unwrap()[..32].to_owned() // of the model alone
        };
        (print("ner"), print("rerank"))
    };
    let bare = manifest(&[]);
    let both = manifest(&["--adapter-ner", &ner, "--adapter-rerank", &rerank]);
    assert_eq!(bare.0, bare.1);
    assert!(both.0 != both.1 && both.0 != bare.0 && both.1 != bare.0);
    assert_eq!(manifest(&["--adapter-ner", &ner]), (both.0, bare.1));
}

#[test]
fn a_model_that_cannot_be_loaded_is_named_with_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let refuse = |what: &str, spoil: &dyn Fn(&Path), told: &str| {
        let model = folder.path().join(what.replace(' ', "-"));
        write_model("llama", Form::Transformers4, &model);
        spoil(&model);
        let model = model.display().to_string();
        let failed = noso(&["code", "--pipeline", "llm", "--model", &model, "ИБС"]).assert().code(1);
        failed.stderr(contains(told).and(contains("hint: ")).and(contains("ИБС").not()));
    };
    let edit = |file: &'static str, key: &'static str, value: Value| {
        move |model: &Path| {
            let path = model.join(file);
            let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            json[key] = value.clone();
            fs::write(path, json.to_string()).unwrap();
        }
    };
    let write =
        |file: &'static str, bytes: &'static [u8]| move |model: &Path| fs::write(model.join(file), bytes).unwrap();
    let remove = |file: &'static str| move |model: &Path| fs::remove_file(model.join(file)).unwrap();
    refuse("no config", &remove("config.json"), "config.json");
    refuse("no weights", &remove("model.safetensors"), "there is no model.safetensors");
    refuse("no tokenizer", &remove("tokenizer.json"), "tokenizer.json");
    refuse("bad tokenizer", &write("tokenizer.json", b"{}"), "tokenizer.json");
    refuse("bad weights", &write("model.safetensors", b"\xff\xff\xff\xff\xff\xff\xff\xff"), "header");
    refuse("bad stops", &write("generation_config.json", b"{"), "generation_config.json");
    refuse("bad config", &write("config.json", b"{"), "config.json");
    refuse(
        "other architecture",
        &edit("config.json", "architectures", serde_json::json!(["GPT2LMHeadModel"])),
        "GPT2LMHeadModel",
    );
    refuse(
        "other rope",
        &edit("config.json", "rope_scaling", serde_json::json!({"rope_type": "yarn", "factor": 2.0})),
        "rope scaling",
    );
    refuse("biases", &edit("config.json", "attention_bias", true.into()), "biases");
    refuse("other layers", &edit("config.json", "num_hidden_layers", 1.into()), "1 layers, the weights hold 2");
    refuse("other head", &edit("config.json", "head_dim", 8.into()), "head_dim");
    refuse("no template", &edit("tokenizer_config.json", "chat_template", Value::Null), "chat template");
    let cut = |model: &Path| {
        let path = model.join("model.safetensors");
        let bytes = fs::read(&path).unwrap();
        fs::write(path, &bytes[..bytes.len() - 7]).unwrap();
    };
    refuse("cut weights", &cut, "bytes, got");
    let gguf = folder.path().join("broken.gguf");
    fs::write(&gguf, b"GGUF\x03\x00\x00\x00 and then nothing of the kind").unwrap();
    let told = contains("cannot load the language model").and(contains("hint: "));
    noso(&["code", "--pipeline", "llm", "--model", &gguf.display().to_string(), "ИБС"]).assert().code(1).stderr(told);
    noso(&["code", "--pipeline", "llm", "--model", "no/where/at/all", "ИБС"])
        .assert()
        .code(1)
        .stderr(contains("hint: "));
}

#[test]
fn the_shipped_model_answers_where_none_is_named() {
    let home = tempfile::tempdir().unwrap();
    let code = |pipeline: &str, more: &[&str]| {
        let mut command = noso(&["code", "--pipeline", pipeline, "--set", "llm.device=cpu"]);
        command.args(more).arg("Хр. гастрит, ИБС").env("NOSO_HOME", home.path());
        command.assert()
    };
    code("llm", &[]).success().stdout(contains("ИБС").and(contains("I25")));
    assert!(home.path().join("shipped").is_dir() && home.path().join("merged").is_dir());
    // It was taught its own prompts and knows no other.
    code("paper-zero-shot", &[]).code(1).stderr(contains("--model"));
    code("llm", &["--set", "second_look.rounds=2"]).code(1).stderr(contains("--model"));
}
