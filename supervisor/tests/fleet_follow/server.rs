//! A web server of static files that can be told to misbehave, byte by byte.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the server does with a request for a path.
#[derive(Clone)]
pub(crate) enum Act {
    /// These bytes, whatever was asked, and then the end of the connection.
    Raw(Vec<u8>),
    /// These bytes, and then nothing, with the connection open.
    Hang(Vec<u8>),
    /// These bytes, one each so often.
    Drip(Vec<u8>, Duration),
    /// These bytes, and then others without end.
    Endless(Vec<u8>),
    /// These bytes, and then a reset of the connection.
    Reset(Vec<u8>),
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    acts: BTreeMap<String, Act>,
    log: Vec<(Instant, String)>,
    bodies: Vec<String>,
    names: bool,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    sent: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { names: true, ..State::default() }));
        let (sent, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (shared, counter, end) = (Arc::clone(&state), Arc::clone(&sent), Arc::clone(&ended));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let (state, sent, end) = (Arc::clone(&shared), Arc::clone(&counter), Arc::clone(&end));
                // A client that goes away ends its connection, not the server.
                std::thread::spawn(move || stream.map(|stream| serve(stream, &state, &sent, &end)));
            }
        });
        Self { address, state, sent, ended }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.state.lock().unwrap().files.insert(path.into(), bytes.into());
    }

    pub(crate) fn take(&self, path: &str) -> Option<Vec<u8>> {
        self.state.lock().unwrap().files.remove(path)
    }

    pub(crate) fn misbehave(&self, path: &str, act: Act) {
        self.state.lock().unwrap().acts.insert(path.into(), act);
    }

    pub(crate) fn behave(&self) {
        self.state.lock().unwrap().acts.clear();
    }

    /// Whether editions have names (ETag).
    pub(crate) fn names(&self, names: bool) {
        self.state.lock().unwrap().names = names;
    }

    /// The requests so far: when, and `GET /path` with what matters of the headers.
    pub(crate) fn log(&self) -> Vec<(Instant, String)> {
        self.state.lock().unwrap().log.clone()
    }

    pub(crate) fn bodies(&self) -> Vec<String> {
        self.state.lock().unwrap().bodies.clone()
    }

    /// Bytes sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the listener, so that its port closes.
        let _wakes = TcpStream::connect(self.address);
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>, sent: &AtomicU64, ended: &AtomicBool) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || ended.load(Ordering::SeqCst) {
            return Ok(());
        }
        let (mut etag, mut length) = (String::new(), 0);
        let mut words = line.split(' ');
        let (verb, path) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
        let mut logged = format!("{verb} {path}");
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let header = header.trim();
            if header.is_empty() {
                break;
            }
            let (name, value) = header.split_once(':').unwrap_or((header, ""));
            match name.to_ascii_lowercase().as_str() {
                "if-none-match" => etag = value.trim().to_owned(),
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "authorization" | "cookie" | "accept-encoding" => logged += &format!(" {name}:{value}"),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let act = {
            let mut state = state.lock().unwrap();
            state.log.push((Instant::now(), logged));
            if verb == "PUT" {
                state.bodies.push(String::from_utf8_lossy(&body).into_owned());
            }
            match state.acts.get(&path) {
                Some(act) => Err(act.clone()),
                None => Ok(answer(&state, &path, &etag)),
            }
        };
        match act {
            Ok(bytes) => {
                sent.fetch_add(bytes.len() as u64, Ordering::SeqCst);
                stream.write_all(&bytes)?;
            }
            Err(act) => return perform(&mut stream, &act, sent, ended),
        }
    }
}

fn answer(state: &State, path: &str, etag: &str) -> Vec<u8> {
    let Some(bytes) = state.files.get(path) else {
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nnone\n".to_vec();
    };
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let name = format!("\"{:x}\"", bytes.iter().fold(0xcbf2_9ce4_8422_2325, fnv));
    if state.names && etag == name {
        return b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec();
    }
    let mut head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", bytes.len());
    if state.names {
        head += &format!("ETag: {name}\r\n");
    }
    [head.as_bytes(), b"\r\n", bytes].concat()
}

fn perform(stream: &mut TcpStream, act: &Act, sent: &AtomicU64, ended: &AtomicBool) -> std::io::Result<()> {
    let write = |stream: &mut TcpStream, bytes: &[u8]| {
        sent.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        stream.write_all(bytes)
    };
    match act {
        Act::Raw(bytes) => write(stream, bytes),
        Act::Hang(bytes) => {
            write(stream, bytes)?;
            // Until the client has had enough.
            stream.set_read_timeout(None)?;
            stream.read(&mut [0]).map(|_| ())
        }
        Act::Drip(bytes, pause) => {
            for byte in bytes {
                if ended.load(Ordering::SeqCst) {
                    break;
                }
                write(stream, &[*byte])?;
                std::thread::sleep(*pause);
            }
            Ok(())
        }
        Act::Endless(bytes) => {
            write(stream, bytes)?;
            while !ended.load(Ordering::SeqCst) {
                write(stream, &[b' '; 64 << 10])?;
            }
            Ok(())
        }
        Act::Reset(bytes) => {
            write(stream, bytes)?;
            rustix::net::sockopt::set_socket_linger(&*stream, Some(Duration::ZERO))?;
            Ok(())
        }
    }
}
