//! Reading on: what a decoder keeps of the tokens it has read, so that each next one costs one token's work.

use candle_core::Tensor;

use super::{Decoder, layer::KeysAndValues};
use crate::{
    error::{Error, Result},
    nn::{Packed, ops},
};

/// Keys and values of the tokens read so far, of each layer; a clone shares them.
#[derive(Debug, Clone, Default)]
pub struct Cache {
    layers: Vec<Option<KeysAndValues>>,
    ids: Vec<u32>,
}

impl Decoder {
    /// Reads the next tokens of a text, without training. Returns the last one's vector `(1, hidden)`.
    ///
    /// # Errors
    /// Those of [`Self::forward`].
    pub fn read(&self, ids: &[u32], cache: &mut Cache) -> Result<Tensor> {
        let Some((last, before)) = ids.split_last() else {
            return Err(Error::Sequence { expected: "at least one token".into(), got: "none".into() });
        };
        let (known, all) = (cache.ids.len(), cache.ids.len() + ids.len());
        if known == 0 || self.config.rotary.changes_between(known, all) {
            // Beyond that length all tokens are turned otherwise, so they are read again, as in transformers.
            let all = [std::mem::take(cache).ids.as_slice(), ids].concat();
            return self.read_at_once(&all, cache);
        }
        for id in before {
            self.read_at_once(&[*id], cache)?;
        }
        self.read_at_once(&[*last], cache)
    }

    /// Reads the first tokens of a text, or one more.
    fn read_at_once(&self, ids: &[u32], cache: &mut Cache) -> Result<Tensor> {
        self.check(&Packed::new([ids]), cache.ids.len())?;
        cache.layers.resize(self.layers.len(), None);
        let mut x = self.words.rows(ids)?;
        let positions = cache.ids.len()..cache.ids.len() + ids.len();
        let angles = self.config.rotary.angles_of(std::iter::once(positions));
        for (layer, known) in self.layers.iter().zip(&mut cache.layers) {
            x = layer.next(&x, &angles, known)?;
        }
        cache.ids.extend_from_slice(ids);
        let last = x.narrow(0, ids.len() - 1, 1)?;
        ops::rms_norm(&last.contiguous()?, &self.norm, self.config.rms_norm_eps)
    }
}
