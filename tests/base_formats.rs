//! Adapters on a base model that is held in few bits: they learn as on a model of the numbers that are left.

use std::{collections::HashMap, fs, path::Path};

use assert_cmd::Command;
use candle_core::{
    DType, Device, Tensor,
    quantized::{GgmlDType, QTensor},
    safetensors,
};
use noso::{
    Error,
    nn::{
        Format, Parameters,
        decoder::{Decoder, LanguageModel, Lora},
        fit::{FitSettings, History, fit},
    },
    train::lora::{AnswerTask, Example},
};
use predicates::{prelude::PredicateBooleanExt, str::contains};
use serde_json::json;

use crate::llm::tiny::{Form, write_model};

/// Row lengths of 256 (4 bits in the larger blocks), 320 (in the smaller ones) and 40 (16 bits), in a folder in f32.
fn write(folder: &Path) {
    let config = json!({
        "model_type": "llama", "vocab_size": 50, "hidden_size": 256, "intermediate_size": 320, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 10, "max_position_embeddings": 64, "initializer_range": 0.15,
    });
    let mut model = LanguageModel::draw(config.as_object().unwrap().clone(), 3, &Device::Cpu).unwrap();
    model.save(folder).unwrap();
    model.parameters.save_as(&folder.join("model.safetensors"), str::to_owned, None).unwrap();
}

fn tensors(file: &Path) -> HashMap<String, Tensor> {
    safetensors::load(file, &Device::Cpu).unwrap()
}

/// Writes a copy of a folder whose weights went through `change`.
fn copy(from: &Path, to: &Path, change: impl Fn(&str, &Tensor) -> Tensor) {
    fs::create_dir_all(to).unwrap();
    fs::copy(from.join("config.json"), to.join("config.json")).unwrap();
    let changed: HashMap<String, Tensor> =
        tensors(&from.join("model.safetensors")).iter().map(|(name, one)| (name.clone(), change(name, one))).collect();
    safetensors::save(&changed, to.join("model.safetensors")).unwrap();
}

fn rounded(tensor: &Tensor, dtype: DType) -> Tensor {
    tensor.to_dtype(dtype).unwrap().to_dtype(DType::F32).unwrap()
}

fn frozen(folder: &Path, format: Format) -> LanguageModel {
    LanguageModel::load_frozen(folder, &Device::Cpu, format).unwrap()
}

/// Texts of 20 tokens in a ring, of which the last 8 are to be written.
fn examples() -> Vec<Example> {
    let text = |start: u32| Example { ids: (start..start + 20).map(|id| id * 7 % 50).collect(), answer: 12, weight: 1 };
    (0..16).map(text).collect()
}

fn train(decoder: &Decoder, recompute: bool) -> History {
    let targets = ["q_proj", "v_proj", "o_proj", "gate_proj", "down_proj"].map(str::to_owned).into();
    let lora = Lora { rank: 4, alpha: 8.0, dropout: 0.1, targets };
    let (mut decoder, mut parameters) = (decoder.clone(), Parameters::new(&Device::Cpu, 5));
    decoder.adapt(&mut parameters, &lora).unwrap();
    let settings = FitSettings { epochs: 6, batch: 8, learning_rate: 1e-2, recompute, ..FitSettings::default() };
    let mut task = AnswerTask::new(decoder, examples(), Vec::new(), 8192);
    fit(&parameters, &mut task, &settings, tempfile::tempdir().unwrap().path(), false).unwrap()
}

/// Losses and gradient norms are the same up to `most`, relative.
fn assert_same(a: &History, b: &History, most: f32) {
    assert_eq!(a.steps.len(), b.steps.len());
    for (a, b) in a.steps.iter().zip(&b.steps) {
        let close = |a: f32, b: f32| (a / b - 1.0).abs() <= most;
        assert!(close(a.loss, b.loss) && close(a.gradient_norm, b.gradient_norm), "{a:?}\n{b:?}");
    }
}

#[test]
fn a_base_in_16_bits_teaches_what_its_rounded_weights_teach() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, cut] = ["whole", "rounded"].map(|name| folder.path().join(name));
    fs::create_dir(&whole).unwrap();
    write(&whole);
    copy(&whole, &cut, |_, tensor| if tensor.rank() == 2 { rounded(tensor, DType::BF16) } else { tensor.clone() });
    let expected = train(&frozen(&cut, Format::F32).decoder, false);
    assert_same(&train(&frozen(&whole, Format::Bf16).decoder, false), &expected, 0.0);
    assert_same(&train(&frozen(&whole, Format::Bf16).decoder, true), &expected, 1e-5);
    // The same as where the weights are variables that are left alone.
    let variables = LanguageModel::load(&cut, &Device::Cpu, false).unwrap();
    assert!(!variables.parameters.variables().is_empty());
    assert_same(&train(&variables.decoder, false), &expected, 1e-5);
    let other = train(&frozen(&whole, Format::F32).decoder, false);
    assert_ne!(other.steps[0].loss, expected.steps[0].loss);
}

#[test]
fn a_base_in_8_or_4_bits_teaches_what_the_numbers_left_of_it_teach() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    fs::create_dir(&whole).unwrap();
    write(&whole);
    for format in [Format::Q8, Format::Q4] {
        let left = folder.path().join(format!("{format:?}"));
        copy(&whole, &left, |name, tensor| {
            let held = match (format, tensor.dims()) {
                (_, [_]) => return tensor.clone(),
                (_, [_, 40]) | (_, [50, _]) => return rounded(tensor, DType::BF16),
                (Format::Q4, [_, 256]) => GgmlDType::Q4K,
                (Format::Q4, [_, 320]) => GgmlDType::Q4_0,
                (Format::Q8, _) => GgmlDType::Q8_0,
                _ => panic!("{name}: {:?}", tensor.dims()),
            };
            QTensor::quantize(tensor, held).unwrap().dequantize(&Device::Cpu).unwrap()
        });
        let taught = train(&frozen(&whole, format).decoder, false);
        assert_same(&taught, &train(&frozen(&left, Format::F32).decoder, false), 1e-5);
        let [first, last] = [taught.steps.first(), taught.steps.last()].map(|step| step.unwrap().loss);
        assert!(last < 0.5 * first, "{format:?}: {first} {last}");
    }
}

#[test]
fn each_format_takes_the_memory_it_says() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let layer = |wide: usize, of_320: usize, of_40: usize| {
        256 * (2 * 320 + 40 + 20 + 20) * wide / 32 + 256 * (320 * of_320 / 32 + 40 * of_40 / 32)
    };
    let bytes = |bits_of: [usize; 4]| {
        let [table, wide, of_320, of_40] = bits_of;
        2 * 50 * 256 * table / 32 + 2 * layer(wide, of_320, of_40) + 4 * 256 * 5
    };
    // Bytes of 32 numbers: Q8_0 34, Q4_0 18, Q4_K 144 of 256.
    let cases = [
        (Format::F32, [128; 4]),
        (Format::Auto, [128; 4]),
        (Format::Bf16, [64; 4]),
        (Format::Q8, [64, 34, 34, 64]),
        (Format::Q4, [64, 18, 18, 64]),
    ];
    for (format, bits_of) in cases {
        assert_eq!(frozen(folder.path(), format).parameters.frozen_bytes(), bytes(bits_of), "{format:?}");
    }
    // As a checkpoint in bf16, it is held in bf16 unless told otherwise.
    let mut model = LanguageModel::load(folder.path(), &Device::Cpu, false).unwrap();
    model.save(folder.path()).unwrap();
    assert_eq!(frozen(folder.path(), Format::Auto).parameters.frozen_bytes(), bytes([64; 4]));
}

/// Writes the weights of a folder again as two shards with an index.
fn divide(folder: &Path) -> HashMap<String, Tensor> {
    let whole = tensors(&folder.join("model.safetensors"));
    let (mut map, mut shards) = (serde_json::Map::new(), [HashMap::new(), HashMap::new()]);
    let mut names: Vec<&String> = whole.keys().collect();
    names.sort();
    for (number, name) in names.into_iter().enumerate() {
        map.insert(name.clone(), format!("model-0000{}-of-00002.safetensors", number % 2 + 1).into());
        shards[number % 2].insert(name.clone(), whole[name].clone());
    }
    for (number, shard) in shards.iter().enumerate() {
        safetensors::save(shard, folder.join(format!("model-0000{}-of-00002.safetensors", number + 1))).unwrap();
    }
    fs::write(folder.join("model.safetensors.index.json"), json!({ "weight_map": map }).to_string()).unwrap();
    fs::remove_file(folder.join("model.safetensors")).unwrap();
    whole
}

#[test]
fn shards_are_read_tensor_by_tensor_and_a_cut_one_is_named_with_its_tensor() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let whole = divide(folder.path());
    let model = LanguageModel::load(folder.path(), &Device::Cpu, false).unwrap();
    assert!(model.parameters.unused().is_empty());
    assert_eq!(model.parameters.variables().len(), whole.len());
    for (name, variable) in model.parameters.variables() {
        let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!((variable.dims(), numbers(variable)), (whole[name].dims(), numbers(&whole[name])), "{name}");
    }
    let shard = folder.path().join("model-00002-of-00002.safetensors");
    let bytes = fs::read(&shard).unwrap();
    fs::write(&shard, &bytes[..bytes.len() - 3]).unwrap();
    let Err(told) = LanguageModel::load(folder.path(), &Device::Cpu, true) else { panic!("it was loaded") };
    assert!(matches!(told, Error::ModelLoad { .. }) && told.hint().is_some());
    let told = told.to_string();
    let last = whole.keys().filter(|name| told.contains(&format!("`{name}` is cut short"))).count();
    assert!(last == 1 && told.contains("model-00002-of-00002.safetensors: expected"), "{told}");
}

/// Writes a base model, a corpus and a job.
fn write_job(folder: &Path, settings: &str) {
    let (base, corpus) = (folder.join("base"), folder.join("corpus"));
    write_model("llama", Form::Transformers5, &base);
    fs::create_dir_all(&corpus).unwrap();
    for (number, illness) in ["Гастрит", "Тонзиллит", "Бронхит", "Отит"].iter().enumerate() {
        fs::write(corpus.join(format!("{number}.txt")), format!("{illness}, ремиссия.")).unwrap();
        let length = illness.chars().count();
        let annotation = format!("T1\ticd_code 0 {length}\t{illness}\nN1\tReference T1 ICD_codes:1\tK29.7\n");
        fs::write(corpus.join(format!("{number}.ann")), annotation).unwrap();
    }
    let job = format!(
        "base = {base:?}\ncorpus = [{corpus:?}]\nadapter = [{{ name = \"ner\", task = \"ner\", prompt = \"ner-short-ru\" }}]\n\
         [finetune]\n{settings}\nmax_tokens = 400\n[finetune.fit]\nepochs = 2\n"
    );
    fs::write(folder.join("job.toml"), job).unwrap();
}

fn run(folder: &Path) -> assert_cmd::assert::Assert {
    let mut command = Command::cargo_bin("noso").unwrap();
    command.args(["train", "lora", "--config"]).arg(folder.join("job.toml")).arg("--output").arg(folder.join("out"));
    command.assert()
}

#[test]
fn a_job_says_in_which_format_its_base_is_held_and_what_memory_it_takes() {
    let folder = tempfile::tempdir().unwrap();
    write_job(folder.path(), "base_format = \"q4\"");
    let told = contains("memory: base model ").and(contains("adapter and optimiser about ")).and(contains(" MiB free"));
    run(folder.path()).success().stderr(told);
    assert!(folder.path().join("out/ner/adapter_model.safetensors").exists());
    let manifest = fs::read_to_string(folder.path().join("out/ner/training/manifest.json")).unwrap();
    assert!(manifest.contains("\"base_format\": \"q4\""), "{manifest}");

    write_job(folder.path(), "base_format = \"int4\"");
    let told = contains("int4").and(contains("`auto`, `f32`, `bf16`, `q8`, `q4`")).and(contains("job.toml:5"));
    run(folder.path()).code(1).stderr(told);
}

#[cfg(target_os = "linux")]
#[test]
fn a_base_that_does_not_fit_is_refused_before_it_is_read_with_the_keys_that_help() {
    let folder = tempfile::tempdir().unwrap();
    write_job(folder.path(), "");
    // A terabyte of zeros that take no room on the disk.
    let (rows, columns) = (1u64 << 19, 1u64 << 20);
    let weight = json!({ "dtype": "BF16", "shape": [rows, columns], "data_offsets": [0, 2 * rows * columns] });
    let header = json!({ "model.layers.0.mlp.up_proj.weight": weight }).to_string();
    let path = folder.path().join("base/model.safetensors");
    fs::write(&path, [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(8 + header.len() as u64 + 2 * rows * columns).unwrap();
    let told = contains("the base model needs about 1048726 MiB")
        .and(contains("hint: lower finetune.base_format"))
        .and(contains("finetune.fit.recompute = true"));
    run(folder.path()).code(1).stderr(told);
}
