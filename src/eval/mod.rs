//! Scores: gold and predicted values come in, figures leave. Pure: no file is read or written here.

pub mod agreement;
pub mod bootstrap;
pub mod calibration;
pub mod calibrator;
pub mod consistency;
pub mod leakage;
pub mod linking;
pub mod loss;
pub mod metrics;
pub mod multilabel;
pub mod report;
pub mod selection;
pub mod significance;
