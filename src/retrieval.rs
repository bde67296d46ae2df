//! Retrieval: mentions come in, the codes that may be right for each leave, best first.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use crate::{
    catalog::{Abbreviations, Catalog},
    config::{CandidateUnit, Fusion},
    data::{Candidate, Mention, Origin, Support},
    embed::Embed,
    error::{Error, Result},
    icd::IcdCode,
    index::{Entry, Hit, Index, reciprocal_ranks},
    text,
};

/// How far a retrieval looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetrievalSettings {
    /// Nearest texts looked at for a mention, 1 to 4096.
    pub neighbours: usize,
    /// Power to which a row's cosine is raised in the vote that orders the codes.
    pub vote_power: f32,
    /// What a candidate is.
    pub unit: CandidateUnit,
    /// How the parts of a hybrid encoder decide together.
    pub fusion: Fusion,
}

impl Default for RetrievalSettings {
    fn default() -> Self {
        Self { neighbours: 96, vote_power: VOTE_POWER, unit: CandidateUnit::Code, fusion: Fusion::Weighted }
    }
}

/// Power of the cosine in the vote that orders candidates (`experiments/LOG.md`, Linking).
const VOTE_POWER: f32 = 8.0;

/// An index and which of its rows may speak.
pub struct SearchedIndex {
    /// The index.
    pub index: Arc<Index>,
    /// Whether its titles and synonyms count. A user's own catalogue takes the place of the titles, not of mentions and vocabulary.
    pub titles: bool,
}

/// A row that may speak for its code.
#[derive(Clone, Copy)]
struct Row<'a> {
    code: &'a IcdCode,
    /// Hash of the row's normalised text.
    hash: u64,
    text: Option<&'a str>,
    support: Support,
}

/// Searches one or several indexes with one encoder.
pub struct Retriever {
    encoder: Arc<dyn Embed>,
    indexes: Vec<SearchedIndex>,
    catalog: Arc<Catalog>,
    /// Codes that may be proposed; `None` for all.
    allowed: Option<HashSet<IcdCode>>,
    abbreviations: Option<Abbreviations>,
    settings: RetrievalSettings,
}

impl Retriever {
    /// Puts encoder and indexes together; `catalog` gives the titles, and with `restrict` also the codes that may be proposed.
    ///
    /// # Errors
    /// - [`Error::Encoder`] if an index was built with another encoder; [`Error::Setting`] if ranks are to be fused and the encoder
    ///   has only one part.
    pub fn new(
        encoder: Arc<dyn Embed>,
        indexes: Vec<SearchedIndex>,
        catalog: Arc<Catalog>,
        restrict: bool,
        settings: RetrievalSettings,
    ) -> Result<Self> {
        for searched in &indexes {
            searched.index.check_encoder(encoder.as_ref())?;
        }
        if settings.fusion == Fusion::Rrf && encoder.parts().len() < 2 {
            return Err(Error::Setting {
                key: "retrieval.fusion".into(),
                expected: "weighted, or an index of a hybrid encoder, whose parts give rankings to fuse".into(),
                got: format!("rrf with {}", encoder.fingerprint()),
            });
        }
        let allowed = restrict.then(|| catalog.entries().iter().map(|entry| entry.code.clone()).collect());
        Ok(Self { encoder, indexes, catalog, allowed, abbreviations: None, settings })
    }

    /// Expands abbreviations of mentions before they are encoded. Equal texts are still found as they are written.
    pub fn with_abbreviations(self, abbreviations: Abbreviations) -> Self {
        Self { abbreviations: Some(abbreviations), ..self }
    }

    /// Finds the candidates of each mention, best first by the vote of the nearest rows: every code among them, so that a
    /// re-ranker may see more than the top-k it keeps.
    ///
    /// A text that equals the mention after normalisation is always among the rows, also where an approximate index misses it.
    ///
    /// # Errors
    /// Those of encoder and index.
    pub fn retrieve(&self, mentions: &[Mention]) -> Result<Vec<Vec<Candidate>>> {
        let texts: Vec<&str> = mentions.iter().map(|mention| mention.text.as_str()).collect();
        let queries = match &self.abbreviations {
            None => self.encoder.embed(&texts)?,
            Some(list) => {
                let expanded: Vec<String> = texts.iter().map(|text| list.expand(&text::normalise(text))).collect();
                self.encoder.embed(&expanded.iter().map(String::as_str).collect::<Vec<_>>())?
            }
        };
        let mut rows: Vec<Vec<Row<'_>>> = vec![Vec::new(); mentions.len()];
        for searched in &self.indexes {
            let found = self.search(&searched.index, &queries)?;
            for ((rows, hits), text) in rows.iter_mut().zip(found).zip(&texts) {
                let exact = searched.index.exact(text::normal_hash(text));
                let nearest = hits.iter().map(|hit| (hit.entry, hit.score)).filter(|(entry, _)| Some(*entry) != exact);
                for (entry, similarity) in exact.map(|entry| (entry, 1.0)).into_iter().chain(nearest) {
                    self.support(searched, entry, similarity, Some(entry) == exact, rows);
                }
            }
        }
        let candidates = |rows| match self.settings.unit {
            CandidateUnit::Code => self.codes(rows),
            CandidateUnit::Entry => self.entries(rows),
        };
        Ok(rows.into_iter().map(candidates).collect())
    }

    /// Finds the nearest entries of each query, `(n, dim)`.
    fn search(&self, index: &Index, queries: &[f32]) -> Result<Vec<Vec<Hit>>> {
        let (k, dim) = (self.settings.neighbours, self.encoder.dim());
        if self.settings.fusion == Fusion::Weighted {
            return index.search(queries, k);
        }
        // A query that is zero but for one part is nearest to what that part alone finds nearest.
        let of_part = |part: std::ops::Range<usize>| {
            let mut only = vec![0.0; queries.len()];
            for (only, query) in only.chunks_mut(dim).zip(queries.chunks(dim)) {
                only[part.clone()].copy_from_slice(&query[part.clone()]);
            }
            index.search(&only, k)
        };
        let rankings: Vec<Vec<Vec<Hit>>> = self.encoder.parts().into_iter().map(of_part).collect::<Result<_>>()?;
        let fuse = |n: usize| {
            let of_query: Vec<&[Hit]> = rankings.iter().map(|ranking| ranking[n].as_slice()).collect();
            reciprocal_ranks(&of_query, k)
        };
        Ok((0..queries.len() / dim).map(fuse).collect())
    }

    /// Adds the rows of an entry that may speak.
    fn support<'a>(
        &'a self,
        searched: &'a SearchedIndex,
        entry: usize,
        similarity: f32,
        exact: bool,
        rows: &mut Vec<Row<'a>>,
    ) {
        let Entry { text, rows: coded, hash } = &searched.index.entries()[entry];
        for row in coded {
            let is_title = matches!(row.origin, Origin::Title | Origin::Synonym);
            if (searched.titles || !is_title) && self.allowed.as_ref().is_none_or(|codes| codes.contains(&row.code)) {
                let support = Support { similarity, origin: row.origin, count: row.count, exact };
                rows.push(Row { code: &row.code, hash: *hash, text: text.as_deref(), support });
            }
        }
    }

    /// Groups rows by code and orders the codes by the sum of `similarity ^ power`.
    fn codes(&self, rows: Vec<Row<'_>>) -> Vec<Candidate> {
        let mut places: HashMap<&IcdCode, usize> = HashMap::with_capacity(rows.len());
        let mut candidates: Vec<(&IcdCode, f32, Vec<Support>)> = Vec::new();
        for Row { code, support, .. } in rows {
            let place = *places.entry(code).or_insert_with(|| {
                candidates.push((code, 0.0, Vec::new()));
                candidates.len() - 1
            });
            let (_, score, supports) = &mut candidates[place];
            *score += support.similarity.max(0.0).powf(self.settings.vote_power) * support.count as f32;
            supports.push(support);
        }
        candidates.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        let with_title = |(code, score, mut support): (&IcdCode, f32, Vec<Support>)| {
            support.sort_by(|a, b| b.similarity.total_cmp(&a.similarity).then_with(|| a.origin.cmp(&b.origin)));
            let title = self.catalog.title(code);
            Candidate { code: code.clone(), text: title.clone(), title, score, support }
        };
        candidates.into_iter().map(with_title).collect()
    }

    /// Groups rows by text, nearest first: the paper's candidates. A text with several codes stands for the one most rows give.
    fn entries(&self, rows: Vec<Row<'_>>) -> Vec<Candidate> {
        let mut places: HashMap<u64, usize> = HashMap::with_capacity(rows.len());
        let mut entries: Vec<Vec<Row<'_>>> = Vec::new();
        for row in rows {
            let place = *places.entry(row.hash).or_insert_with(|| {
                entries.push(Vec::new());
                entries.len() - 1
            });
            entries[place].push(row);
        }
        let mut candidates: Vec<Candidate> = entries.iter().filter_map(|rows| self.entry(rows)).collect();
        candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
        // Entries whose words the index does not keep are shown by their code's title: once is enough.
        let mut shown: Vec<Candidate> = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            let alike = |other: &&mut Candidate| other.code == candidate.code && other.text == candidate.text;
            match shown.iter_mut().find(alike) {
                Some(nearer) => nearer.support.extend(candidate.support),
                None => shown.push(candidate),
            }
        }
        shown
    }

    fn entry(&self, rows: &[Row<'_>]) -> Option<Candidate> {
        let mut counts: BTreeMap<&IcdCode, u32> = BTreeMap::new();
        rows.iter().for_each(|row| *counts.entry(row.code).or_default() += row.support.count);
        let (&code, _) = counts.iter().max_by_key(|(code, count)| (**count, std::cmp::Reverse(**code)))?;
        let title = self.catalog.title(code);
        let text = rows.iter().find_map(|row| row.text).map_or_else(|| title.clone(), Arc::from);
        let support: Vec<Support> = rows.iter().filter(|row| row.code == code).map(|row| row.support).collect();
        let score = support.iter().map(|support| support.similarity).fold(f32::NEG_INFINITY, f32::max);
        Some(Candidate { code: code.clone(), title, text, score, support })
    }

    /// Lists every code that a search can propose or the catalogue names.
    pub fn known_codes(&self) -> HashSet<&IcdCode> {
        let rows = self.indexes.iter().flat_map(|searched| searched.index.entries()).flat_map(|entry| &entry.rows);
        rows.map(|row| &row.code).chain(self.catalog.entries().iter().map(|entry| &entry.code)).collect()
    }

    /// Lists the hashes of encoder, indexes and catalogue.
    pub fn fingerprints(&self) -> Vec<(&'static str, String)> {
        let mut prints = vec![("encoder", self.encoder.fingerprint().to_owned())];
        prints.extend(self.indexes.iter().map(|searched| ("index", searched.index.manifest().rows_sha256.clone())));
        prints.push(("catalogue", self.catalog.fingerprint()));
        prints
    }

    /// Returns the catalogue that gives the titles.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }
}
