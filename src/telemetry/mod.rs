//! What the server reports about itself: the log.

pub(crate) mod escape;
mod log_line;
pub mod logging;
