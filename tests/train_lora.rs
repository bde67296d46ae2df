//! `noso train lora`: from annotated notes to a small model, from that to adapters, cut off and resumed, and what is refused.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::LazyLock,
    time::Duration,
};

use assert_cmd::Command;
use tempfile::{TempDir, tempdir};

const CATALOG: &str = "code\ttitle\tsynonyms\nK29.5\tХронический гастрит неуточнённый\tхр. гастрит\nI25.9\tХроническая ишемическая болезнь сердца\tИБС\nJ20.9\tОстрый бронхит неуточнённый\tбронхит\nH66.9\tСредний отит неуточнённый\tотит\n";
/// Words of a diagnosis and its code.
const DIAGNOSES: [(&str, &str); 6] = [
    ("Хр. гастрит", "K29.5"),
    ("ИБС", "I25.9"),
    ("Острый бронхит", "J20.9"),
    ("Отит", "H66.9"),
    ("гастрит", "K29.5"),
    ("бронхит", "J20.9"),
];

/// Writes notes of one or two diagnoses, annotated.
fn write_notes(folder: &Path, count: usize) {
    fs::create_dir_all(folder).unwrap();
    for note in 0..count {
        let (mut text, mut annotation) = (format!("Приём {}. ", note % 4), String::new());
        for number in 0..1 + note % 2 {
            let (words, code) = DIAGNOSES[(note + 2 * number) % DIAGNOSES.len()];
            let start = text.chars().count();
            text += words;
            let (end, id) = (text.chars().count(), number + 1);
            annotation +=
                &format!("T{id}\ticd_code {start} {end}\t{words}\nN{id}\tReference T{id} ICD_codes:1\t{code}\n");
            text += ", ";
        }
        text += "ремиссия";
        fs::write(folder.join(format!("{note}.txt")), text).unwrap();
        fs::write(folder.join(format!("{note}.ann")), annotation).unwrap();
    }
}

struct Place {
    root: TempDir,
}

impl Place {
    /// Makes a folder with notes, and a catalogue.
    fn new() -> Self {
        let root = tempdir().unwrap();
        write_notes(&root.path().join("train"), 40);
        write_notes(&root.path().join("tune"), 6);
        fs::write(root.path().join("catalog.tsv"), CATALOG).unwrap();
        Self { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Runs a job with the notes of `train`, those of `tune` held out. Returns what it wrote on stderr, and whether it succeeded.
    fn train(&self, job: &str, output: &str, options: &[&str]) -> (String, bool) {
        let head = "corpus = [\"train\"]\ntune = [\"tune\"]\ncatalog = \"catalog.tsv\"\ndevice = \"cpu\"\n";
        let file = format!("{output}.toml"); // tests run side by side
        fs::write(self.path(&file), format!("{head}{job}")).unwrap();
        let mut command = Command::cargo_bin("noso").unwrap();
        command.current_dir(self.root.path()).args(["train", "lora", "--config", &file, "--output", output]);
        let output = command.args(options).output().unwrap();
        (String::from_utf8(output.stderr).unwrap(), output.status.success())
    }
}

const NEW: &str = "[pretrain]\nexamples = 48\ncandidates = 3\n[pretrain.sizes]\nvocabulary = 340\nlayers = 2\nhidden = 32\nheads = 2\nintermediate = 64\npositions = 512\n[pretrain.fit]\nepochs = 3\nbatch = 8\nlearning_rate = 3e-3\n";

/// A place with a small model in `model`.
static TRAINED: LazyLock<Place> = LazyLock::new(|| {
    let place = Place::new();
    let (told, done) = place.train(NEW, "model", &[]);
    assert!(done, "{told}");
    place
});

fn adapters(more: &str, fit: &str) -> String {
    format!(
        "base = \"model\"\nadapter = [\n  {{ name = \"ner\", task = \"ner\", prompt = \"ner-short-ru\" }},\n  \
         {{ name = \"rerank\", task = \"rerank\", prompt = \"select-short-ru\", candidates = 3 }},\n]\n\
         [finetune]\n{more}\n[finetune.lora]\nrank = 4\nalpha = 8.0\ndropout = 0.1\ntargets = [\"q_proj\", \"v_proj\"]\n\
         [finetune.fit]\nepochs = 2\nlearning_rate = 1e-3\nevaluate_steps = 2\n{fit}\n"
    )
}

fn table(path: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

#[test]
fn a_new_model_learns_and_is_a_whole_folder() {
    let model = TRAINED.path("model");
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "README.md"] {
        assert!(model.join(name).exists(), "{name}");
    }
    let rows = table(&model.join("training/losses.csv"));
    assert_eq!(rows.len(), 1 + 18);
    let loss = |row: &[String]| row[2].parse::<f32>().unwrap();
    assert!(loss(&rows[18]) < 0.9 * loss(&rows[1]), "{} to {}", loss(&rows[1]), loss(&rows[18]));
    let card = fs::read_to_string(model.join("README.md")).unwrap();
    assert!(card.contains("| Steps") && card.contains("best of 3 evaluations"), "{card}");
}

#[test]
fn adapters_are_judged_by_what_they_say_and_come_to_the_same_after_a_kill() {
    let job = adapters("best = \"score\"", "checkpoint_steps = 2").replace("epochs = 2", "epochs = 5");
    let (told, done) = TRAINED.train(&job, "whole", &[]);
    assert!(done, "{told}");
    assert!(told.contains("f1") && told.contains("accuracy"), "{told}");
    let log = TRAINED.path("cut/ner/training/losses.jsonl");
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("noso"))
        .current_dir(TRAINED.root.path())
        .args(["train", "lora", "--config", "whole.toml", "--output", "cut"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while child.try_wait().unwrap().is_none() && fs::read_to_string(&log).map_or(0, |log| log.lines().count()) < 7 {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    assert!(!TRAINED.path("cut/rerank/adapter_config.json").exists(), "it was done before it could be killed");
    let (told, done) = TRAINED.train(&job, "cut", &["--resume"]);
    assert!(done, "{told}");
    for name in ["ner", "rerank"] {
        let [whole, cut] = ["whole", "cut"].map(|run| TRAINED.path(run).join(name));
        let weights = |folder: &Path| fs::read(folder.join("adapter_model.safetensors")).unwrap();
        assert_eq!(weights(&whole), weights(&cut), "{name}");
        assert_eq!(table(&whole.join("training/losses.csv")), table(&cut.join("training/losses.csv")));
        for file in [
            "adapter_config.json",
            "README.md",
            "training/config.toml",
            "training/manifest.json",
            "training/losses.svg",
        ] {
            assert!(whole.join(file).exists(), "{name}: {file}");
        }
    }
}

#[test]
fn all_weights_are_trained_where_that_is_asked_for() {
    let (told, done) = TRAINED.train(&adapters("", ""), "full", &["--full"]);
    assert!(done, "{told}");
    let folder = TRAINED.path("full/ner");
    let weights = |folder: &Path| fs::read(folder.join("model.safetensors")).unwrap();
    assert_ne!(weights(&folder), weights(&TRAINED.path("model")));
    assert!(folder.join("tokenizer.json").exists() && !folder.join("adapter_config.json").exists());
}

#[test]
fn what_cannot_be_trained_is_told_with_what_to_do() {
    fs::create_dir_all(TRAINED.path("empty")).unwrap();
    let job = format!("corpus = [\"empty\"]\n{}", adapters("", ""));
    fs::write(TRAINED.path("empty.toml"), job).unwrap();
    let mut command = Command::cargo_bin("noso").unwrap();
    command.current_dir(TRAINED.root.path()).args([
        "train",
        "lora",
        "--config",
        "empty.toml",
        "--output",
        "of-nothing",
    ]);
    let told = String::from_utf8(command.output().unwrap().stderr).unwrap();
    assert!(told.contains("failed to read empty: the folder holds no .ann file"), "{told}");
    let named = adapters("", "");
    let cases = [
        (named.replace("\"v_proj\"", "\"w_proj\""), "expected projections of this model: q_proj, k_proj"),
        (
            named.replace("\"rerank\", task = \"rerank\"", "\"ner\", task = \"rerank\""),
            "setting `adapter.name`: expected each name once, got ner again",
        ),
        (named.replace("task = \"ner\"", "task = \"naming\""), "`noso train lora --help` shows a job's file"),
        (named.replace("rank = 4", "rank = 0"), ".toml: setting `finetune.lora.rank`: expected a whole number from 1"),
        (adapters("", "batch = 0"), ".toml: setting `finetune.fit.batch`: expected from 1, got 0"),
        (
            NEW.replace("heads = 2", "heads = 3"),
            "setting `pretrain.sizes.hidden`: expected a multiple of twice `heads`",
        ),
        (adapters("max_tokens = 8", ""), "`ner`: none of 40 notes to learn from gives a text of at most 8 tokens"),
        (named.replace("candidates = 3", "candidates = 0"), "adapter.candidates"),
        (
            named.replace("name = \"ner\"", "name = \".\""),
            "`adapter.name`: expected the name of a folder, without a path, got .",
        ),
        (adapters("score_questions = 0", ""), "finetune.score_questions"),
        (named.replace("base = \"model\"", "base = \"nowhere\""), "nowhere"),
        (named.replace("select-short-ru", "ner-ru"), "expected a prompt with task select"),
        (NEW.replace("candidates = 3", "candidates = 3\nmax_tokens = 5"), "`pretrain.max_tokens`"),
        (String::new(), "setting `base`: expected it with one `adapter` or more, or `pretrain` alone, got neither"),
        (format!("base = \"model\"\n{NEW}"), "got base and pretrain"),
    ];
    for (number, (job, expected)) in cases.iter().enumerate() {
        let output = format!("refused-{number}");
        let (told, done) = TRAINED.train(job, &output, &[]);
        assert!(!done && told.contains(expected), "{expected}\n{told}");
        assert!(!told.contains("гастрит"), "{told}");
        assert!(!TRAINED.path(&output).exists(), "{expected}: it leaves a folder behind");
    }
    let job = adapters("best = \"score\"", "");
    fs::write(TRAINED.path("untuned.toml"), format!("corpus = [\"train\"]\n{job}")).unwrap();
    let mut command = Command::cargo_bin("noso").unwrap();
    let untuned = ["train", "lora", "--config", "untuned.toml", "--output", "untuned"];
    let told = command.current_dir(TRAINED.root.path()).args(untuned).output().unwrap().stderr;
    let told = String::from_utf8(told).unwrap();
    assert!(told.contains("`finetune.best`") && told.contains("no `tune`"), "{told}");
}

/// Copies the small model, with what `change` makes of its weights, into a place of its own.
fn place_with_model(change: impl FnOnce(&mut Vec<u8>)) -> Place {
    let place = Place::new();
    let copy = place.path("model");
    fs::create_dir(&copy).unwrap();
    for file in fs::read_dir(TRAINED.path("model")).unwrap().flatten().filter(|file| file.path().is_file()) {
        fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    let weights = copy.join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    change(&mut bytes);
    fs::write(weights, bytes).unwrap();
    place
}

/// Keeps the first adapter of a job only.
fn ner_alone(job: &str) -> String {
    let (head, rest) = job.split_once("  { name = \"rerank\"").unwrap();
    format!("{head}]\n{}", &rest[rest.find("[finetune]").unwrap()..])
}

#[test]
fn a_finished_adapter_is_not_made_another_by_other_settings() {
    let job = ner_alone(&adapters("", ""));
    let (told, done) = TRAINED.train(&job, "kept", &[]);
    assert!(done, "{told}");
    let weights = || fs::read(TRAINED.path("kept/ner/adapter_model.safetensors")).unwrap();
    let before = weights();
    let record = |name| fs::read(TRAINED.path("kept/ner/training").join(name)).unwrap();
    let records = || [record("manifest.json"), record("config.toml")];
    let told_before = records();
    let changes = [
        ("epochs = 2", "epochs = 3", "epochs 2 instead of 3"),
        ("alpha = 8.0", "alpha = 4.0", "other settings of its job"),
        ("dropout = 0.1", "dropout = 0.2", "other settings of its job"),
        ("rank = 4", "rank = 2", "a model of another shape"),
    ];
    for (old, new, _) in changes {
        let (told, done) = TRAINED.train(&job.replace(old, new), "kept", &["--resume"]);
        assert!(done && told.contains("it is finished, and stays as it is"), "{new}: {told}");
        assert!(weights() == before && records() == told_before);
    }
    // Nor is one that was cut off just before its end made one of two settings.
    let manifest = String::from_utf8(record("manifest.json")).unwrap();
    let unfinished = manifest.replace("\"outcome\"", "\"was\"");
    for (old, new, expected) in changes {
        fs::write(TRAINED.path("kept/ner/training/manifest.json"), &unfinished).unwrap();
        let told_before = records();
        let (told, done) = TRAINED.train(&job.replace(old, new), "kept", &["--resume"]);
        assert!(!done && told.contains(expected), "{new}: {told}");
        assert!(weights() == before && records() == told_before, "{new}");
    }
}

#[test]
fn an_adapter_is_asked_as_it_was_taught() {
    let prompt = TRAINED.path("asking.toml");
    fs::write(
        &prompt,
        "name = 'asking'\nversion = 1\nlanguage = 'ru'\ntask = 'extract'\nuser = 'Список: {{ text }}'\n",
    )
    .unwrap();
    let job = ner_alone(&adapters("", "")).replace("ner-short-ru", "asking.toml");
    let (told, done) = TRAINED.train(&job, "asked", &[]);
    assert!(done, "{told}");
    assert_eq!(fs::read(TRAINED.path("asked/ner/prompt.toml")).unwrap(), fs::read(prompt).unwrap());
    let set = [format!("llm.adapter_ner={:?}", TRAINED.path("asked/ner")), "llm.model=model".to_owned()];
    let config = noso::config::PipelineConfig::load("llm", &set).unwrap();
    assert!(config.extract_prompt().ends_with("asked/ner/prompt.toml"), "{}", config.extract_prompt());
    assert_eq!(config.select_prompt(), "select-ru");
    let set = [set.as_slice(), &["ner.llm.prompt=ner-en".to_owned()]].concat();
    assert_eq!(noso::config::PipelineConfig::load("llm", &set).unwrap().extract_prompt(), "ner-en");
}

#[test]
fn a_damaged_base_is_told_from_a_training_that_fails() {
    let job = ner_alone(&adapters("", ""));
    let (told, done) = place_with_model(|bytes| bytes.truncate(bytes.len() / 2)).train(&job, "cut", &[]);
    assert!(!done && told.contains("model.safetensors") && told.contains("is cut short"), "{told}");
    // The last weights are no numbers: 0x7fc0 in bf16.
    let broken = place_with_model(|bytes| {
        let end = bytes.len();
        bytes[end - 64..].chunks_exact_mut(2).for_each(|weight| weight.copy_from_slice(&[0xc0, 0x7f]));
    });
    let (told, done) = broken.train(&job, "broken", &[]);
    assert!(!broken.path("broken").exists());
    assert!(
        !done && told.contains("cannot load the language model model") && told.contains("copy the model again"),
        "{told}"
    );
}

#[cfg(unix)]
#[test]
fn a_disk_without_room_is_told_and_what_was_written_stays() {
    let job = ner_alone(&adapters("", "checkpoint_steps = 2"));
    let (told, done) = TRAINED.train(&job, "full-disk", &[]);
    assert!(done, "{told}");
    let run = TRAINED.path("full-disk/ner");
    let kept = fs::read(run.join("adapter_model.safetensors")).unwrap();
    // A limit on the length of files stands for a full disk; checkpoints are longer.
    let command = "trap '' XFSZ; ulimit -f 16; exec \"$0\" train lora --config full-disk.toml --output no-room";
    let noso = assert_cmd::cargo::cargo_bin("noso");
    let output =
        std::process::Command::new("sh").arg("-c").arg(command).arg(noso).current_dir(TRAINED.root.path()).output();
    let output = output.unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && told.contains("failed to write"), "{told}");
    assert!(!TRAINED.path("no-room/ner/adapter_config.json").exists());
    assert_eq!(fs::read(run.join("adapter_model.safetensors")).unwrap(), kept);
    // With room again the run goes on, and comes to the same.
    let (told, done) = TRAINED.train(&job, "no-room", &["--resume"]);
    assert!(done, "{told}");
    assert_eq!(fs::read(TRAINED.path("no-room/ner/adapter_model.safetensors")).unwrap(), kept);
}

#[test]
fn a_code_that_is_not_offered_is_answered_with_none_or_dropped() {
    let place = place_with_model(|_| ());
    fs::write(place.path("train/100.txt"), "Ожог").unwrap();
    fs::write(place.path("train/100.ann"), "T1\ticd_code 0 4\tОжог\nN1\tReference T1 ICD_codes:1\tT20.0\n").unwrap();
    let job = adapters("", "").replace("  { name = \"ner\", task = \"ner\", prompt = \"ner-short-ru\" },\n", "");
    let (told, done) = place.train(&job.replace("epochs = 2", "epochs = 1"), "none", &[]);
    assert!(done && told.contains("61 texts taught") && told.contains("0 left out"), "{told}");
    let drop = job.replace("candidates = 3", "candidates = 3, absent = \"drop\"").replace("epochs = 2", "epochs = 1");
    let (told, done) = place.train(&drop, "drop", &[]);
    assert!(done && told.contains("60 texts taught") && told.contains("1 left out"), "{told}");
}

#[test]
fn a_text_that_is_too_long_is_left_out_or_cut_and_counted() {
    let place = place_with_model(|_| ());
    let long = format!("{} ИБС", "Жалоб нет. ".repeat(60));
    let start = long.chars().count() - 3;
    fs::write(place.path("train/100.txt"), &long).unwrap();
    fs::write(
        place.path("train/100.ann"),
        format!("T1\ticd_code {start} {}\tИБС\nN1\tReference T1 ICD_codes:1\tI25.9\n", start + 3),
    )
    .unwrap();
    let job = adapters("max_tokens = 200", "").replace("epochs = 2", "epochs = 1");
    let ner = ner_alone(&job);
    let (told, done) = place.train(&ner, "skipped", &[]);
    assert!(done && told.contains("40 texts taught, 6 held out, 0 cut, 1 left out"), "{told}");
    let (told, done) = place.train(&ner.replace("[finetune]", "[finetune]\ntoo_long = \"cut\""), "cut", &[]);
    assert!(done && told.contains("41 texts taught, 6 held out, 1 cut, 0 left out"), "{told}");
}
