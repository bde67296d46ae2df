//! A note on its way through extraction, retrieval and selection.

use noso::{
    Error,
    config::PipelineConfig,
    data::{DecidedBy, Match, Role, Step},
    llm::{
        Constraint,
        scripted::{failure, said},
    },
    pipeline::{Models, Pipeline},
};

use super::*;

const NOTE: &str = "Жалобы на изжогу. Гастрит хр. поверхностный, вне обострения; давление как при гипертонии 2 ст.";

#[test]
fn a_note_goes_through() {
    let extract = says("['Гастрит хр. поверхностный', 'гипертонии 2 ст']");
    let select = script(|request| surely(request, "2", 0.58));
    let coded = code(&pipeline("llm", &[], &extract, &select), NOTE);
    let words: Vec<&str> = coded.codings.iter().map(|coding| coding.mention.text.as_str()).collect();
    assert_eq!(words, ["Гастрит хр. поверхностный", "гипертонии 2 ст"]);
    assert_eq!(steps(&coded), [Step::Extract, Step::Select, Step::Select]);
    let asked = select.requests();
    for (coding, request) in coded.codings.iter().zip(&asked) {
        let listed = offered(request);
        assert_eq!(listed.len(), 15);
        assert!(question(request).contains(&coding.mention.text));
        let labels = (0..=15).map(|number| number.to_string()).collect();
        assert_eq!(request.constraint, Constraint::Choice { labels });
        // The second of the list was chosen: it comes first, and its probability is the confidence.
        assert_eq!(coding.candidates.len(), 15);
        assert_eq!(*coding.candidates[0].text, listed[1]);
        assert_eq!(coding.code.as_ref(), Some(&coding.candidates[0].code));
        assert_eq!((coding.confidence, coding.decided_by), (0.58, DecidedBy::Model));
        // The other 15 labels have 0.42 together, 0.028 each.
        let group = coding.candidates[0].code.group();
        let others = coding.candidates[1..].iter().filter(|candidate| candidate.code.group() == group).count();
        assert!((coding.group_confidence - (0.58 + 0.028 * others as f32)).abs() < 1e-5);
        assert_eq!(coding.span, Some(coding.mention.span));
    }
    assert!(coded.codings[0].code.as_ref().is_some_and(|code| code.group() == "K29"), "{:?}", codes(&coded));
    assert!(coded.codings[0].group_confidence > 0.6);
    let selections = &coded.trace.exchanges[1..];
    assert!(selections.iter().zip(&coded.codings).all(|(exchange, coding)| {
        exchange.mention == Some(coding.mention.span) && exchange.confidence == Some(0.58) && exchange.answer == "2"
    }));
    assert!(coded.trace.faults.is_empty());
}

#[test]
fn the_candidates_keep_their_order_where_no_probability_is_told() {
    let extract = says("['Гастрит хр. поверхностный']");
    let select = says("3");
    let coded = code(&pipeline("llm", &["rerank.llm.decoding=free"], &extract, &select), NOTE);
    let listed = offered(&select.requests()[0]);
    let shown: Vec<&str> = coded.codings[0].candidates.iter().map(|candidate| &*candidate.text).collect();
    assert_eq!(shown[..4], [&listed[2], &listed[0], &listed[1], &listed[3]]);
    assert_eq!((coded.codings[0].confidence, coded.codings[0].decided_by), (0.0, DecidedBy::Model));
}

#[test]
fn none_of_these_is_no_code_and_a_pipeline_may_forbid_it() {
    let extract = says("['Гастрит хр. поверхностный']");
    let none = says("0");
    let coded = code(&pipeline("llm", &[], &extract, &none), NOTE);
    assert_eq!((codes(&coded), coded.codings[0].decided_by), (vec![None], DecidedBy::Abstained));
    assert_eq!(coded.codings[0].candidates.len(), 15);
    assert_eq!(coded.trace.exchanges[1].outcome, "none of these");
    assert!(coded.trace.faults.is_empty());

    let first = script(|request| surely(request, "1", 0.9));
    let coded = code(&pipeline("llm", &["rerank.llm.none_allowed=false"], &extract, &first), NOTE);
    let labels = (1..=15).map(|number| number.to_string()).collect();
    assert_eq!(first.requests()[0].constraint, Constraint::Choice { labels });
    assert_eq!(
        (coded.codings[0].confidence, &*coded.codings[0].candidates[0].text),
        (0.9, &*offered(&first.requests()[0])[0])
    );
}

#[test]
fn an_entry_with_the_mention_s_words_needs_no_question() {
    let text = "ХРОНИЧЕСКИЙ - поверхностный гастрит!\nСредний отит неуточнённый.";
    let extract = says("['ХРОНИЧЕСКИЙ - поверхностный гастрит', 'Средний отит неуточнённый']");
    let select = says("0");
    let coded = code(&pipeline("llm", &[], &extract, &select), text);
    assert_eq!(codes(&coded), [Some("K29.3".into()), Some("H66.9".into())]);
    assert!(coded.codings.iter().all(|coding| coding.decided_by == DecidedBy::Direct && coding.confidence > 0.5));
    assert!(coded.codings.iter().all(|coding| coding.candidates.len() == 15));
    assert!(select.requests().is_empty());
    // As many candidates as are offered make no difference: the equal entry counts, however many rows speak for others.
    let coded = code(&pipeline("llm", &["rerank.candidates=1"], &extract, &select), text);
    assert_eq!(codes(&coded), [Some("K29.3".into()), Some("H66.9".into())]);

    let asked = code(&pipeline("llm", &["rerank.llm.direct_match=false"], &extract, &select), text);
    assert_eq!((codes(&asked), select.requests().len()), (vec![None, None], 2));
}

#[test]
fn the_kth_quotation_takes_the_kth_place() {
    let text = "Гастрит? Нет. Гастрит! Дуоденитт, гастродуоденит.";
    let extract = says("['Гастрит', 'Дуоденит', 'Гастрит', 'перелом бедра', 'Гастрит']");
    let coded = code(&pipeline("llm", &[], &extract, &says("1")), text);
    let found: Vec<_> =
        coded.codings.iter().map(|coding| (coding.mention.span.start_byte(), coding.mention.matched)).collect();
    let second = text.rfind("Гастрит").unwrap();
    assert_eq!(found[..2], [(0, Match::Exact), (second, Match::Exact)]);
    assert_eq!(found.len(), 3);
    assert_eq!(coded.trace.exchanges[0].outcome, "5 quoted, 3 found in the text");
    let lost: Vec<_> = coded.trace.faults.iter().map(|faulty| (faulty.fault, faulty.text.as_str())).collect();
    assert!(
        lost.contains(&(AnswerFault::NotFound, "перелом бедра")) && lost.contains(&(AnswerFault::Repeated, "Гастрит"))
    );

    let misquoted = says("['Хронический гастритт']");
    let text = "Хранический гастрит.";
    let coded = code(&pipeline("llm", &[], &misquoted, &says("1")), text);
    assert_eq!(coded.codings[0].mention.text, "Хранический гастрит", "without the full stop");
    assert_eq!((coded.codings[0].mention.matched, faults(&coded)), (Match::Edited(2), vec![AnswerFault::Misquoted]));
}

#[test]
fn a_request_that_fails_fails_its_document_only() {
    let texts = ["Гастрит хр. слабый", "сбой при извлечении", "", "бронхит со сбоем", "Отит и гастрит слева"];
    let documents: Vec<Document> = texts.iter().map(|text| document(text)).collect();
    let extract = Arc::new(Scripted::new(|request| match question(request) {
        text if text.contains("сбой при") => Err(failure("the first model fails", false)),
        text if text.contains("сбоем") => Ok(said(request, "['бронхит', 'со сбоем']")),
        text => Ok(said(request, &format!("['{text}']"))),
    }));
    let select = Arc::new(Scripted::new(|request| match question(request).contains("со сбоем") {
        true => Err(failure("the second model fails", false)),
        false => Ok(said(request, "1")),
    }));
    let outcomes = pipeline("llm", &[], &extract, &select).code(&documents);
    assert_eq!(outcomes.len(), 5);
    let told: Vec<std::result::Result<usize, String>> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Ok(coded) => Ok(coded.codings.iter().filter(|coding| coding.code.is_some()).count()),
            Err(Error::Generation { reason, .. }) => Err(reason.clone()),
            Err(other) => panic!("another error: {other}"),
        })
        .collect();
    let failed = |model: &str| Err(format!("the {model} model fails"));
    assert_eq!(told, [Ok(1), failed("first"), Ok(0), failed("second"), Ok(1)]);
}

#[test]
fn examples_stand_before_the_question() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text, entity, code) in [
        ("a", "Жалобы: насморк. Ринит острый.", "T1\ticd_code 17 29\tРинит острый\n", "J00"),
        ("b", "Боли в колене. Ушиб колена справа.", "T1\ticd_code 15 26\tУшиб колена\n", "S80.0"),
        ("c", "Жалобы: зуд. Дерматит кистей.", "T1\ticd_code 13 28\tДерматит кистей\n", "L30.9"),
    ] {
        let entity = format!("{entity}N1\tReference T1 ICD_codes:1 {code}\t{code}\n");
        std::fs::write(folder.path().join(format!("{name}.txt")), text).unwrap();
        std::fs::write(folder.path().join(format!("{name}.ann")), entity).unwrap();
    }
    let examples = format!("ner.llm.examples={:?}", folder.path().display().to_string());
    let extract = says("[]");
    code(&pipeline("llm", &["ner.llm.shots=2", &examples], &extract, &says("1")), "Жалобы: зуд. Ринит.");
    let messages = &extract.requests()[0].messages;
    let roles: Vec<Role> = messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::User, Role::Assistant, Role::User]);
    // The two that are most alike, the most alike one next to the question.
    let said: Vec<&str> = messages[1..].iter().map(|message| message.content.as_str()).collect();
    assert_eq!((said[1], said[3]), ("['Ринит острый']", "['Дерматит кистей']"));
    assert_eq!(said[4], "Жалобы: зуд. Ринит.");

    let examples = format!("rerank.llm.examples={:?}", folder.path().display().to_string());
    let select = says("1");
    code(&pipeline("llm", &["rerank.llm.shots=1", &examples], &says("['зуд уха']"), &select), "Жалобы: зуд уха.");
    let messages = &select.requests()[0].messages;
    assert_eq!(messages.len(), 4); // the system's, the example's two, the question
    assert!(messages[1].content.contains("15. ") && messages[3].content.contains("зуд уха"), "{}", messages[1].content);
    assert!(messages[2].content.parse::<usize>().is_ok_and(|number| number <= 15), "{}", messages[2].content);

    let without = PipelineConfig::load("llm", &["llm.model=x".into(), "ner.llm.shots=2".into()]);
    assert!(without.unwrap_err().to_string().contains("ner.llm.examples"));
}

#[test]
fn a_stage_without_its_model_says_so() {
    let error = Pipeline::with_models(&config("llm", &[]), &Models::default()).err().unwrap();
    assert!(error.to_string().contains("llm.model"), "{error}");
}
