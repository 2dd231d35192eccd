//! What replicas share, with whom, and under which names in Redis.

use std::time::Duration;

use super::entry;
use crate::secret::Secret;
use crate::window;

/// What is shared, and with whom.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Where Redis is.
    pub url: Secret,
    /// What names this deployment: answers of two with different ones never mix.
    pub deployment: String,
    /// Which window this is.
    pub endpoint: &'static str,
    /// What answers are sealed with, the current secret first: what was not sealed with one of these is not believed.
    pub secrets: Vec<Secret>,
    /// Those of the window in front.
    pub window: window::Rules,
    /// How often a watched room is asked for: watchers on several replicas share that too.
    pub watched_every: Duration,
    /// How long waiting for another replica's call, and one's own call after it, may take together.
    pub deadline: Duration,
}

impl Rules {
    /// What all keys begin with.
    pub(super) fn prefix(&self) -> String {
        format!("proconf:{}:{}", entry::fingerprint(&self.deployment), self.endpoint)
    }

    /// Where replicas tell one another.
    pub(super) fn channel(&self) -> String {
        format!("{}:told", self.prefix())
    }
}
