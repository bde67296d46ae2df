//! Fine-tuning of language models: chats with their answers come in, an adapter leaves, or a model.

pub mod adapter;
pub mod choices;
pub mod compose;
pub mod finetune;
pub mod judge;
pub mod lessons;
pub mod pretrain;
pub mod settings;
mod task;

pub use self::task::{AnswerTask, Example};
