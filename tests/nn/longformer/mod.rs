//! The Longformer: what it computes, how it learns, and how a BERT becomes one.

mod lengthened;
mod parity;
mod training;
