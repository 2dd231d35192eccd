//! What the server reports about itself: the log and the metrics.

pub(crate) mod escape;
pub(crate) mod health;
mod log_line;
pub mod logging;
pub mod metrics;
