//! A small runtime around libcontainer's complete engine: an oracle for the tests, and nothing that ships.
//! Verbs: create, start, run (in the foreground or with `--detach`), state, kill, delete.
#![allow(clippy::disallowed_methods)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::signal::Signal;
use libcontainer::syscall::syscall::SyscallType;
use rustix::process::{Pid, WaitOptions, set_child_subreaper, waitpid};

fn main() -> ExitCode {
    match Request::parse(std::env::args().skip(1)).and_then(|request| perform(&request)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What was typed.
#[derive(Default)]
struct Request {
    root: PathBuf,
    bundle: PathBuf,
    pid_file: Option<PathBuf>,
    console_socket: Option<PathBuf>,
    preserve_fds: i32,
    detach: bool,
    force: bool,
    all: bool,
    no_pivot: bool,
    /// Verb, id, signal.
    words: Vec<String>,
}

impl Request {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut request = Self { root: "/run/skiff-reference".into(), bundle: ".".into(), ..Self::default() };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("`{argument}` needs a value"));
            match argument.as_str() {
                "--root" => request.root = value()?.into(),
                "--bundle" | "-b" => request.bundle = value()?.into(),
                "--pid-file" => request.pid_file = Some(value()?.into()),
                "--console-socket" => request.console_socket = Some(value()?.into()),
                "--preserve-fds" => request.preserve_fds = value()?.parse()?,
                "--detach" | "-d" => request.detach = true,
                "--force" | "-f" => request.force = true,
                "--all" | "-a" => request.all = true,
                "--no-pivot" => request.no_pivot = true,
                option if option.starts_with("--") => bail!("unknown option `{option}`"),
                _ => request.words.push(argument),
            }
        }
        Ok(request)
    }

    fn id(&self) -> Result<&str> {
        self.words.get(1).map(String::as_str).context("a container id is needed")
    }

    fn load(&self) -> Result<Container> {
        let folder = self.root.join(self.id()?);
        if !folder.exists() {
            bail!("container `{}` does not exist", self.id()?);
        }
        Ok(Container::load(folder)?)
    }
}

fn perform(request: &Request) -> Result<u8> {
    match request.words.first().map(String::as_str) {
        Some("create") => create(request, true).map(|_| 0),
        Some("start") => request.load()?.start().map(|()| 0).map_err(Into::into),
        Some("run") => run(request),
        Some("state") => state(request),
        Some("kill") => kill(request),
        Some("delete") => delete(request),
        other => bail!("unknown verb {other:?}"),
    }
}

fn create(request: &Request, detached: bool) -> Result<Container> {
    let container = ContainerBuilder::new(request.id()?.to_owned(), SyscallType::default())
        .with_pid_file(request.pid_file.clone())?
        .with_console_socket(request.console_socket.clone())
        .with_root_path(request.root.clone())?
        .with_preserved_fds(request.preserve_fds)
        .validate_id()?
        .as_init(request.bundle.clone())
        .with_systemd(false)
        .with_detach(detached)
        .with_no_pivot(request.no_pivot)
        .build()?;
    Ok(container)
}

fn run(request: &Request) -> Result<u8> {
    set_child_subreaper(Pid::from_raw(1))?;
    let mut container = create(request, request.detach)?;
    let pid = container.pid().ok_or_else(|| anyhow!("the container has no process"))?.as_raw();
    container.start()?;
    if request.detach {
        return Ok(0);
    }
    let (_, status) = waitpid(Pid::from_raw(pid), WaitOptions::empty())?.context("init is our child")?;
    container.delete(true)?;
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    Ok(u8::try_from(code.context("init ended")?)?)
}

fn state(request: &Request) -> Result<u8> {
    let mut container = request.load()?;
    container.refresh_status()?;
    println!("{}", serde_json::to_string_pretty(&container.state)?);
    Ok(0)
}

fn kill(request: &Request) -> Result<u8> {
    let word = request.words.get(2).map_or("TERM", String::as_str);
    request.load()?.kill(Signal::try_from(word)?, request.all)?;
    Ok(0)
}

fn delete(request: &Request) -> Result<u8> {
    if request.force && !Path::new(&request.root.join(request.id()?)).exists() {
        return Ok(0);
    }
    request.load()?.delete(request.force)?;
    Ok(0)
}
