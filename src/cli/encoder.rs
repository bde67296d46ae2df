//! Options that say how a BERT turns texts into vectors, the same for every command that takes one.

use crate::config::{Device, EncoderConfig, Pooling, Preset};

/// How a BERT is used; what is left out is as its folder or preset says.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Encoder")]
pub(super) struct EncoderArgs {
    /// Settings of a published encoder: bergamot, sapbert, coder, bge-m3 or rubiobert
    #[arg(long, value_name = "NAME")]
    pub preset: Option<Preset>,
    /// How the vectors of tokens become one: cls, mean or pooler
    #[arg(long, value_name = "NAME")]
    pooling: Option<Pooling>,
    /// Whether vectors are scaled to unit length
    #[arg(long, value_name = "true|false")]
    normalise: Option<bool>,
    /// Whether texts are put in small letters first
    #[arg(long, value_name = "true|false")]
    lowercase: Option<bool>,
    /// Tokens of a text that are read
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Tokens encoded at a time on a core; on a GPU 16384 or more pay
    #[arg(long, value_name = "N", default_value_t = EncoderConfig::default().batch_tokens)]
    batch_tokens: usize,
    /// Where it runs
    #[arg(long, value_enum, default_value_t = Device::Auto)]
    device: Device,
}

impl EncoderArgs {
    /// Puts what was typed over the encoder of a folder, hub id or preset's name; without a name it is the preset's.
    pub fn over(&self, name: Option<&str>) -> EncoderConfig {
        let named = name.map(EncoderConfig::of).unwrap_or_default();
        EncoderConfig {
            preset: self.preset.or(named.preset),
            pooling: self.pooling,
            normalise: self.normalise,
            lowercase: self.lowercase,
            max_tokens: self.max_tokens,
            batch_tokens: self.batch_tokens,
            device: self.device,
            ..named
        }
    }

    /// Tells whether anything was typed that only a BERT understands.
    pub fn is_given(&self) -> bool {
        let Self { preset, pooling, normalise, lowercase, max_tokens, .. } = self;
        preset.is_some() || pooling.is_some() || normalise.is_some() || lowercase.is_some() || max_tokens.is_some()
    }
}
