//! What a reader met on its way: each kind of fault with what was done about it, counted.

use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeMap};

/// What a reader did about a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Put right; nothing is missing.
    Repaired,
    /// Left as it is, since it does no harm.
    Kept,
    /// Passed over: it is nothing that the reader was asked for.
    Ignored,
    /// Left out; the data lack it.
    Rejected,
}

macro_rules! faults {
    ($($name:ident $outcome:ident $key:literal $label:literal,)*) => {
        /// A kind of fault in a corpus.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Fault {
            $(#[doc = $label] $name,)*
        }

        impl Fault {
            /// All kinds, in the order of the table.
            pub const ALL: [Fault; [$($key),*].len()] = [$(Fault::$name),*];

            /// Says what is wrong and what was done, for people.
            pub fn label(self) -> &'static str {
                match self { $(Fault::$name => $label),* }
            }

            /// Returns the name in manifests.
            pub fn key(self) -> &'static str {
                match self { $(Fault::$name => $key),* }
            }

            /// Returns what the reader did about it.
            pub fn outcome(self) -> Outcome {
                match self { $(Fault::$name => Outcome::$outcome),* }
            }
        }
    };
}

faults! {
    Unreadable Rejected "unreadable" "document or record could not be read",
    InvalidUtf8 Rejected "invalid_utf8" "document or record is not UTF-8",
    BrokenRecord Rejected "broken_record" "record breaks the format",
    DuplicateId Repaired "duplicate_id" "id occurs twice: `#` and its record number added",
    ByteOrderMark Kept "byte_order_mark" "byte order mark at the start",
    EmptyText Kept "empty_text" "document without a letter or digit: it has no mentions",
    NulByte Kept "nul_byte" "document holds NUL bytes",
    BlankLine Ignored "blank_line" "blank line among records or annotations",
    MissingText Rejected "missing_text" "`.ann` without its `.txt`",
    MissingAnnotation Rejected "missing_annotation" "`.txt` without its `.ann`",
    MalformedLine Rejected "malformed_line" "line is no annotation of brat",
    ContinuedQuote Repaired "continued_quote" "quoted text runs over several lines: joined",
    OtherAnnotation Ignored "other_annotation" "relation, event, attribute or remark",
    OtherType Ignored "other_type" "entity of a type not asked for",
    DuplicateEntityId Repaired "duplicate_entity_id" "entities share an id: each takes the notes that follow it",
    OffsetsPastEnd Repaired "offsets_past_end" "offsets past the end of the text: the quoted text decides",
    EmptySpan Repaired "empty_span" "span of no characters: the quoted text decides",
    Discontinuous Repaired "discontinuous" "span of several pieces: from the first to the last",
    ShiftedSpan Repaired "shifted_span" "quoted text stands elsewhere: found again",
    BlanksDiffer Repaired "blanks_differ" "quoted text differs in blanks: found again",
    EditedQuote Repaired "edited_quote" "quoted text differs in letters: nearest words taken",
    NoQuote Repaired "no_quote" "no text quoted: the offsets decide",
    Unplaceable Rejected "unplaceable" "quoted text stands nowhere in the document",
    NestedSpan Kept "nested_span" "entity lies within another",
    OverlappingSpan Kept "overlapping_span" "entities overlap in part",
    DuplicateSpan Kept "duplicate_span" "entities with one span, different codes",
    DuplicateEntity Repaired "duplicate_entity" "entity annotated twice alike: kept once",
    NoCode Kept "no_code" "entity without a code",
    SeveralCodes Repaired "several_codes" "entity with several codes: the last counts",
    MisspeltCode Repaired "misspelt_code" "code with blanks or letters that only look Latin",
    BrokenCode Rejected "broken_code" "code that is none of ICD-10: the entity is kept without it",
    OtherNote Ignored "other_note" "note with a reference to another terminology",
    NoConcept Ignored "no_concept" "entity for which no concept was found (CUILESS, NULL)",
    BrokenConcept Rejected "broken_concept" "note that names no concept of UMLS: its entity is left out",
    NoteWithoutEntity Rejected "note_without_entity" "note for an entity that does not exist",
}

/// How often each fault occurred, and how much was read. Shows as a table, serialises as a map of counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairReport {
    /// Documents that the reader gave out.
    pub documents: u64,
    /// Entities in them; 0 for texts without annotation.
    pub entities: u64,
    counts: [u64; Fault::ALL.len()],
}

impl Default for RepairReport {
    fn default() -> Self {
        Self { documents: 0, entities: 0, counts: [0; Fault::ALL.len()] }
    }
}

impl RepairReport {
    /// Counts one fault.
    pub fn add(&mut self, fault: Fault) {
        self.counts[fault as usize] += 1;
    }

    /// Returns how often a fault occurred.
    pub fn count(&self, fault: Fault) -> u64 {
        self.counts[fault as usize]
    }

    /// Returns how many faults had a given outcome.
    pub fn total(&self, outcome: Outcome) -> u64 {
        self.occurred().filter(|(fault, _)| fault.outcome() == outcome).map(|(_, count)| count).sum()
    }

    /// Lists the faults that occurred, in the order of the table.
    pub fn occurred(&self) -> impl Iterator<Item = (Fault, u64)> + '_ {
        Fault::ALL.into_iter().map(|fault| (fault, self.count(fault))).filter(|&(_, count)| count > 0)
    }

    /// Adds the counts of another report.
    pub fn merge(&mut self, other: &RepairReport) {
        self.documents += other.documents;
        self.entities += other.entities;
        self.counts.iter_mut().zip(other.counts).for_each(|(sum, count)| *sum += count);
    }
}

impl fmt::Display for RepairReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} documents", self.documents)?;
        if self.entities > 0 {
            write!(f, ", {} entities", self.entities)?;
        }
        for (fault, count) in self.occurred() {
            let outcome = match fault.outcome() {
                Outcome::Repaired => "repaired",
                Outcome::Kept => "kept",
                Outcome::Ignored => "ignored",
                Outcome::Rejected => "rejected",
            };
            write!(f, "\n{count:>8}  {outcome:<8}  {}", fault.label())?;
        }
        Ok(())
    }
}

impl Serialize for RepairReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("documents", &self.documents)?;
        map.serialize_entry("entities", &self.entities)?;
        for (fault, count) in self.occurred() {
            map.serialize_entry(fault.key(), &count)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_occurred_and_nothing_else() {
        let mut report = RepairReport { documents: 3, entities: 7, ..RepairReport::default() };
        report.add(Fault::ShiftedSpan);
        report.add(Fault::Unplaceable);
        report.add(Fault::ShiftedSpan);
        let table = report.to_string();
        assert_eq!(table.lines().count(), 3);
        assert!(
            table.starts_with("3 documents, 7 entities\n       2  repaired  quoted text stands elsewhere"),
            "{table}"
        );
        assert_eq!(report.total(Outcome::Rejected), 1);
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            r#"{"documents":3,"entities":7,"shifted_span":2,"unplaceable":1}"#
        );
    }
}
