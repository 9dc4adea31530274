//! The process outside of the filter: it answers each opening of a path, with ENOENT for `cgroup.kill` and "go on" for
//! everything else (seccomp_unotify(2)).

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use skiff_integration_tests::agent::{Answer, answer};

/// The end of each path that is not there.
const HIDDEN: &[u8] = b"cgroup.kill\0";
/// No cgroup's path is longer.
const LONGEST: usize = 4096;

/// Starts the watcher, as nobody's child, and returns what gives it the listener.
pub(crate) fn start() -> io::Result<impl FnOnce(OwnedFd) -> io::Result<()>> {
    let (ours, its) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).map_err(io::Error::from)?;
    // SAFETY: this process has one thread, so the child may do whatever it could have done.
    match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {
            drop(ours);
            // SAFETY: as above. The one in the middle ends at once, so that the program gets no child it does not know.
            if unsafe { libc::fork() } == 0 {
                be_nobody();
                if let Ok(listener) = receive(&its) {
                    drop(its);
                    watch(&listener);
                }
            }
            std::process::exit(0);
        }
        middle => {
            let mut status = 0;
            // SAFETY: waits for our own child; `status` outlives the call.
            unsafe { libc::waitpid(middle, &raw mut status, 0) };
        }
    }
    Ok(move |listener: OwnedFd| {
        use std::os::fd::AsFd;
        let descriptors = [listener.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        sendmsg(&ours, &[io::IoSlice::new(b"L")], &mut ancillary, SendFlags::empty())?;
        Ok(())
    })
}

/// Holds nothing that a caller waits for: neither its pipes nor its session.
fn be_nobody() {
    // SAFETY: no pointers; the new session is this process's own.
    unsafe { libc::setsid() };
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        for number in 0..3 {
            // SAFETY: both numbers are descriptors of this process; what was behind the second is given up.
            unsafe { libc::dup2(null.as_raw_fd(), number) };
        }
    }
}

fn receive(socket: &OwnedFd) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(socket, &mut [io::IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut messages = ancillary.drain();
    match messages.next() {
        Some(RecvAncillaryMessage::ScmRights(mut descriptors)) => {
            descriptors.next().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        }
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Until nobody is behind the filter any more.
fn watch(listener: &OwnedFd) {
    answer(listener, |asked| match path_ends_hidden(asked.pid, asked.data.args[1]) {
        true => Answer::Instead(libc::ENOENT),
        false => Answer::Pass,
    });
}

/// Whether the text at `address` of process `pid` ends as the hidden paths do.
fn path_ends_hidden(pid: u32, address: u64) -> bool {
    let Ok(memory) = File::open(format!("/proc/{pid}/mem")) else { return false };
    let mut text = vec![0; LONGEST];
    let read = memory.read_at(&mut text, address).unwrap_or(0);
    let end = text[..read].iter().position(|byte| *byte == 0).map_or(0, |end| end + 1);
    text[..end].ends_with(HIDDEN)
}
