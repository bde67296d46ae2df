//! Tiny language models for tests: the committed small files come in, model and adapter folders as users have them leave.
//!
//! Weights are a function of the tensor's name and the element's index, the same as in `scripts/fixtures/tiny_models.py`, which
//! asked transformers and PEFT what such models answer.

use std::{collections::BTreeMap, fs, path::Path};

use noso::data::Message;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// What transformers and PEFT answered.
#[derive(Deserialize)]
pub struct Expected {
    /// A chat for every family's own template.
    pub chat: Vec<Message>,
    /// Token ids by the prompt's name.
    pub prompts: BTreeMap<String, Vec<u32>>,
    /// Models by `model_type`.
    pub families: BTreeMap<String, Family>,
}

#[derive(Deserialize)]
pub struct Family {
    #[serde(flatten)]
    pub model: Weights,
    pub chat: Chat,
    pub adapters: BTreeMap<String, Weights>,
}

/// Tensors and what is answered with them.
#[derive(Deserialize)]
pub struct Weights {
    pub seed: String,
    /// Shapes by name.
    tensors: BTreeMap<String, Vec<usize>>,
    /// Of all tensors' bytes, by name.
    sha256: String,
    /// Answers by the prompt's name.
    pub cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
pub struct Case {
    /// The tokens chosen greedily.
    pub answer: Vec<u32>,
}

#[derive(Deserialize)]
pub struct Chat {
    /// The rendered chat as token ids.
    pub prompt: Vec<u32>,
    pub answer: Vec<u32>,
}

/// Which release of transformers a folder looks written by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Transformers4,
    Transformers5,
}

pub fn expected() -> Expected {
    let name = "expected-transformers-5.24.0-peft-0.21.2.json";
    serde_json::from_slice(&fs::read(fixtures().join(name)).unwrap()).unwrap()
}

/// Writes the folder of a model.
pub fn write_model(family: &str, form: Form, folder: &Path) {
    let source = fixtures().join(family);
    fs::create_dir_all(folder).unwrap();
    for name in ["generation_config.json", "tokenizer_config.json"] {
        fs::copy(source.join(name), folder.join(name)).unwrap();
    }
    let mut config = read_object(&source.join("config.json"));
    if form == Form::Transformers4 {
        config = as_transformers_4(config);
    }
    write_json(&folder.join("config.json"), config.into());
    let mut tokenizer = read_object(&fixtures().join("tokenizer.json"));
    if source.join("post_processor.json").exists() {
        tokenizer.insert("post_processor".into(), read_object(&source.join("post_processor.json")).into());
    }
    write_json(&folder.join("tokenizer.json"), tokenizer.into());
    write_tensors(&folder.join("model.safetensors"), &expected().families[family].model);
}

/// Writes the folder of a family's adapter.
pub fn write_adapter(family: &str, adapter: &str, folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let source = fixtures().join(family).join(adapter).join("adapter_config.json");
    fs::copy(source, folder.join("adapter_config.json")).unwrap();
    write_tensors(&folder.join("adapter_model.safetensors"), &expected().families[family].adapters[adapter]);
}

fn fixtures() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/llm"))
}

fn read_object(path: &Path) -> Map<String, Value> {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn write_json(path: &Path, value: Value) {
    fs::write(path, serde_json::to_vec_pretty(&value).unwrap()).unwrap();
}

/// Spells a configuration the way transformers 4 did: rotary settings at the top, and a window that is written but not used.
fn as_transformers_4(mut config: Map<String, Value>) -> Map<String, Value> {
    let mut rope = config.remove("rope_parameters").and_then(|rope| rope.as_object().cloned()).unwrap();
    config.insert("rope_theta".into(), rope.remove("rope_theta").unwrap());
    rope.remove("partial_rotary_factor");
    let scaling = match rope["rope_type"].as_str() {
        Some("default") => Value::Null,
        Some("longrope") => {
            json!({"type": "longrope", "short_factor": rope["short_factor"], "long_factor": rope["long_factor"]})
        }
        _ => rope.into(),
    };
    config.insert("rope_scaling".into(), scaling);
    let dtype = config.remove("dtype").unwrap();
    config.insert("torch_dtype".into(), dtype);
    if config.remove("layer_types").is_some() {
        config.insert("sliding_window".into(), 16.into());
    }
    config.insert("transformers_version".into(), "4.51.3".into());
    config
}

/// Writes a safetensors file: the header's length, the header, the tensors' bytes.
fn write_tensors(path: &Path, weights: &Weights) {
    let (mut header, mut data) = (Map::new(), Vec::new());
    header.insert("__metadata__".into(), json!({"format": "pt"}));
    for (name, shape) in &weights.tensors {
        let start = data.len();
        data.extend(values(&weights.seed, name, shape).flat_map(f32::to_le_bytes));
        header.insert(name.clone(), json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}));
    }
    assert_eq!(hex(&Sha256::digest(&data)), weights.sha256, "weights of {} differ from Python's", weights.seed);
    let mut header = serde_json::to_vec(&header).unwrap();
    header.resize(header.len().next_multiple_of(8), b' ');
    let bytes = [(header.len() as u64).to_le_bytes().as_slice(), &header, &data].concat();
    fs::write(path, bytes).unwrap();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// FNV-1a of "seed/name" starts a splitmix64 sequence; 24 bits of each number make a uniform f32.
pub fn values(seed: &str, name: &str, shape: &[usize]) -> impl Iterator<Item = f32> {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    for byte in format!("{seed}/{name}").bytes() {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let (middle, width) = gain(name, shape);
    let step = (width / f64::from(1 << 23)) as f32;
    (1..=shape.iter().product::<usize>() as u64).map(move |index| {
        let x = state.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let centred = ((x ^ (x >> 31)) >> 40) as f32 - (1 << 23) as f32;
        middle + centred * step
    })
}

/// The middle and the half-width of a tensor's values.
fn gain(name: &str, shape: &[usize]) -> (f32, f64) {
    let by_columns = |width: f64| (0.0, width / (shape[shape.len() - 1] as f64).sqrt());
    match name {
        _ if name.contains("norm") => (1.0, 0.25),
        _ if name.ends_with("bias") => (0.0, 0.5),
        _ if name.contains("embed_tokens") => (0.0, 1.0),
        _ if name.contains("lora_B") => by_columns(1.5),
        _ if name.contains("lm_head") => by_columns(4.0),
        _ => by_columns(3.0),
    }
}

#[test]
fn weights_are_those_of_the_python_script() {
    for (family, expected) in &expected().families {
        let folder = tempfile::tempdir().unwrap();
        for form in [Form::Transformers4, Form::Transformers5] {
            write_model(family, form, folder.path());
        }
        for adapter in expected.adapters.keys() {
            write_adapter(family, adapter, &folder.path().join(adapter));
        }
    }
}
