//! Responses, as the contract writes them. Only this module chooses a status.

pub(crate) mod cached;
pub(crate) mod chunked_body;
mod envelope;
mod error;
mod error_mapping;
pub(crate) mod event_stream;
pub(crate) mod static_file;

pub(crate) use envelope::{Success, no_content};
pub(crate) use error::{ApiError, HasEnvelope};
