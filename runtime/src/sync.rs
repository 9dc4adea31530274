//! What the runtime and the container's first process say to each other while the container is made: one
//! `SOCK_SEQPACKET` pair, one small binary message a packet.
//!
//! ```text
//!   init ── Map ──────> parent     (hop only: "I have a user namespace, write its maps")
//!   init ── Pid(n) ───> parent     (hop only: "init is n")
//!   init <── Proceed(n) ── parent  (after maps and v1 cgroups, where there are any)
//!   init ── AtHooks ──> parent ── Proceed(n) ──> init  (where there are hooks, or interfaces to move)
//!   init ── Master ───> parent     (the terminal of a foreground `run`)
//!   init ── Listener(n) ──> parent ── Proceed(n) ──> init  (where calls are left to somebody, SCMP_ACT_NOTIFY)
//!   init ── Ready ────> parent ── Go ──> init ── Ready (the exec is next), end     (or Failed, at any point, and the end)
//! ```
//! The end of the stream without a word means that the other side died.

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The longest error text that travels, in bytes; longer ones are cut.
const LONGEST_TEXT: usize = 8 << 10;

/// One thing said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The hop has made a user namespace and waits for its maps.
    Map,
    /// The hop has made init: its pid in the parent's pid namespace.
    Pid(i32),
    /// The root file system stands; interfaces may come, and the hooks of the runtime namespace may run.
    AtHooks,
    /// Go on with the next step; with init's pid in the parent's pid namespace, which init itself cannot know.
    Proceed(i32),
    /// Nothing can fail any more but the exec itself.
    Ready,
    /// The next descriptor, of this number, is that of our filter, and to be taken from us (pidfd_getfd(2)): once it is there,
    /// each call of ours, also that of handing it over, may wait for whoever has it.
    Listener(i32),
    /// The terminal's master end; the descriptor comes with it.
    Master,
    /// Start the program (`run`), or wait for `start` (`create`).
    Go,
    /// It cannot be done.
    Failed {
        /// What a foreground `run` exits with.
        exit_code: u8,
        /// The chain of causes, on one line.
        text: String,
    },
}

/// Why nothing was said.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket failed.
    #[error("the socket between the runtime and the container's first process failed")]
    Socket(#[source] std::io::Error),
    /// The other side is gone.
    #[error("the other side ended without a word")]
    Closed,
    /// A packet that is none of ours.
    #[error("a packet of {0} bytes is not a message")]
    Garbled(usize),
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Self::Socket(errno.into())
    }
}

impl Message {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Map => vec![1],
            Self::Pid(pid) => [&[2][..], &pid.to_ne_bytes()].concat(),
            Self::AtHooks => vec![3],
            Self::Proceed(pid) => [&[4][..], &pid.to_ne_bytes()].concat(),
            Self::Ready => vec![5],
            Self::Master => vec![6],
            Self::Go => vec![7],
            Self::Listener(number) => [&[9][..], &number.to_ne_bytes()].concat(),
            Self::Failed { exit_code, text } => {
                let cut = floor_char_boundary(text, LONGEST_TEXT);
                [&[8, *exit_code][..], &text.as_bytes()[..cut]].concat()
            }
        }
    }

    fn decode(packet: &[u8]) -> Option<Self> {
        let (tag, rest) = packet.split_first()?;
        Some(match (tag, rest) {
            (1, []) => Self::Map,
            (2, rest) => Self::Pid(i32::from_ne_bytes(rest.try_into().ok()?)),
            (3, []) => Self::AtHooks,
            (4, rest) => Self::Proceed(i32::from_ne_bytes(rest.try_into().ok()?)),
            (5, []) => Self::Ready,
            (6, []) => Self::Master,
            (7, []) => Self::Go,
            (9, rest) => Self::Listener(i32::from_ne_bytes(rest.try_into().ok()?)),
            (8, [exit_code, text @ ..]) => {
                Self::Failed { exit_code: *exit_code, text: String::from_utf8_lossy(text).into_owned() }
            }
            _ => return None,
        })
    }
}

/// `str::floor_char_boundary`, which the oldest supported compiler does not have.
fn floor_char_boundary(text: &str, index: usize) -> usize {
    if index >= text.len() {
        return text.len();
    }
    (0..=index).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// One end of the pair.
pub struct Channel(OwnedFd);

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Channel {
    fn from(socket: OwnedFd) -> Self {
        Self(socket)
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> Self {
        channel.0
    }
}

impl Channel {
    /// A connected pair, close-on-exec.
    ///
    /// # Errors
    /// The kernel's, when descriptors or memory are short.
    pub fn pair() -> Result<(Self, Self), Error> {
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(one), Self(other)))
    }

    /// Says something.
    ///
    /// # Errors
    /// [`Error::Closed`] when nobody listens any more.
    pub fn send(&self, message: &Message) -> Result<(), Error> {
        self.send_packet(message, &mut SendAncillaryBuffer::default())
    }

    /// Says something and hands over a descriptor.
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub fn send_with(&self, message: &Message, descriptor: BorrowedFd<'_>) -> Result<(), Error> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [descriptor];
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        self.send_packet(message, &mut ancillary)
    }

    fn send_packet(&self, message: &Message, ancillary: &mut SendAncillaryBuffer<'_, '_, '_>) -> Result<(), Error> {
        let packet = message.encode();
        loop {
            match sendmsg(&self.0, &[IoSlice::new(&packet)], ancillary, SendFlags::NOSIGNAL) {
                Ok(_whole_packet) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(Error::Closed),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Waits for what the other side says, with the descriptor that came along.
    ///
    /// # Errors
    /// [`Error::Closed`] when the other side died.
    pub fn recv(&self) -> Result<(Message, Option<OwnedFd>), Error> {
        let mut packet = [0_u8; LONGEST_TEXT + 2];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let bytes = loop {
            let slices = &mut [IoSliceMut::new(&mut packet)];
            match recvmsg(&self.0, slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Ok(message) => break message.bytes,
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Err(Error::Closed),
                Err(errno) => return Err(errno.into()),
            }
        };
        if bytes == 0 {
            return Err(Error::Closed);
        }
        let descriptor = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        let message = Message::decode(&packet[..bytes]).ok_or(Error::Garbled(bytes))?;
        Ok((message, descriptor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_survives_the_journey() {
        let failed = Message::Failed { exit_code: 127, text: "exec: \"x\": no such file".into() };
        let all = [
            Message::Map,
            Message::Pid(-1),
            Message::AtHooks,
            Message::Proceed(7),
            Message::Ready,
            Message::Master,
            Message::Listener(5),
            Message::Go,
            failed,
        ];
        let (one, other) = Channel::pair().unwrap();
        for message in all {
            one.send(&message).unwrap();
            assert_eq!(other.recv().unwrap().0, message);
        }
    }

    #[test]
    fn a_descriptor_travels() {
        let (one, other) = Channel::pair().unwrap();
        one.send_with(&Message::Master, one.as_fd()).unwrap();
        let (message, descriptor) = other.recv().unwrap();
        assert_eq!(message, Message::Master);
        assert!(descriptor.is_some());
    }

    #[test]
    fn a_dead_side_and_garbage_are_told_apart() {
        let (one, other) = Channel::pair().unwrap();
        rustix::net::send(&one, &[99], SendFlags::empty()).unwrap();
        assert!(matches!(other.recv(), Err(Error::Garbled(1))));
        drop(one);
        assert!(matches!(other.recv(), Err(Error::Closed)));
        assert!(matches!(other.send(&Message::Go), Err(Error::Closed)));
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let text = "é".repeat(LONGEST_TEXT);
        let packet = Message::Failed { exit_code: 1, text }.encode();
        assert!(packet.len() <= LONGEST_TEXT + 2);
        assert!(std::str::from_utf8(&packet[2..]).is_ok());
    }
}
