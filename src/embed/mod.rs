//! Encoders: short texts come in, dense vectors leave, of unit length unless told otherwise.

#[cfg(feature = "neural")]
pub mod bert;
pub mod hybrid;
pub mod ngram;
#[cfg(feature = "neural")]
mod preset;
#[cfg(feature = "neural")]
mod settings;
pub mod sparse;

use std::ops::Range;

#[cfg(feature = "neural")]
pub use self::{
    preset::{hub_id, presets_on_this_machine},
    settings::EncoderSettings,
};
use crate::error::Result;

/// Turns short texts into vectors whose inner product says how alike the texts are.
pub trait Embed: Send + Sync {
    /// Returns the number of dimensions.
    fn dim(&self) -> usize;

    /// Returns a name that changes whenever the vectors would: kind, version and hash of the weights.
    fn fingerprint(&self) -> &str;

    /// Encodes `texts` into row-major `(n, dim)` f32, each row of unit L2 norm unless the encoder is set not to normalise; a
    /// text without any content gives zeros.
    ///
    /// # Errors
    /// Those of the engine.
    fn embed(&self, texts: &[&str]) -> Result<Vec<f32>>;

    /// Returns the dimensions of each encoder that a vector is made of, in order: one range for one that is made of none.
    fn parts(&self) -> Vec<Range<usize>> {
        let all = 0..self.dim();
        vec![all]
    }
}
