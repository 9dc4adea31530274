//! The control socket with a loop behind it that answers as the test wants, and a client that sends whatever bytes it likes.

use serde_json::{Value, json};
use skiff_supervisor::control::{self, Query, SOCKET, Settings};
use skiff_supervisor::events::{Happening, Kind, Ring};
use skiff_supervisor::view::Device;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Longer than any answer may take.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// What the loop knows.
pub(crate) struct Loop {
    pub(crate) device: Device,
    pub(crate) has_fleet: bool,
    /// Asked to drain, and not done yet.
    pub(crate) drains: Vec<oneshot::Sender<()>>,
    pub(crate) syncs: u32,
    /// How often it was asked for the whole device.
    pub(crate) looks: u32,
}

pub(crate) struct Skiffd {
    folder: tempfile::TempDir,
    pub(crate) events: Ring,
    pub(crate) of_loop: Arc<Mutex<Loop>>,
    pub(crate) port: SocketAddr,
    /// The loop goes on when this is dropped, and everything ends with it.
    end: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Skiffd {
    pub(crate) fn start() -> Self {
        Self::with(false)
    }

    /// One whose loop takes no query.
    pub(crate) fn stuck() -> Self {
        Self::with(true)
    }

    fn with(is_stuck: bool) -> Self {
        // An address for each test: the port cannot be 0, because nobody tells which one it became.
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let [high, low] = (std::process::id() as u16).to_be_bytes();
        let port = SocketAddr::from(([127, high.max(1), low, NEXT.fetch_add(1, Ordering::Relaxed)], 19_090));
        let folder = tempfile::tempdir().unwrap();
        let events = Ring::new("boot".into(), 1);
        let logs = folder.path().join("logs");
        std::fs::create_dir(&logs).unwrap();
        let settings = Settings { run: folder.path().to_owned(), logs, metrics: Some(port) };
        let device = serde_json::from_value(device()).unwrap();
        let of_loop = Arc::new(Mutex::new(Loop { device, has_fleet: false, drains: Vec::new(), syncs: 0, looks: 0 }));
        let (end, ended) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (ring, known) = (events.clone(), of_loop.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (ask, queries) = mpsc::channel(1);
                control::serve(&settings, ask, &ring).unwrap();
                ready.send(()).unwrap();
                tokio::select! {
                    () = answer(queries, &known, is_stuck) => {}
                    _ended = ended => {}
                }
            });
        });
        is_ready.recv().unwrap();
        Self { folder, events, of_loop, port, end: Some(end), thread: Some(thread) }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join(SOCKET)
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.folder.path().join("logs")
    }

    pub(crate) fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
        stream
    }

    pub(crate) fn get(&self, target: &str) -> Answer {
        self.send(format!("GET {target} HTTP/1.1\r\nhost: skiffd\r\nconnection: close\r\n\r\n"))
    }

    pub(crate) fn post(&self, target: &str) -> Answer {
        self.send(format!("POST {target} HTTP/1.1\r\nhost: skiffd\r\nconnection: close\r\n\r\n"))
    }

    /// Sends bytes to the socket and reads what comes back.
    pub(crate) fn send(&self, bytes: impl AsRef<[u8]>) -> Answer {
        talk(self.connect(), bytes.as_ref())
    }

    /// The same at the port.
    pub(crate) fn send_to_port(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let stream = TcpStream::connect(self.port).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        talk(stream, bytes.as_ref())
    }

    pub(crate) fn get_from_port(&self, target: &str) -> Answer {
        self.send_to_port(format!("GET {target} HTTP/1.1\r\nhost: skiffd\r\nconnection: close\r\n\r\n"))
    }

    /// Asks for lines as they come.
    pub(crate) fn follow(&self, target: &str) -> Followed {
        let mut stream = self.connect();
        // Without chunks: the body is what comes after the head.
        write!(stream, "GET {target} HTTP/1.0\r\n\r\n").unwrap();
        let mut lines = BufReader::new(stream);
        let head = read_head(&mut lines).unwrap();
        assert!(head.starts_with("HTTP/1.0 200 "), "{head}");
        assert!(head.contains("content-type: application/x-ndjson\r\n"), "{head}");
        Followed(lines)
    }

    pub(crate) fn happen(&self, text: &str) {
        self.events.push(Happening { kind: Kind::InstanceEnded, instance: Some("web-0".into()), text: text.into() });
    }

    /// Asks until the answer has this status.
    pub(crate) fn until(&self, target: &str, status: u16) {
        let began = Instant::now();
        while self.get(target).status != status {
            assert!(began.elapsed() < LONG, "{target} never had status {status}");
            std::thread::yield_now();
        }
    }
}

impl Drop for Skiffd {
    fn drop(&mut self) {
        drop(self.end.take());
        let outcome = self.thread.take().unwrap().join();
        assert!(outcome.is_ok() || std::thread::panicking(), "the server panicked");
    }
}

async fn answer(mut queries: mpsc::Receiver<Query>, known: &Mutex<Loop>, is_stuck: bool) {
    if is_stuck {
        std::future::pending::<()>().await;
    }
    while let Some(query) = queries.recv().await {
        let mut known = known.lock().unwrap();
        match query {
            Query::Ready(answer) => {
                let _nobody_waits_any_more = answer.send(known.device.blocked.clone());
            }
            Query::Device(answer) => {
                known.looks += 1;
                let _nobody_waits_any_more = answer.send(Box::new(known.device.clone()));
            }
            Query::Sync(answer) => {
                known.syncs += 1;
                let _nobody_waits_any_more = answer.send(known.has_fleet);
            }
            Query::Drain(answer) => known.drains.push(answer),
        }
    }
}

/// Lines as they come.
pub(crate) struct Followed(BufReader<UnixStream>);

impl Followed {
    pub(crate) fn line(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("no line comes");
        serde_json::from_str(&line).unwrap()
    }

    pub(crate) fn text(&mut self) -> String {
        self.line()["text"].as_str().unwrap().to_owned()
    }

    pub(crate) fn comes_to_an_end(&mut self) -> bool {
        self.0.fill_buf().is_ok_and(<[u8]>::is_empty)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// 0 when the connection was closed without a word.
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn lines(&self) -> Vec<Value> {
        self.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.lines().iter().map(|line| line["text"].as_str().unwrap().to_owned()).collect()
    }

    /// The failure's text; it has to have a hint.
    pub(crate) fn error(&self) -> String {
        let failure = self.json();
        assert!(self.head.contains("content-type: application/json\r\n"), "{self:?}");
        assert!(!failure["hint"].as_str().unwrap().is_empty());
        failure["error"].as_str().unwrap().to_owned()
    }
}

fn talk(mut stream: impl Read + Write, bytes: &[u8]) -> Answer {
    // Who is refused early may find the connection closed while it still speaks.
    let _told_or_not = stream.write_all(bytes);
    read_answer(stream)
}

/// Reads an answer up to the end of the connection.
pub(crate) fn read_answer(stream: impl Read) -> Answer {
    let mut reader = BufReader::new(stream);
    let Ok(head) = read_head(&mut reader) else { return Answer::default() };
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    let mut body = Vec::new();
    match reader.read_to_end(&mut body) {
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => panic!("{head}: {error}"),
        Ok(_) | Err(_) => {}
    }
    if head.contains("transfer-encoding: chunked\r\n") {
        body = unchunk(&body);
    }
    Answer { status, head, body: String::from_utf8(body).unwrap() }
}

fn read_head(reader: &mut impl BufRead) -> io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|pair| pair == b"\r\n").expect("the answer is cut");
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes = &bytes[end + 2 + size + 2..];
    }
}

fn device() -> Value {
    let instance = |service: &str, replica: u16| {
        json!({
            "id": format!("{service}-{replica}"), "service": service, "replica": replica, "release": "1",
            "state": "running", "restarts": 0, "oomKills": 0, "log": "/l", "notEnforced": [], "blueprint": {}
        })
    };
    let service = json!({
        "desired": 1, "running": 1, "ready": 1, "restarts": 0, "oomKills": 0,
        "state": "running", "health": "ready", "bundle": "b"
    });
    json!({
        "apiVersion": "skiff.dev/v1", "device": "kiosk-1", "labels": {}, "bootId": "boot",
        "time": "2026-11-24T08:00:00Z", "agent": { "version": "0", "pid": 1, "uptimeS": 1 },
        "release": { "state": "none" }, "node": { "psi": {} }, "droppedEvents": 0,
        "services": { "web": service, "web-1": service, "idle": service },
        "instances": [instance("web", 0), instance("web", 1), instance("web-1", 0)]
    })
}

/// Appends lines to a log as the shim writes them.
pub(crate) fn write_log(folder: &Path, file: &str, seconds: impl IntoIterator<Item = u64>) {
    let mut log = std::fs::OpenOptions::new().append(true).create(true).open(folder.join(file)).unwrap();
    let mut lines = String::new();
    for second in seconds {
        lines += &format!(
            "2026-11-24T{:02}:{:02}:{:02}.000000000Z stdout F {second}\n",
            second / 3600,
            second / 60 % 60,
            second % 60
        );
    }
    log.write_all(lines.as_bytes()).unwrap();
}
