//! BioSyn: mentions and the names of a dictionary come in; an encoder learns to put each mention nearest to the names of its label.

mod comparison;
mod kept;

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use candle_core::Tensor;
use rayon::prelude::*;
use xxhash_rust::xxh3::Xxh3;

use self::{
    comparison::{Comparison, Rows},
    kept::KeptCandidates,
};
use super::{
    LinkerSettings,
    bundles::bundle,
    candidates::{Candidate, SparseIndex, dense_scores, merge, top},
    dictionary::{Dictionary, Mention, Name, Wordings},
    held_out::HeldOut,
    loss::marginal_loss,
    texts::Texts,
};
use crate::{
    embed::sparse::{SparseEncoder, SparseVector},
    error::{Error, Result},
    nn::{
        Init, Masks, Parameters,
        fit::{Evaluation, Loss, Place, Task},
    },
};

/// Name of λ among the parameters.
pub const LAMBDA: &str = "sparse_weight";

/// A mention with its tokens, its n-grams and its candidates of this epoch.
struct Example {
    mention: Mention,
    text: u32,
    sparse: SparseVector,
    candidates: Vec<Candidate>,
}

/// The training task.
///
/// A mention none of whose candidates has its label adds nothing to a batch's loss and does not count in its mean, as in BioSyn.
pub struct BioSyn {
    settings: LinkerSettings,
    texts: Texts,
    lambda: Tensor,
    dictionary: Dictionary,
    /// Text of each name.
    names: Vec<u32>,
    /// Tokens of a name on average, rounded up.
    usual_length: usize,
    sparse: SparseIndex,
    /// Names alike to each mention by letters, best first: they stay the same.
    alike: Vec<Vec<u32>>,
    examples: Vec<Example>,
    /// Examples that come together, anew each epoch.
    bundles: Vec<Vec<usize>>,
    held_out: HeldOut,
    /// Candidates of the epochs so far, for a run that is cut off.
    kept: Option<KeptCandidates>,
    /// Vectors of all names from an evaluation, until the weights change.
    encoded: Mutex<Option<Tensor>>,
}

impl BioSyn {
    /// Prepares a run: cuts all texts into tokens, and finds for each mention the names alike by letters.
    ///
    /// # Errors
    /// - [`Error::Training`] if there is no name, no mention, or no mention whose label another name has.
    pub fn new(
        wordings: &Wordings,
        mut texts: Texts,
        parameters: &mut Parameters,
        settings: LinkerSettings,
    ) -> Result<Self> {
        settings.check()?;
        let mut dictionary = Dictionary::new();
        dictionary.add(&wordings.names);
        let mentions = dictionary.mentions(&wordings.mentions, settings.distinct);
        check_teaches(&dictionary, &mentions)?;
        let held_out = dictionary.mentions(&wordings.held_out, false);
        let sparse = SparseIndex::new(dictionary.names());
        let names = texts.add(&dictionary.names().iter().map(|name| name.text.as_str()).collect::<Vec<_>>())?;
        let mut add =
            |mentions: &[Mention]| texts.add(&mentions.iter().map(|mention| mention.text.as_str()).collect::<Vec<_>>());
        let (numbers, held_out_texts) = (add(&mentions)?, add(&held_out)?);
        let alike = sparse.search(&mentions, dictionary.names(), settings.candidates);
        let example = |(mention, text): (Mention, u32)| {
            let sparse = sparse.encoder().encode(&mention.text);
            Example { mention, text, sparse, candidates: Vec::new() }
        };
        let examples: Vec<Example> = mentions.into_par_iter().zip(numbers).map(example).collect();
        let all_tokens: usize = names.iter().map(|&text| texts.length(text)).sum();
        Ok(Self {
            usual_length: all_tokens.div_ceil(names.len().max(1)),
            held_out: HeldOut::new(held_out, held_out_texts, &sparse, &dictionary),
            lambda: parameters.get(LAMBDA, &[1], Init::Constant(settings.lambda))?,
            texts,
            dictionary,
            names,
            sparse,
            alike,
            bundles: bundle(&vec![Vec::new(); examples.len()], settings.bundle),
            examples,
            kept: None,
            encoded: Mutex::new(None),
            settings,
        })
    }

    /// Keeps the candidates of each epoch beside the run, so that one resumed within an epoch goes on with the same. Those of an earlier
    /// run that is not resumed go when the first epoch begins.
    pub fn with_place(self, place: Place<'_>) -> Self {
        Self { kept: Some(KeptCandidates::new(place.folder, place.resume)), ..self }
    }

    /// Deletes the candidates that were kept.
    ///
    /// # Errors
    /// - [`Error::Write`] if a file cannot be deleted.
    pub fn forget_candidates(&mut self) -> Result<()> {
        self.kept.as_mut().map_or(Ok(()), KeptCandidates::forget)
    }

    /// Returns the sparse encoder with λ as learned.
    ///
    /// # Errors
    /// Those of the device.
    pub fn sparse_encoder(&self) -> Result<SparseEncoder> {
        Ok(self.sparse.encoder().clone().with_lambda(self.lambda()?))
    }

    /// Returns λ.
    ///
    /// # Errors
    /// Those of the device.
    pub fn lambda(&self) -> Result<f32> {
        Ok(self.lambda.to_vec1::<f32>()?.first().copied().unwrap_or_default())
    }

    /// Returns how many mentions there are to learn from, and how many have a right name among their candidates of this epoch.
    pub fn reach(&self) -> (usize, usize) {
        let reached = self.examples.iter().filter(|example| example.is_reached()).count();
        (self.examples.len(), reached)
    }

    /// Returns the dictionary.
    pub fn dictionary(&self) -> &Dictionary {
        &self.dictionary
    }

    /// Returns the names that each mention is held against in this epoch.
    pub fn candidates(&self) -> impl Iterator<Item = (&Mention, &[Candidate])> {
        self.examples.iter().map(|example| (&example.mention, example.candidates.as_slice()))
    }

    /// Returns what an evaluation encoded, unless the weights changed since; takes it away.
    fn take_encoded(&self) -> Option<Tensor> {
        self.encoded.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Finds the candidates of all mentions with the encoder as it is.
    fn find_candidates(&self) -> Result<Vec<Vec<u32>>> {
        let queries = self.texts.encode_all(&self.examples.iter().map(|example| example.text).collect::<Vec<_>>())?;
        let vectors = self.take_encoded().map_or_else(|| self.texts.encode_all(&self.names), Ok)?;
        let (names, settings) = (self.dictionary.names(), &self.settings);
        dense_scores(&queries, &vectors, |at, scores| {
            let record = self.examples[at].mention.record;
            let nearest = top(scores, settings.candidates, |name| names[name].is_known_outside(record));
            merge(&self.alike[at], &nearest, settings.candidates, settings.dense_share)
        })
    }
}

/// Refuses a run that could teach nothing.
fn check_teaches(dictionary: &Dictionary, mentions: &[Mention]) -> Result<()> {
    let refuse = |reason: String| Err(Error::Training { what: "the linker", reason });
    if dictionary.names().is_empty() {
        return refuse("the dictionary has no names: give a catalogue, or take the mentions as names".into());
    }
    if mentions.is_empty() {
        return refuse("the corpus has no coded mentions".into());
    }
    let shares = |mention: &Mention, name: &Name| name.share(mention.label, mention.record) > 0.0;
    let mut by_label: HashMap<u32, Vec<&Name>> = HashMap::new();
    for name in dictionary.names() {
        name.shares(None).iter().for_each(|(label, _)| by_label.entry(*label).or_default().push(name));
    }
    let known = |mention: &&Mention| {
        by_label.get(&mention.label).is_some_and(|names| names.iter().any(|name| shares(mention, name)))
    };
    if mentions.iter().any(|mention| known(&mention)) {
        return Ok(());
    }
    refuse(format!(
        "none of {} mentions has a code that the dictionary has too, outside its own record",
        mentions.len()
    ))
}

impl Example {
    fn is_reached(&self) -> bool {
        self.candidates.iter().any(|candidate| candidate.share > 0.0)
    }
}

impl Task for BioSyn {
    fn len(&self) -> usize {
        self.bundles.len()
    }

    fn bytes_per_token(&self, recompute: bool) -> usize {
        self.texts.bytes_per_token(recompute)
    }

    fn fingerprint(&self) -> u64 {
        let mut hash = Xxh3::new();
        hash.update(format!("{:?} {:?}", self.settings, self.dictionary.labels()).as_bytes());
        hash.update(&self.texts.fingerprint().to_le_bytes());
        hash.update(&self.held_out.fingerprint().to_le_bytes());
        self.dictionary.names().iter().for_each(|name| hash.update(format!("{name:?}\n").as_bytes()));
        self.examples.iter().for_each(|example| hash.update(format!("{:?}\n", example.mention).as_bytes()));
        hash.digest()
    }

    fn tokens(&self, bundle: usize) -> usize {
        let mentions = &self.bundles[bundle];
        if mentions.iter().all(|&at| self.examples[at].candidates.is_empty()) {
            return mentions.len() * (1 + self.settings.candidates) * self.usual_length; // before the first epoch
        }
        let mut texts: Vec<u32> = self.reached(&[bundle]).into_iter().flat_map(|example| self.needs(example)).collect();
        texts.sort_unstable();
        texts.dedup();
        texts.into_iter().map(|text| self.texts.length(text)).sum()
    }

    fn begin_epoch(&mut self, epoch: usize) -> Result<()> {
        let (mentions, names) = (self.examples.len(), self.names.len());
        let known = self.kept.as_mut().map_or(Ok(None), |kept| kept.read(epoch, mentions, names))?;
        let found = match known {
            Some(found) => found,
            None => {
                let found = self.find_candidates()?;
                self.kept.as_ref().map_or(Ok(()), |kept| kept.write(epoch, &found))?;
                found
            }
        };
        let (names, sparse) = (self.dictionary.names(), &self.sparse);
        self.examples.par_iter_mut().zip(found).for_each(|(example, found)| {
            let Mention { label, record, .. } = example.mention;
            let candidate = |name: u32| Candidate {
                name,
                sparse: sparse.score(&example.sparse, name),
                share: names[name as usize].share(label, record),
            };
            example.candidates = found.into_iter().map(candidate).collect();
        });
        let needs = |example: &Example| if example.is_reached() { self.needs(example) } else { Vec::new() };
        self.bundles = bundle(&self.examples.iter().map(needs).collect::<Vec<_>>(), self.settings.bundle);
        let (mentions, reached) = self.reach();
        tracing::info!(epoch, mentions, reached, lambda = self.lambda()?, "candidates found");
        Ok(())
    }

    fn loss(&self, bundles: &[usize], masks: Option<&mut Masks>) -> Result<Loss> {
        self.take_encoded();
        let mentions = self.reached(bundles);
        if mentions.is_empty() {
            return Ok(Loss { sum: (self.lambda.sum_all()? * 0.0)?, weight: 0.0 });
        }
        let mut rows = Rows::default();
        let own: Vec<u32> = mentions.iter().map(|example| rows.row(example.text)).collect();
        let Comparison { rows: places, sparse, shares, columns } = match self.settings.in_batch {
            false => self.against_own(&mentions, &mut rows),
            true => self.against_all(&mentions, &mut rows),
        };
        let shape = (mentions.len(), columns);
        let vectors = self.texts.encode(&rows.texts, masks)?; // (texts, hidden)
        let device = vectors.device();
        let queries = vectors.index_select(&Tensor::new(own, device)?, 0)?; // (mentions, hidden)
        let all = queries.matmul(&vectors.t()?)?; // (mentions, texts)
        let dense = (all.gather(&Tensor::from_vec(places, shape, device)?, 1)? / self.settings.divisor())?;
        let sparse = Tensor::from_vec(sparse, shape, device)?.broadcast_mul(&self.lambda)?;
        Ok(Loss { sum: marginal_loss(&(dense + sparse)?, &shares)?, weight: mentions.len() as f64 })
    }

    fn evaluate(&self) -> Result<Option<Evaluation>> {
        if self.held_out.is_empty() {
            return Ok(None);
        }
        let queries = self.texts.encode_all(self.held_out.texts())?;
        let names = self.texts.encode_all(&self.names)?;
        let lambda = self.lambda()?;
        let weight = 1.0 / self.settings.divisor() as f32;
        let accuracy = self.held_out.measure((&queries, &names), &self.dictionary, &self.sparse, [weight, lambda])?;
        *self.encoded.lock().unwrap_or_else(PoisonError::into_inner) = Some(names);
        Ok(Some(accuracy.evaluation(lambda)))
    }
}
