//! How long a client may take: the numbers, and no clock.

use std::time::Duration;

/// How long a client may take. Ends come up to half a second later.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// For a head, from its first byte.
    pub head: Duration,
    /// For a whole request, from the first byte of its head to the last of its body.
    pub request: Duration,
    /// Within such a time …
    pub send_window: Duration,
    /// … it must have taken so many bytes for each second of it.
    pub least_per_second: usize,
    /// For both, once the listener is closed.
    pub once_stopped: Duration,
    /// For closing its end.
    pub closing: Duration,
}

impl Rules {
    /// Those of the server, where a request may take so long.
    #[must_use]
    pub fn new(request: Duration) -> Self {
        Self {
            head: Duration::from_secs(5),
            // The handler that waits for the body comes first, with an answer.
            request: request.saturating_add(Duration::from_millis(250)),
            send_window: Duration::from_secs(30),
            least_per_second: 1024,
            once_stopped: Duration::from_secs(5),
            closing: Duration::from_secs(1),
        }
    }
}
