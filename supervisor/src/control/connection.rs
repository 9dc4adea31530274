//! Connections: who is let in, and how much of them is borne. Whatever a client does or leaves undone, it costs one task and
//! one of a fixed number of places; the loop of skiffd knows nothing of it.

mod stall;

use super::answer::{Body, Failure, Refusal};
use super::reply::Desk;
use super::route::{Door, route};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use stall::Stall;
use std::convert::Infallible;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Connections at once on the socket, and on the port.
const PLACES: (usize, usize) = (64, 16);
/// For the head of a request; a connection that is kept alive may be idle as long.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// The longest head of a request, in bytes.
const LONGEST_HEAD: usize = 16 << 10;
/// For the body of a request, which nobody needs.
const BODY_TIME: Duration = Duration::from_secs(10);
/// The longest body that is read for politeness, in bytes.
const LONGEST_BODY: u64 = 64 << 10;
/// How long a client may take nothing of what is sent: somebody may have paused the end of a pipe.
const STALL: Duration = Duration::from_secs(300);
/// The longest life of a connection to the port, where nothing is followed and anybody may knock.
const PORT_LIFE: Duration = Duration::from_secs(60);
/// How long nobody is let in when the kernel has no descriptor or memory left (accept(2)).
const PAUSE: Duration = Duration::from_millis(100);

/// Answers on the socket, for ever.
pub(super) async fn accept_socket(listener: UnixListener, desk: Arc<Desk>) {
    let mut gate = Gate::new(PLACES.0);
    loop {
        let Some((stream, _)) = gate.pass(listener.accept().await).await else { continue };
        match gate.place() {
            Some(place) => drop(tokio::spawn(talk(place, Stall::new(stream, STALL), Door::Socket, desk.clone()))),
            None => turn_away(stream.into_std()),
        }
    }
}

/// Answers on the port, for ever.
pub(super) async fn accept_port(listener: TcpListener, desk: Arc<Desk>) {
    let mut gate = Gate::new(PLACES.1);
    loop {
        let Some((stream, _)) = gate.pass(listener.accept().await).await else { continue };
        match gate.place() {
            Some(place) => {
                let talk = talk(place, stream, Door::Port, desk.clone());
                drop(tokio::spawn(async move { timeout(PORT_LIFE, talk).await.ok() }));
            }
            None => turn_away(stream.into_std()),
        }
    }
}

/// What a listener knows of those who come.
struct Gate {
    places: Arc<Semaphore>,
    /// The last one could not be let in.
    troubled: bool,
}

impl Gate {
    fn new(places: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), troubled: false }
    }

    /// No failure to accept is the last word, and none is told more than once in a row.
    async fn pass<T>(&mut self, accepted: io::Result<T>) -> Option<T> {
        match accepted {
            Ok(stream) => {
                self.troubled = false;
                Some(stream)
            }
            // It came and went.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => None,
            Err(error) => {
                if !self.troubled {
                    tracing::warn!("clients cannot be let in: {error}");
                }
                self.troubled = true;
                tokio::time::sleep(PAUSE).await;
                None
            }
        }
    }

    fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }
}

/// Says that there is no place, without waiting for anything.
fn turn_away(stream: io::Result<impl Write>) {
    let failure = Failure {
        error: "too many connections at once".into(),
        hint: "end some, or wait: idle ones are closed after a few seconds".into(),
    };
    let body = serde_json::to_string(&failure).unwrap_or_default();
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    );
    // Who does not get this sees the end of the connection.
    let _told_or_not = stream.and_then(|mut stream| stream.write(answer.as_bytes()));
}

/// One connection, to its end.
async fn talk<S>(place: OwnedSemaphorePermit, stream: S, door: Door, desk: Arc<Desk>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request| async { Ok::<_, Infallible>(respond(door, request, &desk).await) });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!("a client was left: {error}");
    }
    drop(place);
}

async fn respond(door: Door, request: Request<Incoming>, desk: &Desk) -> Response<Body> {
    let (head, body) = request.into_parts();
    let asked = match swallow(body).await {
        Ok(()) => route(door, &head.method, head.uri.path(), head.uri.query()),
        Err(refusal) => Err(refusal),
    };
    match asked {
        Ok(route) => desk.perform(route).await,
        Err(refusal) => refusal.response(),
    }
}

/// Reads a body away, if it is small, so that the connection can be used again. One that is refused closes it.
async fn swallow(mut body: Incoming) -> Result<(), Refusal> {
    let too_long = || {
        let hint = "send none: everything is said in path and query";
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long", hint)
    };
    if body.size_hint().lower() > LONGEST_BODY {
        return Err(too_long());
    }
    let read = async {
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            let broken =
                |error| Refusal::new(StatusCode::BAD_REQUEST, format!("the body is broken: {error}"), "send none");
            length += frame.map_err(broken)?.data_ref().map_or(0, |data| data.len() as u64);
            if length > LONGEST_BODY {
                return Err(too_long());
            }
        }
        Ok(())
    };
    let late = |_elapsed| Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body does not come", "send none");
    timeout(BODY_TIME, read).await.map_err(late)?
}
