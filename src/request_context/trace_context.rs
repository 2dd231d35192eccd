//! W3C Trace Context: a trace that a client began is carried on, and else one is begun, so that what a request caused can be
//! found in the logs of all who had to do with it. Knows no HTTP framework.

/// The longest `tracestate` that is passed on, in bytes, and the most members of it (W3C Trace Context section 3.3).
const MAX_STATE: usize = 512;
const MAX_MEMBERS: usize = 32;

/// This server's part of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    id: u128,
    /// A number of this part alone, also where the trace is somebody else's.
    own: u128,
    span: u64,
    sampled: bool,
    /// What other systems keep with the trace, passed on as it came.
    state: Option<String>,
}

impl Trace {
    /// A new trace, with this server's part as its root.
    #[must_use]
    pub fn start() -> Self {
        let (id, span): (u128, u64) = rand::random();
        // Zero means none, to those who read it.
        let id = id.max(1);
        Self { id, own: id, span: span.max(1), sampled: true, state: None }
    }

    /// The trace that `traceparent` names, with a new part for this server; a new trace if it names none.
    #[must_use]
    pub fn continued(traceparent: Option<&str>, tracestate: Option<&str>) -> Self {
        let new = Self::start();
        match traceparent.and_then(parse) {
            Some((id, sampled)) => {
                let state = tracestate.filter(|state| is_plain(state)).map(str::to_owned);
                Self { id, sampled, state, ..new }
            }
            None => new,
        }
    }

    /// The trace's id, as 32 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> String {
        hexadecimal(&self.id.to_be_bytes())
    }

    /// An id of this part alone, as 32 hexadecimal digits: the trace's, unless others had begun it, whose requests share that.
    #[must_use]
    pub fn own_id(&self) -> String {
        hexadecimal(&self.own.to_be_bytes())
    }

    /// The header for those whom this server asks.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let flags = if self.sampled { "01" } else { "00" };
        ["00", &self.id(), &hexadecimal(&self.span.to_be_bytes()), flags].join("-")
    }

    /// The other header, if there is anything to say in it.
    #[must_use]
    pub fn tracestate(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

/// Two digits a byte. By hand, because every request has several of these and the formatter takes its time.
fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |half: u8| if half < 10 { b'0' + half } else { b'a' + half - 10 };
    let digits = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
    // They are ASCII.
    String::from_utf8(digits).unwrap_or_default()
}

/// The trace's id, and whether somebody records it. Later versions may have more behind it, and none may have less.
fn parse(traceparent: &str) -> Option<(u128, bool)> {
    let mut parts = traceparent.split('-');
    let (version, id, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let [version, flags] = [(version, 2), (flags, 2)].map(|(part, length)| number(part, length));
    let (version, id, parent, flags) = (version?, number(id, 32)?, number(parent, 16)?, flags?);
    let whole = version != 0 || parts.next().is_none();
    (version != 0xff && id != 0 && parent != 0 && whole).then_some((id, flags & 1 == 1))
}

/// So many lower-case hexadecimal digits, and nothing else.
fn number(digits: &str, length: usize) -> Option<u128> {
    let plain = digits.len() == length && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    plain.then(|| u128::from_str_radix(digits, 16).ok()).flatten()
}

/// Whether a `tracestate` may be passed on: members as the standard has them, and not too many.
fn is_plain(state: &str) -> bool {
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

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_trace_is_carried_on_under_a_part_of_our_own() {
        let trace = Trace::continued(Some(PARENT), Some("rojo=00f067aa0ba902b7, congo=t61rcWkgMzE"));
        assert_eq!(trace.id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_ne!(trace.own_id(), Trace::continued(Some(PARENT), None).own_id(), "two requests of one trace are two");
        let ours = trace.traceparent();
        assert!(ours.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && ours.ends_with("-01"), "{ours}");
        assert!(ours.len() == PARENT.len() && !ours.contains("00f067aa0ba902b7"), "{ours}");
        assert_eq!(trace.tracestate(), Some("rojo=00f067aa0ba902b7, congo=t61rcWkgMzE"));
        let not_recorded = Trace::continued(Some(&PARENT.replace("-01", "-00")), None);
        assert!(not_recorded.traceparent().ends_with("-00"));
        let later = Trace::continued(Some("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"), None);
        assert_eq!((later.id().as_str(), &later.traceparent()[..3]), ("4bf92f3577b34da6a3ce929d0e0e4736", "00-"));
    }

    #[test]
    fn whatever_else_a_client_sends_begins_a_trace_and_none_of_it_is_passed_on() {
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
            let trace = Trace::continued(Some(parent), Some("a=1"));
            assert!(trace.id() != "4bf92f3577b34da6a3ce929d0e0e4736" && trace.tracestate().is_none(), "{parent}");
            assert!(parse(&trace.traceparent()).is_some(), "{parent}");
        }
        let long = format!("a={}", "x".repeat(600));
        let many = "a=1,".repeat(33);
        for state in ["", " ", "a", "=1", "A=1", "a=", "a=1,b=\u{1b}", "a=é", "a=b=c", &long, &many] {
            assert_eq!(Trace::continued(Some(PARENT), Some(state)).tracestate(), None, "{state}");
        }
    }

    #[test]
    fn two_traces_are_two() {
        assert_ne!(Trace::start().id(), Trace::start().id());
        assert!(Trace::start().traceparent().ends_with("-01"));
    }
}
