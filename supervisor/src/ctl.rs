//! `skiffctl`, the operator's command line. Each command is one file; this one finds it and prints what went wrong, once.
//!
//! ```text
//!   words ──> ctl ──┬─> fleet (files of a fleet; no skiffd)
//!                   └─> ps, logs, why, ... ──> client ──> skiff.sock
//!                              └─> words, table (what is told becomes text; pure)
//! ```
//!
//! Exit codes: 0 done, 1 it was refused or is not well, 2 the words were not understood, 125 skiffd cannot be reached.
//! Whatever comes from a container is escaped before a terminal gets it, but for `logs`, which passes on what was written.

mod client;
mod drain;
mod events;
mod fleet;
mod inspect;
mod instances;
mod logs;
mod print;
mod ps;
#[cfg(test)]
mod specimen;
mod status;
mod sync;
mod table;
mod why;
mod words;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use client::Client;
use print::Unprinted;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// Where skiffd listens, unless somebody says otherwise.
const SOCKET: &str = "/run/skiff/skiff.sock";

/// What skiffd runs, why, and the fleet that it follows.
#[derive(Parser)]
#[command(
    name = "skiffctl",
    version,
    after_help = "Exit codes: 0 done, 1 refused or not well, 2 words not understood, 125 skiffd cannot be reached"
)]
struct Arguments {
    /// The socket of skiffd; without it SKIFF_SOCKET, or /run/skiff/skiff.sock
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make, check and serve the documents of a fleet
    #[command(subcommand)]
    Fleet(fleet::Command),
    #[command(flatten)]
    Asking(Asking),
}

/// What skiffd is asked for.
#[derive(Subcommand)]
enum Asking {
    /// List instances
    Ps(ps::Arguments),
    /// Show what instances wrote
    Logs(logs::Arguments),
    /// Tell why something is not as desired, and what would change that
    Why(why::Arguments),
    /// Show what happened on this device
    Events(events::Arguments),
    /// Print all that is known, as JSON
    Inspect(inspect::Arguments),
    /// Sum up the device, its fleet and its release
    Status(status::Arguments),
    /// Look at the fleet now
    Sync,
    /// Stop every instance, and start none until skiffd is started again
    Drain,
}

/// For people, or for programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table or sentences, which may change.
    #[default]
    #[value(alias = "text")]
    Table,
    /// JSON, which programs may rely on.
    Json,
}

/// Runs one command line, the program's name first. Status 2 means that the words were not understood.
pub fn main(words: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _nobody_reads = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let outcome = match arguments.command {
        Command::Fleet(command) => fleet::run(command),
        Command::Asking(asking) => ask(&asking, socket(arguments.socket, std::env::var_os("SKIFF_SOCKET"))),
    };
    outcome.unwrap_or_else(|error| complain(&error))
}

/// The option goes before the environment. An empty word is none.
fn socket(option: Option<PathBuf>, environment: Option<OsString>) -> PathBuf {
    let named = option.or(environment.map(PathBuf::from)).filter(|path| !path.as_os_str().is_empty());
    named.unwrap_or_else(|| SOCKET.into())
}

fn ask(asking: &Asking, socket: PathBuf) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let client = Client::new(socket);
    runtime.context("cannot wait for answers")?.block_on(async {
        match asking {
            Asking::Ps(arguments) => ps::run(&client, arguments).await,
            Asking::Logs(arguments) => logs::run(&client, arguments).await,
            Asking::Why(arguments) => why::run(&client, arguments).await,
            Asking::Events(arguments) => events::run(&client, arguments).await,
            Asking::Inspect(arguments) => inspect::run(&client, arguments).await,
            Asking::Status(arguments) => status::run(&client, arguments).await,
            Asking::Sync => sync::run(&client).await,
            Asking::Drain => drain::run(&client).await,
        }
    })
}

/// Says what went wrong, unless it is that nobody listens any more, as with `| head`.
fn complain(error: &anyhow::Error) -> ExitCode {
    if error.downcast_ref().is_some_and(Unprinted::nobody_reads) {
        return ExitCode::SUCCESS;
    }
    let _there_is_no_other_place = writeln!(io::stderr(), "skiffctl: {error:#}");
    error.downcast_ref().map_or(ExitCode::FAILURE, client::Error::exit_code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_words_are_in_order() {
        Arguments::command().debug_assert();
        for line in
            ["skiffctl ps --socket /s", "skiffctl --socket /s ps --all", "skiffctl logs web -f -n 3 --since 10m"]
        {
            assert!(Arguments::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
    }

    #[test]
    fn the_nearest_word_names_the_socket() {
        let (a, b) = (|| Some("/a".into()), || Some("/b".into()));
        assert_eq!(socket(a(), b()), PathBuf::from("/a"));
        assert_eq!(socket(None, b()), PathBuf::from("/b"));
        for nothing in [None, Some(OsString::new())] {
            assert_eq!(socket(None, nothing), PathBuf::from(SOCKET));
        }
    }
}
