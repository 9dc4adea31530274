//! The far end of a console socket, and terminals for runtimes that are run on one.

use std::fs::File;
use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::command::patience;

/// A listening socket whose path is given as `--console-socket` (or `--pidfd-socket`).
#[derive(Debug)]
pub struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ConsoleSocket {
    /// Listens on `name` in `folder`.
    pub fn listen(folder: &Path, name: &str) -> Self {
        let path = folder.join(name);
        Self { listener: UnixListener::bind(&path).expect("own folder"), path }
    }

    /// The path for the command line.
    pub fn path(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    /// Accepts one connection and takes the one descriptor that must come, with the bytes sent beside it.
    pub fn receive(&self) -> (OwnedFd, String) {
        wait_readable(self.listener.as_fd(), "console socket is connected to");
        let (connection, _) = self.listener.accept().expect("a connection waits");
        wait_readable(connection.as_fd(), "console socket gets a message");
        let mut bytes = [0; 16 << 10];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let message = recvmsg(&connection, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::empty())
            .expect("a message waits");
        let mut descriptors = Vec::new();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = part {
                descriptors.extend(rights);
            }
        }
        assert_eq!(descriptors.len(), 1, "exactly one descriptor is sent");
        let text = String::from_utf8_lossy(&bytes[..message.bytes]).into_owned();
        (descriptors.remove(0), text)
    }
}

/// A terminal pair: what the user's emulator holds, and what a program is started on.
pub fn terminal() -> (OwnedFd, OwnedFd) {
    let emulator = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("devpts");
    grantpt(&emulator).expect("new terminal");
    unlockpt(&emulator).expect("new terminal");
    let name = ptsname(&emulator, Vec::new()).expect("new terminal");
    let name = name.to_str().expect("ASCII").to_owned();
    let program = File::options().read(true).write(true).open(name).expect("new terminal");
    (emulator, OwnedFd::from(program))
}

/// Reads from a terminal until `wanted` has come (or, without `wanted`, until the last program closed it).
pub fn read_terminal(emulator: &OwnedFd, wanted: Option<&str>) -> String {
    let mut file = File::from(emulator.try_clone().expect("descriptor copies"));
    let mut seen = String::new();
    let mut bytes = [0; 4096];
    loop {
        if wanted.is_some_and(|wanted| seen.contains(wanted)) {
            return seen;
        }
        wait_readable(file.as_fd(), &format!("terminal says {wanted:?}, so far {seen:?}"));
        match file.read(&mut bytes) {
            // EIO: the last descriptor of the other side is closed (pty(7)).
            Ok(0) | Err(_) => {
                assert!(wanted.is_none(), "terminal closed before {wanted:?}: {seen:?}");
                return seen;
            }
            Ok(count) => seen.push_str(&String::from_utf8_lossy(&bytes[..count])),
        }
    }
}

fn wait_readable(descriptor: std::os::fd::BorrowedFd<'_>, what: &str) {
    let timeout = Timespec::try_from(patience()).expect("minutes fit");
    let mut descriptors = [PollFd::new(&descriptor, PollFlags::IN)];
    let ready = poll(&mut descriptors, Some(&timeout)).expect("poll");
    assert!(ready > 0, "never came true: {what}");
}
