//! A trie of labels comes in; a processor of logits leaves that reads the model's distribution over them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use mistralrs::{CustomLogitsProcessor, Tensor};

use crate::llm::labels::{LabelTrie, Shares, log_softmax};

/// Leads a generation along walks of the trie and reads the model's shares at each node it passes.
pub(super) struct Scorer {
    trie: Arc<LabelTrie>,
    read: Mutex<BTreeMap<usize, Shares>>,
}

impl Scorer {
    pub fn new(trie: Arc<LabelTrie>) -> Arc<Self> {
        Arc::new(Self { trie, read: Mutex::new(BTreeMap::new()) })
    }

    /// Makes the processor of one walk; `prompt_tokens` says where the answer begins.
    pub fn walk(self: &Arc<Self>, walk: Vec<u32>, prompt_tokens: usize) -> Arc<dyn CustomLogitsProcessor> {
        let scorer = self.clone();
        Arc::new(move |logits: &Tensor, context: &[u32]| {
            let row: Vec<f32> = logits.to_vec1()?;
            let step = context.len().saturating_sub(prompt_tokens);
            // A step past the walk belongs to no node: mistral.rs 0.8.1 takes one more after an answer of one token.
            let node = walk.get(..step).and_then(|path| scorer.trie.node(path));
            if let Some(node) = node.filter(|&node| scorer.trie.branches(node)) {
                let shares = scorer.trie.shares(node, &log_softmax(&row));
                if let Ok(mut read) = scorer.read.lock() {
                    read.insert(node, shares);
                }
            }
            match walk.get(step) {
                None => Ok(logits.clone()),
                Some(&forced) => {
                    let lead =
                        (0..row.len()).map(|token| if token == forced as usize { 0.0 } else { f32::NEG_INFINITY });
                    Tensor::from_iter(lead, logits.device())
                }
            }
        })
    }

    /// Returns the probability of each label, summing to 1.
    pub fn distribution(&self) -> Vec<f32> {
        self.read.lock().map(|read| self.trie.distribution(&read)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_past_the_walk_changes_nothing() {
        let scorer = Scorer::new(Arc::new(LabelTrie::new(&[vec![0], vec![1]]).unwrap()));
        let processor = scorer.walk(Vec::new(), 2);
        let row = |logits: [f32; 2]| Tensor::new(&logits, &mistralrs::Device::Cpu).unwrap();
        processor.apply(&row([1.0, 0.0]), &[7, 7]).unwrap();
        let read = scorer.distribution();
        processor.apply(&row([0.0, 1.0]), &[7, 7, 0]).unwrap();
        assert_eq!(scorer.distribution(), read);
        assert!(read[0] > read[1]);
    }
}
