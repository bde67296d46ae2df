//! What cannot be merged is refused, with the file, the field or tensor, and the way out.

use std::{fs, path::Path};

use noso::{
    error::Error,
    llm::merge::{info, merged},
};
use safetensors::Dtype;
use serde_json::json;

use super::{MODULE, Pair, Tensors, f32s};

impl Pair {
    /// Expects a refusal that tells all of `told` and leaves nothing in the cache.
    fn refused(&self, told: &[&str]) {
        let error = self.merged().unwrap_err();
        let text = format!("{error}\n{}", error.hint().unwrap_or_default());
        for part in told {
            assert!(text.contains(part), "expected `{part}` in: {text}");
        }
        let left = fs::read_dir(self.cache()).into_iter().flatten().flatten();
        let left: Vec<_> = left.map(|entry| entry.file_name()).filter(|name| name != ".lock").collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn settings_that_ask_for_more_than_lora_are_refused_by_name() {
    for (field, value) in [
        ("use_dora", json!(true)),
        ("modules_to_save", json!(["lm_head"])),
        ("layer_replication", json!([[0, 1], [0, 1]])),
        ("trainable_token_indices", json!([3])),
        ("lora_bias", json!(true)),
        ("target_parameters", json!(["experts.gate_up_proj"])),
        ("alora_invocation_tokens", json!([1, 2])),
        ("init_lora_weights", json!("pissa_niter_4")),
    ] {
        let pair = Pair::new("plain");
        pair.set(field, value);
        pair.refused(&["adapter_config.json", &format!("`{field}`"), "noso adapter info"]);
        let unsupported = info(&pair.adapter()).unwrap().unsupported.unwrap();
        assert!(unsupported.contains(field), "{unsupported}");
    }
}

#[test]
fn other_kinds_of_adapters_are_refused() {
    for kind in ["IA3", "VERA", "PREFIX_TUNING"] {
        let pair = Pair::new("plain");
        pair.set("peft_type", json!(kind));
        pair.refused(&["adapter_config.json", "`peft_type`: expected LORA", kind]);
        assert!(info(&pair.adapter()).is_err());
    }
}

#[test]
fn tensors_that_are_no_lora_factors_are_refused() {
    for (name, told) in [
        (format!("base_model.model.{MODULE}.lora_magnitude_vector"), "use_dora"),
        (format!("base_model.model.{MODULE}.bias"), "`bias`"),
        (format!("base_model.model.{MODULE}.lora_B.bias"), "lora_bias"),
        ("base_model.model.lm_head.weight".into(), "modules_to_save"),
        ("base_model.model.model.embed_tokens.base_layer.weight".into(), "save_embedding_layers=False"),
        (format!("{MODULE}.lora_A.weight"), "base_model.model."),
        (format!("base_model.model.{MODULE}.lora_A.other.weight"), "no LoRA factor"),
    ] {
        let pair = Pair::new("plain");
        pair.change(|tensors| drop(tensors.insert(name.clone(), (Dtype::F32, vec![2], f32s([0.0; 2])))));
        pair.refused(&["adapter_model.safetensors", &name, told]);
    }
}

#[test]
fn factors_that_do_not_fit_are_refused() {
    let (a, b) =
        (format!("base_model.model.{MODULE}.lora_A.weight"), format!("base_model.model.{MODULE}.lora_B.weight"));
    let matrix = |rows: usize, columns: usize, number: f32| {
        (Dtype::F32, vec![rows, columns], f32s(vec![number; rows * columns]))
    };
    let case = |change: &dyn Fn(&mut Tensors), told: &[&str]| {
        let pair = Pair::new("plain");
        pair.change(change);
        pair.refused(&[told, &[MODULE]].concat());
    };
    case(&|t| drop(t.remove(&a)), &["has lora_B, but no lora_A"]);
    case(&|t| drop(t.remove(&b)), &["has lora_A, but no lora_B"]);
    case(&|t| drop(t.insert(a.clone(), matrix(8, 24, 0.0))), &["expected rank 16", "(8, 24)", "rank_pattern"]);
    case(&|t| drop(t.insert(b.clone(), matrix(25, 16, 0.0))), &["[25, 24]", "[24, 24]", "model"]);
    case(&|t| drop(t.insert(a.clone(), matrix(16, 24, f32::NAN))), &["infinite or undefined"]);
    case(&|t| drop(t.insert(a.clone(), matrix(16, 24, f32::INFINITY))), &["infinite or undefined"]);
    case(&|t| drop(t.insert(a.clone(), (Dtype::I64, vec![16, 24], vec![0; 16 * 24 * 8]))), &["F32", "I64"]);
    case(&|t| drop(t.insert(a.clone(), (Dtype::F32, vec![16], f32s([0.0; 16])))), &["expected a matrix"]);
    case(
        &|t| {
            t.insert(a.clone(), matrix(16, 24, 1e30));
            t.insert(b.clone(), matrix(24, 16, 1e30));
        },
        &["would get infinite"],
    );
    let pair = Pair::new("plain");
    pair.change(Tensors::clear);
    pair.refused(&["expected LoRA factors, got no tensor"]);
    let pair = Pair::new("plain");
    pair.set("r", json!(8));
    pair.refused(&["expected rank 8", MODULE]);
}

#[test]
fn a_model_without_the_module_or_with_quantised_weights_is_refused() {
    let name = format!("{MODULE}.weight");
    let pair = Pair::new("plain");
    pair.change_model(|tensors| drop(tensors.remove(&name)));
    pair.refused(&[&name, "has no such weight"]);
    let pair = Pair::new("plain");
    pair.change_model(|tensors| drop(tensors.insert(name.clone(), (Dtype::U8, vec![24, 24], vec![0; 576]))));
    pair.refused(&[&name, "U8", "merge first, then quantise"]);
}

#[test]
fn tied_embeddings_are_refused() {
    let pair = Pair::new("embedding");
    fs::write(pair.model().join("config.json"), r#"{"tie_word_embeddings": true}"#).unwrap();
    pair.refused(&["lm_head.weight", "shares this weight"]);
    let pair = Pair::new("embedding");
    pair.change(|tensors| tensors.retain(|name, _| name.contains("embed_tokens")));
    pair.change_model(|tensors| drop(tensors.remove("lm_head.weight")));
    pair.refused(&["embed_tokens.weight", "shares this weight"]);
}

#[test]
fn missing_and_damaged_files_are_told() {
    let damage = |name: &str, told: &[&str], damage: &dyn Fn(&Path)| {
        let pair = Pair::new("plain");
        damage(&pair.root.path().join(name));
        pair.refused(told);
    };
    let remove = |path: &Path| fs::remove_file(path).unwrap();
    let cut = |path: &Path| fs::write(path, &fs::read(path).unwrap()[..300]).unwrap();
    let huge = |path: &Path| fs::write(path, [0xff; 64]).unwrap();
    let empty = |path: &Path| fs::write(path, "").unwrap();
    damage("adapter/adapter_config.json", &["holds no adapter_config.json"], &remove);
    damage("adapter/adapter_config.json", &["adapter_config.json: EOF"], &empty);
    damage("adapter/adapter_model.safetensors", &["holds no adapter_model.safetensors"], &remove);
    damage("adapter/adapter_model.safetensors", &["safe_serialization=True"], &|path| {
        fs::rename(path, path.with_extension("bin")).unwrap();
    });
    damage("adapter/adapter_model.safetensors", &["adapter_model.safetensors: "], &cut);
    damage("model/model.safetensors", &["the folder lacks", "*.safetensors"], &remove);
    damage("model/config.json", &["the folder lacks config.json"], &remove);
    damage("model/config.json", &["config.json", "EOF", "download"], &empty);
    damage("model/model.safetensors", &["model.safetensors", "download or copy"], &cut);
    damage("model/model.safetensors", &["no safetensors file"], &huge);
    damage("model/model.safetensors", &["cut short"], &empty);
    let twice = r#"{"weight_map": {"a": "model.safetensors", "b": "copy.safetensors"}}"#;
    damage("model/model.safetensors.index.json", &["stands in two files"], &|path| {
        fs::copy(path.with_file_name("model.safetensors"), path.with_file_name("copy.safetensors")).unwrap();
        fs::write(path, twice).unwrap();
    });
    let outside = r#"{"weight_map": {"a": "../model.safetensors"}}"#;
    damage("model/model.safetensors.index.json", &["`../model.safetensors`"], &|path| {
        fs::write(path, outside).unwrap()
    });
    damage("model/model.safetensors.index.json", &["failed to read", "model-1.safetensors"], &|path| {
        fs::write(path, r#"{"weight_map": {"a": "model-1.safetensors"}}"#).unwrap();
    });
}

#[test]
fn models_in_other_formats_are_refused_with_the_way_out() {
    let pair = Pair::new("plain");
    let weights = pair.model().join("model.safetensors");
    fs::rename(&weights, pair.model().join("pytorch_model.bin")).unwrap();
    pair.refused(&["pytorch_model.bin", "save_pretrained"]);
    fs::rename(pair.model().join("pytorch_model.bin"), pair.model().join("model.gguf")).unwrap();
    pair.refused(&["GGUF", "from which the GGUF file was made"]);
    let error = merged(&pair.model().join("model.gguf"), &pair.adapter(), &pair.cache()).unwrap_err();
    assert!(matches!(error, Error::ModelLoad { .. }) && error.to_string().contains("GGUF"), "{error}");
    let error = merged(Path::new("/no/such/model"), &pair.adapter(), &pair.cache()).unwrap_err();
    assert!(error.to_string().contains("no such folder"), "{error}");
}
