//! The error of a fetch, as far as a cache has to know it.

/// What a failed fetch means to the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The resource does not exist (404): the entry is removed.
    NotFound,
    /// The resource exists no longer (410): the entry is removed.
    Gone,
    /// The fetch was not attempted, for a reason of this replica: a stale entry may be served.
    NotAttempted,
    /// The fetch failed: a stale entry may be served.
    Failed,
}

impl FailureKind {
    /// Returns its name between replicas.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::NotFound => "not found",
            Self::Gone => "gone",
            Self::NotAttempted => "not attempted",
            Self::Failed => "failed",
        }
    }

    /// Returns the kind of that name; `None` if replicas do not share it.
    pub(super) fn from_name(name: &[u8]) -> Option<Self> {
        [Self::NotFound, Self::Gone, Self::Failed].into_iter().find(|kind| kind.name().as_bytes() == name)
    }
}

/// The error of a fetch.
pub trait FetchError: Clone + Send + Sync + 'static {
    /// Returns what it means to the cache.
    fn kind(&self) -> FailureKind;

    /// Makes the error of a fetch that was aborted, or that another replica made and reported as `kind`.
    fn from_kind(kind: FailureKind) -> Self;

    /// Makes the error of a fetch that panicked, or whose worker is gone.
    #[must_use]
    fn aborted() -> Self {
        Self::from_kind(FailureKind::Failed)
    }
}
