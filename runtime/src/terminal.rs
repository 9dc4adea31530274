//! The container's terminal: who gets its master end (decided here, without I/O), the pseudo-terminal itself, and the
//! sockets that carry its descriptor.
//!
//! ```text
//!   plan ──> Console::None      standard streams are inherited
//!            Console::Socket    master ──> --console-socket  (create, detached run)
//!            Console::Proxy     master ──> our parent        (foreground run: `foreground::Proxy`)
//! ```
//!
//! The pair comes from the *container's* own devpts, opened below its root: never from a path of the host, and never
//! through a link that the image may have planted (CVE-2025-52565).

mod descriptor;
mod pty;
mod socket;

use std::path::{Path, PathBuf};

use oci_spec::runtime::Process;

pub use descriptor::{receive as receive_descriptor, send as send_descriptor, send_text as send_descriptor_and_text};
pub use pty::{Pty, Size, allocate, take_control};
pub use socket::connect;

/// The name that goes with the master's descriptor: what runc sends, and what receivers show to people.
pub const MASTER_NAME: &str = "/dev/ptmx";

/// What can go wrong with a terminal or one of its sockets.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `process.terminal` without anybody to give the master end to.
    #[error("`process.terminal` is true, but a detached container needs `--console-socket` to hand its terminal over")]
    SocketMissing,
    /// A socket that nothing would ever be sent to. The words are those that runc's callers know.
    #[error("cannot use console socket if skiff will not detach or allocate tty; drop `--console-socket`")]
    SocketUnused,
    /// Terminals count in 16 bits.
    #[error("`process.consoleSize.{property}` is {value}; the kernel allows 0 to 65535")]
    Size {
        /// `height` or `width`.
        property: &'static str,
        /// What config.json says.
        value: u64,
    },
    /// The container has no usable `/dev/pts/ptmx`.
    #[error("cannot open `/dev/pts/ptmx` in the container; `mounts` must have a `devpts` at `/dev/pts`")]
    Multiplexer(#[source] std::io::Error),
    /// Something else lies where the devpts should.
    #[error("`{path}` in the container is not what a devpts has there; refusing to use it as a terminal")]
    Impostor {
        /// The path inside the container.
        path: String,
    },
    /// An ioctl or chown of the new pair failed.
    #[error("cannot {operation} the container's terminal")]
    Terminal {
        /// What was being done, as a verb.
        operation: &'static str,
        /// The kernel's reason.
        #[source]
        source: std::io::Error,
    },
    /// A socket that the caller named cannot be connected to.
    #[error("cannot connect to socket `{path}`; its listener must be running before skiff")]
    Connect {
        /// As given on the command line.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: std::io::Error,
    },
    /// A file of another kind lies there.
    #[error("`{path}` is not a socket")]
    NotASocket {
        /// As given on the command line.
        path: PathBuf,
    },
    /// sendmsg(2) with a descriptor.
    #[error("cannot send the descriptor of {what}")]
    Send {
        /// What the descriptor is.
        what: String,
        /// The kernel's reason.
        #[source]
        source: std::io::Error,
    },
    /// recvmsg(2) with a descriptor.
    #[error("cannot receive the descriptor of the container's terminal")]
    Receive(#[source] std::io::Error),
}

/// Who gets the master end of the container's terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Console {
    /// No terminal: the container inherits our standard streams.
    None,
    /// The listener at this path.
    Socket(PathBuf),
    /// Our own foreground loop.
    Proxy,
}

/// Decides who gets the terminal. `detached` is true for `create`, `run --detach` and `exec --detach`.
///
/// # Errors
/// [`Error::SocketMissing`] and [`Error::SocketUnused`], the two combinations that runc refuses, too.
pub fn plan(terminal: bool, console_socket: Option<&Path>, detached: bool) -> Result<Console, Error> {
    match (terminal, detached, console_socket) {
        (true, true, Some(path)) => Ok(Console::Socket(path.to_path_buf())),
        (true, true, None) => Err(Error::SocketMissing),
        (_, _, Some(_)) => Err(Error::SocketUnused),
        (true, false, None) => Ok(Console::Proxy),
        (false, _, None) => Ok(Console::None),
    }
}

/// `process.consoleSize` (config.md), which has no meaning without a terminal.
///
/// # Errors
/// [`Error::Size`] when a number does not fit the kernel's `struct winsize`.
pub fn size(process: &Process) -> Result<Option<Size>, Error> {
    let Some(wanted) = process.console_size().filter(|_| process.terminal() == Some(true)) else {
        return Ok(None);
    };
    let fit = |property, value: u64| u16::try_from(value).map_err(|_| Error::Size { property, value });
    Ok(Some(Size { rows: fit("height", wanted.height())?, columns: fit("width", wanted.width())? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(terminal: bool, socket: bool, detached: bool, expected: &str) {
        let planned = plan(terminal, socket.then(|| Path::new("/s")), detached);
        assert_eq!(format!("{planned:?}"), expected, "terminal {terminal}, socket {socket}, detached {detached}");
    }

    #[test]
    fn every_combination_is_decided() {
        check(false, false, false, "Ok(None)");
        check(false, false, true, "Ok(None)");
        check(false, true, false, "Err(SocketUnused)");
        check(false, true, true, "Err(SocketUnused)");
        check(true, false, false, "Ok(Proxy)");
        check(true, false, true, "Err(SocketMissing)");
        check(true, true, false, "Err(SocketUnused)");
        check(true, true, true, "Ok(Socket(\"/s\"))");
    }

    fn process(terminal: bool, height: u64) -> Process {
        let text = format!(
            r#"{{"terminal":{terminal},"consoleSize":{{"height":{height},"width":80}},"cwd":"/","user":{{"uid":0,"gid":0}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn sizes_must_fit_the_kernel() {
        assert_eq!(size(&process(true, 25)).unwrap(), Some(Size { rows: 25, columns: 80 }));
        assert_eq!(size(&process(false, 1 << 40)).unwrap(), None);
        let error = size(&process(true, 65_536)).unwrap_err().to_string();
        assert_eq!(error, "`process.consoleSize.height` is 65536; the kernel allows 0 to 65535");
    }
}
