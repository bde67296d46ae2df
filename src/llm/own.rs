//! Noso's own decoder as an engine: chats come in, answers leave, token by token.
//!
//! It lets a training measure a model by what it says, through the same stages and constraints as in use. It decodes greedily and keeps no
//! queue: for serving there is mistral.rs.

use std::sync::Arc;

use llguidance::{Matcher, ParserFactory, api::TopLevelGrammar};
use rayon::prelude::*;
use toktrie_hf_tokenizers::ByteTokenizer;

use super::{
    Answer, Constraint, Finish, Generate, Request, Token,
    chat::Chat,
    grammar,
    labels::{LabelTrie, Read, log_softmax},
};
use crate::{
    error::{Error, Result},
    nn::decoder::{Cache, Decoder},
};

/// A decoder with its chat template.
pub struct Own {
    decoder: Decoder,
    chat: Arc<Chat>,
    grammars: ParserFactory,
    ends: Vec<u32>,
    on_cpu: bool,
}

impl Own {
    /// Puts a decoder and its chat template together. The decoder is not trained by what it says, but sees what training makes of its weights.
    ///
    /// # Errors
    /// - [`Error::Generation`] if constraints cannot be put on this tokenizer.
    pub fn new(decoder: &Decoder, chat: Arc<Chat>) -> Result<Self> {
        let grammars = ByteTokenizer::from_tokenizer(chat.tokenizer().clone())
            .and_then(|tokens| tokens.into_tok_env(Some(decoder.config().vocab_size)))
            .and_then(|tokens| ParserFactory::new_simple(&tokens))
            .map_err(|e| refused(&format!("its tokenizer takes no constraint: {e}")))?;
        let decoder = decoder.detached();
        let on_cpu = decoder.device().is_cpu();
        Ok(Self { ends: chat.ends(), grammars, chat, on_cpu, decoder })
    }

    fn answer(&self, request: &Request) -> Result<Answer> {
        if request.temperature > 0.0 {
            return Err(refused("it decodes greedily only: expected temperature 0"));
        }
        let prompt = self.chat.prompt(&request.messages)?;
        let room = self.decoder.config().max_position_embeddings.saturating_sub(prompt.len());
        if room == 0 {
            return Err(refused(&format!(
                "the prompt has {} tokens, which leaves no room for an answer",
                prompt.len()
            )));
        }
        let max_tokens = request.max_tokens.min(room);
        match &request.constraint {
            Constraint::Free => self.speak(&prompt, max_tokens, None),
            Constraint::Verbatim { source, max_items } => {
                let grammar = TopLevelGrammar::from_lark(grammar::verbatim(source, *max_items));
                let parser = self.grammars.create_parser(grammar);
                // The library's message could quote the source.
                let parser = parser.map_err(|_| refused("the constraint cannot be put on this text"))?;
                self.speak(&prompt, max_tokens, Some(Matcher::new(Ok(parser))))
            }
            Constraint::Choice { labels } => self.choose(&prompt, room, labels),
        }
    }

    /// Says the likeliest token that is allowed, again and again.
    fn speak(&self, prompt: &[u32], max_tokens: usize, mut matcher: Option<Matcher>) -> Result<Answer> {
        let mut cache = Cache::default();
        let (mut ids, mut tokens) = (Vec::new(), Vec::new());
        let mut finish = Finish::Length;
        let mut unread = prompt.to_vec();
        while tokens.len() < max_tokens {
            let row = self.logits(&unread, &mut cache)?;
            let allowed = matcher.as_mut().map(Matcher::compute_mask_or_eos).transpose();
            let allowed = allowed.map_err(|_| refused("the constraint lost track of the answer"))?;
            let may_follow = |id: &u32| allowed.as_ref().is_none_or(|allowed| allowed.is_allowed(*id));
            let likelier = |a: &u32, b: &u32| row[*a as usize].total_cmp(&row[*b as usize]).then(b.cmp(a));
            let Some(next) = (0..row.len() as u32).filter(may_follow).max_by(likelier) else { break };
            tokens.push(Token { text: self.text(&[next]), log_probability: log_softmax(&row)[next as usize] });
            if self.ends.contains(&next) || matcher.as_ref().is_some_and(Matcher::is_stopped) {
                finish = Finish::Stop;
                break;
            }
            if let Some(matcher) = &mut matcher {
                matcher.consume_token(next).map_err(|_| refused("the constraint lost track of the answer"))?;
            }
            ids.push(next);
            unread = vec![next];
        }
        let (prompt_tokens, answer_tokens) = (prompt.len(), tokens.len());
        Ok(Answer { text: self.text(&ids), finish, tokens, choice: None, prompt_tokens, answer_tokens })
    }

    /// Reads the distribution over `labels`; `room` is the most tokens that an answer may have.
    fn choose(&self, prompt: &[u32], room: usize, labels: &[String]) -> Result<Answer> {
        let sequences: Vec<Vec<u32>> =
            labels.iter().map(|label| self.chat.answer_start(label)).collect::<Result<_>>()?;
        let trie = LabelTrie::new(&sequences).ok_or_else(|| refused("the tokenizer cannot tell the labels apart"))?;
        if room <= trie.depth() {
            return Err(refused("the context has no room for the answer"));
        }
        let mut cache = Cache::default();
        let root = self.logits(prompt, &mut cache)?;
        let mut read = Read::new();
        let mut answer_tokens = 0;
        while let Some(path) = trie.next(&read) {
            let mut cache = cache.clone();
            let mut row = if path.is_empty() { root.clone() } else { self.logits(&path, &mut cache)? };
            let mut at = trie.node(&path);
            answer_tokens += path.len() + 1;
            while let Some(node) = at {
                if trie.branches(node) {
                    read.insert(node, trie.shares(node, &log_softmax(&row)));
                }
                at = match trie.onward(node, &read) {
                    Some((token, child)) => {
                        row = self.logits(&[token], &mut cache)?;
                        answer_tokens += 1;
                        Some(child)
                    }
                    None => None,
                };
            }
        }
        Ok(Answer::chosen(labels, trie.distribution(&read), prompt.len(), answer_tokens))
    }

    /// Scores the vocabulary after some more tokens.
    fn logits(&self, ids: &[u32], cache: &mut Cache) -> Result<Vec<f32>> {
        let vector = self.decoder.read(ids, cache)?;
        Ok(self.decoder.logits(&vector)?.flatten_all()?.to_vec1()?)
    }

    fn text(&self, ids: &[u32]) -> String {
        self.chat.tokenizer().decode(ids, true).unwrap_or_default()
    }
}

impl Generate for Own {
    fn generate(&self, requests: &[Request]) -> Vec<Result<Answer>> {
        // A GPU is kept busy by one, and several would wait for each other.
        match self.on_cpu {
            true => requests.par_iter().map(|request| self.answer(request)).collect(),
            false => requests.iter().map(|request| self.answer(request)).collect(),
        }
    }

    /// The weights change while they are trained, so nothing may be kept by this name.
    fn fingerprint(&self) -> String {
        "own".into()
    }
}

fn refused(reason: &str) -> Error {
    Error::Generation { engine: "noso's decoder".into(), reason: reason.into(), engine_lost: false }
}
