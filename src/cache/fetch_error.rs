//! The error of a fetch, as far as a cache needs it.

/// The meaning of a failed fetch to the cache. Replicas exchange it by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString)]
#[strum(serialize_all = "kebab-case")]
pub enum FailureKind {
    /// The resource does not exist (404): the entry is removed.
    NotFound,
    /// The resource no longer exists (410): the entry is removed.
    Gone,
    /// This replica did not attempt the fetch: a stale entry may be served.
    NotAttempted,
    /// The fetch failed: a stale entry may be served.
    Failed,
}

impl FailureKind {
    /// Returns whether the entry is removed.
    pub(super) fn removes_entry(self) -> bool {
        matches!(self, Self::NotFound | Self::Gone)
    }
}

/// The error of a fetch.
pub trait FetchError: Clone + Send + Sync + 'static {
    /// Returns its meaning to the cache.
    fn kind(&self) -> FailureKind;

    /// Creates the error that another replica reported as `kind`, or of an aborted fetch.
    fn from_kind(kind: FailureKind) -> Self;

    /// Creates the error of a fetch that panicked, or whose worker has ended.
    #[must_use]
    fn aborted() -> Self {
        Self::from_kind(FailureKind::Failed)
    }
}
