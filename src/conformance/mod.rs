//! The contract as a black-box test suite for any deployment. It shares no code with the server.
//!
//! A [`Case`] holds one sentence of the contract. `docs/CONFORMANCE.md` describes the command.

mod case;
mod cases;
mod claims;
mod client;
mod command;
mod event_stream;
mod options;
mod redaction;
mod report;
mod response;
mod runner;
mod target;
mod waiver;

pub use case::{Case, Failure, Outcome};
pub use cases::all_cases;
pub use command::run;
pub use options::{Options, TargetConfig};
pub use report::{CaseResult, Report, Verdict};
pub use runner::run_cases;
pub use target::Target;
pub use waiver::Waivers;
