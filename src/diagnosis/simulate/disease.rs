//! The disease model: a TOML file comes in, checked diseases leave.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;

use crate::{
    error::{Error, Result, line_at},
    icd::IcdCode,
};

/// What ships.
const SHIPPED: &str = include_str!("diseases.toml");

/// Age from which on chronic diseases are counted, in years.
const ADULT: f64 = 18.0;

/// A disease: whom it befalls, and how it is told.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disease {
    /// Its code.
    pub code: IcdCode,
    /// What doctors call it; `{2-15}` is a number from that range.
    pub names: Vec<String>,
    /// How often it is met.
    pub rate: Rate,
    /// Age at which it is most frequent, in years.
    pub peak_age: f64,
    /// Years from the peak at which it is half as frequent.
    pub spread: f64,
    /// Rate in women beside that in men.
    #[serde(default = "one")]
    pub women: f64,
    /// When in the year it brings people to a doctor.
    pub season: Option<Season>,
    /// By what it multiplies the rates of other diseases.
    #[serde(default)]
    pub raises: BTreeMap<IcdCode, f64>,
    /// Codes that it is taken for.
    pub siblings: Vec<IcdCode>,
    /// What a hasty doctor types.
    pub unspecified: IcdCode,
    /// What patients complain of.
    pub complaints: Vec<String>,
    /// What they tell of its past.
    pub anamnesis: Vec<String>,
    /// What is found.
    pub tests: Vec<String>,
}

/// How often a disease is met.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rate {
    /// Chronic: share of the people of its peak age who have it, `0..=1`.
    Share(f64),
    /// Acute: episodes a person and year, at its peak age.
    Yearly(f64),
}

/// When in the year a disease brings people to a doctor.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Season {
    /// Month of most appointments, 1 to 12.
    pub month: u32,
    /// How much more than the mean they are then, as a share of it; not negative.
    pub strength: f64,
}

fn one() -> f64 {
    1.0
}

impl Disease {
    /// Returns the rate for an age and sex, beside that at the peak age. A chronic disease stays: it does not get rarer beyond its peak.
    pub fn factor(&self, age: f64, is_woman: bool) -> f64 {
        let age = match self.rate {
            Rate::Share(_) => age.clamp(ADULT, self.peak_age.max(ADULT)),
            Rate::Yearly(_) => age,
        };
        let of_sex = 2.0 * if is_woman { self.women } else { 1.0 } / (1.0 + self.women);
        of_sex * 0.5f64.powf(((age - self.peak_age) / self.spread).powi(2))
    }

    /// Returns how many appointments fall into a month (1 to 12) beside the mean month.
    pub fn of_month(&self, month: u32) -> f64 {
        let wave = |Season { month: peak, strength }: Season| {
            let turn = (f64::from(month) - f64::from(peak)) / 12.0 * std::f64::consts::TAU;
            (1.0 + strength * turn.cos()).max(0.0)
        };
        self.season.map_or(1.0, wave)
    }
}

/// Reads the disease model that ships.
///
/// # Errors
/// - [`Error::Parse`] if it is damaged.
pub fn shipped() -> Result<Vec<Disease>> {
    parse(SHIPPED, Path::new("diseases.toml"))
}

/// Reads a disease model of one's own.
///
/// # Errors
/// - [`Error::Read`]; [`Error::Parse`] with the line, or with the disease that cannot be.
pub fn load(path: &Path) -> Result<Vec<Disease>> {
    parse(&std::fs::read_to_string(path).map_err(|e| Error::read(path, e))?, path)
}

fn parse(text: &str, path: &Path) -> Result<Vec<Disease>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        disease: Vec<Disease>,
    }
    let wrong = |line: usize, expected: &str, got: String| Error::Parse {
        what: "disease model",
        path: path.to_owned(),
        line,
        expected: expected.into(),
        got,
    };
    let line_at = |byte: usize| line_at(text, byte);
    let File { disease: diseases } = toml::from_str(text).map_err(|e| {
        wrong(e.span().map_or(1, |span| line_at(span.start)), "[[disease]] tables", e.message().to_owned())
    })?;
    let starts: Vec<usize> = text.match_indices("[[disease]]").map(|(at, _)| line_at(at)).collect();
    for (number, disease) in diseases.iter().enumerate() {
        let line = starts.get(number).copied().unwrap_or(1);
        if let Some(fault) = fault(disease, &diseases) {
            return Err(wrong(line, fault, disease.code.to_string()));
        }
    }
    match diseases.iter().enumerate().find(|(at, one)| diseases[..*at].iter().any(|other| other.code == one.code)) {
        Some((at, twice)) => {
            Err(wrong(starts.get(at).copied().unwrap_or(1), "each code once", format!("{} again", twice.code)))
        }
        None => Ok(diseases),
    }
}

/// Says what a disease ought to be that it is not.
fn fault(disease: &Disease, all: &[Disease]) -> Option<&'static str> {
    let Disease { names, rate, spread, women, season, raises, siblings, complaints, anamnesis, tests, .. } = disease;
    let rate = match *rate {
        Rate::Share(share) => (0.0..=1.0).contains(&share),
        Rate::Yearly(episodes) => (0.0..=50.0).contains(&episodes),
    };
    let told = |phrases: &[String]| !phrases.is_empty() && phrases.iter().all(|phrase| !phrase.trim().is_empty());
    let month = |season: &Season| (1..=12).contains(&season.month) && season.strength >= 0.0;
    [
        (rate, "a `share` from 0 to 1, or `yearly` from 0 to 50"),
        (*spread > 0.0 && *women >= 0.0, "a positive `spread`, and `women` not negative"),
        (season.as_ref().is_none_or(month), "a `season` with a month from 1 to 12 and a strength not negative"),
        (told(names) && told(complaints) && told(anamnesis) && told(tests), "a phrase at least of each kind"),
        (!siblings.is_empty(), "a sibling at least"),
        (raises.values().all(|factor| *factor >= 0.0), "factors in `raises` that are not negative"),
        (raises.keys().all(|code| all.iter().any(|other| other.code == *code)), "`raises` of diseases of this file"),
    ]
    .into_iter()
    .find_map(|(is, expected)| (!is).then_some(expected))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    #[test]
    fn every_code_of_the_shipped_model_is_in_the_catalogue() {
        let catalog = Catalog::shipped().unwrap();
        let diseases = shipped().unwrap();
        assert!(diseases.len() > 60);
        for disease in &diseases {
            let codes = [&disease.code, &disease.unspecified].into_iter().chain(&disease.siblings);
            for code in codes {
                assert!(catalog.get(code).is_some(), "{}: {code}", disease.code);
            }
            assert!(!disease.siblings.contains(&disease.code), "{}", disease.code);
        }
    }

    #[test]
    fn rates_follow_age_sex_and_season() {
        let diseases = shipped().unwrap();
        let of = |code: &str| diseases.iter().find(|disease| disease.code.as_str() == code).unwrap();
        let hypertension = of("I11");
        assert!((hypertension.factor(70.0, false) - 1.0).abs() < 1e-9);
        assert!((hypertension.factor(52.0, true) - 0.5).abs() < 1e-9);
        assert_eq!(hypertension.factor(90.0, true), hypertension.factor(70.0, true));
        let cold = of("J06.9");
        assert!(cold.of_month(1) > 1.7 && cold.of_month(7) < 0.3);
        assert!(of("N40").factor(72.0, true) == 0.0 && of("D25").factor(46.0, false) < 0.01);
    }

    #[test]
    fn a_model_that_cannot_be_is_told_with_its_line() {
        let head =
            "[[disease]]\ncode = 'A00.0'\npeak_age = 40\nspread = 10\nsiblings = ['A00.1']\nunspecified = 'A00.9'\n";
        let phrases = "names = ['а']\ncomplaints = ['б']\nanamnesis = ['в']\ntests = ['г']\n";
        let read = |more: &str| parse(&format!("# one\n{head}{phrases}{more}"), Path::new("my.toml"));
        assert_eq!(read("rate = { share = 0.1 }").unwrap()[0].rate, Rate::Share(0.1));
        for (more, expected) in [
            ("rate = { share = 1.5 }", "my.toml:2: expected a `share`"),
            ("rate = { share = 0.1 }\nraises = { 'B00.0' = 2.0 }", "my.toml:2: expected `raises` of diseases"),
            ("rate = { share = 0.1 }\nseason = { month = 13, strength = 1.0 }", "my.toml:2: expected a `season`"),
            ("", "my.toml"),
            ("rate = { share = 0.1, yearly = 2.0 }", "my.toml"),
        ] {
            let told = read(more).unwrap_err().to_string();
            assert!(told.contains(expected), "{more}: {told}");
        }
        let twice = format!("{head}{phrases}rate = {{ share = 0.1 }}\n\n{head}{phrases}rate = {{ share = 0.1 }}\n");
        assert!(
            parse(&twice, Path::new("my.toml"))
                .unwrap_err()
                .to_string()
                .contains("my.toml:13: expected each code once")
        );
    }
}
