//! Lists of quoted items, as Python writes them and as models write them.

use super::{closers, list::Found};

/// Reads the list whose bracket is at byte `at`, or `None` if the first item has no quotation mark (unless `bare` items will
/// do, with at least a letter each). A list without an item must be closed.
pub(super) fn read(answer: &str, at: usize, bare: bool) -> Option<Found> {
    let mut found = Found::default();
    let mut end = at + 1;
    loop {
        let rest = answer[end..].trim_start_matches(|c: char| c.is_whitespace() || c == ',');
        end = answer.len() - rest.len();
        match rest.chars().next() {
            None => break,
            Some(']') => {
                (found.closed, end) = (true, end + 1);
                break;
            }
            Some(mark) if closers(mark).is_some() => end = push_item(&mut found, answer, end),
            Some(_) if bare || !found.items.is_empty() => {
                let length = rest.find([',', ']', '\n']).unwrap_or(rest.len());
                let item = rest[..length].trim();
                end += length;
                found.other_form = true;
                match item.contains(char::is_alphabetic) {
                    true if length == rest.len() => found.unfinished = Some(item.to_owned()),
                    true => found.items.push(item.to_owned()),
                    false => {}
                }
            }
            Some(_) => return None,
        }
    }
    found.place = at..end;
    let nothing = found.items.is_empty() && found.unfinished.is_none();
    (!nothing || (found.closed && !bare)).then_some(found)
}

/// Reads the item whose mark is at byte `at`, and returns where it ends.
fn push_item(found: &mut Found, answer: &str, at: usize) -> usize {
    let item = Item::read(&answer[at..]);
    match item.length {
        Some(length) => {
            if item.inner_quote {
                found.inner_quotes.push(item.words.clone());
            }
            found.items.push(item.words);
            at + length
        }
        None => {
            // The mark is missing at the end: the item goes as far as the list or the line.
            let start = at + answer[at..].chars().next().map_or(0, char::len_utf8);
            let end = answer[start..].find([']', '\n']).map_or(answer.len(), |length| start + length);
            found.unfinished = Some(answer[start..end].to_owned());
            answer.len()
        }
    }
}

/// A quoted item.
struct Item {
    words: String,
    /// Bytes up to and with the closing mark; `None` if there is none.
    length: Option<usize>,
    inner_quote: bool,
}

impl Item {
    /// Reads from the opening mark that `text` starts with. A closing mark counts if the list goes on or ends after it;
    /// others, such as an apostrophe, belong to the item.
    fn read(text: &str) -> Self {
        let mut item = Self { words: String::new(), length: None, inner_quote: false };
        let mut chars = text.chars();
        let Some(closers) = chars.next().and_then(closers) else { return item };
        while let Some(c) = chars.next() {
            let rest = chars.as_str();
            if c == '\\' {
                let (meant, length) = escaped(rest);
                item.words.push(meant);
                chars = rest[length..].chars();
            } else if closers.contains(&c) && list_goes_on(rest) {
                item.length = Some(text.len() - rest.len());
                break;
            } else {
                item.inner_quote |= closers.contains(&c);
                item.words.push(c);
            }
        }
        item
    }
}

/// Tells whether `rest` is what follows an item: the list's end, a comma before the next item, or the next item on a new line.
fn list_goes_on(rest: &str) -> bool {
    let next = rest.trim_start();
    let opens = |text: &str| text.chars().next().is_some_and(|c| closers(c).is_some());
    let blanks = &rest[..rest.len() - next.len()];
    match next.strip_prefix(',') {
        Some(after) => {
            let after = after.trim_start();
            after.is_empty() || after.starts_with(']') || opens(after)
        }
        None => next.is_empty() || next.starts_with(']') || (blanks.contains('\n') && opens(next)),
    }
}

/// Returns the character that a backslash and `rest` mean, and how many bytes of `rest` it takes. A backslash before anything
/// else means itself.
fn escaped(rest: &str) -> (char, usize) {
    let code = |digits: usize| {
        let hex = rest.get(1..1 + digits).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))?;
        Some((char::from_u32(u32::from_str_radix(hex, 16).ok()?)?, 1 + digits))
    };
    let read = match rest.chars().next() {
        Some('n') => Some(('\n', 1)),
        Some('t') => Some(('\t', 1)),
        Some('r') => Some(('\r', 1)),
        Some('x') => code(2),
        Some('u') => code(4),
        Some('U') => code(8),
        Some(c) if c == '\\' || closers(c).is_some() => Some((c, c.len_utf8())),
        _ => None,
    };
    read.unwrap_or(('\\', 0))
}

/// Takes the quoted pieces out of other words; a mark within a word, such as an apostrophe, opens nothing.
pub(super) fn pieces(answer: &str) -> Option<Found> {
    let mut found = Found { closed: true, ..Found::default() };
    let mut place: Option<(usize, usize)> = None;
    let (mut at, mut before) = (0, None);
    while let Some(c) = answer[at..].chars().next() {
        let start = at + c.len_utf8();
        let opens = closers(c).filter(|_| !before.is_some_and(char::is_alphanumeric));
        let piece = opens.and_then(|closers| piece(&answer[start..], closers));
        match piece {
            Some((words, length)) => {
                found.items.push(words.to_owned());
                place = Some((place.map_or(at, |(first, _)| first), start + length));
                (at, before) = (start + length, None);
            }
            None => (at, before) = (start, Some(c)),
        }
    }
    let (start, end) = place?;
    found.place = start..end;
    // Words between the pieces are prose as much as those around them.
    let between: usize = found.items.iter().map(String::len).sum();
    if answer[start..end].len() > between + 6 * found.items.len() {
        found.place = start..start;
    }
    Some(found)
}

/// Reads a piece up to the first mark that closes it and that no letter follows.
fn piece<'a>(text: &'a str, closers: &[char]) -> Option<(&'a str, usize)> {
    let line = text.lines().next()?;
    let (at, mark) = line.match_indices(closers).find(|(at, mark)| {
        !line[at + mark.len()..].starts_with(char::is_alphanumeric) && line[..*at].contains(char::is_alphanumeric)
    })?;
    Some((&line[..at], at + mark.len()))
}
