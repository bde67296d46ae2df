//! The shipped re-ranker: candidates with their nearest rows come in, a code with a calibrated confidence leaves.
//!
//! [`features`] (annotators' votes, wordings of the catalogue, priors, the rest of the document, a linear [`classifier`] of the
//! mention's vector) go into a linear score, and small [`trees`] order its best candidates anew; a code written beside the
//! mention weighs most.

pub mod classifier;
pub mod features;
pub mod linear;
pub mod ranker;
pub mod trees;
mod written;

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use self::{
    classifier::Classifier,
    features::{ANNOTATORS, CodePrior, DocumentSupport, Evidence, FeatureMatrix},
    ranker::Ranker,
};
use super::{Linking, Rerank};
use crate::{
    artifact::{self, Kind},
    data::{Candidate, Coded, Coding, DecidedBy, Mention, Trace},
    embed::Embed,
    error::{Error, Result},
    eval::calibrator::Calibrator,
    icd::IcdCode,
};

const KIND: Kind = Kind { name: "re-ranking model", tag: *b"NEAR", version: 2 };

/// What a code written beside a mention adds to its score: 50 to 1.
const WRITTEN: f32 = 3.9;

/// Weights, priors and calibrators that `noso train nearest` makes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NearestModel {
    /// Fingerprint of the encoder whose vectors the classifier reads.
    pub encoder: String,
    /// How often each annotator gave each code, ordered by code.
    pub counts: Vec<(IcdCode, [u32; ANNOTATORS])>,
    /// Classifier of mention vectors.
    pub classifier: Classifier,
    /// Order of the candidates.
    pub ranker: Ranker,
    /// From the best candidate's share to the probability that its code is right.
    pub code_confidence: Calibrator,
    /// From the best candidate's group's share to the probability that the group is right.
    pub group_confidence: Calibrator,
    /// Hash of the file, once there is one.
    #[serde(skip)]
    pub fingerprint: String,
}

impl NearestModel {
    /// Reads a model file.
    ///
    /// # Errors
    /// - [`crate::Error::Read`] if it cannot be read; [`crate::Error::Artifact`] if it is damaged or of another version.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Error::read(path, e))?;
        Self::from_bytes(&path.display().to_string(), &bytes)
    }

    /// Reads a model from the bytes of its file; `name` is what messages call it.
    ///
    /// # Errors
    /// - [`crate::Error::Artifact`] if it is damaged or of another version.
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self> {
        let model = artifact::open::<Self>(KIND, name, bytes)?.checked()?;
        Ok(Self { fingerprint: format!("nearest-{:016x}", xxh3_64(bytes)), ..model })
    }

    /// Returns the model that ships with Noso.
    ///
    /// # Errors
    /// None as released; a test reads it.
    pub fn shipped() -> Result<Self> {
        Self::from_bytes("(shipped)", include_bytes!("../../../models/default/nearest.bin"))
    }

    /// Returns the model's file. Equal models give equal bytes.
    ///
    /// # Errors
    /// - [`crate::Error::Artifact`] if it cannot be encoded.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        artifact::seal(KIND, self)
    }

    fn checked(self) -> Result<Self> {
        Ok(Self { classifier: self.classifier.checked()?, ranker: self.ranker.checked()?, ..self })
    }
}

/// How often codes and groups were given, for look-up.
#[derive(Debug, Clone, Default)]
pub struct Priors {
    codes: HashMap<IcdCode, [u32; ANNOTATORS]>,
    groups: HashMap<String, u32>,
}

impl Priors {
    /// Sums up the counts of codes.
    pub fn new(counts: &[(IcdCode, [u32; ANNOTATORS])]) -> Self {
        let mut priors = Self::default();
        for (code, counts) in counts {
            priors.codes.insert(code.clone(), *counts);
            *priors.groups.entry(code.group().to_owned()).or_default() += counts.iter().sum::<u32>();
        }
        priors
    }

    /// Returns what is known of a code; zeros for one that was never given.
    pub fn of(&self, code: &IcdCode) -> CodePrior {
        CodePrior {
            code: self.codes.get(code).copied().unwrap_or_default(),
            group: self.groups.get(code.group()).copied().unwrap_or_default(),
        }
    }
}

/// Counts how often each annotator gave each code; the result is ordered by code.
pub fn count_codes<'a>(given: impl Iterator<Item = (&'a IcdCode, u8)>) -> Vec<(IcdCode, [u32; ANNOTATORS])> {
    let mut counts: BTreeMap<IcdCode, [u32; ANNOTATORS]> = BTreeMap::new();
    for (code, annotator) in given {
        counts.entry(code.clone()).or_default()[usize::from(annotator) % ANNOTATORS] += 1;
    }
    counts.into_iter().collect()
}

/// Makes the features of each mention of one document.
///
/// `vectors` is row-major `(mentions, dim)` from the classifier's encoder; without a classifier its features say nothing.
pub fn document_features(
    candidates: &[Vec<Candidate>],
    priors: &Priors,
    classifier: Option<(&Classifier, &[f32])>,
) -> Vec<FeatureMatrix> {
    let best: Vec<Option<&IcdCode>> = candidates.iter().map(|list| list.first().map(|best| &best.code)).collect();
    let company = Company::new(best.iter().flatten().copied());
    let matrix = |(at, list): (usize, &Vec<Candidate>)| {
        let codes = || list.iter().map(|candidate| &candidate.code);
        let logit = |code: &IcdCode| {
            let (classifier, vectors) = classifier?;
            let vector = vectors.get(at * classifier.dim()..(at + 1) * classifier.dim())?;
            classifier.logit(vector, code)
        };
        features::extract(&Evidence {
            candidates: list,
            priors: &codes().map(|code| priors.of(code)).collect::<Vec<_>>(),
            document: &codes().map(|code| company.support(code, best[at])).collect::<Vec<_>>(),
            logits: &codes().map(logit).collect::<Vec<_>>(),
        })
    };
    candidates.iter().enumerate().map(matrix).collect()
}

/// How often each code, group and letter is the first candidate of a document's mentions.
struct Company<'a> {
    codes: HashMap<&'a str, usize>,
    groups: HashMap<&'a str, usize>,
    letters: HashMap<&'a str, usize>,
    mentions: usize,
}

impl<'a> Company<'a> {
    fn new(best: impl Iterator<Item = &'a IcdCode>) -> Self {
        let mut company = Self { codes: HashMap::new(), groups: HashMap::new(), letters: HashMap::new(), mentions: 0 };
        for code in best {
            *company.codes.entry(code.as_str()).or_default() += 1;
            *company.groups.entry(code.group()).or_default() += 1;
            *company.letters.entry(letter(code)).or_default() += 1;
            company.mentions += 1;
        }
        company
    }

    /// What the other mentions say for `code`; `own` is the first candidate of the mention itself, which does not count.
    fn support(&self, code: &IcdCode, own: Option<&IcdCode>) -> DocumentSupport {
        let others = |counts: &HashMap<&str, usize>, key: fn(&IcdCode) -> &str| {
            let own = usize::from(own.is_some_and(|own| key(own) == key(code)));
            counts.get(key(code)).map_or(0, |count| count - own)
        };
        let mentions = self.mentions - usize::from(own.is_some());
        DocumentSupport {
            same_code: others(&self.codes, IcdCode::as_str) > 0,
            same_group: others(&self.groups, IcdCode::group) > 0,
            same_chapter: others(&self.letters, letter) as f32 / mentions.max(1) as f32,
        }
    }
}

/// The first letter, which stands for the chapter.
fn letter(code: &IcdCode) -> &str {
    code.as_str().get(..1).unwrap_or_default()
}

/// The best candidate's share of the softmax, and that of its group.
pub fn top_shares(codes: &[IcdCode], shares: &[f32]) -> (f32, f32) {
    let Some((best, share)) = codes.iter().zip(shares).max_by(|a, b| a.1.total_cmp(b.1)) else {
        return (0.0, 0.0);
    };
    let same_group = codes.iter().zip(shares).filter(|(other, _)| other.group() == best.group());
    (*share, same_group.map(|(_, share)| share).sum())
}

/// The `nearest` engine.
pub struct Nearest {
    model: NearestModel,
    priors: Priors,
    encoder: Option<Arc<dyn Embed>>,
    candidates: usize,
}

impl Nearest {
    /// Makes the engine, which keeps the best `candidates` codes of a mention.
    ///
    /// Of `encoders` the one that the model was trained with gives the classifier its vectors. Without it the classifier is left
    /// out: the engine then goes by rows, wordings and priors alone and is less accurate.
    pub fn new(model: NearestModel, encoders: &[Arc<dyn Embed>], candidates: usize) -> Self {
        let encoder = encoders.iter().find(|encoder| encoder.fingerprint() == model.encoder).cloned();
        if encoder.is_none() {
            tracing::warn!(encoder = model.encoder, "the re-ranking model's encoder is missing: its classifier is off");
        }
        let priors = Priors::new(&model.counts);
        Self { model, priors, encoder, candidates }
    }

    fn vectors(&self, mentions: &[Mention]) -> Result<Option<Vec<f32>>> {
        let texts: Vec<&str> = mentions.iter().map(|mention| mention.text.as_str()).collect();
        self.encoder.as_ref().map(|encoder| encoder.embed(&texts)).transpose()
    }

    fn decide(
        &self,
        mention: Mention,
        mut candidates: Vec<Candidate>,
        features: &FeatureMatrix,
        written: &[IcdCode],
    ) -> Coding {
        let bonus = |at: usize| if written.contains(&candidates[at].code) { WRITTEN } else { 0.0 };
        let shares = self.model.ranker.shares(features, bonus);
        let codes: Vec<IcdCode> = candidates.iter().map(|candidate| candidate.code.clone()).collect();
        let (code_share, group_share) = top_shares(&codes, &shares);
        candidates.iter_mut().zip(&shares).for_each(|(candidate, share)| candidate.score = *share);
        candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
        candidates.truncate(self.candidates);
        let code = candidates.first().map(|best| best.code.clone());
        let (confidence, group_confidence, decided_by) = match &code {
            None => (0.0, 0.0, DecidedBy::Abstained),
            Some(code) => {
                let confidence = self.model.code_confidence.probability(f64::from(code_share)) as f32;
                let group = self.model.group_confidence.probability(f64::from(group_share)) as f32;
                let by = if written.contains(code) { DecidedBy::Written } else { DecidedBy::Nearest };
                (confidence, group.max(confidence), by)
            }
        };
        let span = Some(mention.span);
        Coding { mention, span, code, confidence, group_confidence, candidates, decided_by }
    }
}

impl Rerank for Nearest {
    fn fingerprint(&self) -> String {
        self.model.fingerprint.clone()
    }

    fn rerank(&self, linkings: Vec<Linking<'_>>) -> Vec<Result<Coded>> {
        linkings.into_iter().map(|linking| self.rerank_document(linking)).collect()
    }
}

impl Nearest {
    fn rerank_document(&self, Linking { document, mentions, candidates }: Linking<'_>) -> Result<Coded> {
        let vectors = self.vectors(&mentions)?;
        let classifier = vectors.as_deref().map(|vectors| (&self.model.classifier, vectors));
        let features = document_features(&candidates, &self.priors, classifier);
        let written = written::codes_after_each(document, &mentions);
        let parts = mentions.into_iter().zip(candidates).zip(features.iter().zip(&written));
        let codings = parts.map(|((mention, list), (features, written))| self.decide(mention, list, features, written));
        Ok(Coded { codings: codings.collect(), trace: Trace::default() })
    }
}
