//! What the linker's training refuses, and how it says so.

use assert_cmd::Command;
use noso::{
    Error,
    config::Pooling,
    embed::EncoderSettings,
    train::linker::{LinkerSettings, Texts, Wordings},
};
use tempfile::tempdir;

use super::{MENTIONS, TITLES, how, task, tiny, wordings};

fn reason(wordings: Wordings) -> String {
    match task(&mut tiny(), &wordings, LinkerSettings::default()) {
        Err(Error::Training { what: "the linker", reason }) => reason,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("accepted"),
    }
}

#[test]
fn data_that_teach_nothing_are_refused() {
    let mentions = || wordings(&MENTIONS, true);
    let names = || wordings(&TITLES, false);
    let held_out = Vec::new;
    let told = reason(Wordings { names: Vec::new(), mentions: mentions(), held_out: held_out() });
    assert!(told.contains("no names"), "{told}");
    let told = reason(Wordings { names: names(), mentions: Vec::new(), held_out: held_out() });
    assert!(told.contains("no coded mentions"), "{told}");
    let foreign = wordings(&[("ангина гнойная", "Z99.9")], true);
    let told = reason(Wordings { names: names(), mentions: foreign.clone(), held_out: held_out() });
    assert!(told.contains("none of 1 mentions"), "{told}");
    // As a name it is known, but only by itself.
    let told = reason(Wordings { names: [names(), foreign.clone()].concat(), mentions: foreign, held_out: held_out() });
    assert!(told.contains("outside its own record"), "{told}");
}

#[test]
fn settings_outside_their_range_are_named() {
    let all = || super::teaching();
    let base = LinkerSettings::default;
    for (key, wrong) in [
        ("candidates", LinkerSettings { candidates: 0, ..base() }),
        ("dense_share", LinkerSettings { dense_share: 1.5, ..base() }),
        ("temperature", LinkerSettings { temperature: Some(0.0), ..base() }),
        ("lambda", LinkerSettings { lambda: f32::NAN, ..base() }),
        ("bundle", LinkerSettings { bundle: 0, ..base() }),
    ] {
        let Err(told) = task(&mut tiny(), &all(), wrong) else { panic!("{key} accepted") };
        assert!(matches!(&told, Error::Setting { key: named, .. } if named == key), "{told}");
    }
    let pooler = EncoderSettings { pooling: Pooling::Pooler, ..how(base(), 1).encoder };
    assert!(Texts::new(&tiny(), pooler).is_err());
}

#[test]
fn the_command_says_what_is_missing() {
    let folder = tempdir().unwrap();
    let (corpus, encoder) = (folder.path().join("corpus"), folder.path().join("encoder"));
    std::fs::create_dir(&corpus).unwrap();
    std::fs::write(corpus.join("1.txt"), "Жалоб нет.").unwrap();
    std::fs::write(corpus.join("1.ann"), "").unwrap();
    tiny().save(&encoder).unwrap();
    let noso = |encoder: &std::path::Path| {
        let mut command = Command::cargo_bin("noso").unwrap();
        command.args(["train", "linker", "--corpus"]).arg(&corpus).arg("--encoder").arg(encoder);
        command.arg("--output").arg(folder.path().join("out")).assert().code(1)
    };
    let told = String::from_utf8(noso(&encoder).get_output().stderr.clone()).unwrap();
    assert!(told.contains("1 documents") && told.contains("corpus has no diagnosis with an ICD code"), "{told}");
    let told = String::from_utf8(noso(&folder.path().join("nowhere")).get_output().stderr.clone()).unwrap();
    assert!(told.contains("error:") && told.contains("nowhere") && told.contains("hint:"), "{told}");
    assert!(!folder.path().join("out").exists());
}
