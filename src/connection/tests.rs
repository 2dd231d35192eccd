use std::future::poll_fn;
use std::io::{Read as _, Write as _};
use std::net::TcpStream as Peer;
use std::task::Waker;
use std::time::Instant;

use socket2::{Domain, Socket, Type};
use tokio::task::LocalSet;

use super::*;

const RULES: Rules = Rules {
    head: Duration::from_millis(250),
    request: Duration::from_millis(500),
    send_window: Duration::from_secs(1),
    least_per_second: 1024,
    once_stopped: Duration::from_millis(250),
    closing: Duration::from_millis(250),
};
/// More than all buffers between the two ends.
const LARGE: usize = 16 << 20;

/// A connection, and its other end, whose receive buffer is small.
fn connect(draining: &Draining) -> (Connection, Peer) {
    connect_to(draining, 4096)
}

/// A connection, and its other end, whose receive buffer has so many bytes.
fn connect_to(draining: &Draining, receive_buffer: usize) -> (Connection, Peer) {
    let (stream, peer) = pair(receive_buffer);
    (Connections::start(RULES, Capacity::new(1, 1, 1), draining.clone()).open(stream), peer)
}

fn pair(receive_buffer: usize) -> (TcpStream, Peer) {
    let listener = listen("127.0.0.1:0".parse().unwrap(), &RULES).unwrap();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(receive_buffer).unwrap();
    socket.connect(&listener.local_addr().unwrap().into()).unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    (TcpStream::from_std(stream).unwrap(), socket.into())
}

fn run(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, work);
}

/// Writes so many bytes, a slice at a time, as the HTTP server does.
async fn write(connection: &mut Connection, mut left: usize) -> io::Result<()> {
    let slice = vec![b'x'; 16 * 1024];
    while left > 0 {
        left -= poll_fn(|context| Pin::new(&mut *connection).poll_write(context, &slice)).await?.min(left);
        poll_fn(|context| Pin::new(&mut *connection).poll_flush(context)).await?;
    }
    Ok(())
}

async fn read(connection: &mut Connection) -> io::Result<Vec<u8>> {
    let mut space = [0; 1024];
    let mut buffer = ReadBuf::new(&mut space);
    poll_fn(|context| Pin::new(&mut *connection).poll_read(context, &mut buffer)).await?;
    Ok(buffer.filled().to_vec())
}

/// Ends with the time-out's error, at its time, and the other end is told at once.
async fn is_ended(work: impl Future<Output = io::Result<()>>, at: Duration) {
    let started = Instant::now();
    let error = work.await.unwrap_err();
    let took = started.elapsed();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(took >= at && took < at + Duration::from_millis(1_250), "{took:?} and not {at:?}");
}

#[test]
fn who_takes_nothing_or_next_to_nothing_is_ended_with_a_reset() {
    for pace in [None, Some(Duration::from_millis(100))] {
        run(async {
            let (mut connection, mut peer) = connect(&Draining::default());
            let other_end = peer.try_clone().unwrap();
            let reading = std::thread::spawn(move || {
                let pace = pace?;
                loop {
                    if let Err(error) = peer.read_exact(&mut [0; 32]) {
                        return Some(error);
                    }
                    std::thread::park_timeout(pace);
                }
            });
            is_ended(write(&mut connection, LARGE), RULES.send_window).await;
            drop(connection);
            // Whoever looks first is told.
            let told = tokio::task::spawn_blocking(|| reading.join().unwrap()).await.unwrap();
            let told = told.or(SockRef::from(&other_end).take_error().unwrap());
            assert_eq!(told.map(|error| error.kind()), Some(ErrorKind::ConnectionReset));
        });
    }
}

#[test]
fn who_reads_slowly_but_steadily_gets_it_all() {
    run(async {
        let (mut connection, mut peer) = connect_to(&Draining::default(), 64 << 10);
        let reading = std::thread::spawn(move || {
            let (mut total, mut buffer) = (0, [0; 16 << 10]);
            while total < 2 << 20 {
                total += peer.read(&mut buffer).unwrap();
                std::thread::park_timeout(Duration::from_millis(20));
            }
            peer
        });
        write(&mut connection, 2 << 20).await.unwrap();
        // In between it was idle for longer than a window.
        tokio::time::sleep(RULES.send_window + Duration::from_millis(500)).await;
        write(&mut connection, 1).await.unwrap();
        drop(reading.join().unwrap());
    });
}

#[test]
fn once_the_listener_is_closed_nobody_has_that_long() {
    run(async {
        let draining = Draining::default();
        let (mut connection, _peer) = connect(&draining);
        let stopping = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            draining.end();
        };
        let ((), ()) = tokio::join!(is_ended(write(&mut connection, LARGE), Duration::from_millis(550)), stopping);
    });
    run(async {
        let draining = Draining::default();
        let (mut connection, mut peer) = connect(&draining);
        peer.write_all(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n").unwrap();
        read(&mut connection).await.unwrap();
        draining.end();
        is_ended(async { read(&mut connection).await.map(drop) }, RULES.once_stopped).await;
    });
}

#[test]
fn a_head_and_a_body_have_their_times_and_a_connection_between_requests_has_none() {
    for (sent, at) in [
        ("\r\n", RULES.head),
        ("GET / HT", RULES.head),
        ("GET / HTTP/1.1\r\n\r\nGET / HT", RULES.head),
        ("POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n", RULES.request),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", RULES.request),
    ] {
        run(async {
            let (mut connection, mut peer) = connect(&Draining::default());
            peer.write_all(sent.as_bytes()).unwrap();
            let mut got = read(&mut connection).await.unwrap();
            if got.len() < sent.len() {
                drop(connection.turn().begin(true));
                got.extend(read(&mut connection).await.unwrap());
            }
            assert_eq!(got, sent.as_bytes());
            is_ended(async { read(&mut connection).await.map(drop) }, at).await;
        });
    }
    run(async {
        let (mut connection, mut peer) = connect(&Draining::default());
        peer.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        read(&mut connection).await.unwrap();
        let waiting = tokio::time::timeout(RULES.request * 3, read(&mut connection)).await;
        assert!(waiting.is_err(), "{waiting:?}");
    });
}

#[test]
fn another_request_is_read_once_the_answer_before_it_has_been_made_and_taken() {
    run(async {
        let (mut connection, mut peer) = connect(&Draining::default());
        let request = b"GET / HTTP/1.1\r\nHost: t\r\n\r\n".as_slice();
        let post = [b"POST / HTTP/1.1\r\nContent-Length: 3000\r\n\r\n".as_slice(), &[b'x'; 3000]].concat();
        let (turn, short) = (connection.turn(), Duration::from_millis(50));
        // In one piece, and much more than is held.
        peer.write_all(&[request, request, &post, &request.repeat(1_000)].concat()).unwrap();
        for _ in 0..2 {
            assert_eq!(read(&mut connection).await.unwrap(), request);
            let answering = turn.begin(true);
            assert!(tokio::time::timeout(short, read(&mut connection)).await.is_err(), "it must wait");
            drop(answering);
        }
        // A body is read while its request is being answered.
        let (answering, mut body) = (turn.begin(false), Vec::new());
        while body.len() < post.len() {
            body.extend(read(&mut connection).await.unwrap());
        }
        assert_eq!(body, post);
        let (mut space, woken) = ([0; 1024], async {
            tokio::time::sleep(short).await;
            drop(answering);
        });
        let mut buffer = ReadBuf::new(&mut space);
        let waiting = poll_fn(|context| Pin::new(&mut connection).poll_read(context, &mut buffer));
        let ((), next) = tokio::join!(woken, tokio::time::timeout(RULES.send_window, waiting));
        next.expect("who waits is woken").unwrap();
        assert_eq!(buffer.filled(), request);
    });
}

#[test]
fn an_answer_waits_for_those_that_are_ready_too_but_not_for_a_crowd() {
    run(async {
        let (mut connection, mut peer) = connect(&Draining::default());
        let turn = connection.turn();
        for (patient, being_made, waits) in
            [(true, 0, true), (true, 256, true), (true, 257, false), (false, 0, false), (true, 0, true)]
        {
            let answers: Vec<_> = (0..being_made).map(|_| turn.begin(true)).collect();
            drop(turn.begin(patient));
            let mut context = Context::from_waker(Waker::noop());
            let written = Pin::new(&mut connection).poll_write(&mut context, b"x");
            assert_eq!(written.is_pending(), waits, "{patient} {being_made}");
            // Whoever waits is woken, and does not wait twice for one answer.
            if waits {
                write(&mut connection, 1).await.unwrap();
            } else {
                poll_fn(|context| Pin::new(&mut connection).poll_flush(context)).await.unwrap();
            }
            peer.read_exact(&mut [0]).unwrap();
            drop(answers);
        }
    });
}

#[test]
fn a_closed_connection_reads_a_little_of_what_was_refused_and_waits_a_little() {
    for (sent, waits) in [
        ("GET / HTTP/1.1\r\n\r\n", false),
        ("POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n", true),
        ("GET / HTTP/1.1\n", true),
    ] {
        run(async {
            let (mut connection, mut peer) = connect(&Draining::default());
            peer.write_all(sent.as_bytes()).unwrap();
            read(&mut connection).await.unwrap();
            let started = Instant::now();
            poll_fn(|context| Pin::new(&mut connection).poll_shutdown(context)).await.unwrap();
            assert_eq!(started.elapsed() >= RULES.closing, waits, "{sent}");
            assert!(started.elapsed() < RULES.closing + Duration::from_millis(1_250), "{sent}");
            assert_eq!(peer.read(&mut [0; 9]).unwrap(), 0, "its end is closed, not reset");
        });
    }
}

#[test]
fn a_connection_that_is_gone_leaves_its_seat_to_the_next_one_at_once() {
    run(async {
        let capacity = Capacity::new(1, 1, 1);
        let connections = Connections::start(RULES, capacity.clone(), Draining::default());
        // Those who talk to its client may be there a little longer.
        let mut handles = Vec::new();
        for _ in 0..3 {
            let (stream, _peer) = pair(4096);
            let connection = connections.open(stream);
            assert!(connection.standing().has_ended(), "nothing was waited for in between");
            assert!(!connections.open(pair(4096).0).standing().has_ended(), "and no two have one");
            handles.push(connection.turn());
        }
        assert_eq!(capacity.taken(), 0);
    });
}
