//! skiffd: one loop, one closed set of events, one waiting point, one owner of all state.
//!
//! ```text
//!   node::Seen ──┐
//!   fleet::News ─┼──> learn ──> State ──> decide ──> kept on disk ──> accepted ──> perform ──> node
//!   a moment ────┘                │                                      └──> told (events)
//!   Query ──────── answered from ─┘
//! ```
//!
//! Rooms: `arguments`, `state` (what is known, and what follows from it: pure), `memory` (what is kept on disk), `making`
//! (from a release and a bundle to what an instance is made from), `tell` (what people hear of it), `look` (the state as it is
//! told), `run` (the loop).

mod arguments;
mod look;
mod making;
mod memory;
mod run;
mod state;
mod tell;

use crate::chain::chain;
use crate::config::{self, Config, Machine};
use crate::{fleet, node, store};
use arguments::{Arguments, Child};
use clap::Parser;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

/// What keeps skiffd from working.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// See [`config::Error`].
    #[error(transparent)]
    Config(#[from] config::Error),
    /// See [`store::Error`].
    #[error(transparent)]
    Store(#[from] store::Error),
    /// See [`node::Error`].
    #[error(transparent)]
    Node(#[from] node::Error),
    /// See [`fleet::library::Error`].
    #[error(transparent)]
    Library(#[from] fleet::library::Error),
    /// Somebody holds the lock.
    #[error("another skiffd runs with `{0}`; stop it first, or give this one a folder of its own (paths.run)")]
    Locked(PathBuf),
    /// Something that the kernel refused.
    #[error("cannot {operation}")]
    Step {
        /// What was being done.
        operation: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl Error {
    fn step(operation: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let operation = operation.into();
        move |source| Self::Step { operation, source }
    }

    /// s6's convention: 100 is permanent, 111 may pass.
    const fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 100,
            Self::Store(_) | Self::Node(_) | Self::Library(_) | Self::Locked(_) | Self::Step { .. } => 111,
        }
    }
}

/// Runs one command line, the program's name first.
pub fn main(words: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _nobody_reads = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match arguments.child {
        Some(Child::Fetch) => return fleet::fetch::child::main(),
        Some(Child::Unpack) => return fleet::unpack::child::main(),
        None => {}
    }
    // Without times: systemd's journal has them, and without colours: it is read by programs.
    tracing_subscriber::fmt()
        .with_max_level(arguments.log_level)
        .with_writer(io::stderr)
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .init();
    match config::load(arguments.config.as_deref(), &Machine::observe()).map_err(Error::from).and_then(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = error.exit_code();
            tracing::error!("{}", chain(&error));
            ExitCode::from(code)
        }
    }
}

fn work(config: Config) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::step("make the loop that waits for events"))?;
    runtime.block_on(async {
        let (daemon, inputs) = run::Daemon::open(config).await?;
        daemon.run(inputs).await
    })
}

/// The settings of the room `node`.
fn node_settings(config: &Config) -> node::Settings {
    node::Settings {
        run: config.run.clone(),
        logs: config.logs.clone(),
        shim: config.shim.clone(),
        runtime: config.runtime.clone(),
        // Apart from /run/skiff/runtime, where `skiff` keeps what people make with it: the shim adds a folder `skiff`.
        runtime_root: config.run.join("containers"),
        systemd: config.systemd.unwrap_or_else(node::systemd_runs),
        cgroup: "/skiff".into(),
        log: node::Log::Rotated { max_size: config.log_max_size, max_files: config.log_max_files },
    }
}
