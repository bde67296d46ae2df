//! Folders that cannot be used: each is refused with the file, what is wrong, and a way out.

use std::{fs, path::Path};

use noso::{
    Error,
    config::{EncoderConfig, Pooling},
    embed::{Embed, bert::BertEncoder},
    nn::tokenizer::{Casing, Tokenizer},
};
use serde_json::{Value, json};

use super::{config, copy, encoder, fixture};

/// Loads a folder that must be refused. Returns message and hint.
fn refused(folder: &Path) -> String {
    let error = BertEncoder::load(&config(folder, Pooling::Cls)).err().expect("the folder should be refused");
    assert!(matches!(error, Error::EncoderLoad { .. }), "{error:?}");
    format!("{error}\n{}", error.hint().expect("a hint"))
}

fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

fn assert_told(told: &str, parts: &[&str]) {
    assert!(parts.iter().all(|part| told.contains(part)), "{told}\nlacks one of {parts:?}");
}

#[test]
fn weights_that_are_missing_or_cut_short() {
    let folder = copy("cased");
    let file = folder.path().join("model.safetensors");
    let bytes = fs::read(&file).unwrap();
    for length in [0, 5, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&file, &bytes[..length]).unwrap();
        assert_told(&refused(folder.path()), &["model.safetensors", "cut short"]);
    }
    fs::remove_file(&file).unwrap();
    assert_told(&refused(folder.path()), &["neither model.safetensors nor pytorch_model.bin"]);

    let folder = copy("uncased");
    let file = folder.path().join("pytorch_model.bin");
    let bytes = fs::read(&file).unwrap();
    for length in [0, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&file, &bytes[..length]).unwrap();
        assert_told(&refused(folder.path()), &["pytorch_model.bin", "cut short"]);
    }

    let folder = copy("xlmr");
    let shard = fs::read_dir(folder.path())
        .unwrap()
        .map(|file| file.unwrap().path())
        .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("model-00002"));
    fs::remove_file(shard.unwrap()).unwrap();
    assert_told(&refused(folder.path()), &["the shard model-00002", "missing"]);
}

#[test]
fn flipped_bytes_of_a_pickle_never_panic() {
    let folder = copy("uncased");
    let file = folder.path().join("pytorch_model.bin");
    let bytes = fs::read(&file).unwrap();
    for at in (0..bytes.len()).step_by(bytes.len() / 40) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0xa5;
        fs::write(&file, damaged).unwrap();
        let _ = BertEncoder::load(&config(folder.path(), Pooling::Cls));
    }
}

#[test]
fn weights_that_do_not_fit_the_configuration() {
    let folder = copy("cased");
    let path = folder.path().join("config.json");
    edit(&path, |config| config["num_hidden_layers"] = json!(3));
    assert_told(&refused(folder.path()), &["model.safetensors", "`encoder.layer.2.", "missing"]);
    edit(&path, |config| {
        config["num_hidden_layers"] = json!(2);
        config["max_position_embeddings"] = json!(128);
    });
    assert_told(&refused(folder.path()), &["`embeddings.position_embeddings.weight`", "[512, 8]", "[128, 8]"]);
}

#[test]
fn a_tokenizer_larger_than_the_vocabulary() {
    let folder = copy("cased");
    edit(&folder.path().join("config.json"), |config| config["vocab_size"] = json!(100));
    assert_told(&refused(folder.path()), &["tokenizer has", "tokens, the model's vocabulary 100"]);
}

#[test]
fn configurations_that_these_layers_cannot_do() {
    let cases: [(&str, Value, &str); 11] = [
        ("model_type", json!("deberta-v2"), "got deberta-v2"),
        ("model_type", Value::Null, "got (none)"),
        ("position_embedding_type", json!("relative_key"), "got relative_key"),
        ("relative_attention", json!(true), "relative_attention"),
        ("is_decoder", json!(true), "is_decoder"),
        ("hidden_act", json!("swish"), "swish"),
        ("num_attention_heads", json!(3), "multiple"),
        ("hidden_size", json!(0), "hidden_size"),
        ("vocab_size", json!(1u64 << 40), "vocab_size"),
        ("layer_norm_eps", json!(-1.0), "layer_norm_eps"),
        ("max_position_embeddings", json!("many"), "many"),
    ];
    for (key, value, told) in cases {
        let folder = copy("cased");
        edit(&folder.path().join("config.json"), |config| config[key] = value);
        assert_told(&refused(folder.path()), &["config.json", told]);
    }
    let folder = copy("cased");
    fs::write(folder.path().join("config.json"), "{").unwrap();
    assert_told(&refused(folder.path()), &["config.json: no JSON object", "copy the folder again"]);
    fs::remove_file(folder.path().join("config.json")).unwrap();
    assert_told(&refused(folder.path()), &["it holds no config.json", "give a folder that holds"]);
}

#[test]
fn tokenizers_that_are_missing_or_damaged() {
    let folder = copy("cased");
    let file = folder.path().join("tokenizer.json");
    let text = fs::read_to_string(&file).unwrap();
    for damaged in ["", "{", "[]", text.split("\"model\"").next().unwrap(), &text.replace("WordPiece", "Wordpiece")] {
        fs::write(&file, damaged).unwrap();
        assert_told(&refused(folder.path()), &["tokenizer.json"]);
    }
    // A template that names a token which it does not define makes the library panic.
    edit_text(&file, &text, |value| value["post_processor"]["special_tokens"] = json!({}));
    assert_told(&refused(folder.path()), &["tokenizer.json"]);
    fs::remove_file(&file).unwrap();
    assert_told(&refused(folder.path()), &["neither tokenizer.json nor vocab.txt"]);
    fs::write(folder.path().join("sentencepiece.bpe.model"), [1, 2]).unwrap();
    assert_told(&refused(folder.path()), &["sentencepiece.bpe.model", "AutoTokenizer"]);

    let folder = copy("uncased");
    fs::write(folder.path().join("vocab.txt"), "[PAD]\nа\n").unwrap();
    assert_told(&refused(folder.path()), &["vocab.txt has no `[UNK]`"]);
    assert!(Tokenizer::from_pieces(&["а".to_owned()], Casing::default()).is_err());
}

fn edit_text(path: &Path, text: &str, change: impl FnOnce(&mut Value)) {
    fs::write(path, text).unwrap();
    edit(path, change);
}

#[test]
fn poolings_and_settings_that_are_not_known() {
    let folder = copy("cased");
    fs::write(
        folder.path().join("modules.json"),
        r#"[{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}]"#,
    )
    .unwrap();
    assert_told(&refused(folder.path()), &["modules.json", "Dense"]);
    fs::write(folder.path().join("modules.json"), r#"[{"type": "x.Pooling", "path": "1_Pooling"}]"#).unwrap();
    fs::create_dir(folder.path().join("1_Pooling")).unwrap();
    fs::write(folder.path().join("1_Pooling/config.json"), r#"{"pooling_mode_max_tokens": true}"#).unwrap();
    assert_told(&refused(folder.path()), &["1_Pooling/config.json", "cls and mean"]);
    fs::write(folder.path().join("noso.toml"), "[encoder]\npoling = \"cls\"\n").unwrap();
    assert_told(&refused(folder.path()), &["noso.toml", "poling"]);
    let pooler = BertEncoder::load(&config(&fixture("uncased"), Pooling::Pooler)).err().unwrap();
    assert_told(&pooler.to_string(), &["pooler.dense.weight"]);
}

#[test]
fn more_tokens_than_the_model_takes() {
    let with = |max_tokens| EncoderConfig { max_tokens: Some(max_tokens), ..config(&fixture("xlmr"), Pooling::Cls) };
    let error = BertEncoder::load(&with(513)).err().unwrap().to_string();
    assert_told(&error, &["encoder.max_tokens", "at most 512", "513"]);
    assert!(BertEncoder::load(&with(2)).is_err());
    let short = encoder(&with(3));
    assert_eq!(short.embed(&["отит отит отит", "зоб"]).unwrap().len(), 2 * short.dim());
    assert!(short.cut_texts() >= 1);
}

#[test]
fn what_is_no_folder_and_no_hub_id() {
    for name in ["no/such/folder", "./missing", "missing"] {
        let error = BertEncoder::load(&EncoderConfig::of(name)).err().unwrap();
        assert!(error.hint().is_some_and(|hint| hint.contains("config.json")), "{error}");
    }
    assert!(matches!(BertEncoder::load(&EncoderConfig::default()), Err(Error::Setting { .. })));
}

#[test]
fn weights_that_are_no_numbers() {
    let folder = copy("cased");
    let file = folder.path().join("model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[8 + header..].fill(0xff); // NaN in every width
    fs::write(&file, bytes).unwrap();
    let error = encoder(&config(folder.path(), Pooling::Mean)).embed(&["Грипп"]).unwrap_err();
    let folder = folder.path().to_str().unwrap();
    assert!(matches!(error, Error::NotFinite { .. }) && error.to_string().contains(folder), "{error:?}");
}
