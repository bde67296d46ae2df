//! Where the model is unsure: other words, then the tree of the classification.

use noso::data::{DecidedBy, Step};

use super::*;

const NOTE: &str = "Жалоб нет. Шум под ложечкой, ОНМК?";
const QUOTED: &str = "['Шум под ложечкой']";

/// Answers the questions of each kind; `select` also learns how many selections were asked before.
fn agent(
    select: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static,
    reword: &str,
    descend: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) -> Arc<Scripted> {
    let reword = reword.to_owned();
    let asked = std::sync::atomic::AtomicUsize::new(0);
    script(move |request| match step(request) {
        Step::Select => select(request, asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst)),
        Step::Reword => said(request, &reword),
        Step::Descend => descend(request),
        Step::Extract => panic!("the other model extracts"),
    })
}

fn looked(settings: &[&str], model: &Arc<Scripted>) -> Coded {
    code(&pipeline("llm", settings, &says(QUOTED), model), NOTE)
}

#[test]
fn other_words_bring_new_candidates() {
    let select = |request: &Request, before: usize| surely(request, ["0", "1"][before.min(1)], 0.8);
    let model = agent(select, "['Хронический гастрит неуточненный', 'гастропатия']", |_| panic!("no walk"));
    let coded = looked(&["second_look.rounds=2"], &model);
    assert_eq!(steps(&coded), [Step::Extract, Step::Select, Step::Reword, Step::Select]);
    assert_eq!(codes(&coded), [Some("K29.5".into())]);
    let coding = &coded.codings[0];
    assert_eq!((coding.confidence, coding.decided_by), (0.8, DecidedBy::Model));
    assert_eq!(coding.mention.text, "Шум под ложечкой");
    let asked = model.requests();
    let (first, reworded, second) = (offered(&asked[0]), &asked[1], offered(&asked[2]));
    // What was refused is told; what was found is offered first.
    assert!(first.iter().all(|line| question(reworded).contains(&format!("- {line}"))));
    assert!(question(reworded).contains(NOTE));
    assert_eq!((second[0].as_str(), second.len()), ("Хронический гастрит неуточненный", 15));
    assert!(question(&asked[2]).contains("Шум под ложечкой"), "the mention itself is asked about");
    let exchange = &coded.trace.exchanges[2];
    assert_eq!(exchange.outcome, "Хронический гастрит неуточненный; гастропатия");
    assert_eq!(exchange.mention, Some(coding.mention.span));
}

#[test]
fn a_surer_second_answer_replaces_the_first() {
    for (second, replaced) in [(0.2, false), (0.45, true), (0.9, true)] {
        let select = move |request: &Request, before: usize| surely(request, "1", [0.4, second][before]);
        let model = agent(select, "['Гастрит']", |_| panic!("no walk"));
        let coded = looked(&["second_look.rounds=2"], &model);
        assert_eq!(steps(&coded).len(), 4);
        let coding = &coded.codings[0];
        let asked = model.requests();
        let (first, second_list) = (offered(&asked[0]), offered(&asked[2]));
        assert_ne!(first[0], second_list[0]);
        assert!(second_list.contains(&first[0]), "the choice that stands is offered again");
        assert_eq!(coding.confidence, if replaced { second } else { 0.4 });
        assert_eq!(*coding.candidates[0].text, if replaced { second_list[0].clone() } else { first[0].clone() });
    }
}

#[test]
fn who_is_sure_enough_or_tells_no_probability_is_not_asked_again() {
    let sure = agent(|request, _| surely(request, "1", 0.6), "[]", |_| panic!("no walk"));
    assert_eq!(steps(&looked(&["second_look.rounds=4"], &sure)), [Step::Extract, Step::Select]);
    assert_eq!(
        steps(&looked(&["second_look.rounds=2", "second_look.below=0.7"], &sure)),
        [Step::Extract, Step::Select, Step::Reword]
    );
    let silent = says("1");
    let settings = ["second_look.rounds=3", "rerank.llm.decoding=free"];
    assert_eq!(steps(&looked(&settings, &silent)), [Step::Extract, Step::Select]);
}

#[test]
fn one_round_asks_nothing_more() {
    let model = agent(|request, _| said(request, "0"), "['Гастрит']", |_| panic!("no walk"));
    assert_eq!(steps(&looked(&["second_look.rounds=1"], &model)), [Step::Extract, Step::Select]);
}

/// Chooses the way to `K29.5` through the classification, each step with this probability.
fn to_gastritis(request: &Request, probability: f32) -> Answer {
    let leads = |line: &str| {
        let code = line.split(' ').next().unwrap_or_default();
        match code.split_once('-') {
            Some((first, last)) => first <= "K29" && "K29" <= last,
            None => {
                code == "K29.5"
                    || (code == "K29"
                        && !line.contains('.')
                        && !offered(request).iter().any(|l| l.starts_with("K29.5")))
            }
        }
    };
    surely(request, &number_of(request, leads), probability)
}

#[test]
fn the_last_round_walks_down_the_classification() {
    let model = agent(|request, _| said(request, "0"), "['Шум']", |request| to_gastritis(request, 0.9));
    let coded = looked(&["second_look.rounds=3"], &model);
    let descents = [Step::Descend; 4]; // chapter, tens of categories, category, code
    assert_eq!(steps(&coded), [&[Step::Extract, Step::Select, Step::Reword, Step::Select][..], &descents].concat());
    assert_eq!(codes(&coded), [Some("K29.5".into())]);
    let coding = &coded.codings[0];
    assert_eq!(coding.decided_by, DecidedBy::Model);
    assert!((coding.confidence - 0.9f32.powi(4)).abs() < 1e-4, "{}", coding.confidence);
    // The last step was within the category: all but the share of 0 speaks for K29.
    assert!(coding.group_confidence > 0.71 && coding.group_confidence < 0.9f32.powi(3), "{}", coding.group_confidence);
    assert_eq!(&*coding.candidates[0].title, "Хронический гастрит неуточненный");
    let outcomes: Vec<&str> = coded.trace.exchanges[4..].iter().map(|exchange| exchange.outcome.as_str()).collect();
    assert!(outcomes[0].ends_with("Болезни органов пищеварения"), "{outcomes:?}");
    assert_eq!(outcomes[2..], ["K29 Гастрит и дуоденит", "K29.5 Хронический гастрит неуточненный"]);
    assert!(coded.trace.exchanges[4..].iter().all(|exchange| exchange.confidence == Some(0.9)));

    let without = looked(&["second_look.rounds=3", "second_look.descend=\"\""], &model);
    assert!(!steps(&without).contains(&Step::Descend));
}

#[test]
fn a_walk_ends_where_no_branch_fits_or_is_surer() {
    let lost = agent(
        |request, _| said(request, "0"),
        "[]",
        |request| match question(request).contains("K29-") {
            _ if offered(request).len() == 22 => to_gastritis(request, 0.9),
            _ => said(request, "0"),
        },
    );
    let coded = looked(&["second_look.rounds=3"], &lost);
    assert_eq!(steps(&coded), [Step::Extract, Step::Select, Step::Reword, Step::Descend, Step::Descend]);
    assert_eq!((codes(&coded), coded.trace.exchanges[4].outcome.as_str()), (vec![None], "none of these"));

    let unsure = agent(|request, _| surely(request, "1", 0.4), "[]", |request| to_gastritis(request, 0.6));
    let coded = looked(&["second_look.rounds=3"], &unsure);
    assert_eq!(steps(&coded).iter().filter(|step| **step == Step::Descend).count(), 4);
    assert_eq!(coded.codings[0].confidence, 0.4, "0.6 four times is less sure");

    // A model that does not tell how sure it is still finds a code where there was none, and claims no certainty.
    let silent =
        agent(|request, _| said(request, "0"), "[]", |request| Answer { choice: None, ..to_gastritis(request, 0.9) });
    let coded = looked(&["second_look.rounds=3"], &silent);
    assert_eq!((codes(&coded), coded.codings[0].confidence), (vec![Some("K29.5".into())], 0.0));
}

#[test]
fn the_questions_are_bounded_whatever_is_answered() {
    for nonsense in ["", "чепуха", "0", "99", "['Гастрит', 'Отит', 'Грипп']", "{\"a\": [\"Грипп\"]}", "Извините"]
    {
        for rounds in [1, 2, 3, 6, 16] {
            let model = says(nonsense);
            let coded = looked(&[&format!("second_look.rounds={rounds}")], &model);
            // A round rewords and chooses, or walks down four levels.
            let most = 1 + 2 * (rounds - 1) + 2;
            assert!(model.requests().len() <= most, "{nonsense}, {rounds}: {}", model.requests().len());
            assert_eq!(coded.trace.exchanges.len(), 1 + model.requests().len(), "every question stands in the trace");
        }
    }
}

#[test]
fn a_bad_second_answer_changes_nothing() {
    let select = |request: &Request, before: usize| match before {
        0 => surely(request, "2", 0.3),
        _ => Answer { text: "99".into(), ..surely(request, "1", 0.9) },
    };
    let model = agent(select, "['Гастрит']", |_| panic!("no walk"));
    let coded = looked(&["second_look.rounds=2", "rerank.llm.on_bad_answer=first"], &model);
    assert_eq!((coded.codings[0].confidence, coded.codings[0].decided_by), (0.3, DecidedBy::Model));
    assert_eq!(*coded.codings[0].candidates[0].text, offered(&model.requests()[0])[1]);
    assert_eq!(faults(&coded), [AnswerFault::OutOfRange]);
}

#[test]
fn a_question_that_fails_leaves_the_coding_as_it_is() {
    let model = Arc::new(Scripted::new(|request| match step(request) {
        Step::Select => Ok(surely(request, "1", 0.3)),
        _ => Err(noso::llm::scripted::failure("no more", false)),
    }));
    let coded = looked(&["second_look.rounds=3"], &model);
    assert_eq!((steps(&coded), coded.codings[0].confidence), (vec![Step::Extract, Step::Select], 0.3));
}

#[test]
fn the_same_words_are_not_asked_for_twice() {
    let model = agent(|request, _| surely(request, "1", 0.3), "['Гастрит']", |_| panic!("no walk"));
    let coded = looked(&["second_look.rounds=5", "second_look.descend=\"\""], &model);
    assert_eq!(steps(&coded), [Step::Extract, Step::Select, Step::Reword, Step::Select]);
}
