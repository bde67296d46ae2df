//! The one integration test binary: a module an area.

mod corpus;
mod eval;
mod layering;
