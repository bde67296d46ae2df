//! The BERT recognisers, from annotated documents to mentions.

mod made;
mod parity;
mod refusals;

use noso::{
    config::NerConfig,
    data::{AnnotatedDocument, Document, Span},
    ner::{Ner, bert::BertNer},
    nn::fit::{FitSettings, ModelFolder, StepRecord, Watch},
    train::ner::{Kind, NerSettings, Training},
};
use tempfile::TempDir;

use self::made::{NOTES, annotated, encoder};

/// What a model of random weights of 64 numbers a token needs to learn a handful of notes by heart.
fn settings(kind: Kind) -> NerSettings {
    let usual = NerSettings::new(kind);
    let fit = FitSettings { epochs: 60, batch: 4, learning_rate: 5e-3, checkpoint_minutes: 0.0, ..usual.fit };
    NerSettings { fit, max_tokens: 24, ..usual }
}

fn notes() -> Vec<AnnotatedDocument> {
    NOTES.iter().enumerate().map(|(number, note)| annotated(number, note)).collect()
}

fn trained(kind: Kind) -> TempDir {
    trained_on(kind, &notes())
}

fn trained_on(kind: Kind, notes: &[AnnotatedDocument]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let claimed = ModelFolder::claim(folder.path(), false).unwrap();
    Training::new(encoder(24), notes, &[], &settings(kind)).unwrap().run(&claimed, &mut ()).unwrap();
    folder
}

fn load(folder: &TempDir, config: &NerConfig) -> BertNer {
    BertNer::load(folder.path().to_str().unwrap(), config).unwrap()
}

/// Mentions of texts, each checked to be what its span says.
fn found(ner: &BertNer, texts: &[&str]) -> Vec<Vec<(String, f32)>> {
    let document = |(number, text): (usize, &&str)| Document { id: number.to_string(), text: (*text).to_owned() };
    let documents: Vec<Document> = texts.iter().enumerate().map(document).collect();
    let outcomes = ner.recognise(&documents).into_iter().zip(texts);
    let checked = |(outcome, text): (noso::Result<noso::ner::Recognised>, &&str)| {
        let mentions = outcome.unwrap().mentions;
        for mention in &mentions {
            assert_eq!(mention.span.slice(text), mention.text);
            assert!((0.0..=1.0).contains(&mention.probability));
        }
        assert!(mentions.windows(2).all(|pair| pair[0].span.start_byte() <= pair[1].span.start_byte()));
        mentions.into_iter().map(|mention| (mention.text, mention.probability)).collect()
    };
    outcomes.map(checked).collect()
}

fn words(found: &[(String, f32)]) -> Vec<&str> {
    found.iter().map(|(words, _)| words.as_str()).collect()
}

fn gold(number: usize) -> Vec<String> {
    let AnnotatedDocument { document, entities } = annotated(number, NOTES[number]);
    let mut spans: Vec<_> = entities.iter().map(|entity| entity.span).collect();
    spans.sort_by_key(|span| (span.start_byte(), std::cmp::Reverse(span.end_byte())));
    spans.into_iter().map(|span| span.slice(&document.text).to_owned()).collect()
}

#[test]
fn a_tagger_learns_notes_by_heart_and_finds_their_outermost_mentions() {
    let folder = trained(Kind::Tagger);
    let ner = load(&folder, &NerConfig::default());
    let notes = notes();
    let texts: Vec<&str> = notes.iter().map(|note| note.document.text.as_str()).collect();
    let together = found(&ner, &texts);
    for (number, (note, found)) in notes.iter().zip(&together).enumerate() {
        let outermost: Vec<&str> =
            note.outermost().into_iter().map(|entity| entity.span.slice(&note.document.text)).collect();
        assert_eq!(words(found), outermost, "note {number}");
    }

    // Batched as single.
    for (text, together) in texts.iter().zip(&together) {
        let alone = &found(&ner, &[text])[0];
        assert_eq!(words(alone), words(together));
        assert!(alone.iter().zip(together).all(|(a, b)| (a.1 - b.1).abs() < 1e-5));
    }

    for odd in ["", " ", "\n\n", "\0", "🫀🦴", "[SEP] [CLS]", "((((", "я"] {
        found(&ner, &[odd, &format!("{odd}{}", texts[0])]);
    }
}

/// Some 250 tokens in windows of 24: a mention is found also where it begins in one window and ends in the next.
#[test]
fn long_documents_are_read_in_windows() {
    let turned = |by: usize| NOTES[by..].iter().chain(&NOTES[..by]).copied();
    let long = annotated(0, &[0, 2, 5].into_iter().flat_map(turned).collect::<Vec<_>>().join("\n"));
    let expected: Vec<&str> =
        long.outermost().into_iter().map(|entity| entity.span.slice(&long.document.text)).collect();
    let ner = load(&trained_on(Kind::Tagger, std::slice::from_ref(&long)), &NerConfig::default());
    assert_eq!(words(&found(&ner, &[&long.document.text])[0]), expected);
}

#[test]
fn a_bi_encoder_finds_nested_mentions_too() {
    let folder = trained(Kind::Binder);
    let notes = notes();
    let texts: Vec<&str> = notes.iter().map(|note| note.document.text.as_str()).collect();
    let nested = found(&load(&folder, &NerConfig::default()), &texts);
    for (number, found) in nested.iter().enumerate() {
        assert_eq!(words(found), gold(number), "note {number}");
        assert!(found.iter().all(|(_, probability)| *probability > 0.5));
    }
    let flat = found(&load(&folder, &NerConfig { nested: false, ..NerConfig::default() }), &texts);
    assert!(flat.iter().map(Vec::len).sum::<usize>() < nested.iter().map(Vec::len).sum());
}

#[test]
fn one_line_of_a_pipeline_file_chooses_the_engine() {
    use noso::{config::PipelineConfig, pipeline::Pipeline};
    let folder = trained(Kind::Tagger);
    let set = ["ner.engine=bert".to_owned(), format!("ner.model={}", folder.path().display())];
    let pipeline = Pipeline::load(&PipelineConfig::load("default", &set).unwrap()).unwrap();
    let text = annotated(0, NOTES[0]).document;
    let coded = pipeline.code(&[text]).remove(0).unwrap();
    assert_eq!(coded.codings[0].mention.text, "Хронический гастрит");
    assert!(coded.codings[0].code.is_some());
    assert!(pipeline.fingerprints().iter().any(|(stage, print)| *stage == "ner" && print.starts_with("bert-")));
}

/// Stops a run after some steps.
struct Impatient(usize);

impl Watch for Impatient {
    fn step(&mut self, _: &StepRecord) {
        self.0 -= 1;
    }

    fn stop(&self) -> bool {
        self.0 == 0
    }
}

#[test]
fn an_interrupted_run_ends_where_an_uninterrupted_one_does() {
    let usual = settings(Kind::Tagger);
    let settings = NerSettings { fit: FitSettings { epochs: 4, ..usual.fit }, ..usual };
    let weights = |folder: &TempDir| std::fs::read(folder.path().join("model.safetensors")).unwrap();
    let run = |folder: &TempDir, resume, watch: &mut dyn Watch| {
        let training = Training::new(encoder(24), &notes(), &notes()[..2], &settings).unwrap();
        training.run(&ModelFolder::claim(folder.path(), resume)?, watch)
    };
    let (whole, halved) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(&whole, false, &mut ()).unwrap();
    let stopped = run(&halved, false, &mut Impatient(3));
    assert!(matches!(stopped, Err(noso::Error::Stopped { .. })));
    assert!(!halved.path().join("config.json").exists());
    assert!(run(&halved, false, &mut ()).is_err(), "a run under way is not overwritten");
    let history = run(&halved, true, &mut ()).unwrap();
    assert!(weights(&whole) == weights(&halved));
    assert_eq!(history.evaluations.len(), 4);
    assert!(run(&halved, false, &mut ()).is_err(), "a finished model is not overwritten");
}

#[test]
fn a_run_goes_on_with_its_own_annotation_only_and_heads_follow_the_seed() {
    for kind in [Kind::Tagger, Kind::Binder] {
        let settings = settings(kind);
        let folder = tempfile::tempdir().unwrap();
        let run = |notes: &[AnnotatedDocument], settings: &NerSettings, resume| {
            let training = Training::new(encoder(24), notes, &[], settings).unwrap();
            training.run(&ModelFolder::claim(folder.path(), resume)?, &mut Impatient(2))
        };
        assert!(matches!(run(&notes(), &settings, false), Err(noso::Error::Stopped { .. })));
        // As many tokens and mentions, one of them elsewhere.
        let mut moved = notes();
        let note =
            moved.iter_mut().find(|note| note.entities[0].span.slice(&note.document.text).contains(' ')).unwrap();
        let span = note.entities[0].span;
        let word = span.slice(&note.document.text).find(' ').unwrap();
        note.entities[0].span = Span::new(&note.document.text, span.start_byte(), span.start_byte() + word).unwrap();
        let told = run(&moved, &settings, true).unwrap_err().to_string();
        assert!(told.contains("checkpoint.safetensors") && told.contains("other texts"), "{told}");
    }
    let first_loss = |seed| {
        let usual = settings(Kind::Tagger);
        let fit = FitSettings { epochs: 1, shuffle: false, seed, ..usual.fit };
        let training = Training::new(encoder(24), &notes(), &[], &NerSettings { fit, ..usual }).unwrap();
        let folder = tempfile::tempdir().unwrap();
        training.run(&ModelFolder::claim(folder.path(), false).unwrap(), &mut ()).unwrap().steps[0].loss
    };
    assert!(first_loss(1) == first_loss(1) && first_loss(1) != first_loss(2));
}
