//! Trains the shipped re-ranker: coded documents come in, a [`NearestModel`] and what it reached held out leave.
//!
//! Everything is cross-fitted by document: the features of a mention come from an index, priors and a classifier that never saw
//! its document, and so do the shares on which the confidences are calibrated.

use std::{collections::BTreeSet, sync::Arc};

use rayon::prelude::*;

use crate::{
    catalog::Catalog,
    corpus::annotator,
    data::{AnnotatedDocument, Candidate, Match, Mention, Origin},
    embed::Embed,
    error::{Error, Result},
    eval::{
        calibration::{Binning, expected_calibration_error},
        calibrator::Calibrator,
        linking::{LinkingAccuracy, linking_accuracy},
    },
    icd::IcdCode,
    index::{Index, IndexSettings, SourceRow},
    pipeline::catalog_rows,
    rerank::nearest::{
        NearestModel, Priors,
        classifier::{Classifier, ClassifierSettings, Example},
        count_codes, document_features,
        features::{ANNOTATORS, FeatureMatrix},
        linear::Choice,
        ranker::Ranker,
        top_shares,
    },
    retrieval::{RetrievalSettings, Retriever, SearchedIndex},
};

/// Catalogue wordings count this much beside mentions when the classifier learns.
const WORDING_WEIGHT: f32 = 0.3;

/// How a re-ranker is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NearestSettings {
    /// Parts into which the documents are cut for cross-fitting, at least 2. Default 5.
    pub folds: usize,
    /// Records that one annotator coded, counted by numeric id. Default 1000.
    pub annotator_block: u32,
    /// Nearest texts looked at for a mention. Default 96.
    pub neighbours: usize,
    /// Training of the classifier.
    pub classifier: ClassifierSettings,
}

impl Default for NearestSettings {
    fn default() -> Self {
        Self { folds: 5, annotator_block: 1000, neighbours: 96, classifier: ClassifierSettings::default() }
    }
}

/// What the model reached on documents held out of its training.
#[derive(Debug, Clone, PartialEq)]
pub struct NearestReport {
    /// Mentions measured.
    pub mentions: usize,
    /// Linking accuracy, candidates in the order of the model.
    pub accuracy: LinkingAccuracy,
    /// Expected calibration error of the code's confidence, in ten bins, each fold calibrated on the others.
    pub calibration_error: f64,
}

/// A gold mention with what the score sees of it.
struct Seen {
    fold: usize,
    gold: IcdCode,
    codes: Vec<IcdCode>,
    /// The candidates' features; the right one is past the end where retrieval missed it.
    choice: Choice,
}

/// The gold mentions of one document and their codes.
struct Coded {
    annotator: u8,
    mentions: Vec<Mention>,
    codes: Vec<IcdCode>,
}

/// Trains classifier, score and calibrators. Equal inputs give an equal model, whatever the number of threads.
///
/// # Errors
/// - [`Error::Training`] if there are fewer documents than folds, or no code is ever among the candidates; those of the encoder
///   and the index.
pub fn train(
    documents: &[AnnotatedDocument],
    catalog: &Arc<Catalog>,
    encoder: &Arc<dyn Embed>,
    settings: NearestSettings,
) -> Result<(NearestModel, NearestReport)> {
    if settings.folds < 2 || documents.len() < settings.folds {
        let reason = format!("{} documents cannot be cut into {} parts, 2 at least", documents.len(), settings.folds);
        return Err(Error::Training { what: "the re-ranker", reason });
    }
    let coded: Vec<Coded> = documents.iter().map(|document| Coded::new(document, settings)).collect();
    let seen: Result<Vec<Vec<Seen>>> =
        (0..settings.folds).into_par_iter().map(|fold| see_fold(fold, &coded, catalog, encoder, settings)).collect();
    let seen: Vec<Seen> = seen?.into_iter().flatten().collect();
    let judged = judge_held_out(&seen, settings.folds)?;
    let all: Vec<&Coded> = coded.iter().collect();
    let counts = counts(&all);
    let model = NearestModel {
        encoder: encoder.fingerprint().to_owned(),
        classifier: train_classifier(&all, &counts, catalog, encoder.as_ref(), settings)?,
        counts,
        fingerprint: String::new(),
        ranker: Ranker::train(&choices(&seen, None))?,
        code_confidence: Calibrator::fit_isotonic(&judged.iter().map(|judged| judged.code).collect::<Vec<_>>())?,
        group_confidence: Calibrator::fit_isotonic(&judged.iter().map(|judged| judged.group).collect::<Vec<_>>())?,
    };
    let report = report(&seen, &judged, settings.folds)?;
    Ok((model, report))
}

impl Coded {
    fn new(document: &AnnotatedDocument, settings: NearestSettings) -> Self {
        let annotator = annotator(&document.document.id, settings.annotator_block);
        let mut coded = Self { annotator, mentions: Vec::new(), codes: Vec::new() };
        for entity in &document.entities {
            let Some(code) = &entity.code else { continue };
            let text = entity.span.slice(&document.document.text).to_owned();
            coded.mentions.push(Mention { span: entity.span, text, matched: Match::Exact, probability: 1.0 });
            coded.codes.push(code.clone());
        }
        coded
    }

    fn rows(&self) -> impl Iterator<Item = (&Mention, &IcdCode)> {
        self.mentions.iter().zip(&self.codes)
    }
}

/// Makes the features of one fold's mentions from the documents of all others.
fn see_fold(
    fold: usize,
    coded: &[Coded],
    catalog: &Arc<Catalog>,
    encoder: &Arc<dyn Embed>,
    settings: NearestSettings,
) -> Result<Vec<Seen>> {
    let part = |held_out: bool| {
        let places = coded.iter().enumerate().filter(move |(place, _)| (place % settings.folds == fold) == held_out);
        places.map(|(_, coded)| coded).collect::<Vec<_>>()
    };
    let (held_out, others) = (part(true), part(false));
    let counts = counts(&others);
    let priors = Priors::new(&counts);
    let classifier = train_classifier(&others, &counts, catalog, encoder.as_ref(), settings)?;
    let retriever = retriever(&others, catalog, encoder, settings)?;
    let mut seen = Vec::new();
    for document in held_out {
        let candidates = retriever.retrieve(&document.mentions)?;
        let texts: Vec<&str> = document.mentions.iter().map(|mention| mention.text.as_str()).collect();
        let vectors = encoder.embed(&texts)?;
        let features = document_features(&candidates, &priors, Some((&classifier, &vectors)));
        let parts = document.codes.iter().zip(candidates).zip(features);
        seen.extend(parts.map(|((gold, candidates), features)| Seen::new(fold, gold, candidates, features)));
    }
    Ok(seen)
}

fn counts(coded: &[&Coded]) -> Vec<(IcdCode, [u32; ANNOTATORS])> {
    count_codes(coded.iter().flat_map(|coded| coded.codes.iter().map(|code| (code, coded.annotator))))
}

/// Builds the index that a fold is searched in: exact, so that no graph has to be built for it.
fn retriever(
    coded: &[&Coded],
    catalog: &Arc<Catalog>,
    encoder: &Arc<dyn Embed>,
    settings: NearestSettings,
) -> Result<Retriever> {
    let mut rows = catalog_rows(catalog);
    for document in coded {
        let origin = Origin::Mention { annotator: document.annotator };
        let row = |(mention, code): (&Mention, &IcdCode)| SourceRow {
            text: mention.text.clone(),
            code: code.clone(),
            origin,
        };
        rows.extend(document.rows().map(row));
    }
    let index_settings = IndexSettings { factory: "SQ8".into(), ..IndexSettings::default() };
    let index = Arc::new(Index::build(&rows, encoder.as_ref(), index_settings)?);
    let retrieval = RetrievalSettings { neighbours: settings.neighbours, ..RetrievalSettings::default() };
    Retriever::new(encoder.clone(), vec![SearchedIndex { index, titles: true }], catalog.clone(), false, retrieval)
}

/// Trains the classifier on mentions and on the catalogue's wordings: it knows the codes of both.
fn train_classifier(
    coded: &[&Coded],
    counts: &[(IcdCode, [u32; ANNOTATORS])],
    catalog: &Catalog,
    encoder: &dyn Embed,
    settings: NearestSettings,
) -> Result<Classifier> {
    let wordings = catalog_rows(catalog);
    let known = counts.iter().map(|(code, _)| code).chain(wordings.iter().map(|row| &row.code));
    let codes: Vec<IcdCode> = known.cloned().collect::<BTreeSet<_>>().into_iter().collect();
    let mentions =
        coded.iter().flat_map(|coded| coded.rows()).map(|(mention, code)| (mention.text.as_str(), code, 1.0));
    let wordings = wordings.iter().map(|row| (row.text.as_str(), &row.code, WORDING_WEIGHT));
    let rows: Vec<(&str, &IcdCode, f32)> = mentions.chain(wordings).collect();
    // All at once: an encoder on a transformer is many times slower text by text.
    let vectors = encoder.embed(&rows.iter().map(|(text, ..)| *text).collect::<Vec<_>>())?;
    let example = |((_, code, weight), vector): (&(&str, &IcdCode, f32), &[f32])| {
        let gold = codes.binary_search(code).ok()?;
        Some(Example { vector: vector.to_vec(), gold, weight: *weight })
    };
    let examples: Vec<Example> =
        rows.iter().zip(vectors.chunks_exact(encoder.dim().max(1))).filter_map(example).collect();
    Ok(Classifier::train(encoder.dim(), codes, &examples, settings.classifier))
}

impl Seen {
    fn new(fold: usize, gold: &IcdCode, candidates: Vec<Candidate>, features: FeatureMatrix) -> Self {
        let codes: Vec<IcdCode> = candidates.into_iter().map(|candidate| candidate.code).collect();
        let place = codes.iter().position(|code| code == gold).unwrap_or(codes.len());
        Self { fold, gold: gold.clone(), codes, choice: Choice { features, gold: place } }
    }
}

/// Lists the mentions whose code is among their candidates, those of one fold left out.
fn choices(seen: &[Seen], without: Option<usize>) -> Vec<&Choice> {
    let kept = seen.iter().filter(|seen| Some(seen.fold) != without && seen.choice.gold < seen.codes.len());
    kept.map(|seen| &seen.choice).collect()
}

/// A held-out mention as a ranker trained on the other folds sees it.
struct Judged {
    /// Share of the best candidate, and whether its code is right.
    code: (f64, bool),
    /// Share of its group, and whether the group is right.
    group: (f64, bool),
    /// Codes, best first.
    ranked: Vec<IcdCode>,
}

fn judge_held_out(seen: &[Seen], folds: usize) -> Result<Vec<Judged>> {
    let rankers: Result<Vec<Ranker>> =
        (0..folds).into_par_iter().map(|fold| Ranker::train(&choices(seen, Some(fold)))).collect();
    let rankers = rankers?;
    Ok(seen.iter().map(|seen| judge(seen, &rankers[seen.fold])).collect())
}

fn judge(seen: &Seen, ranker: &Ranker) -> Judged {
    let shares = ranker.shares(&seen.choice.features, |_| 0.0);
    let (code_share, group_share) = top_shares(&seen.codes, &shares);
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by(|&a, &b| shares[b].total_cmp(&shares[a]));
    let ranked: Vec<IcdCode> = order.into_iter().map(|at| seen.codes[at].clone()).collect();
    let best = ranked.first();
    Judged {
        code: (f64::from(code_share), best == Some(&seen.gold)),
        group: (f64::from(group_share), best.is_some_and(|best| best.group() == seen.gold.group())),
        ranked,
    }
}

fn report(seen: &[Seen], judged: &[Judged], folds: usize) -> Result<NearestReport> {
    let mut confidences = Vec::with_capacity(judged.len());
    for fold in 0..folds {
        let part = |held_out: bool| {
            let pairs = seen.iter().zip(judged).filter(move |(seen, _)| (seen.fold == fold) == held_out);
            pairs.map(|(_, judged)| judged.code).collect::<Vec<_>>()
        };
        let calibrator = Calibrator::fit_isotonic(&part(false))?;
        confidences.extend(part(true).into_iter().map(|(share, right)| (calibrator.probability(share), right)));
    }
    let ranked = seen.iter().zip(judged).map(|(seen, judged)| (&seen.gold, judged.ranked.as_slice()));
    Ok(NearestReport {
        mentions: seen.len(),
        accuracy: linking_accuracy(ranked),
        calibration_error: expected_calibration_error(&confidences, Binning::EqualWidth(10)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        data::{Document, Entity, Span},
        embed::ngram::{NgramEncoder, NgramSettings},
        rerank::{Linking, Rerank, nearest::Nearest},
    };

    const TEXTS: [(&str, &str); 4] = [
        ("острый бронхит", "J20.9"),
        ("хронический гастрит", "K29.5"),
        ("гонартроз справа", "M17.1"),
        ("мигрень", "G43.9"),
    ];

    fn corpus() -> Vec<AnnotatedDocument> {
        let document = |number: usize| {
            let (text, code) = TEXTS[number % TEXTS.len()];
            let span = Span::new(text, 0, text.len()).unwrap();
            AnnotatedDocument {
                document: Document { id: (number * 100).to_string(), text: text.into() },
                entities: vec![Entity { span, code: Some(code.parse().unwrap()) }],
            }
        };
        (0..28).map(document).collect()
    }

    fn encoder() -> Arc<dyn Embed> {
        let settings = NgramSettings { dim: 64, ..NgramSettings::default() };
        Arc::new(NgramEncoder::train(TEXTS.map(|(text, _)| text), settings).unwrap())
    }

    fn catalog() -> Arc<Catalog> {
        let mut file = tempfile::Builder::new().suffix(".tsv").tempfile().unwrap();
        let text =
            "code\ttitle\nJ20.9\tОстрый бронхит неуточненный\nM17.1\tДругой первичный гонартроз\nI10\tГипертензия\n";
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        Arc::new(Catalog::load(file.path()).unwrap())
    }

    #[test]
    fn a_trained_model_gives_known_texts_their_code_and_is_the_same_every_time() {
        let (corpus, encoder, catalog) = (corpus(), encoder(), catalog());
        let settings = NearestSettings { annotator_block: 1000, ..NearestSettings::default() };
        let (model, report) = train(&corpus, &catalog, &encoder, settings).unwrap();
        assert_eq!(report.mentions, 28);
        assert!(report.accuracy.strict.at_1 > 0.9, "{report:?}");
        let (again, _) = train(&corpus, &catalog, &encoder, settings).unwrap();
        assert_eq!(model.to_bytes().unwrap(), again.to_bytes().unwrap());

        let model = NearestModel::from_bytes("test", &model.to_bytes().unwrap()).unwrap();
        let coded: Vec<Coded> = corpus.iter().map(|document| Coded::new(document, settings)).collect();
        let retriever = retriever(&coded.iter().collect::<Vec<_>>(), &catalog, &encoder, settings).unwrap();
        let nearest = Nearest::new(model, &[encoder], 15);
        for (document, coded) in corpus.iter().zip(coded).take(TEXTS.len()) {
            let candidates = retriever.retrieve(&coded.mentions).unwrap();
            let linking = Linking { document: &document.document, mentions: coded.mentions, candidates };
            let codings = nearest.rerank(vec![linking]).remove(0).unwrap().codings;
            assert_eq!(codings[0].code.as_ref(), coded.codes.first());
            assert!(codings[0].candidates.len() <= 15 && codings[0].confidence > 0.8);
        }
    }

    #[test]
    fn too_few_documents_are_refused() {
        let told = train(&corpus()[..3], &catalog(), &encoder(), NearestSettings::default());
        assert!(matches!(told, Err(Error::Training { .. })));
    }
}
