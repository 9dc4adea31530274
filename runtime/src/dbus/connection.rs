//! A connection: authentication by the credentials of the socket, one call at a time, and the signals that come between.

use super::wire::{LONGEST, Reader, Writer};
use super::{Error, Value};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

// Fields of a header.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SENDER: u8 = 7;
const SIGNATURE: u8 = 8;

/// The part of a header whose length is always the same, with the length of the fields at its end.
const FIXED: usize = 16;
/// The longest line of the authentication that is read, in bytes.
const LONGEST_LINE: usize = 4096;

/// What is asked of whom.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The name of the program on the bus.
    pub destination: &'a str,
    /// The object.
    pub path: &'a str,
    /// The interface.
    pub interface: &'a str,
    /// The method.
    pub member: &'a str,
}

/// A signal.
#[derive(Debug)]
pub struct Signal {
    /// Which one.
    pub member: String,
    /// Its values.
    pub body: Reader,
}

/// A connection to a bus, or to one program directly.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    serial: u32,
    patience: Duration,
    /// What was read and not understood yet.
    buffer: Vec<u8>,
    signals: VecDeque<Signal>,
    /// Who answers: a bus sets it, and nobody else's signals are taken then.
    peer: Option<String>,
}

/// A message as it came.
struct Incoming {
    kind: u8,
    member: String,
    error: String,
    reply_to: u32,
    sender: Option<String>,
    body: Reader,
}

impl Connection {
    /// Connects to the UNIX socket at `path` and authenticates as `uid`, which is to be what the kernel tells of us on
    /// the other side. `patience` limits every wait.
    ///
    /// # Errors
    /// [`Error::Connect`] and [`Error::Refused`], and those of a socket.
    pub fn open(path: &Path, uid: u32, patience: Duration) -> Result<Self, Error> {
        let failed = |errno: Errno| Error::Connect { path: path.into(), source: errno.into() };
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(failed)?;
        let address = SocketAddrUnix::new(path).map_err(failed)?;
        rustix::net::connect(&socket, &address).map_err(failed)?;
        let (buffer, signals) = (Vec::new(), VecDeque::new());
        let mut connection = Self { socket, serial: 0, patience, buffer, signals, peer: None };
        connection.authenticate(path, uid)?;
        Ok(connection)
    }

    /// The name that we have in the credentials of the socket anyway, in hexadecimal digits of decimal ones. BEGIN is
    /// sent beforehand, as systemd's own programs do: a server of theirs that reads it together with the first message
    /// leaves that message lying until something else comes.
    fn authenticate(&mut self, path: &Path, uid: u32) -> Result<(), Error> {
        let digits: String = uid.to_string().bytes().map(|digit| format!("{digit:02x}")).collect();
        self.send(format!("\0AUTH EXTERNAL {digits}\r\nBEGIN\r\n").as_bytes())?;
        let deadline = Instant::now() + self.patience;
        let end = loop {
            match self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                Some(end) => break end,
                None if self.buffer.len() > LONGEST_LINE => return Err(Error::Garbled("a line without an end")),
                None => self.receive(deadline)?,
            }
        };
        let said = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end + 2);
        if !said.starts_with("OK") {
            return Err(Error::Refused { path: PathBuf::from(path), uid, said });
        }
        Ok(())
    }

    /// Calls a method and waits for its answer. Signals that come before it are kept.
    ///
    /// # Errors
    /// [`Error::Answer`], and those of a connection.
    pub fn call(&mut self, call: Call<'_>, arguments: &[Value]) -> Result<Reader, Error> {
        self.serial += 1;
        let serial = self.serial;
        self.send(&encode(call, serial, arguments))?;
        let deadline = Instant::now() + self.patience;
        loop {
            let mut message = self.next(deadline)?;
            match message.kind {
                SIGNAL => self.keep(message),
                METHOD_RETURN if message.reply_to == serial => {
                    self.peer = message.sender;
                    return Ok(message.body);
                }
                ERROR if message.reply_to == serial => {
                    // Without text the name has to do.
                    let text = message.body.next_text().unwrap_or_default();
                    return Err(Error::Answer { name: message.error, message: text });
                }
                _ => {}
            }
        }
    }

    /// The next signal, for which is waited until `deadline`.
    ///
    /// # Errors
    /// [`Error::Late`], and those of a connection.
    pub fn next_signal(&mut self, deadline: Instant) -> Result<Signal, Error> {
        loop {
            if let Some(signal) = self.signals.pop_front() {
                return Ok(signal);
            }
            let message = self.next(deadline)?;
            if message.kind == SIGNAL {
                self.keep(message);
            }
        }
    }

    /// On a bus anybody may send us a signal; only whoever answered our calls is believed.
    fn keep(&mut self, message: Incoming) {
        if self.peer.is_none() || message.sender == self.peer {
            self.signals.push_back(Signal { member: message.member, body: message.body });
        }
    }

    fn next(&mut self, deadline: Instant) -> Result<Incoming, Error> {
        loop {
            if let Some(length) = length(&self.buffer)? {
                if self.buffer.len() >= length {
                    let rest = self.buffer.split_off(length);
                    return decode(std::mem::replace(&mut self.buffer, rest));
                }
            }
            self.receive(deadline)?;
        }
    }

    fn send(&self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            match rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(Error::Closed),
                Err(errno) => return Err(Error::Socket(errno.into())),
            }
        }
        Ok(())
    }

    /// Appends what comes to the buffer.
    fn receive(&mut self, deadline: Instant) -> Result<(), Error> {
        self.wait(deadline)?;
        let mut bytes = [0; 4096];
        match rustix::net::recv(&self.socket, &mut bytes[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) | Err(Errno::CONNRESET) => Err(Error::Closed),
            Ok((count, _)) => {
                self.buffer.extend(&bytes[..count]);
                Ok(())
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(()),
            Err(errno) => Err(Error::Socket(errno.into())),
        }
    }

    fn wait(&self, deadline: Instant) -> Result<(), Error> {
        let late = Error::Late { seconds: self.patience.as_secs() };
        let Some(left) = deadline.checked_duration_since(Instant::now()) else { return Err(late) };
        let timeout = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => Err(late),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(Error::Socket(errno.into())),
        }
    }
}

/// D-Bus specification, "Message Format".
fn encode(call: Call<'_>, serial: u32, arguments: &[Value]) -> Vec<u8> {
    let mut body = Writer::default();
    arguments.iter().for_each(|argument| body.value(argument));
    let signature: String = arguments.iter().map(Value::signature).collect();
    let mut fields = vec![
        (PATH, Value::ObjectPath(call.path.into())),
        (DESTINATION, Value::string(call.destination)),
        (INTERFACE, Value::string(call.interface)),
        (MEMBER, Value::string(call.member)),
    ];
    if !arguments.is_empty() {
        fields.push((SIGNATURE, Value::Signature(signature)));
    }
    let field = |(code, value)| Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value))]);
    let mut writer = Writer::default();
    writer.bytes.extend([b'l', METHOD_CALL, 0, 1]);
    writer.u32(u32::try_from(body.bytes.len()).unwrap_or(u32::MAX));
    writer.u32(serial);
    writer.value(&Value::Array("(yv)".into(), fields.into_iter().map(field).collect()));
    writer.pad(8);
    writer.bytes.extend(body.bytes);
    writer.bytes
}

/// How long the message is that begins here, once that can be told.
fn length(bytes: &[u8]) -> Result<Option<usize>, Error> {
    let Some(fixed) = bytes.get(..FIXED) else { return Ok(None) };
    let word = |at: usize| {
        let word = [fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]];
        if fixed[0] == b'B' { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
    };
    if !matches!(fixed[0], b'l' | b'B') || fixed[3] != 1 {
        return Err(Error::Garbled("not version 1 of the protocol"));
    }
    let (body, fields) = (word(4) as usize, word(12) as usize);
    let length = FIXED.checked_add(fields).and_then(|header| header.next_multiple_of(8).checked_add(body));
    match length.filter(|length| *length <= LONGEST) {
        Some(length) => Ok(Some(length)),
        None => Err(Error::Garbled("a message that is too long")),
    }
}

/// A whole message, as long as [`length`] says.
fn decode(bytes: Vec<u8>) -> Result<Incoming, Error> {
    let (big, kind) = (bytes[0] == b'B', bytes[1]);
    let mut header = Reader::new(bytes, big, "yyyyuua(yv)");
    let mut fields = Value::Byte(0);
    for _ in 0..7 {
        fields = header.next_value()?;
    }
    let body = header.into_body()?;
    let mut message = Incoming { kind, member: String::new(), error: String::new(), reply_to: 0, sender: None, body };
    let Value::Array(_, fields) = fields else { return Err(Error::Garbled("a header without fields")) };
    for field in fields {
        let Value::Struct(pair) = field else { continue };
        let [Value::Byte(code), Value::Variant(value)] = pair.as_slice() else { continue };
        match (*code, value.as_ref()) {
            (MEMBER, Value::String(text)) => message.member.clone_from(text),
            (ERROR_NAME, Value::String(text)) => message.error.clone_from(text),
            (REPLY_SERIAL, Value::Uint32(serial)) => message.reply_to = *serial,
            (SENDER, Value::String(text)) => message.sender = Some(text.clone()),
            (SIGNATURE, Value::Signature(text)) => message.body.announce(text),
            _ => {}
        }
    }
    Ok(message)
}

#[cfg(test)]
mod tests;
