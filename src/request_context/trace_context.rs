//! W3C Trace Context: continues the client's trace, or starts one.

use std::sync::Arc;

/// The maximum length in bytes of a `tracestate` and of its members.
///
/// Source: W3C Trace Context section 3.3.
const MAX_STATE: usize = 512;
const MAX_MEMBERS: usize = 32;

/// The trace of a request, and this server's span in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// 32 hexadecimal digits.
    id: Arc<str>,
    /// Random, also in a continued trace.
    own_id: Arc<str>,
    span: u64,
    is_sampled: bool,
    /// The data of other systems, forwarded as it came.
    state: Option<String>,
}

impl TraceContext {
    /// Starts a trace.
    pub fn new() -> Self {
        let (id, span): (u128, u64) = rand::random();
        // Zero is invalid.
        let id = hexadecimal(id.max(1));
        Self { id: Arc::clone(&id), own_id: id, span: span.max(1), is_sampled: true, state: None }
    }

    /// Continues the trace of `traceparent`, or starts one if that is absent or invalid.
    pub(crate) fn from_headers(traceparent: Option<&str>, tracestate: String) -> Self {
        let new = Self::new();
        let Some((id, is_sampled)) = traceparent.and_then(parse) else { return new };
        let state = Some(tracestate).filter(|state| is_valid_state(state));
        Self { id: hexadecimal(id), is_sampled, state, ..new }
    }

    /// Returns the trace id, as 32 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns an id of this request alone: the trace id, unless the trace is continued.
    pub(crate) fn own_id(&self) -> Arc<str> {
        Arc::clone(&self.own_id)
    }

    /// Returns the `traceparent` of outgoing requests.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{:016x}-{:02x}", self.id, self.span, u8::from(self.is_sampled))
    }

    /// Returns the `tracestate` of outgoing requests, if there is one.
    pub fn tracestate(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

/// Formats an id as 32 digits.
fn hexadecimal(id: u128) -> Arc<str> {
    format!("{id:032x}").into()
}

/// Parses the trace id and the sampled flag of a `traceparent`. Later versions may append fields.
fn parse(traceparent: &str) -> Option<(u128, bool)> {
    let mut parts = traceparent.split('-');
    let (version, id, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let (version, id, parent, flags) = (number(version, 2)?, number(id, 32)?, number(parent, 16)?, number(flags, 2)?);
    let is_complete = version != 0 || parts.next().is_none();
    (version != 0xff && id != 0 && parent != 0 && is_complete).then_some((id, flags & 1 == 1))
}

/// Parses a number of exactly `length` lower-case hexadecimal digits.
fn number(digits: &str, length: usize) -> Option<u128> {
    let is_valid = digits.len() == length && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    u128::from_str_radix(digits, 16).ok().filter(|_| is_valid)
}

/// Returns whether a `tracestate` is valid: well-formed members, and not too many.
fn is_valid_state(state: &str) -> bool {
    let key = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    let value = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'=' && byte != b',';
    let member = |member: &str| match member.trim_matches([' ', '\t']) {
        "" => true,
        member => member.split_once('=').is_some_and(|(name, text)| {
            !name.is_empty() && name.bytes().all(key) && !text.is_empty() && text.bytes().all(value)
        }),
    };
    !state.trim().is_empty()
        && state.len() <= MAX_STATE
        && state.split(',').count() <= MAX_MEMBERS
        && state.split(',').all(member)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_headers(traceparent: Option<&str>, tracestate: Option<&str>) -> TraceContext {
        TraceContext::from_headers(traceparent, tracestate.unwrap_or_default().to_owned())
    }

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn valid_trace_is_continued_in_a_new_span() {
        let trace = from_headers(Some(PARENT), Some("rojo=00f067aa0ba902b7, congo=t61rcWkgMzE"));
        assert_eq!(trace.id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_ne!(trace.own_id(), from_headers(Some(PARENT), None).own_id(), "two requests of one trace are two");
        let ours = trace.traceparent();
        assert!(ours.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && ours.ends_with("-01"), "{ours}");
        assert!(ours.len() == PARENT.len() && !ours.contains("00f067aa0ba902b7"), "{ours}");
        assert_eq!(trace.tracestate(), Some("rojo=00f067aa0ba902b7, congo=t61rcWkgMzE"));
        let not_recorded = from_headers(Some(&PARENT.replace("-01", "-00")), None);
        assert!(not_recorded.traceparent().ends_with("-00"));
        let later = from_headers(Some("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"), None);
        assert_eq!((later.id(), &later.traceparent()[..3]), ("4bf92f3577b34da6a3ce929d0e0e4736", "00-"));
    }

    #[test]
    fn invalid_header_starts_a_trace() {
        for parent in [
            "",
            "-",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
        ] {
            let trace = from_headers(Some(parent), Some("a=1"));
            assert!(trace.id() != "4bf92f3577b34da6a3ce929d0e0e4736" && trace.tracestate().is_none(), "{parent}");
            assert!(parse(&trace.traceparent()).is_some(), "{parent}");
        }
        let long = format!("a={}", "x".repeat(600));
        let many = "a=1,".repeat(33);
        for state in ["", " ", "a", "=1", "A=1", "a=", "a=1,b=\u{1b}", "a=é", "a=b=c", &long, &many] {
            assert_eq!(from_headers(Some(PARENT), Some(state)).tracestate(), None, "{state}");
        }
    }

    #[test]
    fn new_trace_is_random_and_sampled() {
        assert_ne!(TraceContext::new().id(), TraceContext::new().id());
        assert!(TraceContext::new().traceparent().ends_with("-01"));
    }
}
