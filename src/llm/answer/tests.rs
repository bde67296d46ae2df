use proptest::prelude::*;

use super::*;
use crate::llm::Finish;

fn faults(faulty: &[FaultyAnswer]) -> Vec<AnswerFault> {
    faulty.iter().map(|faulty| faulty.fault).collect()
}

/// Answer, items and faults; the answer ended by itself.
type ListCase<'a> = (&'a str, &'a [&'a str], &'a [AnswerFault]);

fn check_lists(cases: &[ListCase], finish: Finish) {
    for (answer, items, expected) in cases {
        let parsed = parse_list(answer, finish, 50);
        assert_eq!(
            (parsed.items, faults(&parsed.faults)),
            (items.iter().map(|&i| i.to_owned()).collect(), expected.to_vec()),
            "{answer}"
        );
    }
}

#[test]
fn lists_in_the_form_asked_for() {
    let cases: &[ListCase] = &[
        ("['Гастрит', 'Отит']", &["Гастрит", "Отит"], &[]),
        ("  [ 'Гастрит' ,\n 'Отит', ]\n", &["Гастрит", "Отит"], &[]),
        (r#"["Гастрит", "Отит"]"#, &["Гастрит", "Отит"], &[]),
        (r#"['Гастрит', "Отит"]"#, &["Гастрит", "Отит"], &[]),
        ("[«Гастрит», “Отит”, „Ринит“, ‘ХОБЛ’]", &["Гастрит", "Отит", "Ринит", "ХОБЛ"], &[]),
        ("[]", &[], &[]),
        ("[ ]", &[], &[]),
        ("```python\n['Гастрит']\n```", &["Гастрит"], &[]),
        ("<think>Вижу ['ринит'].\nИли [].</think>\n\n['Гастрит']", &["Гастрит"], &[]),
        ("Думаю, это одно.</think>['Гастрит']", &["Гастрит"], &[]),
        ("['Отит, слева; [неуточнённый]', 'ХБП {С3}']", &["Отит, слева; [неуточнённый]", "ХБП {С3}"], &[]),
        (
            r"['Болезнь д\'Антони', 'строка\nстрока', 'мг\сут', '\u0416\x41\\']",
            &["Болезнь д'Антони", "строка\nстрока", "мг\\сут", "ЖA\\"],
            &[],
        ),
        (r#"["синдром \"сухого глаза\""]"#, &["синдром \"сухого глаза\""], &[]),
        ("['синдром «сухого глаза»', 'синдром \"X\"']", &["синдром «сухого глаза»", "синдром \"X\""], &[]),
    ];
    check_lists(cases, Finish::Stop);
}

#[test]
fn lists_that_need_repair() {
    use AnswerFault::{EmptyItem, InnerQuote, OtherForm, Prose};
    let cases: &[ListCase] = &[
        ("В тексте такие диагнозы: ['Гастрит']. Могу помочь ещё?", &["Гастрит"], &[Prose]),
        ("Шаг [1], затем [ ] и список\n['Гастрит']", &["Гастрит"], &[Prose]),
        ("Вот:\n```json\n[\"Гастрит\"]\n```\nГотово", &["Гастрит"], &[Prose]),
        ("[]\nДиагнозов не нашёл.", &[], &[Prose]),
        ("Извините за краткость: ['Гастрит']", &["Гастрит"], &[Prose]),
        // quotation marks and apostrophes within items
        ("['Болезнь д'Антони', 'Отит']", &["Болезнь д'Антони", "Отит"], &[InnerQuote]),
        (
            r#"["синдром "сухого глаза", вторичный", "Отит"]"#,
            &["синдром \"сухого глаза\", вторичный", "Отит"],
            &[InnerQuote],
        ),
        ("['синдром 'X'']", &["синдром 'X'"], &[InnerQuote]),
        // JSON
        (r#"{"diagnoses": ["Гастрит", "Отит"]}"#, &["Гастрит", "Отит"], &[OtherForm]),
        (r#"{"diagnoses": []}"#, &[], &[OtherForm]),
        (r#"[{"diagnosis": "Гастрит"}, {"diagnosis": "Отит"}]"#, &["Гастрит", "Отит"], &[OtherForm]),
        (r#"[{"id": 1, "text": "Гастрит", "code": "K29"}]"#, &["Гастрит"], &[OtherForm]),
        ("{\"d\": \"Гастрит\"}\n{\"d\": \"Отит\"}", &["Гастрит", "Отит"], &[OtherForm]),
        (r#"{"1": "Гастрит", "2": "Отит"}"#, &["Гастрит", "Отит"], &[OtherForm]),
        (r#"Ответ: {"a": {"b": [["Гастрит"]]}}"#, &["Гастрит"], &[Prose, OtherForm]),
        // lines
        ("- Гастрит\n- Отит;\n* «Ринит»", &["Гастрит", "Отит", "Ринит"], &[OtherForm]),
        ("1. Гастрит\n2) Отит, 2 ст.\n• **ХОБЛ**", &["Гастрит", "Отит, 2 ст.", "ХОБЛ"], &[OtherForm]),
        ("Диагнозы:\n\n1. Гастрит\n2. 'Отит'", &["Гастрит", "Отит"], &[Prose, OtherForm]),
        ("Гастрит\nХронический отит", &["Гастрит", "Хронический отит"], &[OtherForm]),
        ("Диагнозы:\nГастрит", &["Гастрит"], &[Prose, OtherForm]),
        ("Хронический гастрит", &["Хронический гастрит"], &[OtherForm]),
        // without brackets or marks
        ("'Гастрит', 'Отит'", &["Гастрит", "Отит"], &[OtherForm]),
        ("('Гастрит', 'Отит')", &["Гастрит", "Отит"], &[OtherForm]),
        ("Нашёл «Гастрит» и ещё, кажется, «Отит».", &["Гастрит", "Отит"], &[Prose, OtherForm]),
        ("[Гастрит, Отит]", &["Гастрит", "Отит"], &[OtherForm]),
        ("['Гастрит'\n'Отит']", &["Гастрит", "Отит"], &[]),
        ("['Гастрит', 'Отит'", &["Гастрит", "Отит"], &[OtherForm]),
        ("['Гастрит', 'Отит", &["Гастрит", "Отит"], &[OtherForm]),
        ("['Гастрит', 'Отит]\nЭто всё.", &["Гастрит", "Отит"], &[OtherForm]),
        ("В тексте нет диагнозов.", &[], &[OtherForm]),
        ("None", &[], &[OtherForm]),
        ("['Гастрит', '', ' ']", &["Гастрит"], &[EmptyItem, EmptyItem]),
    ];
    check_lists(cases, Finish::Stop);
}

#[test]
fn lists_that_are_lost() {
    use AnswerFault::{Empty, Refusal, Unreadable};
    let cases: &[ListCase] = &[
        ("", &[], &[Empty]),
        (" \n", &[], &[Empty]),
        ("<think>Хм</think>", &[], &[Empty]),
        ("Извините, я не могу ставить «диагнозы».", &[], &[Refusal]),
        ("Пожалуйста, предоставьте текст", &[], &[Refusal]),
        ("I'm sorry, but as an AI I cannot help with 'that'.", &[], &[Refusal]),
        ("???", &[], &[Unreadable]),
        ("Пациент здоров.", &[], &[Unreadable]),
        ("[1, 2]", &[], &[Unreadable]),
        ("[[[[[[", &[], &[Unreadable]),
    ];
    check_lists(cases, Finish::Stop);
}

#[test]
fn answers_cut_off_keep_whole_items() {
    use AnswerFault::{CutOff, OtherForm, Prose};
    let cases: &[ListCase] = &[
        ("['Гастрит', 'Отит', 'Хронич", &["Гастрит", "Отит"], &[CutOff]),
        ("['Гастрит', 'Отит',", &["Гастрит", "Отит"], &[CutOff]),
        ("['Гастрит'] Теперь поясню, что", &["Гастрит"], &[Prose]),
        ("['Гаст", &[], &[CutOff]),
        ("[", &[], &[CutOff]),
        ("", &[], &[CutOff]),
        ("<think>Надо подумать", &[], &[CutOff]),
        ("- Гастрит\n- Отит\n- Хро", &["Гастрит", "Отит"], &[OtherForm, CutOff]),
        (r#"{"diagnoses": ["Гастрит", "От"#, &["Гастрит"], &[Prose, CutOff]),
        ("[{\"d\": \"Гастрит\"}, {\"d\": \"От", &["Гастрит"], &[OtherForm, CutOff]),
    ];
    check_lists(cases, Finish::Length);
    let cut = parse_list("['Гастрит', 'Хронич", Finish::Length, 9);
    assert_eq!(cut.faults, [faulty(CutOff, "Хронич")]);
}

#[test]
fn a_list_has_no_more_items_than_allowed() {
    let parsed = parse_list("['а', 'б', 'в', 'г']", Finish::Stop, 2);
    assert_eq!(
        parsed,
        ParsedList { items: vec!["а".into(), "б".into()], faults: vec![faulty(AnswerFault::TooMany, "в")] }
    );
}

#[test]
fn choices() {
    use AnswerFault::{Empty, OtherForm, OutOfRange, Prose, Refusal, Unreadable};
    let candidate = |number: usize| Some(Chosen::Candidate(number - 1));
    let cases: &[(&str, Option<Chosen>, Option<AnswerFault>)] = &[
        ("3", candidate(3), None),
        (" 15\n", candidate(15), None),
        ("3.", candidate(3), None),
        ("№3", candidate(3), None),
        ("№ 3", candidate(3), None),
        ("**3**", candidate(3), None),
        ("[3]", candidate(3), None),
        ("'3'", candidate(3), None),
        ("<think>1 или 2?</think>3", candidate(3), None),
        ("3) Гастрит 2 степени", candidate(3), Some(Prose)),
        ("12 из 15", candidate(12), Some(Prose)),
        ("12/15", candidate(12), Some(Prose)),
        ("Ответ: 3", candidate(3), Some(Prose)),
        ("Ответ (1–15): 3", candidate(3), Some(Prose)),
        ("Ответ — вариант 3, а не 4", candidate(3), Some(Prose)),
        ("Вариант 1 слишком общий, вариант 2 точнее. Ответ: 2", candidate(2), Some(Prose)),
        ("Гастрит (K29.5): номер 7", candidate(7), Some(Prose)),
        ("{\"answer\": 3}", candidate(3), Some(Prose)),
        ("The best match is option 4.", candidate(4), Some(Prose)),
        ("\\boxed{4}", candidate(4), Some(Prose)),
        ("Вариант 4, потому что 4 степень. Вариант 4!", candidate(4), Some(Prose)),
        ("Вариант 4 или вариант 5", None, Some(Unreadable)),
        ("Сахарный диабет 2 типа", None, Some(Unreadable)),
        ("K29.5", None, Some(Unreadable)),
        ("2.5", None, Some(Unreadable)),
        ("Гастрит", None, Some(Unreadable)),
        ("16", None, Some(OutOfRange)),
        ("-1", None, Some(OutOfRange)),
        ("99999999999999999999999", None, Some(OutOfRange)),
        ("0", Some(Chosen::None), None),
        ("Ответ: 0", Some(Chosen::None), Some(Prose)),
        ("Ни один из вариантов не подходит", Some(Chosen::None), Some(OtherForm)),
        ("None of the above", Some(Chosen::None), Some(OtherForm)),
        ("", None, Some(Empty)),
        ("<think>1, 2", None, Some(Empty)),
        ("Извините, я не могу выбрать.", None, Some(Refusal)),
        ("I cannot diagnose", None, Some(Refusal)),
    ];
    for &(answer, chosen, fault) in cases {
        let parsed = parse_choice(answer, 15, true);
        assert_eq!((parsed.chosen, faults(&parsed.faults)), (chosen, fault.into_iter().collect()), "{answer}");
    }
    assert_eq!(faults(&parse_choice("0", 15, false).faults), [OutOfRange]);
    assert_eq!(faults(&parse_choice("Ни один не подходит", 15, false).faults), [Refusal]);
    assert_eq!(faults(&parse_choice("1", 0, true).faults), [OutOfRange]);
}

/// A list as Python prints it.
fn python(items: &[String]) -> String {
    let quoted = items.iter().map(|item| {
        let mark = if item.contains('\'') && !item.contains('"') { '"' } else { '\'' };
        let mut written = String::from(mark);
        for c in item.chars() {
            match c {
                '\n' => written.push_str("\\n"),
                '\t' => written.push_str("\\t"),
                '\r' => written.push_str("\\r"),
                c if c.is_control() => written.push_str(&format!("\\x{:02x}", u32::from(c))),
                c if c == mark || c == '\\' => written.extend(['\\', c]),
                c => written.push(c),
            }
        }
        written + &mark.to_string()
    });
    format!("[{}]", quoted.collect::<Vec<_>>().join(", "))
}

proptest! {
    #[test]
    fn a_list_as_python_prints_it_is_read_back(
        items in prop::collection::vec("([а-яё ]|\\PC|['\"\\[\\],\\\\{}<>/`«»\n\t\r\u{7}]){1,12}", 0..6),
    ) {
        prop_assume!(items.iter().all(|item| !item.trim().is_empty()));
        let parsed = parse_list(&python(&items), Finish::Stop, 10);
        prop_assert_eq!(parsed, ParsedList { items, faults: Vec::new() });
    }

    #[test]
    fn a_list_as_json_prints_it_is_read_back(items in prop::collection::vec("\\PC{1,12}", 0..6)) {
        prop_assume!(items.iter().all(|item| !item.trim().is_empty()));
        let parsed = parse_list(&serde_json::to_string(&items).unwrap(), Finish::Stop, 10);
        prop_assert_eq!(parsed, ParsedList { items, faults: Vec::new() });
    }

    #[test]
    fn any_answer_is_read_without_harm(
        answer in "(\\PC|[\\[\\]{}'\"«»,:\\\\ \n]|[0-9а-я]|- |<think>|</think>|```|не могу|ответ){0,60}", most in 0..4usize,
    ) {
        for finish in [Finish::Stop, Finish::Length] {
            let parsed = parse_list(&answer, finish, most);
            prop_assert!(parsed.items.len() <= most);
            prop_assert!(parsed.items.iter().all(|item| !item.trim().is_empty()));
        }
        for none_allowed in [false, true] {
            match parse_choice(&answer, most, none_allowed).chosen {
                Some(Chosen::Candidate(number)) => prop_assert!(number < most),
                Some(Chosen::None) => prop_assert!(none_allowed),
                None => {}
            }
        }
    }
}
