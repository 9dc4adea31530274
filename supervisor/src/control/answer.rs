//! What is sent back: whole documents, streams of lines, and failures in one form.

use hyper::body::{Bytes, Frame, SizeHint};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};
use serde::{Deserialize, Serialize};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// Why something was not done, as it is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What is wrong.
    pub error: String,
    /// The way out; empty where there is none.
    #[serde(default)]
    pub hint: String,
}

/// A failure with its status.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) failure: Failure,
    /// The one method that is taken there.
    pub(super) allow: Option<Method>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status, failure: Failure { error: error.into(), hint: hint.into() }, allow: None }
    }

    pub(super) fn response(self) -> Response<Body> {
        let mut response = json(self.status, &self.failure);
        let allow = self.allow.and_then(|method| HeaderValue::from_str(method.as_str()).ok());
        response.headers_mut().extend(allow.map(|value| (ALLOW, value)));
        response
    }
}

/// A whole document.
pub(super) fn json(status: StatusCode, document: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(document) {
        Ok(mut bytes) => {
            bytes.push(b'\n');
            response(status, "application/json", Body::Whole(bytes.into()))
        }
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            response(StatusCode::INTERNAL_SERVER_ERROR, "application/json", Body::Whole(Bytes::from_static(b"{}\n")))
        }
    }
}

/// Text of some kind.
pub(super) fn text(status: StatusCode, content_type: &'static str, text: impl Into<Bytes>) -> Response<Body> {
    response(status, content_type, Body::Whole(text.into()))
}

/// One JSON document on each line, as they come: the writing end, and the answer that is sent meanwhile.
pub(super) fn feed() -> (Feed, Response<Body>) {
    // One piece waits while another is sent, so a slow client costs no more memory than that.
    let (pieces, lines) = mpsc::channel(1);
    (Feed { pieces, begun: Vec::new() }, response(StatusCode::OK, "application/x-ndjson", Body::Lines(lines)))
}

/// Lines are sent together, in pieces of about this size.
const PIECE: usize = 16 << 10;

/// The writing end of an answer that is told line by line.
#[derive(Debug)]
pub(super) struct Feed {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    begun: Vec<u8>,
}

/// Nobody reads any more.
#[derive(Debug)]
pub(super) struct Gone;

impl Feed {
    /// Adds a line. Waits while the client is slower than this.
    pub(super) async fn line(&mut self, document: &(impl Serialize + Sync)) -> Result<(), Gone> {
        if let Err(error) = serde_json::to_writer(&mut self.begun, document) {
            tracing::error!(%error, "a line cannot be written as JSON");
        }
        self.begun.push(b'\n');
        if self.begun.len() < PIECE { Ok(()) } else { self.flush().await }
    }

    /// Sends what was added, so that nobody waits for a line that is there.
    pub(super) async fn flush(&mut self) -> Result<(), Gone> {
        if self.begun.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.begun).into();
        self.pieces.send(Ok(piece)).await.map_err(|_nobody_reads| Gone)
    }

    /// Returns when nobody reads any more.
    pub(super) async fn gone(&self) {
        self.pieces.closed().await;
    }

    /// Ends the answer in such a way that the client knows that it did not get all.
    pub(super) async fn cut(self, error: io::Error) {
        let _nobody_reads = self.pieces.send(Err(error)).await;
    }
}

fn response(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The body of an answer.
#[derive(Debug)]
pub(super) enum Body {
    /// All of it; empty when it is sent.
    Whole(Bytes),
    /// Piece by piece. An error cuts the connection, so that the client knows that it did not get all.
    Lines(mpsc::Receiver<io::Result<Bytes>>),
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Lines(lines) => lines.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Lines(_) => SizeHint::default(),
        }
    }
}
