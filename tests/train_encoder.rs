//! `noso train encoder`: from texts to a folder that loads, cut off and resumed, and from one encoder to the next.

use std::path::Path;

use assert_cmd::Command;
use candle_core::Device;
use noso::{
    nn::{
        fit::{FitSettings, ModelFolder},
        pretrained::Pretrained,
    },
    train::encoder::{self, EncoderSettings, Sizes},
};
use tempfile::tempdir;

/// 80 short texts of few words, in a fixed order between which a model can learn to guess.
fn texts() -> Vec<String> {
    let organs = ["желудка", "сердца", "лёгких", "почек"];
    let illnesses = ["Язва", "Ишемия", "Отёк", "Киста"];
    let grades = ["первой", "второй", "третьей", "лёгкой", "средней"];
    let text = |n: usize| {
        let (organ, grade) = (n % 4, n * 7 % 5);
        format!("{} {} {} степени, состояние {}", illnesses[organ], organs[organ], grades[grade], n % 3)
    };
    (0..80).map(text).collect()
}

fn sizes() -> Sizes {
    Sizes { vocabulary: 90, layers: 2, hidden: 32, heads: 2, intermediate: 64, positions: 40, ..Sizes::default() }
}

fn settings(epochs: usize) -> EncoderSettings {
    let fit = FitSettings { epochs, batch: 8, learning_rate: 1e-2, ..EncoderSettings::default().fit };
    EncoderSettings { length: 32, held_out: 7, fit, ..EncoderSettings::default() }
}

fn train(folder: &Path, epochs: usize) -> encoder::Report {
    let model = encoder::draw(&texts(), &sizes(), 1, &Device::Cpu).unwrap();
    let folder = ModelFolder::claim(folder, false).unwrap();
    encoder::train(model, &texts(), &settings(epochs), &folder, &mut ()).unwrap()
}

#[test]
fn learns_to_guess_hidden_words_and_writes_a_folder_that_loads() {
    let folder = tempdir().unwrap();
    let report = train(folder.path(), 40);
    let figures = report.reached.unwrap().figures;
    let [("perplexity", perplexity), ("accuracy", accuracy)] = figures[..] else { panic!("{figures:?}") };
    // From about 90, the size of the vocabulary.
    assert!(perplexity < 7.0 && accuracy > 0.25, "perplexity {perplexity}, accuracy {accuracy}");
    let loaded = Pretrained::load(&folder.path().display().to_string(), &Device::Cpu).unwrap();
    assert!(loaded.parameters.has("cls.predictions.transform.dense.weight"));
    assert_eq!(loaded.extra["architectures"][0], "BertForMaskedLM");
    // й and ё are letters of their own.
    for letter in ["й", "ё"] {
        assert!(
            (0..report.vocabulary as u32).any(|id| loaded.tokenizer.token(id).unwrap().contains(letter)),
            "{letter}"
        );
    }
    let adapted = tempdir().unwrap();
    let claimed = ModelFolder::claim(adapted.path(), false).unwrap();
    let on = encoder::train(loaded, &texts(), &settings(1), &claimed, &mut ()).unwrap();
    let fresh = train(tempdir().unwrap().path(), 1).history.steps[0].loss;
    assert!(
        on.history.steps[0].loss < 0.7 * fresh,
        "going on starts at {}, from scratch at {fresh}",
        on.history.steps[0].loss
    );
}

#[test]
fn every_weight_learns_those_of_the_head_too() {
    let trained = |learning_rate| {
        let folder = tempdir().unwrap();
        let usual = settings(1);
        // Without decay a weight moves by its gradient alone.
        let fit = FitSettings { weight_decay: 0.0, learning_rate, ..usual.fit };
        let model = encoder::draw(&texts(), &sizes(), 1, &Device::Cpu).unwrap();
        let claimed = ModelFolder::claim(folder.path(), false).unwrap();
        encoder::train(model, &texts(), &EncoderSettings { fit, ..usual }, &claimed, &mut ()).unwrap();
        candle_core::safetensors::load(folder.path().join("training/best.safetensors"), &Device::Cpu).unwrap()
    };
    let (start, learnt) = (trained(1e-30), trained(1e-2));
    assert!(learnt.contains_key("cls.predictions.transform.dense.weight"));
    for (name, tensor) in &learnt {
        let flat = |tensor: &candle_core::Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_ne!(flat(tensor), flat(&start[name]), "{name}");
    }
}

#[test]
fn equal_texts_and_seed_give_equal_encoders() {
    let print = || {
        let folder = tempdir().unwrap();
        train(folder.path(), 1);
        Pretrained::load(&folder.path().display().to_string(), &Device::Cpu).unwrap().fingerprint().unwrap()
    };
    assert_eq!(print(), print());
}

#[test]
fn the_command_says_what_is_wrong_and_goes_on_where_it_was() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("texts.jsonl");
    let lines: String = texts().iter().map(|text| format!("{}\n", serde_json::json!({ "text": text }))).collect();
    std::fs::write(&file, lines).unwrap();
    let output = folder.path().join("encoder");
    let noso = |more: &[&str]| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("noso"));
        command.args(["train", "encoder", "--layers", "1", "--hidden", "16", "--length", "32"]);
        command
            .args(["--epochs", "2", "--vocabulary", "90", "--texts"])
            .arg(&file)
            .arg("--output")
            .arg(&output)
            .args(more);
        let ran = command.assert();
        let told = String::from_utf8(ran.get_output().stderr.clone()).unwrap();
        (ran.get_output().status.code(), told)
    };
    let (code, told) = noso(&["--heads", "3"]);
    assert!(code == Some(1) && told.contains("setting `heads`: expected a divisor of hidden"), "{told}");
    for huge in [["--intermediate", "1000000000000"], ["--positions", "1000000000000"]] {
        let (code, told) = noso(&huge);
        assert!(code == Some(1) && told.contains("MiB are free") && told.contains("lower --hidden"), "{told}");
    }
    let (code, told) = noso(&["--batch", "0"]);
    assert!(code == Some(1) && told.contains("`--help` after the same command"), "{told}");
    assert!(!output.exists(), "a run that never began leaves nothing");
    let (code, told) = noso(&["--positions", "16"]);
    assert!(code == Some(1) && told.contains("setting `length`: expected 8 to 16"), "{told}");
    let (code, told) = noso(&[]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("perplexity") && told.contains("90 word pieces"), "{told}");
    let (code, told) = noso(&[]);
    assert!(code == Some(1) && told.contains("--resume"), "{told}");
    let (code, told) = noso(&["--resume"]);
    assert_eq!(code, Some(0), "{told}");
}
