//! A case: a name, tags, the sentence of the contract that it checks, and a function.

use super::target::Target;

/// One case of the suite.
pub struct Case {
    /// A stable name, such as `login::wrong_credentials_are_401`.
    pub name: &'static str,
    /// Tags, separated by spaces.
    pub tags: &'static str,
    /// The sentence of the contract.
    pub sentence: &'static str,
    /// Tests a target.
    pub run: fn(&Target) -> Outcome,
}

impl Case {
    /// Returns whether the case has one of `tags`. Without any, every case is selected.
    pub(crate) fn is_selected(&self, tags: &[String]) -> bool {
        tags.is_empty() || self.tags.split(' ').any(|own| tags.iter().any(|tag| tag == own))
    }
}

/// Why a case did not hold.
#[derive(Debug)]
pub enum Failure {
    /// The target violates the contract: what was received and what is required.
    Violation(String),
    /// The case can't be tried; names what is missing.
    NotTried(String),
}

/// The result of a case's function.
pub type Outcome = Result<(), Failure>;

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Violation(message)
    }
}

/// Returns a violation unless `holds`.
pub(super) fn check(holds: bool, violation: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(Failure::Violation(violation())) }
}

/// Returns why a case is not tried.
pub(super) fn not_tried(missing: &str) -> Failure {
    Failure::NotTried(missing.to_owned())
}

/// Defines the table of a module's cases: name, tags, and the sentence of the contract.
///
/// A case of one expression has it behind `=`; any other is the function of that name.
macro_rules! cases {
    (@run $case:ident) => { $case };
    (@run $case:ident $run:expr) => { $run };
    ($module:ident { $($case:ident [$($tags:literal)?] $sentence:literal $(= $run:expr)?;)* }) => {
        /// The cases of this module.
        pub(super) const CASES: &[$crate::conformance::Case] = &[$($crate::conformance::Case {
            name: concat!(stringify!($module), "::", stringify!($case)),
            tags: concat!(stringify!($module) $(, " ", $tags)?),
            sentence: $sentence,
            run: cases!(@run $case $($run)?),
        },)*];
    };
}
pub(super) use cases;
