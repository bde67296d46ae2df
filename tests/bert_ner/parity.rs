//! Held against PyTorch and transformers (`scripts/fixtures/ner_training.py`).

use std::{collections::HashMap, ops::Range, path::PathBuf};

use candle_core::{Device, Tensor};
use noso::{
    config::NerConfig,
    data::Document,
    ner::{
        Ner,
        bert::{BertNer, Binder, BinderConfig, EntityType, Labels, Passage, Recogniser, TYPE_ENCODER, Tagger, Text},
    },
    nn::{
        Packed, Parameters,
        bert::{Bert, BertConfig},
        fit::{FitSettings, Schedule, Task, fit},
        pretrained::Pretrained,
    },
    train::ner::{BinderTask, BinderWeights, Dev, Labelled, Marked, TaggerTask},
};
use serde::Deserialize;

fn fixture(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/nn");
    root.join("ner-torch-2.15.0-transformers-5.24.0").join(name)
}

#[derive(Deserialize)]
struct Training {
    examples: Vec<Example>,
    steps: usize,
    batch: usize,
    learning_rate: f64,
    weight_decay: f64,
    config: BertConfig,
    descriptions: Vec<Vec<u32>>,
    size: usize,
    width_size: usize,
    max_width: usize,
    temperature: f64,
    tagger: Vec<f32>,
    binder: Vec<f32>,
}

#[derive(Deserialize)]
struct Example {
    ids: Vec<u32>,
    tokens: Vec<(usize, usize)>,
    labels: Vec<u32>,
    mentions: Vec<(usize, usize, usize)>,
}

impl Example {
    fn passage(&self) -> Passage {
        let units = 0..self.tokens.len();
        Passage { ids: self.ids.clone(), units: units.clone(), seen: units, tokens: self.tokens.clone() }
    }

    fn mentions(&self) -> Vec<(Range<usize>, usize)> {
        self.mentions.iter().map(|&(start, end, kind)| (start..end, kind)).collect()
    }
}

fn training() -> Training {
    serde_json::from_slice(&std::fs::read(fixture("training.json")).unwrap()).unwrap()
}

fn weights(name: &str) -> HashMap<String, Tensor> {
    let read = candle_core::safetensors::load(fixture(name), &Device::Cpu).unwrap();
    read.into_iter().map(|(name, tensor)| (name.strip_prefix("bert.").unwrap_or(&name).to_owned(), tensor)).collect()
}

fn tagger(training: &Training) -> (Parameters, TaggerTask) {
    let mut parameters = Parameters::from_tensors("tagger", weights("tagger.safetensors"), &Device::Cpu, 0);
    let bert = Bert::new(&training.config, &mut parameters, "", false).unwrap();
    let tagger = Tagger::new(&bert, &mut parameters, Labels::of("x"), 0.0).unwrap();
    let labelled = |one: &Example| Labelled { passage: one.passage(), labels: one.labels.clone() };
    let examples = training.examples.iter().map(labelled).collect();
    (parameters, TaggerTask::new(tagger, examples, Dev::default()))
}

fn binder(training: &Training) -> (Parameters, BinderTask) {
    let mut given = weights("binder.safetensors");
    let copies = given.iter().filter(|(name, _)| !name.starts_with("binder."));
    let copies: Vec<_> = copies.map(|(name, tensor)| (format!("{TYPE_ENCODER}.{name}"), tensor.clone())).collect();
    given.extend(copies);
    let mut parameters = Parameters::from_tensors("binder", given, &Device::Cpu, 0);
    let bert = Bert::new(&training.config, &mut parameters, "", false).unwrap();
    let kind = |number: usize| EntityType { name: number.to_string(), description: String::new() };
    let config = BinderConfig {
        types: (0..training.descriptions.len()).map(kind).collect(),
        size: training.size,
        width_size: training.width_size,
        max_width: training.max_width,
        temperature: training.temperature,
    };
    let descriptions = Packed::new(training.descriptions.iter().map(Vec::as_slice));
    let binder = Binder::new(&bert, &mut parameters, descriptions, config).unwrap();
    let marked = |one: &Example| Marked { passage: one.passage(), mentions: one.mentions() };
    let examples = training.examples.iter().map(marked).collect();
    (parameters, BinderTask::new(binder, BinderWeights::default(), examples, Dev::default()))
}

fn losses_agree(training: &Training, parameters: &Parameters, task: &mut dyn Task, expected: &[f32]) {
    let settings = FitSettings {
        epochs: training.steps * training.batch / training.examples.len(),
        batch: training.batch,
        learning_rate: training.learning_rate,
        weight_decay: training.weight_decay,
        schedule: Schedule::Cosine,
        shuffle: false,
        ..FitSettings::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let history = fit(parameters, task, &settings, folder.path(), false).unwrap();
    let losses: Vec<f32> = history.steps.iter().map(|step| step.loss).collect();
    assert_eq!(losses.len(), expected.len());
    let apart = |(own, theirs): (&f32, &f32)| (own - theirs).abs() / theirs;
    let worst = losses.iter().zip(expected).map(apart).fold(0.0, f32::max);
    println!("largest relative difference of a loss in {} steps: {worst:.2e}", losses.len());
    assert!(worst < 1e-3, "{worst}: {losses:?} {expected:?}");
}

#[test]
fn a_tagger_loses_as_in_pytorch() {
    let training = training();
    let (parameters, mut task) = tagger(&training);
    losses_agree(&training, &parameters, &mut task, &training.tagger);
}

#[test]
fn a_bi_encoder_loses_as_in_pytorch() {
    let training = training();
    let (parameters, mut task) = binder(&training);
    losses_agree(&training, &parameters, &mut task, &training.binder);
}

#[test]
fn every_weight_of_both_models_learns() {
    let training = training();
    let all: Vec<usize> = (0..training.examples.len()).collect();
    let (tagger_weights, tagger) = tagger(&training);
    let (binder_weights, binder) = binder(&training);
    for (parameters, task) in [(tagger_weights, &tagger as &dyn Task), (binder_weights, &binder)] {
        let gradients = task.loss(&all, None).unwrap().sum.backward().unwrap();
        for (name, variable) in parameters.variables() {
            let gradient = gradients.get(variable).unwrap_or_else(|| panic!("{name} has no gradient"));
            let most = gradient.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap();
            // A key's bias adds the same to all scores of a query, which softmax cancels.
            let floor = if name.ends_with("key.bias") { 0.0 } else { 1e-6 };
            assert!(most.is_finite() && most >= floor, "{name}: {most}");
        }
    }
}

#[derive(Deserialize)]
struct Classified {
    text: String,
    ids: Vec<u32>,
    probabilities: Vec<Vec<f32>>,
}

#[test]
fn token_classifiers_of_transformers_give_its_probabilities() {
    let expected: Classified = serde_json::from_slice(&std::fs::read(fixture("classifier.json")).unwrap()).unwrap();
    let folder = fixture("classifier");
    let mut model = Pretrained::load(folder.to_str().unwrap(), &Device::Cpu).unwrap();
    assert_eq!(Recogniser::of(&mut model).unwrap().types(), ["DISO", "SYMP"]);
    let text = Text::new(&model.tokenizer.encode(&expected.text, usize::MAX).unwrap(), &expected.text);
    let passages = text.passages(32);
    assert_eq!(passages[0].ids, expected.ids);
    let labels = Labels::read(&model.extra).unwrap();
    let tagger = Tagger::new(&model.bert, &mut model.parameters, labels, 0.0).unwrap();
    let own = tagger.decide(&[&passages[0]]).unwrap().remove(0);
    assert_eq!(own.len(), expected.probabilities.len());
    for (own, theirs) in own.iter().flatten().zip(expected.probabilities.iter().flatten()) {
        assert!((own - theirs).abs() < 1e-5, "{own} {theirs}");
    }
}

#[test]
fn the_types_that_count_are_chosen() {
    let expected: Classified = serde_json::from_slice(&std::fs::read(fixture("classifier.json")).unwrap()).unwrap();
    let mentions = |types: &[&str]| {
        let config = NerConfig { types: types.iter().map(|&kind| kind.to_owned()).collect(), ..NerConfig::default() };
        let ner = BertNer::load(fixture("classifier").to_str().unwrap(), &config).unwrap();
        let document = Document { id: "1".into(), text: expected.text.clone() };
        let found = ner.recognise(&[document]).remove(0).unwrap().mentions;
        found.into_iter().map(|mention| mention.text).collect::<Vec<_>>()
    };
    // By the fixture's probabilities: I O I I O S I, where `S-SYMP` is a type of its own.
    assert_eq!(mentions(&[]), ["Хронический", ", отит", "Без", "жалоб"]);
    assert_eq!(mentions(&["DISO"]), ["Хронический", ", отит", "жалоб"]);
    assert_eq!(mentions(&["SYMP"]), ["Без"]);
}
