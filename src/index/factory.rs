//! FAISS's factory strings, held against sense before FAISS sees them: some numbers make it crash, or never end.

use super::{Metric, faiss::FaissIndex};
use crate::error::{Error, Result, check_setting};

/// Texts a cluster below which FAISS warns that it cannot learn well.
const ROWS_A_CLUSTER: usize = 39;
/// Neighbours in a graph: fewer connect nothing, more fit no memory.
const NEIGHBOURS: std::ops::RangeInclusive<u64> = 4..=512;

/// Holds a factory string against vectors of `dim` dimensions and a number of texts.
///
/// # Errors
/// - [`Error::Setting`] that says what does not fit.
pub fn check_factory(factory: &str, metric: Metric, dim: usize, texts: usize) -> Result<()> {
    for (word, number) in numbers(factory) {
        let wrong = |expected: &str| check_setting(false, "factory", expected, factory);
        let word = word.to_ascii_uppercase();
        if !(1..=1 << 24).contains(&number) {
            return wrong("numbers from 1 to 16777216");
        }
        if (word.ends_with("HNSW") || word.ends_with("NSG")) && !NEIGHBOURS.contains(&number) {
            return wrong(&format!("{} to {} neighbours in a graph", NEIGHBOURS.start(), NEIGHBOURS.end()));
        }
        if word.starts_with("PCA") && number > dim as u64 {
            return wrong(&format!("at most {dim} dimensions, those of the encoder, after PCA"));
        }
        if word.ends_with("IVF") && number > texts as u64 {
            let most = (texts / ROWS_A_CLUSTER).max(1);
            return wrong(&format!(
                "no more clusters than texts, of which there are {texts}; up to {most} are learned well"
            ));
        }
        if word.ends_with("IVF") && number as usize > texts / ROWS_A_CLUSTER {
            tracing::warn!(
                "{number} clusters for {texts} texts: more than {} are poorly learned",
                texts / ROWS_A_CLUSTER
            );
        }
    }
    FaissIndex::new(dim, factory, metric).map(drop).map_err(|e| unfit(factory, dim, e))
}

/// Says of what FAISS refuses that the factory does not fit.
pub(super) fn unfit(factory: &str, dim: usize, error: Error) -> Error {
    match error {
        Error::Faiss(reason) => Error::Setting {
            key: "factory".into(),
            expected: format!("what FAISS can build over {dim} dimensions ({reason})"),
            got: factory.into(),
        },
        other => other,
    }
}

/// Lists the numbers of a factory string, each with the letters before it.
fn numbers(factory: &str) -> Vec<(&str, u64)> {
    let mut found = Vec::new();
    let mut rest = factory;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let letters = rest[..at].rfind(|c: char| !c.is_ascii_alphabetic()).map_or(0, |other| other + 1);
        let digits = rest[at..].bytes().take_while(u8::is_ascii_digit).count();
        let number = rest[at..at + digits].parse().unwrap_or(u64::MAX);
        found.push((&rest[letters..at], number));
        rest = &rest[at + digits..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_with_their_letters() {
        assert_eq!(numbers("PCA64,IVF1024_HNSW32,SQ8"), [("PCA", 64), ("IVF", 1024), ("HNSW", 32), ("SQ", 8)]);
        assert_eq!(numbers("OPQ16_64,IVF4,PQ16x4fs"), [("OPQ", 16), ("", 64), ("IVF", 4), ("PQ", 16), ("x", 4)]);
        assert_eq!(numbers("Flat"), []);
    }

    #[test]
    fn what_would_crash_faiss_never_reaches_it() {
        let check = |factory: &str| check_factory(factory, Metric::Ip, 64, 145);
        for factory in ["Flat", "SQ8", "HNSW8,SQ8", "IVF3,Flat", "PCA32,IVF2,SQ8", "HNSW4", "PQ8", "NSG16,Flat"] {
            assert!(check(factory).is_ok(), "{factory}: {:?}", check(factory));
        }
        for factory in [
            "IVF0,Flat",
            "HNSW0",
            "PQ0",
            "IVF4,PQ0",
            "OPQ0,Flat",
            "HNSW1",
            "NSG0,Flat",
            "NSG1,Flat",
            "PCA0,Flat",
            "PQ3",
            "PCA5000,Flat",
            "IVF9999,Flat",
            "HNSW99999999999999999999",
            "Flatt",
            "",
            "IVF-1,Flat",
            "\0",
        ] {
            let told = check(factory).unwrap_err();
            assert!(
                matches!(told, Error::Setting { .. }) && told.hint().unwrap().contains("HNSW16"),
                "{factory:?}: {told}"
            );
        }
    }
}
