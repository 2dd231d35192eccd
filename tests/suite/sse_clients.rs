//! Server-sent events as common client libraries and a browser receive them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proconf_app_server::sandbox::Reply;
use serde_json::{Value, json};

use crate::doc_examples::blocks;
use crate::support::browser::Browser;
use crate::support::{TestServer, tokens, wait_until};

const OFTEN: (&str, &str) = ("APP_LIVE__POLL_INTERVAL", "100ms");
/// Longer than the interval of comments, 15 s, and than a client's delay before it reconnects.
const PATIENCE: Duration = Duration::from_mins(1);

/// A proxy that can close all of its connections.
struct Proxy {
    address: SocketAddr,
    open: Arc<Mutex<Vec<TcpStream>>>,
    accepted: Arc<AtomicUsize>,
    /// The comments that were forwarded.
    comments: Arc<AtomicUsize>,
}

impl Proxy {
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            open: Arc::default(),
            accepted: Arc::default(),
            comments: Arc::default(),
        };
        let (open, accepted, comments) = (Arc::clone(&proxy.open), Arc::clone(&proxy.accepted), Arc::clone(&proxy.comments));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let upstream = TcpStream::connect(server).unwrap();
                let copies = [client.try_clone().unwrap(), upstream.try_clone().unwrap()];
                open.lock().unwrap().extend([client.try_clone().unwrap(), upstream.try_clone().unwrap()]);
                accepted.fetch_add(1, Ordering::SeqCst);
                let comments = Arc::clone(&comments);
                std::thread::spawn(move || forward(client, upstream, &AtomicUsize::new(0)));
                std::thread::spawn(move || {
                    let [client, upstream] = copies;
                    forward(upstream, client, &comments);
                });
            }
        });
        proxy
    }

    fn close_connections(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Waits for comments of idle streams, which the server sends after 15 s.
    fn wait_for_comments(&self, number: usize) {
        let started = Instant::now();
        while self.comments.load(Ordering::SeqCst) < number {
            assert!(started.elapsed() < PATIENCE, "no comments");
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// Copies bytes until either end closes, and counts the comments of event streams.
fn forward(mut from: TcpStream, mut to: TcpStream, comments: &AtomicUsize) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
        // A chunk of two bytes.
        if buffer[..read].starts_with(b"2\r\n:\n\r\n") {
            comments.fetch_add(1, Ordering::SeqCst);
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// A program that prints the events of a stream.
struct EventPrinter {
    name: &'static str,
    process: Child,
    lines: Receiver<String>,
}

impl EventPrinter {
    fn start(program: &str, name: &'static str, url: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut process = Command::new(program)
            .arg(folder.join("tests/suite/sse_clients").join(name))
            .env("URL", url)
            .env("TOKEN", tokens::user())
            .env("MODULES", folder.join("tests/suite/clients/node_modules"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}; tests/run installs it"));
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { name, process, lines }
    }

    #[track_caller]
    fn assert_next(&self, event: &str, data: &Value) {
        let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let [name, id, text] = serde_json::from_str::<[String; 3]>(&line).unwrap();
        let envelope: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}: {line}", self.name));
        assert_eq!((name.as_str(), &envelope["data"]), (event, data), "{}", self.name);
        assert!(event != "message" || (id.starts_with('"') && id.len() > 10), "{}: {line}", self.name);
    }
}

impl Drop for EventPrinter {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn open_streams(server: &TestServer) -> usize {
    let metrics = server.management_client().get("/metrics", None).text().to_owned();
    let value = metrics.lines().find_map(|line| line.strip_prefix("proconf_live_streams "));
    value.expect("the metric is there").parse().unwrap()
}

fn end_meeting(server: &TestServer, room: &str) {
    let meeting = json!([{"room_name": room, "unique_id": "x", "created_at": "2024-06-20T08:10:14.000Z", "destroyed_at": "2024-06-20T08:10:34.000Z"}]);
    server.script.set("meetings", "", Reply::data(&meeting.to_string()));
    server.script.set("sessions-status", room, Reply::not_found());
    server.script.catch_up(room, Reply::not_found());
}

#[test]
fn libraries_receive_each_event_once_and_reconnect() {
    let server = TestServer::with(&[OFTEN]);
    let proxy = Proxy::to(server.address);
    server.script.catch_up("r1", Reply::data("\"one\""));
    let url = format!("http://{}/callCatchUp/r1/live", proxy.address);
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients/venv/bin/python").display().to_string();
    let programs = [("node", "eventsource.mjs"), (&*python, "httpx_sse_client.py"), (&*python, "sseclient_client.py")];
    let mut clients = programs.map(|(program, name)| EventPrinter::start(program, name, &url));
    let assert_next = |event: &str, data: Value| {
        for client in &clients {
            client.assert_next(event, &data);
        }
    };
    assert_next("message", json!("one"));
    // Without U+2028, at which sseclient breaks lines.
    server.script.catch_up("r1", Reply::data("{\n  \"text\":\r\n\"two \\n\\n ü 🎥\"}"));
    assert_next("message", json!({"text": "two \n\n ü 🎥"}));
    server.script.catch_up("r1", Reply::not_found());
    assert_next("none", Value::Null);
    server.script.catch_up("r1", Reply::data("\"three\""));
    assert_next("message", json!("three"));

    // A comment is no event.
    proxy.wait_for_comments(clients.len());
    server.script.catch_up("r1", Reply::data("\"four\""));
    assert_next("message", json!("four"));

    // A new connection skips the version that the client has.
    let before = proxy.accepted();
    proxy.close_connections();
    wait_until("all have reconnected", || proxy.accepted() >= before + clients.len());
    wait_until("all streams are open", || open_streams(&server) == clients.len());
    server.script.catch_up("r1", Reply::data("\"five\""));
    assert_next("message", json!("five"));
    end_meeting(&server, "r1");
    assert_next("ended", Value::Null);
    for client in &mut clients {
        assert!(client.process.wait().unwrap().success(), "{}", client.name);
        assert_eq!(client.lines.iter().next(), None, "{}: nothing comes after it", client.name);
    }
}

/// A page of the server behind a proxy.
struct Page {
    browser: Browser,
    server: TestServer,
    proxy: Proxy,
}

impl Page {
    fn open() -> Self {
        let browser = Browser::start();
        let server = TestServer::with(&[OFTEN]);
        let proxy = Proxy::to(server.address);
        browser.open(&format!("http://{}/", proxy.address));
        Self { browser, server, proxy }
    }

    /// Waits until an expression has this value.
    #[track_caller]
    fn wait(&self, expression: &str, expected: &Value) {
        let script = format!(
            "const done = arguments[arguments.length - 1];
             const started = Date.now();
             const timer = setInterval(() => {{
                 const isEqual = JSON.stringify({expression}) === JSON.stringify({expected});
                 if (!isEqual && Date.now() < started + 20_000) return;
                 clearInterval(timer);
                 done({expression});
             }}, 20);"
        );
        assert_eq!(self.browser.run_async(&script), *expected, "{expression}");
    }

    /// Waits until the page has received exactly these.
    #[track_caller]
    fn wait_received(&self, expected: &Value) {
        self.wait("window.received", expected);
    }
}

#[test]
fn browser_receives_each_event_once() {
    let page = Page::open();
    page.server.script.catch_up("r1", Reply::data("\"one\""));
    page.browser.run_async(&format!(
        "const done = arguments[arguments.length - 1];
         window.received = [];
         fetch('/auth/streamticket', {{
             method: 'POST',
             headers: {{Authorization: 'Bearer {}', 'Content-Type': 'application/json'}},
             body: JSON.stringify({{room: 'r1'}}),
         }}).then((response) => response.json()).then(({{data}}) => {{
             const events = new EventSource('/callCatchUp/r1/live?ticket=' + encodeURIComponent(data));
             for (const name of ['message', 'none', 'failed', 'ended']) {{
                 events.addEventListener(name, (event) => {{
                     window.received.push([event.type, JSON.parse(event.data).data]);
                     if (name === 'ended') events.close();
                 }});
             }}
             done();
         }});",
        tokens::user()
    ));
    page.wait_received(&json!([["message", "one"]]));
    page.server.script.catch_up("r1", Reply::data("\"two \u{2028}\\n\\n🎥\""));
    page.wait_received(&json!([["message", "one"], ["message", "two \u{2028}\n\n🎥"]]));
    page.proxy.wait_for_comments(1);
    page.server.script.catch_up("r1", Reply::not_found());
    page.wait_received(&json!([["message", "one"], ["message", "two \u{2028}\n\n🎥"], ["none", null]]));
    end_meeting(&page.server, "r1");
    page.wait_received(&json!([["message", "one"], ["message", "two \u{2028}\n\n🎥"], ["none", null], ["ended", null]]));
}

#[test]
fn documented_event_source_survives_breaks_and_a_hidden_page() {
    let page = Page::open();
    let [snippet] = &blocks("LIVE.md", "js")[..] else { panic!("one block") };
    page.server.script.catch_up("r1", Reply::data("\"one\""));
    page.browser.run(&format!(
        "{}
         window.received = [];
         window.tokenRequests = [];
         window.sources = [];
         const Original = EventSource;
         window.EventSource = function (url) {{
             const source = new Original(url);
             window.sources.push(source);
             return source;
         }};
         let token = 'expired';
         const getToken = async (isRejected) => {{
             window.tokenRequests.push(isRejected);
             if (isRejected) token = '{}';
             return token;
         }};
         window.stop = followRoom('r1', getToken, (text) => window.received.push(text));",
        snippet.replace("export ", ""),
        tokens::user()
    ));
    page.wait_received(&json!(["one"]));
    page.wait("window.tokenRequests", &json!([false, true]));
    page.proxy.close_connections();
    // The new stream skips the version that the page has.
    page.wait("[window.sources.length, window.sources.at(-1).readyState]", &json!([2, 1]));
    page.server.script.catch_up("r1", Reply::data("\"two\""));
    page.wait_received(&json!(["one", "two"]));

    page.browser.hide();
    page.browser.wait("document.hidden");
    wait_until("the stream is closed", || open_streams(&page.server) == 0);
    page.server.script.catch_up("r1", Reply::data("\"three\""));
    page.browser.show();
    page.browser.wait("!document.hidden");
    page.wait_received(&json!(["one", "two", "three"]));

    page.wait("window.sources.length", &json!(3));
    end_meeting(&page.server, "r1");
    page.wait("window.sources.at(-1).readyState", &json!(2));
    page.browser.run("document.dispatchEvent(new Event('visibilitychange'))");
    assert_eq!(
        page.browser.run("return window.tokenRequests"),
        json!([false, true, false, false]),
        "it opens no other stream"
    );
    page.wait_received(&json!(["one", "two", "three"]));
}
