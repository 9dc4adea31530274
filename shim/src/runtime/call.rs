//! One call of the runtime: its descriptors, its end, its words.

use super::log::{complaint, length};
use super::{Error, Runtime, Verb};
use crate::exits::Reaper;
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

/// What the runtime gets as standard input, output and error.
#[derive(Debug)]
pub(crate) enum Streams {
    /// The container's own; nothing of them comes back here.
    Container {
        /// Standard input.
        stdin: OwnedFd,
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error.
        stderr: OwnedFd,
    },
    /// Nothing in; what comes out is the answer.
    Captured,
    /// These bytes in; what comes out is the answer.
    Fed(Vec<u8>),
}

/// Unnamed files for the answer: unlike pipes they need no reader, and a daemon that a hook leaves behind may keep them.
struct Answer {
    stdout: File,
    stderr: File,
}

impl Runtime {
    /// Performs `verb` on container `id` and waits for its end. Its log is `log`.
    ///
    /// # Errors
    /// See [`Error`].
    pub(crate) async fn call(
        &self,
        reaper: &Reaper,
        log: &Path,
        id: &str,
        verb: &Verb,
        streams: Streams,
    ) -> Result<Vec<u8>, Error> {
        let word = verb.word();
        let prepare = |source: io::Error| Error::Prepare { verb: word, source };
        let start = length(log);
        let mut command = self.command(log, verb, id);
        let answer = connect(&mut command, streams).map_err(prepare)?;
        let spawned = reaper.spawn(&mut command);
        // The container's ends of its pipes are in it; kept here they would never end.
        drop(command);
        let ended = spawned.map_err(|source| Error::Spawn { binary: self.binary.clone(), source })?;
        let exit = ended.await.map_err(|_| prepare(io::ErrorKind::BrokenPipe.into()))?;
        let (stdout, stderr) = match answer {
            Some(mut answer) => (read(&mut answer.stdout), read(&mut answer.stderr)),
            None => (Vec::new(), Vec::new()),
        };
        if exit.status == 0 {
            return Ok(stdout);
        }
        match complaint(log, start, &String::from_utf8_lossy(&stderr)) {
            Some(message) => Err(Error::Refused { verb: word, message }),
            None => Err(Error::Silent { verb: word, status: exit.status }),
        }
    }

    fn command(&self, log: &Path, verb: &Verb, id: &str) -> Command {
        let mut command = Command::new(&self.binary);
        // It is our caller's: runc would let the container speak there, and `start` would wait for it to do so.
        command.args(self.arguments(log, verb, id)).env_remove("NOTIFY_SOCKET");
        command
    }
}

fn connect(command: &mut Command, streams: Streams) -> io::Result<Option<Answer>> {
    let input = match streams {
        Streams::Container { stdin, stdout, stderr } => {
            command.stdin(stdin).stdout(stdout).stderr(stderr);
            return Ok(None);
        }
        Streams::Captured => Stdio::null(),
        Streams::Fed(bytes) => {
            let mut file = unnamed("input")?;
            file.write_all(&bytes)?;
            file.rewind()?;
            file.into()
        }
    };
    let answer = Answer { stdout: unnamed("output")?, stderr: unnamed("error")? };
    command.stdin(input).stdout(answer.stdout.try_clone()?).stderr(answer.stderr.try_clone()?);
    Ok(Some(answer))
}

fn unnamed(name: &str) -> io::Result<File> {
    Ok(memfd_create(name, MemfdFlags::CLOEXEC)?.into())
}

fn read(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A file in memory is read or is empty; either is the answer.
    let _empty_otherwise = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    async fn call(reaper: &Reaper, script: &str, streams: Streams) -> Result<Vec<u8>, Error> {
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join("runtime");
        std::fs::write(&binary, format!("#!/bin/sh\nlog=$4\n{script}\n")).unwrap();
        std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
        let runtime = Runtime { binary, root: folder.path().into(), systemd_cgroup: false };
        runtime.call(reaper, &folder.path().join("log.json"), "web", &Verb::Ps, streams).await
    }

    #[test]
    fn the_notify_socket_of_our_caller_is_not_the_containers() {
        let runtime = Runtime { binary: "/runc".into(), root: "/r".into(), systemd_cgroup: false };
        let command = runtime.command(Path::new("/l"), &Verb::Start, "web");
        assert!(command.get_envs().any(|variable| variable == ("NOTIFY_SOCKET".as_ref(), None)));
    }

    #[tokio::test]
    async fn answers_and_complaints() {
        let _alone = crate::exits::ALONE.lock().await;
        let reaper = Arc::new(Reaper::default());
        reaper.begin().unwrap();
        assert_eq!(call(&reaper, "echo '[1]'", Streams::Captured).await.unwrap(), b"[1]\n");
        assert_eq!(call(&reaper, "cat", Streams::Fed(b"in".to_vec())).await.unwrap(), b"in");
        let log = "echo '{\"level\":\"error\",\"msg\":\"no such\"}' >$log; echo noise >&2; exit 1";
        assert_eq!(call(&reaper, log, Streams::Captured).await.unwrap_err().to_string(), "no such");
        let plain = call(&reaper, "echo plain >&2; exit 1", Streams::Captured).await;
        assert_eq!(plain.unwrap_err().to_string(), "plain");
        let silent = call(&reaper, "exit 3", Streams::Captured).await;
        assert!(matches!(silent, Err(Error::Silent { verb: "ps", status: 3 })));
    }

    #[tokio::test]
    async fn a_daemon_that_keeps_the_output_does_not_hold_the_call_up() {
        let _alone = crate::exits::ALONE.lock().await;
        let reaper = Arc::new(Reaper::default());
        reaper.begin().unwrap();
        let said = call(&reaper, "sleep 1000 & echo $!", Streams::Captured).await.unwrap();
        let pid: i32 = String::from_utf8(said).unwrap().trim().parse().unwrap();
        let daemon = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(daemon, rustix::process::Signal::KILL).unwrap();
    }
}
