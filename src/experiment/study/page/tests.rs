use super::*;
use crate::{
    diagnosis::statistics::Statistics,
    experiment::study::{Courses, Reliability, Transition},
};

fn statistics(records: usize) -> Statistics {
    Statistics {
        records,
        patients: 164_527,
        codes: 3546,
        codes_a_patient: [3.04, 2.11],
        earlier: [15.0, 36.0, 73.0],
        words: [77.0, 167.0, 316.0],
        age: [59.0, 67.0, 74.0],
        male: 0.694,
    }
}

fn measure(name: &str, [original, linked]: [f64; 2], interval: [f64; 2]) -> Measure {
    Measure {
        name: name.into(),
        original,
        linked,
        difference: ((linked - original) * 1000.0).round() / 1000.0,
        interval,
    }
}

fn code(text: &str, title: &str, trained: [u64; 2], tested: u64, f1: [f64; 2]) -> CodeOutcome {
    CodeOutcome { code: text.parse().unwrap(), title: title.into(), trained, tested, f1 }
}

fn outcome() -> Outcome {
    Outcome {
        title: "Study of <script>alert(1)</script> & «кавычки»".into(),
        is_simulated: false,
        noso: "0.1.0".into(),
        commit: "0123abc".into(),
        machine: "2 cores".into(),
        seconds: 11_520.0,
        settings: "title = \"<b>\"\n".into(),
        sources: [("table".to_owned(), "0a1b".to_owned())].into(),
        failures: 0,
        notes: vec!["Left out: 3 records < 5 words.".into()],
        statistics: Table2 { original: statistics(865_539), linked: statistics(865_000), manual: statistics(494) },
        measures: vec![
            measure("weighted F1", [0.2, 0.48], [0.22, 0.334]),
            measure("exact match", [0.1, 0.09], [-0.03, 0.01]),
        ],
        runs: vec![[0.2, 0.48]],
        even_runs: vec![[0.1, 0.4]],
        courses: Courses { original: vec![[100.0, 0.2]], linked: vec![] },
        codes: vec![
            code("I25.1", "<script>«Атеросклеротическая» болезнь", [1200, 4500], 40, [0.2, 0.58]),
            code("E11.9", "Сахарный диабет", [900, 300], 20, [0.5, 0.4]),
            code("Z99.9", "Без случаев", [3, 0], 0, [f64::NAN, 0.0]),
        ],
        transitions: vec![],
        reliability: Reliability::default(),
        sweep: None,
    }
}

/// Checks that every element of a picture is closed, in the order of opening.
fn check_svg(svg: &str) {
    let mut open = Vec::new();
    for tag in svg.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').expect("a tag ends");
        assert!(!text.contains('>'), "{text}");
        let name = tag.split_whitespace().next().unwrap();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None if tag.ends_with('/') => {}
            None => open.push(name),
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
    }
    assert!(open.is_empty(), "{open:?}");
}

fn pictures(page: &str) -> Vec<&str> {
    let picture = |(start, _)| &page[start..start + page[start..].find("</svg>").expect("a picture ends") + 6];
    page.match_indices("<svg").map(picture).collect()
}

#[test]
fn a_page_holds_everything_escaped() {
    let page = page(&outcome()).unwrap();
    for part in [
        "Study of &lt;script&gt;alert(1)&lt;&#x2f;script&gt; &amp; «кавычки»",
        "predicts diagnoses better: weighted F1 0.480 with linked labels against 0.200",
        "(95 % interval +0.220 to +0.334)",
        "exact match",
        "<td>865,539</td><td>865,000</td><td>494</td>",
        "3.0 ± 2.1",
        "15 · 36 · 73",
        "69 %",
        "&lt;script&gt;«Атеросклеротическая» болезнь",
        "Left out: 3 records &lt; 5 words.",
        "title = &quot;&lt;b&gt;&quot;",
        "<td><code>0a1b</code></td>",
        "The coder found every code that doctors typed.",
        "(without 1 code that no test record has)",
        "noso 0.1.0 (commit 0123abc) in 3 h 12 min on 2 cores",
    ] {
        assert!(page.contains(part), "{part} is not in\n{page}");
    }
    for part in ["<script", "NaN", "none</", "undefined", "http://localhost", "inf"] {
        assert!(!page.contains(part), "{part}");
    }
    let pictures = pictures(&page);
    assert_eq!(pictures.len(), 3, "figures 4, 5 and 6");
    pictures.iter().for_each(|picture| check_svg(picture));
    assert!(pictures[0].contains("0.200") && pictures[2].contains("I25.1"));
}

#[test]
fn transitions_are_drawn_with_titles_and_changes() {
    let mut outcome = outcome();
    let to = vec![("I25.1".parse().unwrap(), 40), ("Z99.9".parse().unwrap(), 9), ("A00".parse().unwrap(), 1)];
    outcome.transitions = vec![Transition { from: "E11.9".parse().unwrap(), records: 100, to }];
    let page = page(&outcome).unwrap();
    let pictures = pictures(&page);
    check_svg(pictures[3]);
    for part in ["&lt;script", "40 records, 40 %", "+0.38", "not in the test", "100 training records"] {
        assert!(pictures[3].contains(part), "{part} is not in {}", pictures[3]);
    }
}

#[test]
fn the_finding_goes_by_the_interval() {
    let finding = |interval| Finding::of(&[measure("weighted F1", [0.3, 0.3], interval)]);
    assert_eq!(finding([0.001, 0.2]).better, Better::Linked);
    assert_eq!(finding([-0.2, -0.001]).better, Better::Original);
    let chance = finding([-0.01, 0.02]);
    assert!(
        chance.better == Better::Neither && chance.sentence.contains("no difference that chance could not explain")
    );
    let both = [measure("weighted F1", [0.3, 0.3], [-0.1, 0.1]), measure(EVEN_THRESHOLD, [0.1, 0.2], [0.05, 0.15])];
    let both = Finding::of(&both);
    assert!(both.better == Better::Neither && both.sentence.contains("likelier than not, it is 0.200 with linked"));
    assert!(Finding::of(&[]).sentence.contains("Nothing"));
}

#[test]
fn an_outcome_without_anything_gives_a_page() {
    let outcome = Outcome { measures: vec![], courses: Courses::default(), codes: vec![], notes: vec![], ..outcome() };
    let page = page(&outcome).unwrap();
    assert!(pictures(&page).is_empty() && page.contains("Nothing was measured."), "{page}");
}

#[test]
fn an_outcome_is_read_as_it_was_written() {
    let mut written = outcome();
    written.codes.pop(); // JSON has no NaN
    written.measures.pop(); // nor the last digit of every number
    let read: Outcome = serde_json::from_str(&serde_json::to_string(&written).unwrap()).unwrap();
    assert_eq!(read, written);
}
