//! Adapters that Noso and PEFT wrote, where `scripts/check_adapter.sh` has put them: what Noso makes of each leaves, for the script to hold
//! against what PEFT makes of it.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
};

use candle_core::{Device, Tensor, safetensors};
use noso::{
    llm::merge::merged,
    nn::{
        Packed, Parameters,
        decoder::{Decoder, LanguageModel, Lora},
    },
    train::lora::adapter,
};
use serde::Deserialize;

use super::parity::load;

/// An adapter, its base model, and what both are asked.
#[derive(Deserialize)]
struct Case {
    name: String,
    model: PathBuf,
    adapter: PathBuf,
    prompts: Vec<Prompt>,
}

#[derive(Deserialize)]
struct Prompt {
    ids: Vec<u32>,
    answer_tokens: usize,
}

/// What the adapter's configuration says, as far as it decides what is computed.
#[derive(Deserialize)]
struct Config {
    r: usize,
    lora_alpha: f64,
}

#[test]
fn adapters_are_put_to_use_for_the_comparison_with_peft() {
    let Some(work) = std::env::var_os("NOSO_ADAPTERS").map(PathBuf::from) else {
        eprintln!("skipped: NOSO_ADAPTERS names no folder (scripts/check_adapter.sh makes one and runs this test)");
        return;
    };
    let cases: Vec<Case> = serde_json::from_slice(&fs::read(work.join("cases.json")).unwrap()).unwrap();
    let mut answers: BTreeMap<&str, Vec<Vec<u32>>> = BTreeMap::new();
    for case in &cases {
        let decoder = adapted(&case.model, &case.adapter);
        let logits = case.prompts.iter().enumerate().map(|(number, prompt)| {
            let vectors = decoder.forward(&Packed::new([prompt.ids.as_slice()]), None).unwrap();
            (number.to_string(), decoder.logits(&vectors).unwrap())
        });
        safetensors::save(
            &logits.collect::<HashMap<String, Tensor>>(),
            work.join(format!("{}.safetensors", case.name)),
        )
        .unwrap();
        let engine = load(&case.model, Some(&merged(&case.model, &case.adapter, &work.join("merged")).unwrap()));
        let answer = |prompt: &Prompt| engine.continue_tokens(&prompt.ids, prompt.answer_tokens).unwrap();
        answers.insert(&case.name, case.prompts.iter().map(answer).collect());
    }
    fs::write(work.join("answers.json"), serde_json::to_vec(&answers).unwrap()).unwrap();
}

/// Puts an adapter on a model as training would go on with it.
fn adapted(model: &Path, folder: &Path) -> Decoder {
    let LanguageModel { mut decoder, .. } = LanguageModel::load(model, &Device::Cpu, true).unwrap();
    let config: Config = serde_json::from_slice(&fs::read(folder.join("adapter_config.json")).unwrap()).unwrap();
    let weights = adapter::load_weights(folder).unwrap();
    let mut targets: Vec<String> = weights
        .keys()
        .filter_map(|name| name.strip_suffix(".lora_A.weight")?.rsplit('.').next().map(str::to_owned))
        .collect();
    targets.sort();
    targets.dedup();
    let mut parameters = Parameters::from_tensors("adapter", weights, &Device::Cpu, 0);
    decoder.adapt(&mut parameters, &Lora { rank: config.r, alpha: config.lora_alpha, dropout: 0.0, targets }).unwrap();
    assert!(parameters.unused().is_empty(), "{}: {:?}", folder.display(), parameters.unused());
    decoder
}
