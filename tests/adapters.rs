//! LoRA adapters: merged weights equal PEFT's, and a cache never holds half a model.

mod refusals;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use assert_cmd::cargo::cargo_bin;
use noso::{
    error::Error,
    llm::merge::{info, merged},
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

const MODULE: &str = "model.layers.0.self_attn.q_proj";

fn fixture(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lora").join(case)
}

/// Owned tensors, which a test may change before it writes them.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn read(path: &Path) -> Tensors {
    let bytes = fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    tensors.iter().map(|(name, t)| (name.to_owned(), (t.dtype(), t.shape().to_vec(), t.data().to_vec()))).collect()
}

fn write(path: &Path, tensors: &Tensors) {
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, data))| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    safetensors::serialize_to_file(views, None, path).unwrap();
}

fn f32s(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn copy(from: &Path, to: &Path, names: &[&str]) {
    fs::create_dir_all(to).unwrap();
    for name in names {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

/// A model and an adapter of a fixture, in folders that a test may change.
struct Pair {
    root: TempDir,
}

impl Pair {
    fn new(case: &str) -> Self {
        let pair = Self { root: tempfile::tempdir().unwrap() };
        copy(&fixture(case), &pair.model(), &["model.safetensors"]);
        copy(&fixture(case), &pair.adapter(), &["adapter_config.json", "adapter_model.safetensors"]);
        fs::write(pair.model().join("config.json"), r#"{"tie_word_embeddings": false}"#).unwrap();
        fs::write(pair.model().join("tokenizer.json"), "{}").unwrap();
        pair
    }

    fn model(&self) -> PathBuf {
        self.root.path().join("model")
    }

    fn adapter(&self) -> PathBuf {
        self.root.path().join("adapter")
    }

    fn cache(&self) -> PathBuf {
        self.root.path().join("cache")
    }

    fn merged(&self) -> noso::Result<PathBuf> {
        merged(&self.model(), &self.adapter(), &self.cache())
    }

    fn set(&self, field: &str, value: Value) {
        let path = self.adapter().join("adapter_config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config[field] = value;
        fs::write(path, config.to_string()).unwrap();
    }

    fn change(&self, change: impl FnOnce(&mut Tensors)) {
        let path = self.adapter().join("adapter_model.safetensors");
        let mut tensors = read(&path);
        change(&mut tensors);
        write(&path, &tensors);
    }

    fn change_model(&self, change: impl FnOnce(&mut Tensors)) {
        let path = self.model().join("model.safetensors");
        let mut tensors = read(&path);
        change(&mut tensors);
        write(&path, &tensors);
    }
}

fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn merged_weights_equal_those_of_peft() {
    for case in ["plain", "rslora", "patterns", "fused", "fan_in_fan_out", "embedding"] {
        let pair = Pair::new(case);
        let got = read(&pair.merged().unwrap().join("model.safetensors"));
        let (base, expected) = (read(&pair.model().join("model.safetensors")), expected(case));
        assert_eq!(got.len(), expected.len(), "{case}");
        let mut changed = 0;
        for (name, (dtype, shape, data)) in &expected {
            assert_eq!((&got[name].0, &got[name].1), (dtype, shape), "{case} {name}");
            for (a, b) in floats(&got[name].2).into_iter().zip(floats(data)) {
                assert!((a - b).abs() <= 1e-6 * b.abs().max(1.0), "{case} {name}: {a} {b}");
            }
            changed += usize::from(base[name].2 != *data);
        }
        assert_eq!(changed, info(&pair.adapter()).unwrap().modules.len(), "{case}");
    }
}

#[test]
fn half_precision_weights_are_the_exact_sum_rounded_once() {
    for case in ["bf16", "f16"] {
        let got = read(&Pair::new(case).merged().unwrap().join("model.safetensors"));
        assert_eq!(got, expected(case), "{case}");
    }
}

fn expected(case: &str) -> Tensors {
    read(&fixture(case).join("expected.peft-0.21.2.safetensors"))
}

#[test]
fn keys_with_the_name_of_the_adapter_are_the_same() {
    let pair = Pair::new("plain");
    let plain = read(&pair.merged().unwrap().join("model.safetensors"));
    pair.change(|tensors| {
        *tensors =
            std::mem::take(tensors).into_iter().map(|(k, v)| (k.replace(".weight", ".default.weight"), v)).collect();
    });
    assert_eq!(read(&pair.merged().unwrap().join("model.safetensors")), plain);
}

#[test]
fn shards_keep_their_layout_and_only_named_weights_change() {
    let pair = Pair::new("patterns");
    let whole = read(&pair.merged().unwrap().join("model.safetensors"));
    let mut first = read(&pair.model().join("model.safetensors"));
    first.insert("model.norm.weight".into(), (Dtype::F32, vec![3], f32s([1.0, f32::NAN, 3.0])));
    first.insert("model.layers.0.empty".into(), (Dtype::F32, vec![0, 4], Vec::new()));
    let second = first.split_off("model.layers.1");
    let mut weight_map = serde_json::Map::new();
    for (name, tensors) in [("model-00001-of-00002.safetensors", &first), ("model-00002-of-00002.safetensors", &second)]
    {
        write(&pair.model().join(name), tensors);
        weight_map.extend(tensors.keys().map(|key| (key.clone(), name.into())));
    }
    fs::remove_file(pair.model().join("model.safetensors")).unwrap();
    let index = json!({ "metadata": {}, "weight_map": weight_map }).to_string();
    fs::write(pair.model().join("model.safetensors.index.json"), &index).unwrap();
    let folder = pair.merged().unwrap();
    assert_eq!(fs::read_to_string(folder.join("model.safetensors.index.json")).unwrap(), index);
    for (name, tensors) in [("model-00001-of-00002.safetensors", &first), ("model-00002-of-00002.safetensors", &second)]
    {
        let got = read(&folder.join(name));
        for (key, tensor) in tensors {
            assert_eq!(got[key], *whole.get(key).unwrap_or(tensor), "{key}");
        }
    }
}

#[test]
fn everything_but_the_weights_is_copied_and_strays_are_not() {
    let pair = Pair::new("plain");
    for stray in [
        "adapter_config.json",
        "adapter_model.safetensors",
        "params.json",
        "consolidated.safetensors",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
        "model-q4.gguf",
        ".gitattributes",
    ] {
        fs::write(pair.model().join(stray), "x").unwrap();
    }
    fs::create_dir(pair.model().join("original")).unwrap();
    fs::write(pair.model().join("chat_template.jinja"), "{{ messages }}").unwrap();
    let folder = pair.merged().unwrap();
    let expected = ["chat_template.jinja", "config.json", "model.safetensors", "noso-merge.toml", "tokenizer.json"];
    assert_eq!(names(&folder), expected.map(String::from).into());
    assert_eq!(fs::read_to_string(folder.join("chat_template.jinja")).unwrap(), "{{ messages }}");
    let manifest = fs::read_to_string(folder.join("noso-merge.toml")).unwrap();
    assert!(manifest.contains(&info(&pair.adapter()).unwrap().hash), "{manifest}");
}

#[cfg(unix)]
#[test]
fn a_model_made_of_links_gives_a_folder_of_files() {
    let pair = Pair::new("plain");
    let linked = pair.root.path().join("linked");
    fs::create_dir(&linked).unwrap();
    for name in names(&pair.model()) {
        std::os::unix::fs::symlink(pair.model().join(&name), linked.join(&name)).unwrap();
    }
    let folder = merged(&linked, &pair.adapter(), &pair.cache()).unwrap();
    assert_eq!(folder, pair.merged().unwrap(), "the same contents are the same merge");
    assert!(fs::read_dir(&folder).unwrap().all(|entry| entry.unwrap().file_type().unwrap().is_file()));
}

#[test]
fn a_merge_is_found_again_until_something_changes() {
    let pair = Pair::new("plain");
    let folder = pair.merged().unwrap();
    let written = |folder: &Path| fs::metadata(folder.join("model.safetensors")).unwrap().modified().unwrap();
    let first = written(&folder);
    assert_eq!(pair.merged().unwrap(), folder);
    assert_eq!(written(&folder), first, "the second call must not write");
    fs::write(pair.model().join("tokenizer.json"), "{ }").unwrap();
    let second = pair.merged().unwrap();
    assert_ne!(second, folder);
    pair.set("lora_alpha", json!(8));
    assert_ne!(pair.merged().unwrap(), second);
}

#[test]
fn what_a_crash_left_is_cleaned_and_never_taken_for_a_model() {
    let pair = Pair::new("plain");
    let folder = pair.merged().unwrap();
    let weights = fs::read(folder.join("model.safetensors")).unwrap();
    // Killed while writing, and a finished folder that lost half of a file.
    let partial = pair.cache().join(".0123.77.partial");
    fs::create_dir(&partial).unwrap();
    fs::write(partial.join("model.safetensors"), &weights[..100]).unwrap();
    fs::write(folder.join("model.safetensors"), &weights[..100]).unwrap();
    assert_eq!(pair.merged().unwrap(), folder);
    assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), weights);
    assert!(!partial.exists());
}

#[test]
fn a_failed_write_leaves_nothing() {
    let pair = Pair::new("plain");
    fs::write(pair.cache(), "a file where the folder should be").unwrap();
    let error = pair.merged().unwrap_err();
    assert!(matches!(error, Error::Cache { .. }), "{error}");
}

#[test]
fn threads_and_processes_that_merge_at_once_agree() {
    let pair = Pair::new("patterns");
    let (model, adapter, cache) = (pair.model(), pair.adapter(), pair.cache());
    let process = || {
        let mut command = Command::new(cargo_bin("noso"));
        command.args(["adapter", "merge", "--model"]).arg(&model).arg("--adapter").arg(&adapter);
        command.env("NOSO_HOME", pair.root.path());
        command
    };
    fs::create_dir_all(&cache).unwrap();
    let folders: BTreeSet<PathBuf> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| pair.merged().unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(folders.len(), 1);
    let runs: Vec<_> = (0..3).map(|_| process().stdout(std::process::Stdio::piped()).spawn().unwrap()).collect();
    let outputs: BTreeSet<_> = runs.into_iter().map(|run| run.wait_with_output().unwrap().stdout).collect();
    assert_eq!(outputs.len(), 1);
    let folder = String::from_utf8(outputs.into_iter().next().unwrap()).unwrap();
    let folder = Path::new(folder.trim());
    assert_eq!(folder.parent().unwrap(), pair.root.path().join("merged"));
    let one = folders.first().unwrap();
    assert_eq!(read(&folder.join("model.safetensors")), read(&one.join("model.safetensors")));
    for cache in [cache, pair.root.path().join("merged")] {
        assert_eq!(names(&cache).len(), 2, "the lock and one folder");
    }
}

#[test]
fn an_adapter_is_described() {
    let info = info(&fixture("patterns")).unwrap();
    assert_eq!((info.rank, info.alpha, info.rslora), (16, 16.0, false));
    let ranks = [("^model.layers.1.*", 3), ("layers.0.self_attn.q_proj", 4), ("q_proj", 6)];
    assert_eq!(info.rank_pattern, ranks.map(|(key, rank)| (key.to_owned(), rank)));
    assert_eq!(info.modules.len(), 4);
    assert_eq!(info.modules[0], MODULE);
    // (24 + 24)·4 + (24 + 12)·16 in layer 0, (24 + 24)·3 + (24 + 12)·3 in layer 1.
    assert_eq!(info.parameters, 192 + 576 + 144 + 108);
    assert_eq!(info.unsupported, None);
}

#[test]
fn the_command_describes_and_merges() {
    let pair = Pair::new("fused");
    let noso = |args: &[&str]| Command::new(cargo_bin("noso")).args(args).output().unwrap();
    let path = |path: PathBuf| path.to_str().unwrap().to_owned();
    let (model, adapter, output) = (path(pair.model()), path(pair.adapter()), path(pair.root.path().join("out")));
    let table = String::from_utf8(noso(&["adapter", "info", &adapter]).stdout).unwrap();
    assert!(table.contains("qkv_proj") && table.contains("16"), "{table}");
    let json = noso(&["adapter", "info", &adapter, "--format", "json"]).stdout;
    let json: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!((&json["rank"], &json["unsupported"]), (&json!(16), &Value::Null));
    let merge = ["adapter", "merge", "--model", &model, "--adapter", &adapter, "--output", &output];
    let run = noso(&merge);
    assert_eq!(String::from_utf8(run.stdout).unwrap().trim(), output);
    assert_eq!(read(&Path::new(&output).join("model.safetensors")).len(), 1);
    let again = noso(&merge);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8(again.stderr).unwrap().contains("not empty"));
}
