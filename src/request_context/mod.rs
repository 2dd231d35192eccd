//! On whose behalf something is done: what of a request is said with it in the log, and to Admin Control. Knows no HTTP.

pub mod trace_context;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::request_context::trace_context::Trace;

/// The request behind a piece of work. Clones share it.
#[derive(Debug, Clone)]
pub struct RequestContext(Arc<Request>);

#[derive(Debug)]
struct Request {
    id: String,
    client: IpAddr,
    trace: Trace,
}

impl RequestContext {
    /// The request that came from `client` with this id of its own, if it had one, as a part of `trace`.
    #[must_use]
    pub fn new(client: IpAddr, id: Option<String>, trace: Trace) -> Self {
        // One random number is enough for both.
        let id = id.unwrap_or_else(|| trace.own_id());
        Self(Arc::new(Request { id, client, trace }))
    }

    /// Nobody's request: the server, or its operator, asks by itself.
    #[must_use]
    pub fn nobody() -> Self {
        Self::new(Ipv4Addr::LOCALHOST.into(), None, Trace::start())
    }

    /// The request's id, as its answer carries it.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.0.id
    }

    /// The address that it came from.
    #[must_use]
    pub fn client(&self) -> IpAddr {
        self.0.client
    }

    /// What it is a part of.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.0.trace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_without_an_id_of_its_own_is_called_by_its_trace_if_that_is_its_own() {
        let (own, none) = (
            RequestContext::new(Ipv4Addr::LOCALHOST.into(), Some("mine".into()), Trace::start()),
            RequestContext::new(Ipv4Addr::LOCALHOST.into(), None, Trace::start()),
        );
        assert_eq!(own.request_id(), "mine");
        assert_eq!(none.request_id(), none.trace().id());
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let of_others = || RequestContext::new(Ipv4Addr::LOCALHOST.into(), None, Trace::continued(Some(parent), None));
        let (one, other) = (of_others(), of_others());
        assert_eq!(one.trace().id(), other.trace().id());
        assert!(one.request_id() != other.request_id() && one.request_id() != one.trace().id());
    }
}
