use super::*;

/// Feeds the bytes in pieces of `size`; gives what the parser would get, and where it ended.
fn feed(bytes: &[u8], size: usize) -> (Vec<u8>, Phase, Framing, bool) {
    let mut framing = Framing::new();
    let mut passed = Vec::new();
    for piece in bytes.chunks(size) {
        let (mut piece, mut at) = (piece.to_vec(), 0);
        while at < piece.len() {
            let Ok(taken) = framing.read(&mut piece[at..]) else {
                let phase = framing.phase();
                return (passed, phase, framing, true);
            };
            passed.extend_from_slice(&piece[at..at + taken]);
            at += taken;
        }
    }
    let phase = framing.phase();
    (passed, phase, framing, false)
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: t\r\n\r\n";

#[test]
fn each_request_ends_where_it_ends_however_its_bytes_are_cut() {
    for (bytes, begun, phase) in [
        (b"".to_vec(), 0, Phase::Between),
        (b"\r\nG".to_vec(), 1, Phase::Head),
        (GET.to_vec(), 1, Phase::Between),
        (GET.repeat(3), 3, Phase::Between),
        (b"POST / HTTP/1.1\r\ncontent-LENGTH:  3 \r\n\r\nab".to_vec(), 1, Phase::Body),
        ([b"POST / HTTP/1.1\r\ncontent-LENGTH:  3 \r\n\r\nabc", GET].concat(), 2, Phase::Between),
        ([b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", GET].concat(), 2, Phase::Between),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3;a=b\r\nabc\r\n".to_vec(), 1, Phase::Body),
        (
            [b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0a\r\n0123456789\r\n0\r\nX: y\r\n\r\n", GET]
                .concat(),
            2,
            Phase::Between,
        ),
        // Not of HTTP/1.0, and not another coding: the parser refuses them or goes by the length, and so does this.
        ([b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\na", GET].concat(), 2, Phase::Between),
        (b"CONNECT t HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n".to_vec(), 1, Phase::Unknown),
    ] {
        for size in 1..=bytes.len().max(1) {
            let (passed, at_the_end, framing, refused) = feed(&bytes, size);
            let of = format!("{:?} in pieces of {size}", String::from_utf8_lossy(&bytes));
            assert!(!refused, "{of}");
            assert_eq!((at_the_end, framing.begun(), &passed), (phase, begun, &bytes), "{of}");
        }
    }
}

#[test]
fn one_request_is_taken_at_a_time_and_how_much_of_its_body_is_missing_is_known() {
    let post = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc".as_slice();
    let chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".as_slice();
    for request in [GET, post, chunked] {
        let (mut framing, mut all) = (Framing::new(), [request, b"\r\n", GET, b"GET"].concat());
        assert_eq!(framing.read(&mut all), Ok(request.len()));
        assert_eq!((framing.begun(), framing.phase(), framing.missing()), (1, Phase::Between, 0));
        assert_eq!(framing.read(&mut all[request.len()..]), Ok(GET.len() + 2));
        assert_eq!(framing.read(&mut all[request.len() + GET.len() + 2..]), Ok(3));
        assert_eq!((framing.begun(), framing.phase(), framing.missing()), (3, Phase::Head, 0));
    }
    for (bytes, missing) in
        [(&post[..post.len() - 2], 2), (&chunked[..chunked.len() - 9], 2), (&chunked[..chunked.len() - 7], 0)]
    {
        let mut framing = Framing::new();
        assert_eq!(framing.read(&mut bytes.to_vec()), Ok(bytes.len()));
        assert_eq!((framing.phase(), framing.missing()), (Phase::Body, missing));
    }
}

#[test]
fn a_line_that_ends_in_a_bare_line_feed_goes_no_further() {
    for bytes in [
        b"GET / HTTP/1.1\nHost: t\r\n\r\n".as_slice(),
        b"GET / HTTP/1.1\r\nHost: t\n\r\n",
        b"GET / HTTP/1.1\r\nHost: t\r\n\n",
        b"\nGET / HTTP/1.1\r\nHost: t\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\n\r\n",
    ] {
        for size in 1..=bytes.len() {
            assert!(feed(bytes, size).3, "{:?} in pieces of {size}", String::from_utf8_lossy(bytes));
        }
    }
}

#[test]
fn a_chunk_size_that_another_reader_could_take_for_another_one_goes_no_further() {
    // The parser reads all digits; to stop after some of them would be to lose sight of the rest of the connection.
    for size in ["00000000000000003", "0000000000000000ff", "3 ", "3\t", "3;", "0x3", "+3", " 3", "3_0", "zz"] {
        let bytes = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\nabc\r\n0\r\n\r\n").into_bytes();
        for piece in [1, 7, bytes.len()] {
            assert!(feed(&bytes, piece).3, "{size:?} in pieces of {piece}");
        }
    }
    let most = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{:0>16}\r\nabc\r\n0\r\n\r\n", 3).into_bytes();
    assert_eq!(feed(&most, most.len()).1, Phase::Between);
}

#[test]
fn a_trailer_that_is_no_field_goes_no_further() {
    let read = |trailer: &str, size| {
        let bytes = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{trailer}\r\n\r\n").into_bytes();
        feed(&bytes, size).3
    };
    for size in [1, 7, 1000] {
        for good in ["X: y", "X:", "x-Y_1:\ta\u{e9}\t b", "Content-Length: 3"] {
            assert!(!read(good, size), "{good:?}");
        }
        for bad in
            ["X", ":", ": y", "X : y", "X\t: y", "X\tY: y", " X: y", "X: \0", "X: \u{7f}", "X: a\rb", "X\0: y", "(X): y"]
        {
            assert!(read(bad, size), "{bad:?}");
        }
    }
}

#[test]
fn what_chunks_announce_is_added_up_and_forgotten_with_their_request() {
    let post = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (chunks, announced) in [
        ("", 0),
        ("3", 0),
        ("3\r\n", 3),
        ("3;a=b\r\nabc\r\n0a\r\n", 13),
        ("1\r\na\r\nffffffffffffffff\r\n", u64::MAX),
        ("3\r\nabc\r\n0\r\n\r\n", 0),
    ] {
        let bytes = format!("{post}{chunks}").into_bytes();
        for size in [1, bytes.len()] {
            assert_eq!(feed(&bytes, size).2.announced(), announced, "{chunks:?} in pieces of {size}");
        }
    }
}

#[test]
fn limits_are_on_the_request_line_the_head_a_chunks_line_and_the_trailers() {
    let line = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: t\r\n\r\n", "a".repeat(length - 16)).into_bytes();
    let header = |length: usize| format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(length - 23)).into_bytes();
    let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let extension = |length: usize| format!("{chunked}1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(length - 4)).into_bytes();
    let trailer = |length: usize| format!("{chunked}0\r\nX: {}\r\n\r\n", "a".repeat(length - 7)).into_bytes();
    for (of, good, bad) in [
        ("request line", line(MAX_REQUEST_LINE), line(MAX_REQUEST_LINE + 1)),
        ("head", header(MAX_HEAD), header(MAX_HEAD + 1)),
        ("chunk extension", extension(MAX_HEAD), extension(MAX_HEAD + 1)),
        ("trailers", trailer(MAX_HEAD), trailer(MAX_HEAD + 1)),
        ("empty lines", GET.to_vec(), [b"\r\n".repeat(MAX_HEAD), GET.to_vec()].concat()),
    ] {
        for size in [1, 1000, 1 << 20] {
            let (_, phase, _, refused) = feed(&good, size);
            assert!(!refused && phase == Phase::Between, "{of}, pieces of {size}");
            assert!(feed(&bad, size).3, "{of}, pieces of {size}");
        }
    }
}

#[test]
fn a_header_that_the_parser_would_act_on_says_nothing_however_its_line_is_cut() {
    for (header, passed_on, asks) in [
        ("UPGRADE:websocket", "UPGRADE:---------", false),
        ("Upgrade: h2c, WebSocket ", "Upgrade: ---, --------- ", false),
        ("Expect: 100-continue", "Expect: ------------", true),
        ("expect:100-Continue, foo=1", "expect:------------, ---=-", true),
        ("Expect: foo,\t100-continue", "Expect: ---,\t------------", true),
        ("Expect: foo", "Expect: ---", false),
        ("Expected: 100-continue", "Expected: 100-continue", false),
        ("User-Agent: Upgrade: websocket", "User-Agent: Upgrade: websocket", false),
    ] {
        let head = |header: &str| format!("POST / HTTP/1.1\r\n{header}\r\nContent-Length: 1\r\n\r\n").into_bytes();
        let bytes = head(header);
        for size in 1..=bytes.len() {
            let (passed, phase, mut framing, refused) = feed(&bytes, size);
            assert!(!refused && phase == Phase::Body, "{header} in pieces of {size}");
            assert_eq!(passed, head(passed_on), "{header} in pieces of {size}");
            assert_eq!((framing.asks(), framing.asks()), (asks, false), "{header} in pieces of {size}");
        }
    }
    for body in ["Content-Length: 20\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n14\r\n"] {
        let bytes = format!("POST / HTTP/1.1\r\n{body}Upgrade: websocket\r\n").into_bytes();
        assert_eq!(feed(&bytes, bytes.len()).0, bytes);
    }
}

#[test]
fn a_host_is_one_name_or_one_address_and_any_other_goes_no_further() {
    let refused = |host: &str, size| feed(format!("GET / HTTP/1.1\r\nhOST: {host}\r\n\r\n").as_bytes(), size).3;
    for size in [1, 3, 1000] {
        for good in
            ["t", "a-b.example.com", "A_1.example.", "t:8080", "t:", "127.0.0.1:1", "[::1]", "[::ffff:1.2.3.4]:80", " t\t"]
        {
            assert!(!refused(good, size), "{good:?}");
        }
        for bad in [
            "", " ", "a, b", "a,b", "a b", "u@t", "u:p@t", "t/", "t/path", "http://t", "t?q", "t#f", "t:x", "t:80:81",
            ":80", "[::1", "[]", "[g]", "[::1]x", "[::1]:x", "::1", "t\\", "%74", "\u{fc}", "t;a", "\"t\"", "<t>",
        ] {
            assert!(refused(bad, size), "{bad:?}");
        }
    }
}

#[test]
fn a_target_that_names_a_host_names_the_one_of_the_header() {
    let refused = |target: &str, host: &str, size| {
        feed(format!("GET {target} HTTP/1.1\r\nX: y\r\nHost: {host}\r\n\r\n").as_bytes(), size).3
    };
    for size in [1, 3, 1000] {
        for (target, host) in [
            ("http://t/a", "t"),
            ("HTTPS://T:1/a?b=//u", "t:1"),
            ("http://t", "t"),
            ("http://t?q", "t"),
            ("http://[::1]:8/", "[::1]:8"),
            ("/a?b=http://u/", "t"),
            ("//u/a", "t"),
            ("*", "t"),
        ] {
            assert!(!refused(target, host, size), "{target}");
        }
        for target in [
            "http://u/a",
            "http://t:1/a",
            "http://t@u/a",
            "http://u@t/a",
            "http:///a",
            "ftp://t/a",
            "://t/a",
            "http://t.u/",
            "http://t\\u",
        ] {
            assert!(refused(target, "t", size), "{target}");
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_how_they_are_cut_changes_nothing(bytes: Vec<u8>, size in 1_usize..9) {
        let bytes = [b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", bytes.as_slice()].concat();
        let whole = feed(&bytes, bytes.len());
        let cut = feed(&bytes, size);
        proptest::prop_assert_eq!((whole.1, whole.3), (cut.1, cut.3));
    }
}
