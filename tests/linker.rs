//! Training of encoders for linking: what BioSyn reaches, what a mention is held against, and that a run can be cut off anywhere.

mod parity;
mod refusals;

use std::{collections::BTreeSet, path::Path};

use candle_core::Device;
use noso::{
    Error,
    config::{EncoderConfig, Pooling},
    embed::{Embed, EncoderSettings, bert::BertEncoder, sparse::SparseEncoder},
    nn::{
        Masks, Parameters,
        bert::{BertConfig, Family},
        fit::{EvaluationRecord, FitSettings, History, ModelFolder, Place, StepRecord, Task, Watch, fit},
        ops::Activation,
        pretrained::Pretrained,
        tokenizer::{Casing, Tokenizer},
    },
    train::linker::{BioSyn, LAMBDA, LinkerSettings, LinkerTraining, Texts, Wording, Wordings, train},
};
use tempfile::tempdir;

/// Titles as a classification has them.
const TITLES: [(&str, &str); 6] = [
    ("Острый тонзиллит неуточненный", "J03.9"),
    ("Эссенциальная первичная гипертензия", "I10"),
    ("Первичный гонартроз двусторонний", "M17.0"),
    ("Сахарный диабет инсулиннезависимый", "E11.9"),
    ("Язва желудка хроническая", "K25.7"),
    ("Мигрень неуточненная", "G43.9"),
];
/// Words as doctors have them: none stands in a title.
const MENTIONS: [(&str, &str); 12] = [
    ("ангина гнойная", "J03.9"),
    ("ангина лакунарная", "J03.9"),
    ("давление высокое", "I10"),
    ("давление скачет", "I10"),
    ("колено болит", "M17.0"),
    ("колено скрипит", "M17.0"),
    ("сахар повышен", "E11.9"),
    ("сахар натощак", "E11.9"),
    ("пептический дефект", "K25.7"),
    ("пептический процесс", "K25.7"),
    ("голова раскалывается", "G43.9"),
    ("голова приступами", "G43.9"),
];
/// Wordings of the same diagnoses that training never sees.
const UNSEEN: [(&str, &str); 6] = [
    ("ангина приступами", "J03.9"),
    ("давление натощак", "I10"),
    ("колено гнойная", "M17.0"),
    ("сахар скачет", "E11.9"),
    ("пептический лакунарная", "K25.7"),
    ("голова высокое", "G43.9"),
];

fn wordings(rows: &[(&str, &str)], with_records: bool) -> Vec<Wording> {
    let wording = |(at, (text, label)): (usize, &(&str, &str))| Wording {
        text: (*text).into(),
        label: (*label).into(),
        record: with_records.then(|| at.to_string()),
    };
    rows.iter().enumerate().map(wording).collect()
}

fn teaching() -> Wordings {
    Wordings {
        names: wordings(&TITLES, false),
        mentions: wordings(&MENTIONS, true),
        held_out: wordings(&UNSEEN, false),
    }
}

/// A tiny encoder with random weights that knows every word of these tests.
pub(crate) fn tiny_encoder(texts: &[&str], dropout: f32) -> Pretrained {
    let words: BTreeSet<String> =
        texts.iter().flat_map(|text| text.split_whitespace()).map(str::to_lowercase).collect();
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned);
    let pieces: Vec<String> = special.into_iter().chain(words).collect();
    let config = BertConfig {
        family: Family::Bert,
        vocab_size: pieces.len(),
        hidden_size: 32,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 48,
        hidden_act: Activation::Gelu,
        hidden_dropout_prob: dropout,
        attention_probs_dropout_prob: dropout,
        max_position_embeddings: 32,
        type_vocab_size: 2,
        layer_norm_eps: 1e-12,
        initializer_range: 0.2,
        pad_token_id: 0,
        attention_window: None,
    };
    let casing = Casing { strip_accents: Some(false), ..Casing::default() };
    let tokenizer = Tokenizer::from_pieces(&pieces, casing).unwrap();
    Pretrained::new("(tiny)", config, Parameters::new(&Device::Cpu, 3), tokenizer.into()).unwrap()
}

fn tiny() -> Pretrained {
    let rows = TITLES.iter().chain(&MENTIONS).chain(&UNSEEN);
    tiny_encoder(&rows.map(|(text, _)| *text).collect::<Vec<_>>(), 0.1)
}

fn how(linker: LinkerSettings, epochs: usize) -> LinkerTraining {
    let encoder = EncoderSettings { pooling: Pooling::Cls, normalise: true, lowercase: false, max_tokens: 25 };
    let fit = FitSettings { epochs, batch: 4, learning_rate: 3e-3, ..LinkerSettings::fit() };
    LinkerTraining { linker, fit, encoder }
}

fn task(model: &mut Pretrained, wordings: &Wordings, linker: LinkerSettings) -> noso::Result<BioSyn> {
    let LinkerTraining { encoder, linker, .. } = how(linker, 1);
    let unit = EncoderSettings { normalise: linker.temperature.is_some(), ..encoder };
    let texts = Texts::new(model, unit)?;
    BioSyn::new(wordings, texts, &mut model.parameters, linker)
}

/// Keeps the evaluations of a run, and stops it after a number of steps.
#[derive(Default)]
struct Kept {
    steps: usize,
    stop_after: usize,
    figures: Vec<EvaluationRecord>,
}

impl Watch for Kept {
    fn step(&mut self, _: &StepRecord) {
        self.steps += 1;
    }

    fn evaluation(&mut self, evaluation: &EvaluationRecord, _: bool) {
        self.figures.push(evaluation.clone());
    }

    fn stop(&self) -> bool {
        self.steps == self.stop_after
    }
}

fn figure(evaluation: &EvaluationRecord, name: &str) -> f64 {
    f64::from(evaluation.figures[name])
}

#[test]
fn unseen_wordings_are_linked_better_after_training_and_the_folder_is_an_encoder() {
    for linker in [
        LinkerSettings { candidates: 6, ..LinkerSettings::default() },
        LinkerSettings {
            candidates: 6,
            temperature: Some(0.1),
            in_batch: true,
            bundle: 2,
            ..LinkerSettings::default()
        },
    ] {
        let mut model = tiny();
        let before = task(&mut model, &teaching(), linker.clone()).unwrap().evaluate().unwrap().unwrap().score;
        let folder = tempdir().unwrap();
        let mut kept = Kept::default();
        let claimed = ModelFolder::claim(folder.path(), false).unwrap();
        let report = train(&mut model, &teaching(), &how(linker.clone(), 90), &claimed, &mut kept).unwrap();
        let best = kept.figures.iter().map(|evaluation| evaluation.score).fold(0.0, f32::max);
        assert!(before <= 0.5 && best >= 5.0 / 6.0 - 1e-6, "{before} {best} {linker:?}");
        assert_eq!((report.names, report.mentions, report.dense_share.is_some()), (6, 12, linker.in_batch));

        let encoder = BertEncoder::load(&EncoderConfig::of(folder.path().to_str().unwrap())).unwrap();
        assert_eq!(encoder.settings(), how(linker, 1).encoder);
        let vectors = encoder.embed(&["ангина гнойная", TITLES[0].0, TITLES[1].0]).unwrap();
        let rows: Vec<&[f32]> = vectors.chunks(encoder.dim()).collect();
        let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
        assert!(cosine(rows[0], rows[1]) > cosine(rows[0], rows[2]));
        let sparse = SparseEncoder::load(folder.path()).unwrap();
        assert!(sparse.lambda == report.lambda && sparse.dim() > 50);
    }
}

#[test]
fn a_mention_is_held_against_half_alike_by_letters_and_never_against_itself() {
    let mentions = wordings(&[MENTIONS.as_slice(), &[("ангина гнойная", "J03.9")]].concat(), true);
    let names = [wordings(&TITLES, false), mentions.clone()].concat();
    let all = Wordings { names, mentions, held_out: Vec::new() };
    let mut model = tiny();
    let settings = LinkerSettings { candidates: 6, distinct: false, ..LinkerSettings::default() };
    let mut task = task(&mut model, &all, settings).unwrap();
    task.begin_epoch(0).unwrap();
    let texts: Vec<&str> = task.dictionary().names().iter().map(|name| name.text.as_str()).collect();
    assert_eq!(texts.len(), 18); // the repeated mention is one name
    for (at, (mention, candidates)) in task.candidates().enumerate() {
        let found: Vec<&str> = candidates.iter().map(|candidate| texts[candidate.name as usize]).collect();
        assert_eq!(found.len(), 6);
        assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 6, "{found:?}");
        // Mentions 0 and 12 have the same words in two records: each finds the other's, nobody else finds its own.
        assert_eq!(found.contains(&mention.text.as_str()), at == 0 || at == 12, "{found:?}");
        // The first three are those most alike by letters, in order.
        let letters: Vec<f32> = candidates[..3].iter().map(|candidate| candidate.sparse).collect();
        assert!(letters.is_sorted_by(|a, b| a >= b));
        let best = candidates[3..].iter().map(|candidate| candidate.sparse).fold(0.0, f32::max);
        assert!(best <= letters[2], "{letters:?} {best}");
        for candidate in candidates {
            let label = &task.dictionary().labels()[mention.label as usize];
            let name = texts[candidate.name as usize];
            let known = TITLES.iter().chain(&MENTIONS).any(|(text, code)| *text == name && code == label);
            assert_eq!(candidate.share, f32::from(u8::from(known)));
        }
    }
}

#[test]
fn bundles_and_shared_texts_do_not_change_the_loss() {
    let mut sums = Vec::new();
    for bundle in [1, 3, 5] {
        let mut model = tiny();
        let settings = LinkerSettings { candidates: 5, bundle, ..LinkerSettings::default() };
        let mut task = task(&mut model, &teaching(), settings).unwrap();
        task.begin_epoch(0).unwrap();
        let losses: Vec<_> = (0..task.len()).map(|at| task.loss(&[at], None).unwrap()).collect();
        let weight: f64 = losses.iter().map(|loss| loss.weight).sum();
        let sum: f32 = losses.iter().map(|loss| loss.sum.to_scalar::<f32>().unwrap()).sum();
        let all = task.loss(&(0..task.len()).collect::<Vec<_>>(), None).unwrap();
        assert_eq!(all.weight, weight);
        assert!((all.sum.to_scalar::<f32>().unwrap() / sum - 1.0).abs() < 1e-5);
        assert_eq!(weight, task.reach().1 as f64);
        sums.push(sum);
    }
    assert!(sums.iter().all(|sum| (sum / sums[0] - 1.0).abs() < 1e-5), "{sums:?}");
}

#[test]
fn every_weight_and_lambda_get_a_gradient() {
    for (pooling, in_batch) in [(Pooling::Cls, false), (Pooling::Mean, true)] {
        let mut model = tiny();
        let settings = LinkerSettings {
            candidates: 4,
            in_batch,
            temperature: in_batch.then_some(0.1),
            ..LinkerSettings::default()
        };
        let encoder = EncoderSettings { pooling, normalise: in_batch, ..how(settings.clone(), 1).encoder };
        let texts = Texts::new(&model, encoder).unwrap();
        let mut task = BioSyn::new(&teaching(), texts, &mut model.parameters, settings).unwrap();
        task.begin_epoch(0).unwrap();
        let all: Vec<usize> = (0..task.len()).collect();
        let loss = task.loss(&all, Some(&mut Masks::new(1))).unwrap();
        let gradients = loss.sum.backward().unwrap();
        for (name, variable) in model.parameters.variables() {
            let gradient = gradients.get(variable).unwrap_or_else(|| panic!("{name} has none"));
            let size = gradient.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(size > 0.0 && size.is_finite(), "{name}: {size}");
        }
        assert!(model.parameters.has(LAMBDA));
    }
}

fn finish(folder: &Path, stops: &[usize]) -> (History, String) {
    finish_after(folder, stops, &|_| ())
}

/// Trains to the end, stopped after so many steps of each part; calls `stopped` with the number of a part that was.
fn finish_after(folder: &Path, stops: &[usize], stopped: &dyn Fn(usize)) -> (History, String) {
    let mut model = tiny();
    let mut last = None;
    let linker = LinkerSettings { candidates: 4, ..LinkerSettings::default() };
    for (at, stop_after) in stops.iter().chain(&[usize::MAX]).enumerate() {
        model = tiny();
        let mut task = task(&mut model, &teaching(), linker.clone()).unwrap();
        let place = Place { folder, resume: at > 0 };
        task = task.with_place(place);
        let mut kept = Kept { stop_after: *stop_after, ..Kept::default() };
        last = Some(noso::nn::fit::fit_watched(
            &model.parameters,
            &mut task,
            &how(linker.clone(), 4).fit,
            place,
            &mut kept,
        ));
        match (&last, *stop_after) {
            (Some(Ok(_)), usize::MAX) => {}
            (Some(Err(Error::Stopped { .. })), ..usize::MAX) => stopped(at),
            (Some(Err(error)), _) => panic!("part {at}: {error}"),
            _ => panic!("part {at} was not stopped"),
        }
    }
    (last.unwrap().unwrap(), model.parameters.sha256().unwrap())
}

#[test]
fn a_resumed_run_comes_to_the_same_bits() {
    let (whole, parts) = (tempdir().unwrap(), tempdir().unwrap());
    // Three steps an epoch: cut within the first and at the end of the second.
    let (whole, parts) = (finish(whole.path(), &[]), finish(parts.path(), &[2, 4]));
    assert_eq!(whole.1, parts.1);
    assert_eq!(whole.0.steps.len(), 12);
    assert_eq!(whole.0.steps, parts.0.steps);
}

#[test]
fn a_checkpoint_belongs_to_tokens_pooling_and_held_out_mentions() {
    let print = |change: &dyn Fn(&mut EncoderSettings), wordings: &Wordings| {
        let mut model = tiny();
        let LinkerTraining { mut encoder, linker, .. } = how(LinkerSettings::default(), 1);
        change(&mut encoder);
        let texts = Texts::new(&model, encoder).unwrap();
        BioSyn::new(wordings, texts, &mut model.parameters, linker).unwrap().fingerprint()
    };
    let same = print(&|_| (), &teaching());
    assert_eq!(same, print(&|_| (), &teaching()));
    assert_ne!(same, print(&|encoder| encoder.pooling = Pooling::Mean, &teaching()));
    assert_ne!(same, print(&|encoder| encoder.max_tokens = 4, &teaching()));
    assert_ne!(same, print(&|_| (), &Wordings { held_out: Vec::new(), ..teaching() }));
}

#[test]
fn a_run_killed_epochs_after_its_checkpoint_comes_to_the_same_bits() {
    let (whole, parts) = (tempdir().unwrap(), tempdir().unwrap());
    let (checkpoint, old) = (parts.path().join("checkpoint.safetensors"), parts.path().join("old"));
    // As if nothing had been written between step 2, in the first epoch, and a kill after step 11, in the fourth.
    let killed = |part: usize| {
        let (from, to) = if part == 0 { (&checkpoint, &old) } else { (&old, &checkpoint) };
        std::fs::copy(from, to).unwrap();
    };
    let (whole, parts) = (finish(whole.path(), &[]), finish_after(parts.path(), &[2, 9], &killed));
    assert_eq!(whole.1, parts.1);
    assert_eq!(whole.0.steps, parts.0.steps);
}

#[test]
fn a_new_run_does_not_take_the_candidates_of_an_old_one() {
    let folder = tempdir().unwrap();
    finish(folder.path(), &[]);
    let candidates = || std::fs::read_dir(folder.path()).unwrap().flatten().map(|file| file.file_name());
    let count = || candidates().filter(|name| name.to_string_lossy().starts_with("candidates-")).count();
    assert_eq!(count(), 4);
    let mut model = tiny();
    let task = task(&mut model, &teaching(), LinkerSettings::default()).unwrap();
    let mut task = task.with_place(Place { folder: folder.path(), resume: false });
    let told = fit(&model.parameters, &mut task, &how(LinkerSettings::default(), 1).fit, folder.path(), false);
    assert!(matches!(told, Err(Error::Write { .. })) && count() == 4, "a run that may go on is left alone");
    task.begin_epoch(0).unwrap();
    assert_eq!(count(), 1);
}
