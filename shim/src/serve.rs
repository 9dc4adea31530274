//! The process that stays: one thread, the socket that `start` has listened on, the reaper, the service, and the
//! decision to go.

use crate::bootstrap::claim::Claim;
use crate::chain::chain;
use crate::cli::Flags;
use crate::events::Events;
use crate::exits::Reaper;
use crate::lifetime::{Lifetime, Verdict};
use crate::service::Service;
use crate::stdio::Logs;
use crate::task::World;
use crate::trace;
use anyhow::Context;
use rustix::fs::{Mode, OFlags, open};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use ttrpc::r#async::Server;
use ttrpc::r#async::transport::Listener;

/// How long the last events may take on their way to the caller.
const FLUSH: Duration = Duration::from_secs(2);

/// Serves until nothing is left to hold.
pub(crate) fn serve(flags: &Flags) -> anyhow::Result<()> {
    let socket = flags.socket.clone().context("`serve` is begun by `start`, which says `-socket`")?;
    let listener = take_listener().context("standard input is not the listening socket that `start` passes on")?;
    detach()?;
    trace::begin(&bundle(flags)?, flags.debug);
    // Only now: the log is found in the bundle, and a bundle that is our working directory could not go.
    rustix::process::chdir("/").context("the working directory cannot be left")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(hold(flags, listener, &socket));
    if let Err(error) = &result {
        tracing::error!(error = format!("{error:#}"), "the shim ends");
    }
    result
}

fn bundle(flags: &Flags) -> anyhow::Result<std::path::PathBuf> {
    match &flags.bundle {
        Some(bundle) => Ok(bundle.clone()),
        None => std::env::current_dir().context("the bundle is the working directory, which is gone"),
    }
}

/// The socket moves to a descriptor that no child inherits; `/dev/null` takes its place.
fn take_listener() -> anyhow::Result<UnixListener> {
    let listener: OwnedFd = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    anyhow::ensure!(rustix::net::sockopt::socket_acceptconn(&listener)?, "it does not listen");
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(listener.into())
}

/// A session of its own, and the children of children that end: a container's init is the child of a runtime that is
/// gone in a moment.
fn detach() -> anyhow::Result<()> {
    // Fails only for whoever leads a group already, which is as good.
    let _leads_already = rustix::process::setsid();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).context("the shim cannot be a subreaper")?;
    // A process of two megabytes has no use for pages of that size (older kernels have no such choice).
    let _only_a_saving = rustix::thread::disable_transparent_huge_pages(true);
    Ok(())
}

async fn hold(flags: &Flags, listener: UnixListener, socket: &Path) -> anyhow::Result<()> {
    let reaper = Arc::new(Reaper::default());
    reaper.begin().context("exits of children cannot be noticed")?;
    let address = std::env::var("TTRPC_ADDRESS").ok();
    let events = Arc::new(Events::new(&flags.containerd_namespace, address.as_deref()));
    events.begin();
    let world = World {
        containerd_namespace: flags.containerd_namespace.clone(),
        reaper,
        events: Arc::clone(&events),
        logs: Logs::default(),
    };
    let service = Service::new(world, Lifetime::new(&flags.id, Instant::now()));
    let listener = Listener::try_from(listener).context("the socket cannot be used")?;
    let mut server = Server::new().add_listener(listener).register_service(service.registrations());
    server.start().await.context("the socket cannot be served")?;
    tracing::info!(socket = %socket.display(), containerd_namespace = flags.containerd_namespace, "serving");
    until_needless(&service, socket).await?;
    events.flush(FLUSH).await;
    // Callers see the connection close, and that the socket is gone, in this order or the other.
    let _closed_by_exit_otherwise = tokio::time::timeout(FLUSH, server.shutdown()).await;
    tracing::info!("nothing is left to hold");
    Ok(())
}

/// Returns when the process may go; its socket is removed by then.
async fn until_needless(service: &Service, socket: &Path) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        let verdict = service.lifetime(|lifetime| lifetime.verdict(Instant::now()));
        match verdict {
            Verdict::Go => {
                if leave(service, socket) {
                    return Ok(());
                }
            }
            Verdict::Stay | Verdict::Until(_) => {}
        }
        let alarm = async {
            match verdict {
                Verdict::Until(at) => tokio::time::sleep_until(at).await,
                Verdict::Stay => std::future::pending().await,
                // Somebody holds the folder: a `start` that may be asking us.
                Verdict::Go => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        tokio::select! {
            () = service.changed() => {}
            () = alarm => {}
            // As all shims of containerd: a container is not to die because somebody ends what looks like a daemon.
            _ = terminate.recv() => if_empty(service),
            _ = interrupt.recv() => if_empty(service),
            _ = hangup.recv() => if_empty(service),
        }
    }
}

fn if_empty(service: &Service) {
    let empty = service.lifetime(|lifetime| {
        lifetime.end_when_empty();
        lifetime.is_empty()
    });
    if !empty {
        tracing::info!("asked to end, and does not: it holds containers");
    }
}

/// Removes the socket, unless a `start` is under way that may have found us alive.
fn leave(service: &Service, socket: &Path) -> bool {
    let Some(folder) = socket.parent() else { return true };
    match Claim::try_take(folder) {
        Ok(None) => false,
        Ok(Some(claim)) => {
            // What a `start` announced just before counts.
            let still = service.lifetime(|lifetime| lifetime.verdict(Instant::now()) == Verdict::Go);
            if still {
                if let Err(error) = claim.remove(socket) {
                    tracing::warn!(error = chain(&error), "the socket stays behind");
                }
            }
            still
        }
        Err(error) => {
            tracing::warn!(error = chain(&error), "the socket stays behind");
            true
        }
    }
}
