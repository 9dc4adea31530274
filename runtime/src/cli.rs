//! The command line: runc's verbs, flags, output and exit codes. Each verb is one file; this one finds the verb, sets
//! the log up and prints what went wrong, once, on one line.

mod args;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod list;
pub mod papers;
mod pause;
mod ps;
mod run;
mod signal;
mod spec;
mod start;
mod state;
mod update;

use crate::log;
use anyhow::Context;
use args::{Command, Global};
use rustix::fs::{CWD, Mode, OFlags};
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// An error that carries the exit code it is to end the program with; all others end it with 1, as runc's do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ExitWith {
    /// What the program exits with.
    pub code: u8,
    /// The chain of causes, already joined.
    pub message: String,
}

/// Runs one command line, the program's name first.
pub fn main(words: impl Iterator<Item = OsString>) -> ExitCode {
    let parsed = match args::parse(words) {
        Ok(parsed) => parsed,
        Err(error) => return fail(&anyhow::Error::from(error)),
    };
    let outcome = configure_log(&parsed.global).and_then(|()| dispatch(&parsed.global, parsed.command));
    outcome.unwrap_or_else(|error| fail(&error))
}

fn dispatch(global: &Global, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Help(text) => print(&text),
        Command::Version => print(&args::version()),
        Command::Create(options) => create::create(global, &options),
        Command::Run(options) => run::run(global, &options),
        Command::Start { id } => start::start(global, &id),
        Command::State { id } => state::state(global, &id),
        Command::Exec(options) => exec::exec(global, options),
        Command::Kill(options) => kill::kill(global, &options),
        Command::Delete { id, force } => delete::delete(global, &id, force),
        Command::List { format, quiet } => list::list(global, format, quiet),
        Command::Pause { id } => pause::pause(global, &id),
        Command::Resume { id } => pause::resume(global, &id),
        Command::Update(options) => update::update(global, &options),
        Command::Events(options) => events::events(global, &options),
        Command::Ps { id, format, options } => ps::ps(global, &id, format, &options),
        Command::Spec { bundle, rootless } => spec::spec(&bundle, rootless),
        Command::Features => features::features(),
    }
}

fn configure_log(global: &Global) -> anyhow::Result<()> {
    let file = global.log.as_deref().map(open_log).transpose()?;
    log::configure(file, global.log_format, global.debug);
    Ok(())
}

fn open_log(path: &Path) -> anyhow::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, path, flags, Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH)
        .with_context(|| format!("log file `{}` cannot be opened (--log)", path.display()))?;
    Ok(File::from(fd))
}

fn fail(error: &anyhow::Error) -> ExitCode {
    let text = one_line(&format!("{error:#}"));
    log::error(&text);
    // With --log the caller reads the file, and a person still sees the reason; runc does the same.
    if log::has_file() {
        eprintln!("skiff: {text}");
    }
    ExitCode::from(error.downcast_ref::<ExitWith>().map_or(1, |exit| exit.code))
}

fn one_line(text: &str) -> String {
    text.split('\n').map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Prints to standard output; a reader that has gone away is no failure of ours.
fn print(text: &str) -> anyhow::Result<ExitCode> {
    use std::io::Write;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("standard output"),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Where the state is, from `--root` or by who we are: `/run` is root's, `XDG_RUNTIME_DIR` another user's.
fn state_root(global: &Global) -> anyhow::Result<PathBuf> {
    if let Some(root) = &global.root {
        return std::path::absolute(root).with_context(|| format!("`--root {}`", root.display()));
    }
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/run/skiff/runtime"));
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(folder) if Path::new(&folder).is_absolute() => Ok(Path::new(&folder).join("skiff/runtime")),
        _ => anyhow::bail!("not running as root and XDG_RUNTIME_DIR is not set; say where state goes with --root"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_stay_on_one_line() {
        assert_eq!(one_line("a: b\n  c\n\nd\n"), "a: b c d");
    }
}
