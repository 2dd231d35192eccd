//! The context of a request: its id, client, trace and connection.

pub(crate) mod connection_state;
pub(crate) mod trace_context;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use self::trace_context::TraceContext;

/// The id, client and trace of a request. Clones share them.
#[derive(Debug, Clone)]
pub struct RequestContext {
    request_id: Arc<str>,
    client: IpAddr,
    trace: Arc<TraceContext>,
}

impl RequestContext {
    /// Creates the context of a request. Without an `id`, the request gets its trace's own one.
    pub fn new(client: IpAddr, id: Option<String>, trace: TraceContext) -> Self {
        Self { request_id: id.unwrap_or_else(|| trace.own_id()).into(), client, trace: trace.into() }
    }

    /// Creates the context of work that no client has requested.
    pub fn internal() -> Self {
        Self::new(Ipv4Addr::LOCALHOST.into(), None, TraceContext::new())
    }

    /// Returns the id that the response carries.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Returns the client's address.
    pub fn client(&self) -> IpAddr {
        self.client
    }

    /// Returns the trace.
    pub fn trace(&self) -> &TraceContext {
        &self.trace
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
