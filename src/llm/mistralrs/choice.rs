//! A trie of labels comes in; a processor of logits leaves that reads the model's distribution over them.

use std::sync::{Arc, Mutex};

use mistralrs::{CustomLogitsProcessor, Tensor};

use crate::llm::labels::{LabelTrie, Read, log_softmax};

/// Leads generations along paths of the trie and reads the model's shares at each node they pass.
pub(super) struct Scorer {
    trie: LabelTrie,
    read: Mutex<Read>,
    /// Token that ends a walk; without one it goes on to the most tokens allowed.
    end: Option<u32>,
}

impl Scorer {
    pub fn new(trie: LabelTrie, end: Option<u32>) -> Arc<Self> {
        Arc::new(Self { trie, read: Mutex::default(), end })
    }

    /// Returns the path that a generation is to be led along next, and the most tokens that it takes.
    pub fn next(&self) -> Option<(Vec<u32>, usize)> {
        let path = self.trie.next(&*self.read.lock().ok()?)?;
        Some((path, self.trie.depth() + 1))
    }

    /// Makes the processor of one walk: along `path`, then on along the likeliest way. `prompt_tokens` says where the answer begins.
    pub fn walk(self: &Arc<Self>, path: Vec<u32>, prompt_tokens: usize) -> Arc<dyn CustomLogitsProcessor> {
        let scorer = self.clone();
        Arc::new(move |logits: &Tensor, context: &[u32]| {
            let row: Vec<f32> = logits.to_vec1()?;
            let said = context.get(prompt_tokens..).unwrap_or_default();
            // A step past the walk belongs to no node: mistral.rs 0.8.1 takes one more after an answer of one token.
            let Some(node) = scorer.trie.node(said) else { return Ok(logits.clone()) };
            let Ok(mut read) = scorer.read.lock() else { return Ok(logits.clone()) };
            if scorer.trie.branches(node) {
                read.insert(node, scorer.trie.shares(node, &log_softmax(&row)));
            }
            let on = path.get(said.len()).copied();
            match on.or_else(|| Some(scorer.trie.onward(node, &read)?.0)).or(scorer.end) {
                None => Ok(logits.clone()),
                Some(forced) => {
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
        let scorer = Scorer::new(LabelTrie::new(&[vec![0], vec![1]]).unwrap(), Some(2));
        assert_eq!(scorer.next(), Some((Vec::new(), 1)));
        let processor = scorer.walk(Vec::new(), 2);
        let row = |logits: [f32; 3]| Tensor::new(&logits, &mistralrs::Device::Cpu).unwrap();
        let forced = processor.apply(&row([1.0, 0.0, 0.0]), &[7, 7]).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(forced, [f32::NEG_INFINITY, f32::NEG_INFINITY, 0.0]);
        let read = scorer.distribution();
        processor.apply(&row([0.0, 1.0, 0.0]), &[7, 7, 2]).unwrap();
        assert_eq!((scorer.distribution(), scorer.next()), (read.clone(), None));
        assert!(read[0] > read[1]);
    }
}
