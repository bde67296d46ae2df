//! Experiments: what a run measured comes in, what people look at leaves.

pub mod audit;
pub(crate) mod bands;
pub mod cache;
pub mod calls;
pub mod cells;
mod coding;
pub mod compare;
#[cfg_attr(not(feature = "neural"), allow(dead_code))] // the study, which draws most, needs encoders
mod figures;
pub mod folder;
pub mod gold;
mod html;
pub mod identity;
pub mod leaderboard;
pub mod lint;
pub mod paper;
pub mod plan;
pub mod report;
pub mod run;
pub mod scored;
pub mod settings;
mod stages;
#[cfg(feature = "neural")]
pub mod study;
pub mod verify;
#[cfg_attr(not(feature = "neural"), allow(dead_code))]
pub(crate) mod written;
