//! One descriptor in one message (SCM_RIGHTS of unix(7)), in the form that runc's receivers expect.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};

use super::Error;

/// The longest name that is read; containerd's receiver has the same limit.
const LONGEST_NAME: usize = 4096;

/// Sends `descriptor` with `name` as the bytes of the message.
///
/// # Errors
/// [`Error::Send`] when the other side is gone.
pub fn send(socket: BorrowedFd<'_>, descriptor: BorrowedFd<'_>, name: &str) -> Result<(), Error> {
    let failed = |errno: Errno| Error::Send { what: format!("`{name}`"), source: errno.into() };
    send_some(socket, descriptor, name.as_bytes()).map(drop).map_err(failed)
}

/// Sends `descriptor` at the beginning of a longer text. `what` is for the error.
///
/// # Errors
/// [`Error::Send`] when the other side is gone.
pub fn send_text(socket: BorrowedFd<'_>, descriptor: BorrowedFd<'_>, text: &[u8], what: &str) -> Result<(), Error> {
    let failed = |errno: Errno| Error::Send { what: what.to_owned(), source: errno.into() };
    // A stream may take a part.
    let mut sent = send_some(socket, descriptor, text).map_err(failed)?;
    while sent < text.len() {
        sent += rustix::io::retry_on_intr(|| rustix::net::send(socket, &text[sent..], SendFlags::NOSIGNAL))
            .map_err(failed)?;
    }
    Ok(())
}

fn send_some(socket: BorrowedFd<'_>, descriptor: BorrowedFd<'_>, bytes: &[u8]) -> rustix::io::Result<usize> {
    let descriptors = [descriptor];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fits = control.push(SendAncillaryMessage::ScmRights(&descriptors));
    debug_assert!(fits, "the buffer was made for one descriptor");
    let bytes = [IoSlice::new(bytes)];
    // A receiver that hung up is an error of this call, not a deadly SIGPIPE.
    rustix::io::retry_on_intr(|| rustix::net::sendmsg(socket, &bytes, &mut control, SendFlags::NOSIGNAL))
}

/// Waits for one descriptor and its name. The descriptor is closed on exec.
///
/// # Errors
/// [`Error::Receive`] when the other side closed the socket, or sent no descriptor or several.
pub fn receive(socket: BorrowedFd<'_>) -> Result<(OwnedFd, String), Error> {
    let mut name = vec![0; LONGEST_NAME];
    // Room for a second descriptor: a sender that breaks the rule must be noticed, and its descriptors closed.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut name)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })
    .map_err(|errno| Error::Receive(errno.into()))?;
    let mut descriptors: Vec<OwnedFd> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    name.truncate(received.bytes);
    match (descriptors.pop(), descriptors.is_empty()) {
        (Some(descriptor), true) => Ok((descriptor, String::from_utf8_lossy(&name).into_owned())),
        (None, _) if received.bytes == 0 => Err(Error::Receive(io::ErrorKind::UnexpectedEof.into())),
        _ => Err(Error::Receive(Errno::PROTO.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_descriptor_arrives_with_its_name() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"content").unwrap();
        send(ours.as_fd(), file.as_fd(), "/dev/ptmx").unwrap();
        let (received, name) = receive(theirs.as_fd()).unwrap();
        assert_eq!(name, "/dev/ptmx");
        let mut text = String::new();
        let mut received = std::fs::File::from(received);
        received.rewind().unwrap();
        received.read_to_string(&mut text).unwrap();
        assert_eq!(text, "content");
    }

    #[test]
    fn a_closed_socket_and_a_bare_message_are_errors() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(b"no descriptor").unwrap();
        assert!(matches!(receive(theirs.as_fd()), Err(Error::Receive(_))));
        drop(ours);
        let error = receive(theirs.as_fd()).unwrap_err();
        assert!(matches!(error, Error::Receive(source) if source.kind() == io::ErrorKind::UnexpectedEof));
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert!(matches!(send(ours.as_fd(), ours.as_fd(), "x"), Err(Error::Send { .. })));
    }
}
