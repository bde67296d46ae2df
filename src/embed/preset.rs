//! What published encoders expect, each with its source.

use super::settings::Stated;
use crate::{
    config::{Pooling, Preset},
    hub,
    nn::pretrained::HUB_FILES,
};

/// A published encoder.
pub(super) struct Published {
    /// Name in settings.
    pub preset: Preset,
    /// Its id on the Hugging Face hub.
    pub hub_id: &'static str,
    pooling: Pooling,
    lowercase: bool,
    max_tokens: usize,
}

/// All presets. Every one of them was trained, or is compared, by the cosine: unit length.
const PUBLISHED: [Published; 5] = [
    // Multilingual, XLM-RoBERTa. Its authors rank with a SapBERT-like script: CLS, 25 tokens, small letters.
    // https://github.com/Andoree/BERGAMOT
    Published {
        preset: Preset::Bergamot,
        hub_id: "andorei/BERGAMOT-multilingual-GAT",
        pooling: Pooling::Cls,
        lowercase: true,
        max_tokens: 25,
    },
    // CLS before the pooler, 25 tokens (README and train/); names and queries are put in small letters (src/data_loader.py).
    // https://github.com/cambridgeltl/sapbert, https://arxiv.org/abs/2105.14398
    Published {
        preset: Preset::Sapbert,
        hub_id: "cambridgeltl/SapBERT-UMLS-2020AB-all-lang-from-XLMR",
        pooling: Pooling::Cls,
        lowercase: true,
        max_tokens: 25,
    },
    // "CLS" is the second output of the model, that is the pooler's; 32 tokens, normalised (`get_bert_embed` in test/).
    // https://github.com/GanjinZero/CODER, https://arxiv.org/abs/2011.02947
    Published {
        preset: Preset::Coder,
        hub_id: "GanjinZero/coder_all",
        pooling: Pooling::Pooler,
        lowercase: false,
        max_tokens: 32,
    },
    // CLS, normalised, up to 8192 tokens (1_Pooling/config.json and modules.json of the model).
    // https://huggingface.co/BAAI/bge-m3, https://arxiv.org/abs/2402.03216
    Published {
        preset: Preset::BgeM3,
        hub_id: "BAAI/bge-m3",
        pooling: Pooling::Cls,
        lowercase: false,
        max_tokens: 8192,
    },
    // A cased masked language model without a sentence objective (do_lower_case.json of its repository): its CLS means nothing
    // before fine-tuning, the mean does better (Reimers and Gurevych 2019, https://arxiv.org/abs/1908.10084, table 1).
    // https://github.com/alexyalunin/RuBioRoBERTa, https://arxiv.org/abs/2204.03951
    Published {
        preset: Preset::Rubiobert,
        hub_id: "alexyalunin/RuBioBERT",
        pooling: Pooling::Mean,
        lowercase: false,
        max_tokens: 512,
    },
];

/// Returns the hub id of a preset's weights.
pub fn hub_id(preset: Preset) -> Option<&'static str> {
    Published::named(preset).map(|published| published.hub_id)
}

/// Lists the presets whose weights are in the Hugging Face cache of this machine.
pub fn presets_on_this_machine() -> impl Iterator<Item = Preset> {
    let held = PUBLISHED.iter().filter(|published| hub::cached(published.hub_id, &HUB_FILES).is_some());
    held.map(|published| published.preset)
}

impl Published {
    /// Returns a published encoder by its name in settings.
    pub fn named(preset: Preset) -> Option<&'static Self> {
        PUBLISHED.iter().find(|published| published.preset == preset)
    }

    /// Returns a published encoder by its hub id.
    pub fn of_hub_id(id: &str) -> Option<&'static Self> {
        PUBLISHED.iter().find(|published| published.hub_id == id)
    }

    pub(super) fn stated(&self) -> Stated {
        Stated {
            pooling: Some(self.pooling),
            normalise: Some(true),
            lowercase: Some(self.lowercase),
            max_tokens: Some(self.max_tokens),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_preset() {
        for preset in Preset::ALL {
            let published = Published::named(preset).unwrap();
            assert_eq!(Published::of_hub_id(published.hub_id).unwrap().preset, preset);
            assert_eq!(preset.name().parse::<Preset>().unwrap(), preset);
        }
    }
}
