//! Runs a program on an older kernel, as far as its system calls can tell: `without WORDS PROGRAM [ARGUMENTS]`, where the
//! words, with commas between, are system calls (they fail with ENOSYS), `cgroup.kill` (opening a file of that name
//! fails with ENOENT) or `linux-4.19` (all of this, and every call that a kernel after 4.19 got).
//!
//! A seccomp filter does it, so whatever the program starts or leaves behind is in the same old world. A path is looked
//! at by a process outside of the filter, which ends when the last process in it has. Only for tests: a program that
//! wants to be seen as harmless by `seccomp` is not served by this.
#![allow(clippy::disallowed_methods)] // the bans protect the runtime

mod filter;
mod watcher;

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let [missing, program, arguments @ ..] = words.as_slice() else {
        eprintln!("without: usage: without CALL[,CALL...] PROGRAM [ARGUMENTS]");
        return ExitCode::from(125);
    };
    let begun = filter::Missing::parse(&missing.to_string_lossy()).and_then(|missing| begin(&missing));
    if let Err(text) = begun {
        eprintln!("without: {text}");
        return ExitCode::from(125);
    }
    let error = Command::new(program).args(arguments).exec();
    eprintln!("without: {}: {error}", program.to_string_lossy());
    ExitCode::from(127)
}

fn begin(missing: &filter::Missing) -> Result<(), String> {
    if !missing.cgroup_kill {
        return filter::install(missing, false).map(drop);
    }
    // The watcher is made first: it must not be in the filter.
    let send = watcher::start().map_err(|error| format!("the watcher cannot be started: {error}"))?;
    match filter::install(missing, true)? {
        Some(listener) => send(listener).map_err(|error| format!("the watcher cannot be told: {error}")),
        None => Err("the kernel gave no listener".to_owned()),
    }
}
