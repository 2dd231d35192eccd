//! Extractors: what handlers take from a request, parsed and checked.

pub mod client_address;
pub mod in_flight;
pub mod json_body;
pub mod room;
