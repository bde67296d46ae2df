use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn owned(quotes: &[&str]) -> Vec<String> {
    quotes.iter().map(|&quote| quote.to_owned()).collect()
}

/// Places as `start..end` in characters with the distance, then the faults.
fn found(text: &str, quotes: &[&str], limit: EditLimit) -> (Vec<(String, u32)>, Vec<AnswerFault>) {
    let aligned = align(text, &owned(quotes), limit);
    let mentions = aligned.mentions.iter().map(|mention| {
        assert_eq!(mention.span.slice(text), mention.text);
        let distance = match mention.matched {
            Match::Exact => 0,
            Match::Edited(distance) => distance,
        };
        (mention.text.clone(), distance)
    });
    (mentions.collect(), aligned.faults.iter().map(|faulty| faulty.fault).collect())
}

#[test]
fn a_table_of_quotations() {
    use AnswerFault::{EmptyItem, Misquoted, NotFound, Repeated};
    type Case<'a> = (&'a str, &'a [&'a str], &'a [(&'a str, u32)], &'a [AnswerFault]);
    let cases: [Case; 28] = [
        // to the letter, in text order
        ("Ринит. Острый отит", &["Острый отит", "Ринит"], &[("Ринит", 0), ("Острый отит", 0)], &[]),
        // typos: a letter changed, left out, put in; two of them
        ("Острый синусит слева", &["Острый сенусит"], &[("Острый синусит", 1)], &[Misquoted]),
        ("Острый синусит слева", &["Острый сиусит"], &[("Острый синусит", 1)], &[Misquoted]),
        ("Острый синусит слева", &["Острыий синуситт"], &[("Острый синусит", 2)], &[Misquoted]),
        ("Острый синусит слева", &["Острэй сенуситт"], &[], &[NotFound]),
        // a sign after the words is not taken for a letter too many
        ("Острый синусит. Ринит", &["Острый синуситт"], &[("Острый синусит", 1)], &[Misquoted]),
        // case is an edit as any other
        ("Острый синусит", &["острый синусит"], &[("Острый синусит", 1)], &[Misquoted]),
        // a word's end that was left out is taken to the end of the word
        ("Был гастритом болен", &["Был гостритом"], &[("Был гастритом", 1)], &[Misquoted]),
        // the k-th quotation takes the k-th place; one too many is told
        ("отит, ринит, отит", &["отит", "отит", "отит"], &[("отит", 0), ("отит", 0)], &[Repeated]),
        ("сенусит, ринит, сенусит", &["синусит", "синусит"], &[("сенусит", 1), ("сенусит", 1)], &[Misquoted; 2]),
        ("сенусит", &["синусит", "синусит"], &[("сенусит", 1)], &[Misquoted, Repeated]),
        // places of the same words do not overlap
        ("а а а", &["а а", "а а"], &[("а а", 0)], &[Repeated]),
        // overlapping and nested ones are kept, the same place once
        ("острый отит и ринит", &["острый отит", "отит и ринит"], &[("острый отит", 0), ("отит и ринит", 0)], &[]),
        ("острый отит", &["отит", "острый отит"], &[("острый отит", 0), ("отит", 0)], &[]),
        ("острый отит", &["острый отит", "острый отет"], &[("острый отит", 0)], &[Repeated]),
        // line breaks and blanks are one
        ("сахарный\r\n  диабет", &["сахарный диабет"], &[("сахарный\r\n  диабет", 0)], &[]),
        ("сахарный диабет", &["\tсахарный\n\nдиабет "], &[("сахарный диабет", 0)], &[]),
        ("  ХОБЛ  \n", &["ХОБЛ"], &[("ХОБЛ", 0)], &[]),
        // ё and hyphen
        ("Мочекаменная болезнь, желчь", &["Мочёкаменная болезнь"], &[("Мочекаменная болезнь", 1)], &[Misquoted]),
        ("Железо-дефицитная анемия", &["Железодефицитная анемия"], &[("Железо-дефицитная анемия", 1)], &[Misquoted]),
        // an abbreviation stands alone, or, failing that, within a word; a quarter of it may be misquoted
        ("ГБУЗ 3: ГБ II", &["ГБ"], &[("ГБ", 0)], &[]),
        ("ГБУЗ 3: ГБ II", &["ГБ", "ГБ"], &[("ГБ", 0)], &[Repeated]),
        ("ГЭРБ", &["ЦВБЗ"], &[], &[NotFound]),
        ("у ГЭРБ", &["ГЕРБ"], &[("ГЭРБ", 1)], &[Misquoted]),
        ("ИБС", &["ХБП"], &[], &[NotFound]),
        // quotation marks around the words do not count, within them they do
        ("синдром «сухого глаза»", &["«синдром «сухого глаза»»"], &[("синдром «сухого глаза»", 0)], &[]),
        ("ИБС и др", &["\" ИБС", "'др'", "«»", " "], &[("ИБС", 0), ("др", 0)], &[EmptyItem; 2]),
        // more than one code point a sign
        ("🫀🦴 и\u{306}од, ринит", &["🫀🦴", "и\u{306}од", "ренит 🫀"], &[("🫀🦴", 0), ("и\u{306}од", 0)], &[NotFound]),
    ];
    for (text, quotes, mentions, faults) in cases {
        let expected: Vec<(String, u32)> = mentions.iter().map(|&(text, edits)| (text.to_owned(), edits)).collect();
        assert_eq!(found(text, quotes, EditLimit::default()), (expected, faults.to_vec()), "{quotes:?} in {text:?}");
    }
}

#[test]
fn the_papers_limit_takes_what_the_default_refuses() {
    assert_eq!(found("ГЭРБ", &["ГРБ"], EditLimit::Fixed(2)).0, [("ГЭРБ".to_owned(), 1)]);
    assert_eq!(found("ХСН", &["ИБС"], EditLimit::Fixed(2)).0, [("ХС".to_owned(), 2)], "two edits make it anything");
    assert_eq!(found("ХСН", &["ИБ"], EditLimit::Fixed(2)).0, [], "nothing in common");
    assert_eq!(found("ГЭРБ", &["ГРБ"], EditLimit::Quarter).0, []);
    assert_eq!(found("", &["ИБС"], EditLimit::Fixed(9)).1, [AnswerFault::NotFound]);
}

#[test]
fn faults_stand_in_the_order_of_the_quotations_and_quote_them() {
    let aligned = align("Острый отит", &owned(&["грипп", " ", "Острый отет"]), EditLimit::Quarter);
    let faults: Vec<_> = aligned.faults.iter().map(|faulty| (faulty.fault, faulty.text.as_str())).collect();
    let expected =
        [(AnswerFault::NotFound, "грипп"), (AnswerFault::EmptyItem, " "), (AnswerFault::Misquoted, "Острый отет")];
    assert_eq!(faults, expected);
}

/// A wording with 0 to 2 edits made to it: each changes, inserts or removes a character.
fn edited(words: &str, edits: &[(usize, u8, char)]) -> String {
    let mut chars: Vec<char> = words.chars().collect();
    for &(at, kind, c) in edits {
        let at = at % chars.len();
        match kind % 3 {
            0 => chars[at] = c,
            1 => chars.insert(at, c),
            _ if chars.len() > 1 => drop(chars.remove(at)),
            _ => {}
        }
    }
    chars.into_iter().collect()
}

/// The distance and start of the best piece, by looking at all of them.
fn best_by_trial(text: &str, words: &str, limit: usize) -> Option<(usize, bool, usize)> {
    let chars: Vec<char> = text.chars().collect();
    let within = |at: usize| at > 0 && at < chars.len() && chars[at - 1] != ' ' && chars[at] != ' ';
    let pieces = (0..chars.len()).flat_map(|start| (start + 1..=chars.len()).map(move |end| (start, end)));
    pieces
        .filter(|&(start, end)| chars[start] != ' ' && chars[end - 1] != ' ')
        .map(|(start, end)| {
            let piece: String = chars[start..end].iter().collect();
            (strsim::levenshtein(&piece, words), within(start) || within(end), start)
        })
        .filter(|&(distance, ..)| distance <= limit)
        .min()
}

proptest! {
    #[test]
    fn a_planted_quotation_is_found_no_farther_than_planted(
        words in "[аб]{1,4}( [аб]{1,4}){1,2}", before in "[аб ]{0,12}", after in "[аб ]{0,12}",
        edits in prop::collection::vec((0..99usize, any::<u8>(), prop::char::range('а', 'в')), 0..=2),
    ) {
        let (text, quote) = (folded(&format!("{before}{words}{after}")), edited(&words, &edits));
        let quote = folded(&quote);
        // A blank that goes with the word between two is one more edit.
        prop_assume!(quote.chars().count() > 2 && strsim::levenshtein(&words, &quote) <= 2);
        let aligned = align(&text, std::slice::from_ref(&quote), EditLimit::Fixed(2));
        let mention = aligned.mentions.first().expect("found");
        prop_assert_eq!(mention.span.slice(&text), &mention.text);
        let distance = strsim::levenshtein(&mention.text, &quote);
        prop_assert!(distance <= strsim::levenshtein(&words, &quote));
        prop_assert_eq!(mention.matched, if distance == 0 { Match::Exact } else { Match::Edited(distance as u32) });
        // The nearest piece, of these whole words, of these the leftmost.
        let start = text[..mention.span.start_byte()].chars().count();
        let best = best_by_trial(&text, &quote, 2).expect("the planted one is near enough");
        prop_assert_eq!((distance, start), (best.0, best.2));
    }

    #[test]
    fn any_quotations_of_any_text_give_places_of_the_text(
        text in "(\\PC|[ \n\u{306}]){0,40}", quotes in prop::collection::vec("(\\PC|[ \n'\"]){0,12}", 0..5),
    ) {
        for limit in [EditLimit::Quarter, EditLimit::Fixed(2), EditLimit::Fixed(usize::MAX)] {
            let aligned = align(&text, &quotes, limit);
            prop_assert!(aligned.mentions.len() <= quotes.len());
            prop_assert!(aligned.mentions.windows(2).all(|pair| pair[0].span < pair[1].span));
            for mention in &aligned.mentions {
                prop_assert_eq!(mention.span.slice(&text), &mention.text);
                prop_assert_eq!(mention.text.trim(), &mention.text);
            }
        }
    }
}

/// 100 KB of invented notes; of the quotations a third is right, a third misquoted, a third not there.
#[test]
fn a_long_document_takes_little_time() {
    let (sites, kinds) = (["желудка", "лёгких", "почек", "печени", "сустава"], ["острый", "хронический", "очаговый"]);
    let mut text = String::new();
    let mut quotes = Vec::new();
    for number in 0.. {
        if text.len() >= 100_000 {
            break;
        }
        let note = format!("{} процесс {number} {}", kinds[number % 3], sites[number % 5]);
        text.push_str(&format!("Осмотр врача: {note}, жалобы прежние.\n"));
        if quotes.len() < 200 && number % 4 == 0 {
            quotes.push(match quotes.len() % 3 {
                0 => note,
                1 => note.replacen("процесс", "працес", 1),
                _ => format!("вывих {number} пальца левой стопы, неосложнённый"),
            });
        }
    }
    let start = Instant::now();
    let aligned = align(&text, &quotes, EditLimit::Quarter);
    let taken = start.elapsed();
    println!("{} bytes, {} quotations: {} mentions in {taken:?}", text.len(), quotes.len(), aligned.mentions.len());
    assert_eq!((quotes.len(), aligned.mentions.len()), (200, 134));
    assert!(taken < Duration::from_secs(3), "{taken:?}");
}
