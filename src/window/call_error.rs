//! What a window has to know of a call that failed.

/// What a failed call means to the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The call failed: an old answer may stand in.
    Failure,
    /// There is nothing any more: an old answer is wrong.
    Absence,
    /// The call was not made: an old answer may stand in.
    Refusal,
}

/// An error of the calls that a window makes.
pub trait CallError: Clone + Send + Sync + 'static {
    /// What it means.
    fn kind(&self) -> Kind;
    /// What is said when a call ended without a word: it panicked, or its worker is gone.
    fn given_up() -> Self;
}
