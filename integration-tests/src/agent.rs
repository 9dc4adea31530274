//! Whoever decides about system calls (`SCMP_ACT_NOTIFY`): the far end of `linux.seccomp.listenerPath`.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use serde_json::Value;

use crate::console::ConsoleSocket;
use crate::sys;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is made.
    Pass,
    /// It is not made, and this is what its caller sees: 0, or an error's number.
    Instead(i32),
}

/// A listening socket.
#[derive(Debug)]
pub struct Agent(ConsoleSocket);

impl Agent {
    /// Listens in `folder`.
    pub fn listen(folder: &Path) -> Self {
        Self(ConsoleSocket::listen(folder, "agent"))
    }

    /// For `linux.seccomp.listenerPath`.
    pub fn path(&self) -> String {
        self.0.path()
    }

    /// Takes over one filter: what is told about its process, and the means to decide.
    pub fn take(&self) -> (Value, OwnedFd) {
        let (descriptor, text) = self.0.receive();
        (serde_json::from_str(&text).expect("a container process state"), descriptor)
    }
}

/// Decides about calls until nobody is behind the filter any more; says how many there were.
pub fn answer(listener: &OwnedFd, mut decide: impl FnMut(&libc::seccomp_notif) -> Answer) -> usize {
    let mut count = 0;
    loop {
        let mut waits = [PollFd::new(listener, PollFlags::IN)];
        if poll(&mut waits, None).is_err() || !waits[0].revents().contains(PollFlags::IN) {
            return count;
        }
        // Or the asking process died meanwhile.
        let Ok(asked) = sys::notify::receive(listener) else { continue };
        count += 1;
        let mut answer = libc::seccomp_notif_resp { id: asked.id, val: 0, error: 0, flags: 0 };
        match decide(&asked) {
            Answer::Pass => answer.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
            Answer::Instead(error) => answer.error = -error,
        }
        sys::notify::answer(listener, answer);
    }
}
