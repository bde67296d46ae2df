//! Grammar of a brat `.ann` file: its text comes in, entities and notes with their line numbers leave.
//!
//! ```text
//! T1 ⇥ icd_code 0 12 ⇥ quoted text          an entity; `0 5;7 12` if it has several pieces
//! N1 ⇥ Reference T1 ICD_codes:4711 ⇥ K29.5   a note: the entity's code, and its row in the catalogue
//! ```
//!
//! A line that starts no annotation continues the quoted text of the entity before it.
//!
//! # Source
//! brat standoff format: <https://brat.nlplab.org/standoff.html>.

/// One line, or an entity's line with those that continue it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// Number in the file, from 1.
    pub number: usize,
    pub content: Content<'a>,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content<'a> {
    Entity(EntityLine<'a>),
    /// A note that gives entity `target` a `code` of a `resource` such as `ICD_codes`; `name` is the note's last column.
    Note {
        target: &'a str,
        resource: &'a str,
        code: &'a str,
        name: Option<&'a str>,
    },
    /// A relation, event, attribute, equivalence or remark.
    Other,
    Blank,
    Malformed,
}

/// A marked place as the file gives it: offsets in characters, unchecked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntityLine<'a> {
    pub id: &'a str,
    pub label: &'a str,
    pub start_char: i64,
    pub end_char: i64,
    /// Number of pieces; the offsets reach from the first to the last.
    pub pieces: usize,
    pub quote: &'a str,
    /// Lines after the first that belong to `quote`.
    pub continued: usize,
}

/// Splits a file into its annotations. Both `\n` and `\r\n` end a line.
pub(super) fn parse(file: &str) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    let mut start = 0;
    let mut quote_start = 0;
    for (index, with_end) in file.split_inclusive('\n').enumerate() {
        let line = with_end.strip_suffix('\n').unwrap_or(with_end);
        let line = line.strip_suffix('\r').unwrap_or(line);
        let content = parse_line(line);
        let end = start + line.len();
        match (content, lines.last_mut()) {
            (Content::Malformed, Some(Line { content: Content::Entity(entity), .. })) => {
                entity.quote = &file[quote_start..end];
                entity.continued += 1;
            }
            (content, _) => {
                if let Content::Entity(entity) = &content {
                    quote_start = end - entity.quote.len();
                }
                lines.push(Line { number: index + 1, content });
            }
        }
        start += with_end.len();
    }
    lines
}

fn parse_line(line: &str) -> Content<'_> {
    let line = line.strip_prefix('\u{feff}').unwrap_or(line);
    if line.trim().is_empty() {
        return Content::Blank;
    }
    let mut columns = line.splitn(3, '\t');
    let (id, middle, last) = (columns.next().unwrap_or_default(), columns.next(), columns.next());
    let Some(middle) = middle else { return Content::Malformed };
    match id.as_bytes().first() {
        Some(b'T') if is_number(&id[1..]) => parse_entity(id, middle, last).map_or(Content::Malformed, Content::Entity),
        Some(b'N') if is_number(&id[1..]) => parse_note(middle, last).unwrap_or(Content::Malformed),
        Some(b'R' | b'E' | b'A' | b'M' | b'#') if is_number(&id[1..]) => Content::Other,
        Some(b'*') if id.len() == 1 => Content::Other,
        _ => Content::Malformed,
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn parse_entity<'a>(id: &'a str, middle: &'a str, quote: Option<&'a str>) -> Option<EntityLine<'a>> {
    let (label, offsets) = middle.trim().split_once(' ')?;
    let mut hull: Option<(i64, i64)> = None;
    let mut pieces = 0;
    for piece in offsets.split(';') {
        let mut numbers = piece.split_whitespace().map(|number| number.parse::<i64>().ok());
        let (Some(Some(start)), Some(Some(end)), None) = (numbers.next(), numbers.next(), numbers.next()) else {
            return None;
        };
        hull = Some(hull.map_or((start, end), |(first, last)| (first.min(start), last.max(end))));
        pieces += 1;
    }
    let (start_char, end_char) = hull?;
    Some(EntityLine { id, label, start_char, end_char, pieces, quote: quote.unwrap_or_default(), continued: 0 })
}

fn parse_note<'a>(middle: &'a str, last: Option<&'a str>) -> Option<Content<'a>> {
    let mut words = middle.split_whitespace();
    let (Some("Reference"), Some(target), Some(link)) = (words.next(), words.next(), words.next()) else { return None };
    let (resource, row) = link.split_once(':')?;
    // Some tools put the code in the place of the row, and its name in the place of the code.
    let code = if resource == super::RESOURCE { last? } else { row };
    Some(Content::Note { target, resource, code, name: last })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn contents(file: &str) -> Vec<Content<'_>> {
        parse(file).into_iter().map(|line| line.content).collect()
    }

    #[test]
    fn reads_entities_and_notes() {
        let lines =
            contents("T1\ticd_code 0 12\tОстрый ринит\r\nN1\tReference T1 ICD_codes:17\tJ00\n\n#1\tRemark T1\tok\n");
        let [Content::Entity(entity), note, Content::Blank, Content::Other] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((entity.start_char, entity.end_char, entity.quote), (0, 12, "Острый ринит"));
        assert_eq!(*note, Content::Note { target: "T1", resource: "ICD_codes", code: "J00", name: Some("J00") });
    }

    #[test]
    fn joins_quotes_that_run_over_lines() {
        let lines = parse("T1\ticd_code 4 20\t\nАнемия,\nлёгкая\nN1\tReference T1 ICD_codes:0\tD64\n");
        let [Line { content: Content::Entity(entity), .. }, Line { number: 4, .. }] = &lines[..] else {
            panic!("{lines:?}")
        };
        assert_eq!((entity.quote, entity.continued), ("\nАнемия,\nлёгкая", 2));
    }

    #[test]
    fn takes_the_hull_of_pieces_and_keeps_tabs_in_quotes() {
        let lines = contents("T1\tDISO 7 9;0 5\tа б\tв");
        let [Content::Entity(entity)] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((entity.start_char, entity.end_char, entity.pieces, entity.quote), (0, 9, 2, "а б\tв"));
    }

    #[test]
    fn refuses_what_is_no_annotation() {
        let malformed =
            ["", "T1", "T\ticd_code 0 5\tа", "T1\ticd_code 0\tа", "T1\ticd_code a 5\tа", "N1\tReference T1\tJ00"];
        for line in &malformed[1..] {
            assert_eq!(contents(line), [Content::Malformed], "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_parses(file in "(?s)([TNR#*]?[0-9]{0,2}[\t ;:]{0,2}.{0,12}\n?){0,12}") {
            let lines = parse(&file);
            prop_assert!(lines.iter().all(|line| line.number >= 1));
        }
    }
}
