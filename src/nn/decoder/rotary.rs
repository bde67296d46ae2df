//! Rotary positions with their scalings: a configuration comes in, the angles of each token leave.

use std::{f64::consts::TAU, ops::Range};

use serde_json::{Map, Value};

use crate::nn::ops::Angles;

/// Frequencies of the pairs of numbers in a head.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotary {
    /// Radians a position, of each pair.
    frequencies: Vec<f64>,
    /// Those of sequences longer than so many tokens, where they are others.
    beyond: Option<(usize, Vec<f64>)>,
    /// What cosines and sines are multiplied by.
    factor: f64,
}

impl Rotary {
    /// Reads the rotary settings of a `config.json`, of transformers 4 or 5, for heads of `size` numbers.
    ///
    /// # Errors
    /// What is wrong, as words: a scaling that is not known, or one whose numbers are missing or do not fit.
    ///
    /// # Source
    /// `modeling_rope_utils` of Hugging Face transformers 5.
    pub(super) fn read(config: &Map<String, Value>, size: usize) -> Result<Self, String> {
        let rope = ["rope_parameters", "rope_scaling"].iter().find_map(|key| config.get(*key)?.as_object());
        let number = |key: &str| {
            let of_rope = rope.and_then(|rope| rope.get(key));
            of_rope.or_else(|| config.get(key)).and_then(Value::as_f64)
        };
        let needed = |key: &str| number(key).ok_or_else(|| format!("its rope scaling lacks {key}"));
        let share = number("partial_rotary_factor").unwrap_or(1.0);
        if share != 1.0 {
            return Err(format!("expected partial_rotary_factor 1, got {share}"));
        }
        let base = number("rope_theta").unwrap_or(10_000.0);
        let half = size / 2;
        let frequencies: Vec<f64> = (0..half).map(|pair| base.powf(-2.0 * pair as f64 / size as f64)).collect();
        let kind = rope.and_then(|rope| rope.get("rope_type").or_else(|| rope.get("type"))).and_then(Value::as_str);
        match kind.unwrap_or("default") {
            "default" => Ok(Self { frequencies, beyond: None, factor: 1.0 }),
            "linear" => {
                let factor = needed("factor")?;
                let frequencies = frequencies.into_iter().map(|frequency| frequency / factor).collect();
                Ok(Self { frequencies, beyond: None, factor: 1.0 })
            }
            "llama3" => {
                let [factor, low, high, original] =
                    ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"].map(needed);
                let (factor, low, high, original) = (factor?, low?, high?, original?);
                let scale = |frequency: f64| {
                    // How often the pair turns within the original context: often, it stays; seldom, it is slowed down.
                    let turns = original * frequency / TAU;
                    let share = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    frequency * (share + (1.0 - share) / factor)
                };
                Ok(Self { frequencies: frequencies.into_iter().map(scale).collect(), beyond: None, factor: 1.0 })
            }
            "longrope" | "su" => {
                let original = needed("original_max_position_embeddings")?;
                let most = number("max_position_embeddings").unwrap_or(original);
                let divided = |key: &str| {
                    let factors: Option<Vec<f64>> =
                        rope.and_then(|rope| rope.get(key)?.as_array()?.iter().map(Value::as_f64).collect());
                    let factors = factors.filter(|factors| factors.len() == half);
                    let factors =
                        factors.ok_or_else(|| format!("expected {half} numbers in {key} of its rope scaling"))?;
                    Ok::<_, String>(
                        frequencies.iter().zip(factors).map(|(frequency, factor)| frequency / factor).collect(),
                    )
                };
                let longer = most / original;
                let usual = if longer <= 1.0 { 1.0 } else { (1.0 + longer.ln() / original.ln()).sqrt() };
                let factor = number("attention_factor").unwrap_or(usual);
                let (short, long) = (divided("short_factor")?, divided("long_factor")?);
                Ok(Self { frequencies: short, beyond: Some((original as usize, long)), factor })
            }
            other => Err(format!("rope scaling {other} is not known; default, linear, llama3 and longrope are")),
        }
    }

    /// Stands for the frequencies until they are read.
    pub(super) fn none() -> Self {
        Self { frequencies: Vec::new(), beyond: None, factor: 1.0 }
    }

    /// Tells whether a sequence has other angles when it grows from so many tokens to so many.
    pub fn changes_between(&self, before: usize, after: usize) -> bool {
        self.beyond.as_ref().is_some_and(|(original, _)| before <= *original && after > *original)
    }

    /// Returns the angles of the tokens of sequences that lie one after another, each counted from 0.
    pub fn angles(&self, lengths: &[usize]) -> Angles {
        self.angles_of(lengths.iter().map(|&length| 0..length))
    }

    /// Returns the angles of runs of tokens, each given by its positions in a sequence that ends with it.
    pub fn angles_of(&self, runs: impl Iterator<Item = Range<usize>> + Clone) -> Angles {
        let half = self.frequencies.len();
        let count = runs.clone().map(|run| run.len()).sum::<usize>() * half;
        let (mut cosines, mut sines) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for run in runs {
            let frequencies = match &self.beyond {
                Some((original, long)) if run.end > *original => long,
                _ => &self.frequencies,
            };
            for position in run {
                for &frequency in frequencies {
                    // In f32 as transformers has it: far into a text its rounding shows.
                    let (sine, cosine) = f64::from(position as f32 * frequency as f32).sin_cos();
                    cosines.push((cosine * self.factor) as f32);
                    sines.push((sine * self.factor) as f32);
                }
            }
        }
        Angles { cosines: cosines.into(), sines: sines.into(), half }
    }
}
