//! Fetching: skiffd starts a child for each look at the fleet, asks it for documents and archives, and lets it go. The child
//! may be as broken as its server wishes: its answers are limited here once more, and nothing it says is believed.

mod address;
pub mod child;
mod http;
mod retry;
mod stick;
mod wire;

use super::{Settings, children};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use wire::{Answer, BROKEN, Broken, Head, LONGEST_CHUNK, LONGEST_LINE, Ready, Request, Words};

pub use wire::Reason;

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
#[error("`{url}`: {text}")]
pub struct Failure {
    /// What was asked for.
    pub url: String,
    /// One word, for the metric.
    pub reason: Reason,
    /// For people.
    pub text: String,
    /// How long the server asks to be left alone.
    pub retry_after: Option<Duration>,
}

/// A document.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// What is there.
    Body {
        /// All of it.
        bytes: Vec<u8>,
        /// The server's name for it.
        etag: Option<String>,
    },
    /// It is still what it was.
    Unchanged,
}

/// What a server said to a report.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken {
    /// As in HTTP.
    pub status: u16,
    /// How long it asks to be left alone.
    pub retry_after: Option<Duration>,
    /// What it answered, if it took it.
    pub body: Vec<u8>,
}

/// A child that fetches. It goes when this is dropped.
pub struct Session<'a> {
    settings: &'a Settings,
    _child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    not_enforced: Vec<String>,
    /// Not before then is anything asked.
    next: tokio::time::Instant,
}

/// What is said of time beyond what the child is given itself, before it is taken for hung.
const GRACE: Duration = Duration::from_secs(10);
/// What a server may answer to a report.
const ANSWER: u64 = 64 << 10;

impl<'a> Session<'a> {
    /// Starts a child.
    ///
    /// # Errors
    /// [`Reason::Child`] where it does not begin.
    pub async fn open(settings: &'a Settings) -> Result<Self, Failure> {
        let fail = |text: String| failure(&settings.url, Reason::Child, text);
        let folder = settings.url.strip_prefix("file://").map(PathBuf::from);
        let words = Words { user: settings.user.clone(), ca: settings.ca_file.clone(), folder };
        let start = |mut command: Command| command.spawn();
        let child = children::command(&settings.program, "fetch", &words).and_then(start);
        let mut child = child.map_err(|error| fail(format!("cannot start a child: {error}")))?;
        let requests = child.stdin.take().expect("it was asked for as a pipe");
        let answers = BufReader::new(child.stdout.take().expect("it was asked for as a pipe"));
        let next = tokio::time::Instant::now();
        let mut session = Self { settings, _child: child, requests, answers, not_enforced: Vec::new(), next };
        let ready = tokio::time::timeout(GRACE, session.line::<Ready>()).await;
        let ready = ready.map_err(|_| fail("the child does not begin".to_owned()))?;
        session.not_enforced = ready.map_err(|error| fail(format!("the child does not begin: {error}")))?.not_enforced;
        Ok(session)
    }

    /// Of the child's confinement, what this machine could not enforce.
    #[must_use]
    pub fn not_enforced(&self) -> &[String] {
        &self.not_enforced
    }

    /// Gets a small document, below the fleet's folder, unless it is still what the server calls `etag`.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn get(&mut self, path: &str, etag: Option<&str>, limit: u64) -> Result<Reply, Failure> {
        let url = format!("{}/{path}", self.settings.url);
        let time = self.settings.limits.document;
        let (head, mut bytes) = (self.ask(&url, None, etag, limit, time).await?, Vec::new());
        match head.status {
            200 => {}
            304 if etag.is_some() => return Ok(Reply::Unchanged),
            _ => return Err(status(&url, &head)),
        }
        let read = self.body(&url, limit, time, |chunk| {
            bytes.extend_from_slice(chunk);
            Ok(())
        });
        read.await?;
        Ok(Reply::Body { bytes, etag: head.etag })
    }

    /// Gets a small document whose size is known.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn get_sized(&mut self, path: &str, size: u64) -> Result<Vec<u8>, Failure> {
        let Reply::Body { bytes, .. } = self.get(path, None, size).await? else { return Ok(Vec::new()) };
        if (bytes.len() as u64) < size {
            let url = format!("{}/{path}", self.settings.url);
            return Err(failure(&url, Reason::CutOff, format!("{} bytes came of {size}", bytes.len())));
        }
        Ok(bytes)
    }

    /// Gets a file whose size is known, and passes it on piece by piece. A longer one is cut off at once.
    ///
    /// # Errors
    /// See [`Failure`]. What was passed on until then is of no use.
    pub async fn get_file(&mut self, path: &str, size: u64, to: &mut File) -> Result<(), Failure> {
        let url = format!("{}/{path}", self.settings.url);
        let limits = &self.settings.limits;
        let time = limits.document + Duration::from_secs(size / limits.slowest.max(1));
        let head = self.ask(&url, None, None, size, time).await?;
        if head.status != 200 {
            return Err(status(&url, &head));
        }
        let passed = self.body(&url, size, time, |chunk| to.write_all(chunk)).await?;
        if passed < size {
            return Err(failure(&url, Reason::CutOff, format!("{passed} bytes came of {size}")));
        }
        Ok(())
    }

    /// Sends the head of a request, and hears the head of the answer.
    async fn ask(
        &mut self,
        url: &str,
        put: Option<String>,
        etag: Option<&str>,
        limit: u64,
        time: Duration,
    ) -> Result<Head, Failure> {
        tokio::time::sleep_until(self.next).await;
        self.next = tokio::time::Instant::now() + self.settings.spacing;
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (connect, total) = (millis(self.settings.limits.connect), millis(time));
        let request = Request { url: url.to_owned(), put, etag: etag.map(str::to_owned), limit, connect, total };
        let child = |error: io::Error| failure(url, Reason::Child, format!("the child ended: {error}"));
        let mut line = serde_json::to_vec(&request).map_err(|error| child(error.into()))?;
        line.push(b'\n');
        let exchange = async {
            self.requests.write_all(&line).await?;
            self.line::<Answer>().await
        };
        match tokio::time::timeout(time + GRACE, exchange).await {
            Err(_) => Err(failure(url, Reason::Child, "the child does not answer".to_owned())),
            Ok(Err(error)) => Err(child(error)),
            Ok(Ok(Answer::Failure(broken))) => Err(broke(url, broken)),
            Ok(Ok(Answer::Status(head))) => Ok(head),
        }
    }

    /// Hears a body and passes it on.
    async fn body(
        &mut self,
        url: &str,
        limit: u64,
        time: Duration,
        mut to: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<u64, Failure> {
        let child = |error: io::Error| failure(url, Reason::Child, format!("the child ended: {error}"));
        let mut passed = 0;
        let mut chunk = vec![0; LONGEST_CHUNK as usize];
        let whole = async {
            loop {
                let length = self.answers.read_u32().await.map_err(child)?;
                match length {
                    0 => return Ok(passed),
                    BROKEN => return Err(broke(url, self.line::<Broken>().await.map_err(child)?)),
                    _ if length > LONGEST_CHUNK || passed + u64::from(length) > limit => {
                        return Err(failure(url, Reason::Child, "the child says more than it may".to_owned()));
                    }
                    _ => {}
                }
                let chunk = &mut chunk[..length as usize];
                self.answers.read_exact(chunk).await.map_err(child)?;
                to(chunk).map_err(|error| failure(url, Reason::Disk, format!("cannot be kept: {error}")))?;
                passed += u64::from(length);
            }
        };
        let late = || failure(url, Reason::Child, "the child does not go on".to_owned());
        tokio::time::timeout(time + GRACE, whole).await.map_err(|_| late())?
    }

    /// Hears one line.
    async fn line<T: serde::de::DeserializeOwned>(&mut self) -> io::Result<T> {
        let mut line = Vec::new();
        (&mut self.answers).take(LONGEST_LINE).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_slice(&line)?)
    }
}

/// Puts a document somewhere, by a child of its own: the report.
///
/// # Errors
/// See [`Failure`]; an answer with a status that is no success is none.
pub async fn put(settings: &Settings, url: &str, body: String) -> Result<Taken, Failure> {
    let mut session = Session::open(settings).await?;
    let time = settings.limits.document;
    let head = session.ask(url, Some(body), None, ANSWER, time).await?;
    let mut bytes = Vec::new();
    if (200..300).contains(&head.status) {
        let read = session.body(url, ANSWER, time, |chunk| {
            bytes.extend_from_slice(chunk);
            Ok(())
        });
        read.await?;
    }
    Ok(Taken { status: head.status, retry_after: head.retry_after.map(Duration::from_secs), body: bytes })
}

fn status(url: &str, head: &Head) -> Failure {
    let text = format!("the server answers with status {}", head.status);
    let retry_after = head.retry_after.map(Duration::from_secs);
    Failure { url: url.to_owned(), reason: Reason::Status, text, retry_after }
}

fn broke(url: &str, broken: Broken) -> Failure {
    failure(url, broken.reason, broken.text)
}

fn failure(url: &str, reason: Reason, text: String) -> Failure {
    Failure { url: url.to_owned(), reason, text, retry_after: None }
}
