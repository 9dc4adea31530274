//! The control socket: HTTP with JSON for `skiffctl`, metrics for Prometheus, health for whoever asks.
//!
//! ```text
//!   skiff.sock ──┐                                        ┌── Query ──> the loop of skiffd
//!                ├─> connection ──> route ──> reply ──────┼── Ring (events)
//!   metrics port ┘   (limits)       (decides) (performs)  └── logs (rotated files)
//! ```
//!
//! There is no state here. Whoever may open the socket may stop every container, so it is for root and the group `skiff`;
//! the port, if there is one, tells figures and health and takes no orders.

mod answer;
mod connection;
mod logs;
mod reply;
mod route;
mod socket;

pub use answer::Failure;
pub use logs::{Line, Stream};

use crate::config::Config;
use crate::events::Ring;
use crate::view::Device;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// The socket's name in the run folder.
pub const SOCKET: &str = "skiff.sock";

/// What is asked of the daemon's loop. It answers at once, but for what has to be waited for.
#[derive(Debug)]
pub enum Query {
    /// The whole device, with fresh figures.
    Device(oneshot::Sender<Box<Device>>),
    /// Whether anything keeps it from its work, and what. Cheap: no shim is asked.
    Ready(oneshot::Sender<Option<String>>),
    /// Look at the fleet now. Whether there is one to look at.
    Sync(oneshot::Sender<bool>),
    /// Stop every instance and start none until skiffd is started again; answered when nothing is left.
    Drain(oneshot::Sender<()>),
}

/// Where things are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The folder of [`SOCKET`].
    pub run: PathBuf,
    /// The folder of the instances' logs.
    pub logs: PathBuf,
    /// The port for metrics and health; none is opened without it.
    pub metrics: Option<SocketAddr>,
}

impl Settings {
    /// From the daemon's own.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self { run: config.run.clone(), logs: config.logs.clone(), metrics: config.metrics }
    }
}

/// Why nothing is served. It travels inside an [`io::Error`] of the same kind.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket cannot be made.
    #[error("control socket `{path}` cannot be made")]
    Socket {
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Somebody listens there.
    #[error("somebody answers on `{path}`; end that skiffd first, or give this one another `paths.run`")]
    Live {
        /// Where.
        path: PathBuf,
    },
    /// Something else has the socket's name.
    #[error("`{path}` is not a socket; move it away")]
    Foreign {
        /// Where.
        path: PathBuf,
    },
    /// The port cannot be had.
    #[error("cannot listen on `{address}`; set `metrics.listen` in skiffd.toml to one that is free")]
    Port {
        /// Which.
        address: SocketAddr,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Socket { source, .. } | Error::Port { source, .. } => source.kind(),
            Error::Live { .. } => io::ErrorKind::AddrInUse,
            Error::Foreign { .. } => io::ErrorKind::AlreadyExists,
        };
        Self::new(kind, error)
    }
}

/// Opens socket and port, and answers on them from then on in tasks of their own. Has to be called inside a runtime.
///
/// # Errors
/// [`Error`]; nothing is open then.
pub fn serve(settings: &Settings, queries: mpsc::Sender<Query>, events: &Ring) -> io::Result<()> {
    let port = settings.metrics.map(open_port).transpose()?;
    let listener = socket::open(&settings.run.join(SOCKET))?;
    let desk = Arc::new(reply::Desk::new(queries, events.clone(), settings.logs.clone()));
    if let Some(port) = port {
        tokio::spawn(connection::accept_port(port, desk.clone()));
    }
    tokio::spawn(connection::accept_socket(listener, desk));
    Ok(())
}

fn open_port(address: SocketAddr) -> Result<tokio::net::TcpListener, Error> {
    let open = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        tokio::net::TcpListener::from_std(listener)
    };
    open().map_err(|source| Error::Port { address, source })
}
