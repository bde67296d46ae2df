//! Language models.

mod tiny;
