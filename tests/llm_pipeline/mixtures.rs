//! Any engine in any stage.

use noso::data::{DecidedBy, Step};

use super::*;

#[test]
fn the_shipped_recogniser_with_the_model_s_choice() {
    let select = script(|request| surely(request, "1", 0.7));
    let models = Models { extract: None, select: Some(select.clone() as Arc<dyn Generate>) };
    let settings = ["rerank.engine=llm", "rerank.llm.direct_match=false"];
    let pipeline = Pipeline::with_models(&config("default", &settings), &models).unwrap();
    let coded = code(&pipeline, "Диагноз: хронический гастрит вне обострения.");
    assert!(!coded.codings.is_empty() && coded.codings.len() == select.requests().len());
    assert!(steps(&coded).iter().all(|step| *step == Step::Select));
    assert!(coded.codings.iter().all(|coding| coding.decided_by == DecidedBy::Model && coding.confidence == 0.7));
}

#[test]
fn the_model_s_mentions_with_the_shipped_choice() {
    let text = "Хронический гастрит (K29.3), дуоденит. ОРВИ (J06.9)";
    // The answer's order, overlaps and nesting are the model's own.
    let extract = says("['ОРВИ', 'гастрит', 'Хронический гастрит', 'гастрит (K29.3), дуоденит', 'дуоденит']");
    let models = Models { extract: Some(extract.clone() as Arc<dyn Generate>), select: None };
    let pipeline = Pipeline::with_models(&config("llm", &["rerank.engine=nearest"]), &models).unwrap();
    let coded = code(&pipeline, text);
    let words: Vec<&str> = coded.codings.iter().map(|coding| coding.mention.text.as_str()).collect();
    assert_eq!(words, ["Хронический гастрит", "гастрит", "гастрит (K29.3), дуоденит", "дуоденит", "ОРВИ"]);
    assert_eq!(steps(&coded), [Step::Extract]);
    let told: Vec<_> =
        coded.codings.iter().map(|coding| (coding.decided_by, coding.code.as_ref().unwrap().as_str())).collect();
    // The written code belongs to both mentions that end before it, and to none that it lies in.
    assert_eq!(told[..2], [(DecidedBy::Written, "K29.3"), (DecidedBy::Written, "K29.3")]);
    assert_eq!(told[4], (DecidedBy::Written, "J06.9"));
    assert!(told[2..4].iter().all(|(by, _)| *by == DecidedBy::Nearest), "{told:?}");
}

#[test]
fn known_mentions_are_coded_without_extraction() {
    let text = "Хронический гастрит вне обострения";
    let documents = [document(text), document("")];
    let extract = says("['Хронический гастрит вне обострения']");
    let select = says("1");
    let pipeline = pipeline("llm", &[], &extract, &select);
    let known: Vec<_> = code(&pipeline, text).codings.into_iter().map(|coding| coding.mention).collect();
    let linked = pipeline.link(&documents, vec![Ok(known.into()), Ok(Vec::new().into())]);
    assert_eq!(linked.iter().map(|coded| coded.as_ref().unwrap().codings.len()).collect::<Vec<_>>(), [1, 0]);
    assert_eq!((extract.requests().len(), select.requests().len()), (1, 2));
}
