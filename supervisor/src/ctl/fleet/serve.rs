//! `skiffctl fleet serve`: a web server of one folder, for trials and closed networks. It knows no TLS and no users; what it
//! serves proves itself by signature and digest.
//!
//! ```text
//!   connection (so many at once, each with its time) ──> request (pure: what is asked for)
//!                                                          ├─ GET, HEAD  ──> file     (one folder, through no link)
//!                                                          └─ PUT status ──> reports  (another folder, whole or not at all)
//! ```

mod file;
mod reports;
mod request;

use anyhow::Context as _;
use clap::Args;
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use reports::Reports;
use request::{Refusal, Wanted};
use rustix::fs::{Mode, OFlags};
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// More wait until one ends.
const CONNECTIONS: usize = 64;
/// From the first byte of a request, or from the answer before it, to the end of its head.
const HEAD: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
const HEAD_SIZE: usize = 16 << 10;
/// A client that takes nothing for so many milliseconds is gone, tcp(7).
const STALLED: u32 = 30_000;
/// Bytes of a file that are read at once.
const PIECE: usize = 64 << 10;

/// What was typed.
#[derive(Args)]
pub(in crate::ctl) struct Arguments {
    /// Address and port; port 0 takes a free one, which is printed
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Take the reports of devices, `PUT /devices/ID/status`, into DIR/ID.json
    #[arg(long, value_name = "DIR")]
    status: Option<PathBuf>,
    /// The folder that `skiffctl fleet build` made
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

/// Serves until SIGTERM or SIGINT.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&arguments.folder, flags, Mode::empty())
        .with_context(|| format!("cannot open the folder `{}`", arguments.folder.display()))?;
    let reports = arguments.status.as_deref().map(|folder| Reports::open(folder, &root)).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start")?;
    runtime.block_on(serve(arguments.listen, &arguments.folder, Shared { root, reports }))?;
    Ok(ExitCode::SUCCESS)
}

/// What every connection sees.
struct Shared {
    root: OwnedFd,
    reports: Option<Reports>,
}

async fn serve(listen: SocketAddr, folder: &Path, shared: Shared) -> anyhow::Result<()> {
    let mut signals = Signals::new().context("cannot listen for signals")?;
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("cannot listen on {listen}; is another program there? `--listen` takes another address")
    })?;
    announce(folder, listener.local_addr().context("cannot find out the port")?);
    let (shared, places) = (Arc::new(shared), Arc::new(Semaphore::new(CONNECTIONS)));
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((listener.accept().await?.0, place))
        };
        tokio::select! {
            () = signals.any() => return Ok(()),
            accepted = next => match accepted {
                Ok((stream, place)) => {
                    tokio::spawn(connection(stream, Arc::clone(&shared), place));
                }
                // Out of descriptors, or a client that left already: neither ends a server.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
        }
    }
}

/// Says where and what it is. Nobody who does not listen stops it.
fn announce(folder: &Path, address: SocketAddr) {
    let _nobody_reads = writeln!(io::stdout(), "serving `{}` at http://{address}", folder.display());
    let notice =
        "no TLS and no passwords: for trials and closed networks; elsewhere put the folder on a web server with TLS";
    let _nobody_reads = writeln!(io::stderr(), "skiffctl: {notice}");
    if !folder.join("index.json").is_file() {
        let _nobody_reads =
            writeln!(io::stderr(), "skiffctl: there is no `index.json` yet; `skiffctl fleet build` makes it");
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, _place: OwnedSemaphorePermit) {
    // Answers are small; on a kernel that refuses either they only take longer.
    let _as_it_was = stream.set_nodelay(true);
    let _as_it_was = rustix::net::sockopt::set_tcp_user_timeout(&stream, STALLED);
    let service = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(&shared, request).await.unwrap_or_else(refused)) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_SIZE);
    // What goes wrong with a connection is the client's: it hears it, or is gone.
    let _gone = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
    match (request::wanted(request.method(), request.uri().path())?, &shared.reports) {
        (Wanted::File(names), _) => file::answer(&shared.root, &names, request.method(), request.headers()),
        (Wanted::Report(id), Some(reports)) => reports.take(&id, request).await,
        (Wanted::Report(_), None) => {
            Err(request::not_taken("reports are not taken; start the server with `--status DIR`"))
        }
    }
}

fn refused(refusal: Refusal) -> Response<Body> {
    let mut response = Response::new(Body::Whole(format!("{}\n", refusal.text).into()));
    *response.status_mut() = refusal.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.extend(refusal.allow.map(|methods| (ALLOW, HeaderValue::from_static(methods))));
    response
}

/// The body of an answer.
enum Body {
    /// All of it; empty when it is sent.
    Whole(Bytes),
    /// A file, and how much of it is left. A file that became shorter cuts the connection, so that the client knows.
    File(File, u64),
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::File(_, 0) => Poll::Ready(None),
            Self::File(file, left) => {
                let most = usize::try_from(*left).map_or(PIECE, |left| left.min(PIECE));
                let mut piece = vec![0; most];
                Poll::Ready(Some(match file.read(&mut piece) {
                    Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(read) => {
                        piece.truncate(read);
                        *left -= read as u64;
                        Ok(Frame::data(piece.into()))
                    }
                    Err(error) => Err(error),
                }))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::File(_, 0)) || matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::File(_, left) => SizeHint::with_exact(*left),
        }
    }
}
