//! A real unix socket with canned answers, byte by byte, that remembers what it was asked.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What is said to a request.
#[derive(Clone)]
pub(crate) enum Answer {
    /// These bytes, and the end of the connection.
    Raw(Vec<u8>),
    /// These bytes, and then nothing, until the client goes away or [`PATIENCE`] ends.
    Open(Vec<u8>),
    /// A stream of this line without end, until the client goes away.
    Endless(String),
}

#[derive(Default)]
struct State {
    answers: BTreeMap<String, Answer>,
    asked: Vec<String>,
    /// Endless streams whose reader has gone.
    left: u32,
}

pub(crate) struct Server {
    folder: tempfile::TempDir,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("skiff.sock")).unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let state = Arc::clone(&shared);
                // A client that goes away ends its connection, not the server.
                std::thread::spawn(move || stream.and_then(|stream| serve(stream, &state)));
            }
        });
        Self { folder, state }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("skiff.sock")
    }

    /// `request` is `GET /path?query`.
    pub(crate) fn answer(&self, request: &str, answer: Answer) {
        self.state.lock().unwrap().answers.insert(request.to_owned(), answer);
    }

    /// A document with its status.
    pub(crate) fn document(&self, request: &str, status: u16, body: &str) {
        let length = body.len();
        let head = format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
        self.answer(request, Answer::Raw((head + body).into_bytes()));
    }

    /// Lines, each in a piece of its own.
    pub(crate) fn lines(&self, request: &str, lines: &[String]) {
        let pieces: String = lines.iter().map(|line| format!("{:x}\r\n{line}\n\r\n", line.len() + 1)).collect();
        self.answer(request, Answer::Raw(format!("{CHUNKED}{pieces}0\r\n\r\n").into_bytes()));
    }

    /// What was asked since this was called last.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    pub(crate) fn left(&self) -> u32 {
        self.state.lock().unwrap().left
    }
}

/// How long a connection is held open.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The head of a stream.
pub(crate) const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n";

fn serve(mut stream: UnixStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let request = line.rsplit_once(" HTTP/").map(|(request, _)| request.to_owned()).unwrap_or_default();
    while line.trim() != "" {
        line.clear();
        reader.read_line(&mut line)?;
    }
    let answer = {
        let mut state = state.lock().unwrap();
        state.asked.push(request.clone());
        state.answers.get(&request).cloned()
    };
    match answer {
        Some(Answer::Raw(bytes)) => stream.write_all(&bytes),
        Some(Answer::Open(bytes)) => {
            stream.write_all(&bytes)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            reader.read_line(&mut line).map(drop)
        }
        Some(Answer::Endless(line)) => {
            let piece = format!("{:x}\r\n{line}\n\r\n", line.len() + 1);
            let mut stream_on = || -> std::io::Result<()> {
                stream.write_all(CHUNKED.as_bytes())?;
                loop {
                    stream.write_all(piece.as_bytes())?;
                }
            };
            let ended = stream_on();
            state.lock().unwrap().left += 1;
            ended
        }
        None => {
            let body = format!("{{\"error\":\"nothing is at {request}\",\"hint\":\"\"}}");
            write!(stream, "HTTP/1.1 404 X\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        }
    }
}
