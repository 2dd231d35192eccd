//! The context of a request: its id, client, trace and connection.

pub(crate) mod connection_state;
pub(crate) mod trace_context;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use self::trace_context::TraceContext;

/// The id, client, trace and start of a request. Clones share them.
#[derive(Debug, Clone)]
pub struct RequestContext(Arc<Fields>);

#[derive(Debug)]
struct Fields {
    request_id: Arc<str>,
    client: IpAddr,
    trace: TraceContext,
    started: Instant,
}

impl RequestContext {
    /// Creates the context of a request. Without an `id`, the request gets its trace's own one.
    pub fn new(client: IpAddr, id: Option<String>, trace: TraceContext) -> Self {
        let request_id = id.map_or_else(|| trace.own_id(), Arc::from);
        Self(Arc::new(Fields { request_id, client, trace, started: Instant::now() }))
    }

    /// Creates the context of work that no client has requested.
    pub fn internal() -> Self {
        Self::new(Ipv4Addr::LOCALHOST.into(), None, TraceContext::new())
    }

    /// Returns the id that the response carries.
    pub fn request_id(&self) -> &str {
        &self.0.request_id
    }

    /// Returns the client's address.
    pub fn client(&self) -> IpAddr {
        self.0.client
    }

    /// Returns when the request began.
    pub fn started(&self) -> Instant {
        self.0.started
    }

    /// Returns the trace.
    pub fn trace(&self) -> &TraceContext {
        &self.0.trace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_id_is_the_clients_else_the_traces() {
        let new =
            |id: Option<&str>| RequestContext::new(Ipv4Addr::LOCALHOST.into(), id.map(str::to_owned), TraceContext::new());
        assert_eq!(new(Some("mine")).request_id(), "mine");
        let context = new(None);
        assert_eq!(context.request_id(), context.trace().id());
    }

    #[test]
    fn requests_of_a_continued_trace_have_different_ids() {
        let parent = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let new =
            || RequestContext::new(Ipv4Addr::LOCALHOST.into(), None, TraceContext::from_headers(parent, String::new()));
        let (one, other) = (new(), new());
        assert_eq!(one.trace().id(), other.trace().id());
        assert!(one.request_id() != other.request_id() && one.request_id() != one.trace().id());
    }
}
