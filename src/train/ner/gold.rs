//! From annotated spans to what a model can be taught: spans in bytes come in, runs of units leave, and a count of what is lost.

use std::{
    collections::BTreeSet,
    fmt,
    ops::{AddAssign, Range},
};

use crate::{
    data::{AnnotatedDocument, Span},
    error::Result,
    ner::bert::{Found, Text, resolve},
    nn::tokenizer::Tokenizer,
};

/// An annotated document, taken apart.
pub struct Gold {
    /// Its pieces and units.
    pub text: Text,
    /// Distinct runs of units that are mentions: in text order, outer ones first.
    pub mentions: Vec<Range<usize>>,
    /// The annotated places, in bytes.
    spans: BTreeSet<Span>,
    /// Whether mentions that lie within others were left out.
    flat: bool,
}

impl Gold {
    /// Takes a document apart. A mention is every unit that its span touches; `flat` keeps only mentions that no earlier or longer one
    /// overlaps, as one label a unit can say them.
    ///
    /// # Errors
    /// Those of the tokenizer.
    pub fn new(tokenizer: &Tokenizer, annotated: &AnnotatedDocument, flat: bool) -> Result<Self> {
        let text = Text::new(&tokenizer.encode(&annotated.document.text, usize::MAX)?, &annotated.document.text);
        let spans: BTreeSet<Span> = annotated.entities.iter().map(|entity| entity.span).collect();
        let mut mentions: Vec<Range<usize>> = spans.iter().filter_map(|&span| text.touched(span)).collect();
        mentions.sort_by_key(|units| (units.start, std::cmp::Reverse(units.end)));
        mentions.dedup();
        if flat {
            let mut end = 0;
            mentions.retain(|units| {
                let apart = units.start >= end;
                end = end.max(units.end);
                apart
            });
        }
        Ok(Self { text, mentions, spans, flat })
    }

    /// Returns the annotated places, in bytes.
    pub fn spans(&self) -> &BTreeSet<Span> {
        &self.spans
    }

    /// Counts how a model would fare that finds exactly the mentions it is taught.
    ///
    /// # Errors
    /// - [`crate::Error::Span`] if `text` is not the document's.
    pub fn coverage(&self, text: &str) -> Result<Coverage> {
        let mut coverage =
            Coverage { documents: 1, spans: self.spans.len(), taught: self.mentions.len(), ..Coverage::default() };
        let back: BTreeSet<Span> =
            self.mentions.iter().map(|units| self.text.span(text, units)).collect::<Result<_>>()?;
        for &span in &self.spans {
            let Some(units) = self.text.touched(span) else {
                coverage.wordless += 1;
                continue;
            };
            let whole = self.text.span(text, &units)?;
            if back.contains(&span) {
                coverage.exact += 1;
            } else if !self.mentions.contains(&units) {
                coverage.nested += 1;
            } else if whole.slice(text) == span.slice(text).trim() {
                coverage.blanks += 1;
            } else {
                coverage.within_words += 1;
            }
        }
        Ok(coverage)
    }

    /// Compares what a model found with what is annotated.
    ///
    /// # Errors
    /// - [`crate::Error::Span`] if `text` is not the document's.
    pub fn compare(&self, text: &str, found: Vec<Found>) -> Result<Counts> {
        let places = resolve(found, !self.flat).into_iter().map(|one| self.text.span(text, &one.units));
        let found: BTreeSet<Span> = places.collect::<Result<_>>()?;
        let right = found.intersection(&self.spans).count();
        Ok(Counts { right, found: found.len(), gold: self.spans.len() })
    }
}

/// Spans found and annotated, summed over documents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Found as annotated.
    pub right: usize,
    /// Found.
    pub found: usize,
    /// Annotated.
    pub gold: usize,
}

impl Counts {
    /// Returns precision, recall and F1; 0 where nothing was found or annotated.
    pub fn scores(&self) -> (f64, f64, f64) {
        let share = |of: usize| if of == 0 { 0.0 } else { self.right as f64 / of as f64 };
        let both = self.found + self.gold;
        let f1 = if both == 0 { 0.0 } else { 2.0 * self.right as f64 / both as f64 };
        (share(self.found), share(self.gold), f1)
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.right += other.right;
        self.found += other.found;
        self.gold += other.gold;
    }
}

/// What the annotation loses on its way to a model: how many spans can be taught, and why the others cannot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Documents.
    pub documents: usize,
    /// Distinct annotated spans of each.
    pub spans: usize,
    /// Mentions taught.
    pub taught: usize,
    /// Spans that come back as they were annotated.
    pub exact: usize,
    /// Spans within or across others, which one label a unit cannot say.
    pub nested: usize,
    /// Spans taught without the blanks at their ends.
    pub blanks: usize,
    /// Spans that begin or end within a word, taught as whole words.
    pub within_words: usize,
    /// Spans of blanks, or of characters the tokenizer drops.
    pub wordless: usize,
}

impl Coverage {
    /// Returns the F1 of a model that finds exactly what it is taught.
    pub fn best_f1(&self) -> f64 {
        Counts { right: self.exact, found: self.taught, gold: self.spans }.scores().2
    }
}

impl AddAssign for Coverage {
    fn add_assign(&mut self, other: Self) {
        self.documents += other.documents;
        self.spans += other.spans;
        self.taught += other.taught;
        self.exact += other.exact;
        self.nested += other.nested;
        self.blanks += other.blanks;
        self.within_words += other.within_words;
        self.wordless += other.wordless;
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { documents, spans, taught, exact, nested, blanks, within_words, wordless } = self;
        write!(
            f,
            "{documents} documents, {spans} mentions: {exact} taught as annotated, {within_words} widened to whole words, "
        )?;
        write!(
            f,
            "{blanks} without blanks at their ends, {nested} left out as nested or crossing, {wordless} without a word; "
        )?;
        write!(f, "a model that finds the {taught} it is taught has F1 {:.4}", self.best_f1())
    }
}
