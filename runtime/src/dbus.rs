//! Room `dbus`: the little of D-Bus that is needed to ask systemd for something: method calls on a UNIX socket, their
//! answers, and signals (D-Bus specification 0.42). One thread, a time limit on every wait, no background work.
//!
//! ```text
//!   Connection::open(path) ──> call(...) ──> Reader (the answer)     text::parse: GVariant's text form ──> Value
//!                                └──────> next_signal(...)
//! ```
//! `value`, `wire` and `text` are pure. What comes from the other side is checked against its length and nested no
//! deeper than the specification allows. Deliberately absent: a server, descriptors in messages, introspection, any
//! way to authenticate but by the credentials of the socket.

mod connection;
mod text;
mod value;
mod wire;

pub use connection::{Call, Connection, Signal};
pub use text::{Unparsable, parse};
pub use value::Value;
pub use wire::Reader;

use std::io;

/// Why something could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket cannot be connected to.
    #[error("cannot connect to `{path}`")]
    Connect {
        /// The socket.
        path: std::path::PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The other side does not let us in.
    #[error("`{path}` does not let user {uid} in: it said `{said}`")]
    Refused {
        /// The socket.
        path: std::path::PathBuf,
        /// Our effective user id.
        uid: u32,
        /// Its line.
        said: String,
    },
    /// The socket failed.
    #[error("the D-Bus socket failed")]
    Socket(#[source] io::Error),
    /// The other side has gone.
    #[error("the other side closed the D-Bus connection")]
    Closed,
    /// Nothing came.
    #[error("no answer within {seconds} s")]
    Late {
        /// How long was waited.
        seconds: u64,
    },
    /// What came is no D-Bus.
    #[error("a D-Bus message that cannot be understood: {0}")]
    Garbled(&'static str),
    /// The answer is an error.
    #[error("{message} ({name})")]
    Answer {
        /// Such as `org.freedesktop.systemd1.NoSuchUnit`.
        name: String,
        /// For people.
        message: String,
    },
}

impl Error {
    /// Whether the other side answered with this error.
    #[must_use]
    pub fn is_answer(&self, wanted: &str) -> bool {
        matches!(self, Self::Answer { name, .. } if name == wanted)
    }
}
