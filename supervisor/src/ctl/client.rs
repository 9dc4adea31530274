//! Asks skiffd: HTTP over its unix socket. Every failure names the socket, the reason and the way out.

use super::print::Unprinted;
use super::words;
use crate::control::Failure;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::UnixStream;

/// skiffd answers at once, or when its loop did; longer than this it is stuck.
const PATIENCE: Duration = Duration::from_secs(15);
/// A whole document, or a line of a stream, that is longer is not skiffd's.
const LONGEST: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Nobody is there, or nobody may be asked.
    #[error("cannot reach skiffd at `{}`: {reason}; {}", .socket.display(), way_in(.reason))]
    Unreachable { socket: PathBuf, reason: io::Error },
    /// It is there and says nothing.
    #[error("skiffd at `{}` says nothing for {}; see `systemctl status skiffd`, and restart it if it hangs: containers stay", .socket.display(), words::span(.patience.as_secs()))]
    Silent { socket: PathBuf, patience: Duration },
    /// The connection ended in the middle.
    #[error("skiffd at `{}` ended its answer early: {reason}; it may have been restarted: ask again", .socket.display())]
    Cut { socket: PathBuf, reason: String },
    /// Not in skiffd's language.
    #[error("what answers at `{}` is not understood: {reason}; is it skiffd, and of the same version as skiffctl?", .socket.display())]
    Strange { socket: PathBuf, reason: String },
    /// skiffd says no.
    #[error("{}", refusal(.error, .hint))]
    Refused { status: u16, error: String, hint: String },
}

impl Error {
    /// 1 when skiffd said no, 125 when it could not be asked.
    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(if matches!(self, Self::Refused { .. }) { 1 } else { 125 })
    }
}

fn way_in(reason: &io::Error) -> &'static str {
    match reason.kind() {
        io::ErrorKind::PermissionDenied => "be root, or a member of the group `skiff`",
        io::ErrorKind::WouldBlock => "it has more callers than it takes: ask again",
        io::ErrorKind::InvalidInput => "give a shorter path to --socket or SKIFF_SOCKET",
        _ => {
            "does it run? `systemctl start skiffd` starts it; if its socket is elsewhere, name it with --socket or SKIFF_SOCKET"
        }
    }
}

fn refusal(error: &str, hint: &str) -> String {
    let (error, hint) = (words::plain(error), words::plain(hint));
    if hint.is_empty() { error.into_owned() } else { format!("{error}; {hint}") }
}

/// Asks on one socket; each question has a connection of its own.
#[derive(Debug)]
pub(super) struct Client {
    socket: PathBuf,
    patience: Duration,
}

impl Client {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket, patience: PATIENCE }
    }

    /// A whole document.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.soon(async { self.document(self.ask(Method::GET, path).await?).await }).await
    }

    /// The answer to an order, which may take as long as it takes.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.document(self.ask(Method::POST, path).await?).await
    }

    /// Lines as they come. With `follow` nothing may come for ever.
    pub(super) async fn lines(&self, path: &str, follow: bool) -> Result<Lines<'_>, Error> {
        let response = self.soon(self.ask(Method::GET, path)).await?;
        Ok(Lines { client: self, body: response.into_body(), buffer: Vec::new(), searched: 0, follow })
    }

    /// Understands a line or a document.
    pub(super) fn parse<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(bytes).map_err(|error| self.strange(error.to_string()))
    }

    async fn soon<T>(&self, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let silent = |_| Error::Silent { socket: self.socket.clone(), patience: self.patience };
        tokio::time::timeout(self.patience, answer).await.map_err(silent)?
    }

    /// Asks, and gives the answer if it is a good one.
    async fn ask(&self, method: Method, path: &str) -> Result<Response<Incoming>, Error> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|reason| self.unreachable(reason))?;
        let broken = |error: hyper::Error| self.broken(&error);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // What goes wrong on the connection is told to whoever waits for the answer.
        tokio::spawn(async move { drop(connection.await) });
        let request = Request::builder().method(method).uri(path).header(HOST, "skiffd").body(Empty::<Bytes>::new());
        let request = request.map_err(|error| self.strange(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = self.whole(response.into_body()).await?;
        match serde_json::from_slice::<Failure>(&body) {
            Ok(Failure { error, hint }) => Err(Error::Refused { status: status.as_u16(), error, hint }),
            Err(_) => Err(self.strange(format!("status {} and no reason", status.as_u16()))),
        }
    }

    async fn document<T: DeserializeOwned>(&self, response: Response<Incoming>) -> Result<T, Error> {
        self.parse(&self.whole(response.into_body()).await?)
    }

    async fn whole(&self, mut body: Incoming) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.piece(&mut body).await? {
            bytes.extend_from_slice(&piece);
            self.check_length(bytes.len())?;
        }
        Ok(bytes)
    }

    async fn piece(&self, body: &mut Incoming) -> Result<Option<Bytes>, Error> {
        while let Some(frame) = body.frame().await {
            // Trailers say nothing.
            if let Ok(piece) = frame.map_err(|error| self.broken(&error))?.into_data() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }

    fn check_length(&self, length: usize) -> Result<(), Error> {
        let limit = words::size(LONGEST as u64);
        if length > LONGEST { Err(self.strange(format!("more than {limit} without an end"))) } else { Ok(()) }
    }

    fn unreachable(&self, reason: io::Error) -> Error {
        Error::Unreachable { socket: self.socket.clone(), reason }
    }

    fn broken(&self, error: &hyper::Error) -> Error {
        // hyper tells what, its source why.
        let why = std::error::Error::source(error).map(|source| format!(" ({source})")).unwrap_or_default();
        let reason = format!("{error}{why}");
        if error.is_parse() {
            return self.strange(reason);
        }
        Error::Cut { socket: self.socket.clone(), reason }
    }

    fn strange(&self, reason: String) -> Error {
        Error::Strange { socket: self.socket.clone(), reason: words::plain(&reason).into_owned() }
    }
}

/// Lines of a stream.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    client: &'a Client,
    body: Incoming,
    buffer: Vec<u8>,
    /// So far there is no end of a line.
    searched: usize,
    follow: bool,
}

impl Lines<'_> {
    /// The next line without its end; nothing at the end of the stream. Before it is waited for, `idle` is called: it is
    /// the time to show what was shown to nobody yet.
    pub(super) async fn next(
        &mut self,
        mut idle: impl FnMut() -> Result<(), Unprinted>,
    ) -> anyhow::Result<Option<Vec<u8>>> {
        loop {
            if let Some(line) = self.ready() {
                return Ok(Some(line));
            }
            idle()?;
            let piece = self.client.piece(&mut self.body);
            let piece = if self.follow { piece.await? } else { self.client.soon(piece).await? };
            let Some(piece) = piece else {
                self.searched = 0;
                let rest = std::mem::take(&mut self.buffer);
                return Ok(Some(rest).filter(|rest| !rest.is_empty()));
            };
            self.buffer.extend_from_slice(&piece);
            self.client.check_length(self.buffer.len())?;
        }
    }

    /// The next line, if it is here already.
    fn ready(&mut self) -> Option<Vec<u8>> {
        let Some(end) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            return None;
        };
        let rest = self.buffer.split_off(self.searched + end + 1);
        let mut line = std::mem::replace(&mut self.buffer, rest);
        self.searched = 0;
        line.pop();
        Some(line)
    }
}

#[cfg(test)]
mod tests;
