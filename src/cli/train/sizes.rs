//! Sizes of a new encoder, the same for every job that draws one.

use crate::train::encoder::Sizes;

/// Sizes that every such job asks for.
#[derive(Debug, clap::Args)]
pub(super) struct SizesArgs {
    /// Word pieces of a new encoder
    #[arg(long, value_name = "N", default_value_t = Sizes::default().vocabulary)]
    vocabulary: usize,
    /// Layers of a new encoder
    #[arg(long, value_name = "N", default_value_t = Sizes::default().layers)]
    layers: usize,
    /// Numbers a token
    #[arg(long, value_name = "N", default_value_t = Sizes::default().hidden)]
    hidden: usize,
    /// Attention heads
    #[arg(long, value_name = "N", default_value_t = Sizes::default().heads)]
    heads: usize,
}

impl SizesArgs {
    /// Returns them with a feed-forward part four times as wide as a token, and the defaults of all else.
    pub fn sizes(&self) -> Sizes {
        let Self { vocabulary, layers, hidden, heads } = *self;
        Sizes { vocabulary, layers, hidden, heads, intermediate: hidden.saturating_mul(4), ..Sizes::default() }
    }
}
