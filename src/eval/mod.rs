//! Scores: gold and predicted values come in, figures leave. Pure: no file is read or written here.

pub mod calibration;
pub mod calibrator;
