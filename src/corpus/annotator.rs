//! Conventions of the RuCCoD folder: which annotator wrote a record.

/// Returns the number of the annotator who coded a record: numeric ids are counted off in blocks of `block` records.
///
/// In RuCCoD, records 0–999, 1000–1999 and 2000–2999 come from three annotators. Ids that are no numbers give 0.
pub fn annotator(id: &str, block: u32) -> u8 {
    let number: u32 = id.parse().unwrap_or(0);
    u8::try_from(number / block.max(1)).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_records_belong_to_annotators() {
        assert_eq!(["0", "999", "1000", "2999", "note-7"].map(|id| annotator(id, 1000)), [0, 0, 1, 2, 0]);
        assert_eq!(annotator("999999999", 1000), 255);
    }
}
