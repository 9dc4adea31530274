//! As much of rtnetlink(7) as moves an interface: messages as bytes, and a socket that sends one and reads its answer.

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io;
use std::os::fd::OwnedFd;

// include/uapi/linux/netlink.h and rtnetlink.h. All numbers are in the byte order of the machine.
const ERROR: u16 = 2;
const DONE: u16 = 3;
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const SET_LINK: u16 = 19;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const DUMP: u16 = 0x300;
const CREATE: u16 = 0x400;
/// `NLM_F_DUMP_INTR`: something changed while it was listed, so the list may lack something.
const INTERRUPTED: u16 = 0x10;
/// How often to list what changes all the time.
const TRIES: usize = 10;
const LINK_NAME: u16 = 3;
const LINK_NAMESPACE: u16 = 28;
const ADDRESS_FLAGS: u16 = 8;
/// `IFA_ADDRESS`, `IFA_LOCAL`, `IFA_BROADCAST` and `IFA_FLAGS`: what an address is made of. Its label has the old name.
const ADDRESS_PARTS: [u16; 4] = [1, 2, 4, ADDRESS_FLAGS];
const PERMANENT: u32 = 0x80;
const SCOPE_EVERYWHERE: u8 = 0;
const UP: u32 = 1;
const HEADER: usize = 16;
/// The kernel fills no larger buffer.
const LARGEST_ANSWER: usize = 32 << 10;

/// An interface, as the kernel describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) up: bool,
}

/// An address of an interface: the fixed part of its message (`struct ifaddrmsg`) and its attributes, to be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    family: u8,
    prefix: u8,
    scope: u8,
    attributes: Vec<(u16, Vec<u8>)>,
}

/// A socket of the network namespace in which it was opened.
pub(super) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    pub(super) fn open() -> io::Result<Self> {
        // No protocol is protocol 0, which is NETLINK_ROUTE.
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Self { fd, sequence: 0 })
    }

    /// The interface of this name; `ENODEV` when there is none.
    pub(super) fn link(&mut self, name: &str) -> io::Result<Link> {
        let body = [link_header(0, 0, 0), attribute(LINK_NAME, &terminated(name))].concat();
        let answers = self.ask(GET_LINK, REQUEST | ACKNOWLEDGE, &body)?;
        let found = answers.iter().find_map(|(kind, body)| (*kind == NEW_LINK).then(|| read_link(body)).flatten());
        found.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))
    }

    /// The addresses of an interface that were given to it for good and are valid everywhere: all others are made by the
    /// kernel, or belong to the place.
    pub(super) fn addresses(&mut self, index: u32) -> io::Result<Vec<Address>> {
        let mut answers = self.ask(GET_ADDRESS, REQUEST | DUMP, &[0; 8]);
        for _ in 1..TRIES {
            if !answers.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EINTR)) {
                break;
            }
            answers = self.ask(GET_ADDRESS, REQUEST | DUMP, &[0; 8]);
        }
        let answers = answers?;
        Ok(answers
            .iter()
            .filter_map(|(kind, body)| (*kind == NEW_ADDRESS).then(|| read_address(body, index))?)
            .collect())
    }

    /// Moves an interface to the network namespace behind a descriptor, where it gets this name.
    pub(super) fn send_away(&mut self, index: u32, name: &str, namespace: i32) -> io::Result<()> {
        let place = attribute(LINK_NAMESPACE, &namespace.to_ne_bytes());
        let body = [link_header(index, 0, 0), attribute(LINK_NAME, &terminated(name)), place].concat();
        self.ask(SET_LINK, REQUEST | ACKNOWLEDGE, &body).map(drop)
    }

    /// Gives an interface an address; one that it has already is no error.
    pub(super) fn add_address(&mut self, index: u32, address: &Address) -> io::Result<()> {
        let mut body = vec![address.family, address.prefix, 0, address.scope];
        body.extend(index.to_ne_bytes());
        address.attributes.iter().for_each(|(kind, value)| body.extend(attribute(*kind, value)));
        match self.ask(NEW_ADDRESS, REQUEST | ACKNOWLEDGE | CREATE, &body) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            result => result.map(drop),
        }
    }

    /// Brings an interface up.
    pub(super) fn raise(&mut self, index: u32) -> io::Result<()> {
        self.ask(SET_LINK, REQUEST | ACKNOWLEDGE, &link_header(index, UP, UP)).map(drop)
    }

    /// Sends one message and reads until the answer is complete.
    fn ask(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<(u16, Vec<u8>)>> {
        self.sequence += 1;
        rustix::net::send(&self.fd, &message(kind, flags, self.sequence, body), SendFlags::empty())?;
        let mut answers = Vec::new();
        loop {
            let mut buffer = vec![0; LARGEST_ANSWER];
            let (_, length) = rustix::net::recv(&self.fd, &mut buffer[..], RecvFlags::TRUNC)?;
            let packet = buffer.get(..length).ok_or_else(|| io::Error::from_raw_os_error(libc::EMSGSIZE))?;
            if take(packet, self.sequence, &mut answers)? {
                return Ok(answers);
            }
        }
    }
}

/// Takes the messages of one packet that answer `sequence`; whether the last of them was among them.
fn take(mut packet: &[u8], sequence: u32, answers: &mut Vec<(u16, Vec<u8>)>) -> io::Result<bool> {
    while let Some(length) = number(packet, 0).and_then(|length| usize::try_from(length).ok()) {
        let (Some(kind), Some(body)) = (half(packet, 4), packet.get(HEADER..length)) else {
            return Err(io::Error::from_raw_os_error(libc::EBADMSG));
        };
        if number(packet, 8) == Some(sequence) {
            match kind {
                _ if half(packet, 6).is_some_and(|flags| flags & INTERRUPTED != 0) => {
                    return Err(io::Error::from_raw_os_error(libc::EINTR));
                }
                DONE | ERROR => {
                    let code =
                        body.get(..4).and_then(|code| code.try_into().ok()).map_or(-libc::EBADMSG, i32::from_ne_bytes);
                    return if code == 0 { Ok(true) } else { Err(io::Error::from_raw_os_error(-code)) };
                }
                _ => answers.push((kind, body.to_vec())),
            }
        }
        packet = packet.get(padded(length)..).unwrap_or_default();
    }
    Ok(false)
}

fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(body);
    bytes
}

/// `struct ifinfomsg`.
fn link_header(index: u32, flags: u32, change: u32) -> Vec<u8> {
    [[0; 4], index.to_ne_bytes(), flags.to_ne_bytes(), change.to_ne_bytes()].concat()
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(padded(bytes.len()), 0);
    bytes
}

fn attributes(mut bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut found = Vec::new();
    while let (Some(length), Some(kind)) = (half(bytes, 0), half(bytes, 2)) {
        let length = usize::from(length);
        let Some(value) = bytes.get(4..length) else { break };
        found.push((kind, value.to_vec()));
        bytes = bytes.get(padded(length)..).unwrap_or_default();
    }
    found
}

fn read_link(body: &[u8]) -> Option<Link> {
    Some(Link { index: number(body, 4)?, up: number(body, 8)? & UP != 0 })
}

fn read_address(body: &[u8], index: u32) -> Option<Address> {
    let [family, prefix, flags, scope] = body.get(..4)?.try_into().ok()?;
    let mut attributes = attributes(body.get(8..)?);
    let wide = attributes.iter().find(|(kind, _)| *kind == ADDRESS_FLAGS).and_then(|(_, value)| number(value, 0));
    let permanent = wide.unwrap_or(u32::from(flags)) & PERMANENT != 0;
    attributes.retain(|(kind, _)| ADDRESS_PARTS.contains(kind));
    let kept = number(body, 4)? == index && permanent && scope == SCOPE_EVERYWHERE;
    kept.then_some(Address { family, prefix, scope, attributes })
}

fn terminated(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0"].concat()
}

fn padded(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_are_written() {
        let link = [link_header(7, UP, 0), attribute(LINK_NAME, &terminated("eth0"))].concat();
        let mut packet = message(NEW_LINK, 0, 3, &link);
        packet.extend(message(NEW_LINK, 0, 2, &link));
        packet.extend(message(ERROR, 0, 3, &[0; 20]));
        let mut answers = Vec::new();
        assert!(take(&packet, 3, &mut answers).unwrap());
        assert!(take(&message(DONE, 0, 3, &[0; 4]), 3, &mut Vec::new()).unwrap());
        assert_eq!(answers.len(), 1, "another's answer is not ours");
        assert_eq!(read_link(&answers[0].1), Some(Link { index: 7, up: true }));
        assert_eq!(attributes(&answers[0].1[16..]), [(LINK_NAME, b"eth0\0".to_vec())]);
    }

    #[test]
    fn errors_and_nonsense() {
        let refusal = message(ERROR, 0, 1, &(-libc::ENODEV).to_ne_bytes());
        let error = take(&refusal, 1, &mut Vec::new()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        assert!(!take(&[], 1, &mut Vec::new()).unwrap());
        let cut = message(DONE, 0, 1, &(-libc::ENOBUFS).to_ne_bytes());
        assert_eq!(take(&cut, 1, &mut Vec::new()).unwrap_err().raw_os_error(), Some(libc::ENOBUFS));
        let changed = message(NEW_ADDRESS, INTERRUPTED, 1, &[0; 8]);
        assert_eq!(take(&changed, 1, &mut Vec::new()).unwrap_err().raw_os_error(), Some(libc::EINTR));
        for length in [0_u32, 15, 17, u32::MAX] {
            let bad = [&length.to_ne_bytes()[..], &[0; 12]].concat();
            assert!(take(&bad, 1, &mut Vec::new()).is_err(), "{length}");
        }
        assert!(attributes(&[3, 0, 0, 0]).is_empty() && attributes(&[200, 0, 1, 0, 9]).is_empty());
        assert_eq!((read_link(&[0; 8]), read_address(&[0; 7], 0)), (None, None));
    }

    #[test]
    fn only_lasting_addresses_of_the_interface_are_kept() {
        let body = |scope, flags: u32, index: u32| {
            let flags = attribute(ADDRESS_FLAGS, &flags.to_ne_bytes());
            [
                vec![2, 24, 0, scope],
                index.to_ne_bytes().to_vec(),
                attribute(2, &[10, 0, 0, 1]),
                attribute(3, b"eth0\0"),
                flags,
            ]
            .concat()
        };
        let kept = read_address(&body(0, PERMANENT, 5), 5).unwrap();
        assert_eq!((kept.family, kept.prefix, kept.attributes.len()), (2, 24, 2), "but for the label");
        for (scope, flags, index) in [(0, 0, 5), (253, PERMANENT, 5), (0, PERMANENT, 6)] {
            assert_eq!(read_address(&body(scope, flags, index), 5), None);
        }
    }
}
