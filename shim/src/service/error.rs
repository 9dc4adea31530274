//! What an error is called on the wire. Callers decide by the code: what is not found is gone, what is refused may be
//! tried in another state, and the rest is shown to people.

use crate::chain::chain;
use crate::stdio::{self, UriError};
use crate::task::Error;
use crate::{bootstrap, runtime};
use std::io;
use ttrpc::{Code, get_status};

/// The error as ttrpc has it, with the chain of its causes in one line.
pub(super) fn status(error: &Error) -> ttrpc::Error {
    ttrpc::Error::RpcStatus(get_status(code(error), chain(error)))
}

fn code(error: &Error) -> Code {
    match error {
        Error::NoTask(_) | Error::NoExec { .. } | Error::Ended(_) => Code::NOT_FOUND,
        Error::Exists(_) | Error::ExecExists { .. } => Code::ALREADY_EXISTS,
        Error::State { .. } | Error::NoProcess(_) | Error::Cgroup(_) => Code::FAILED_PRECONDITION,
        Error::Id(_) | Error::Bundle { .. } | Error::Options(_) | Error::Signal(_) => Code::INVALID_ARGUMENT,
        Error::Document { .. } | Error::Shape { .. } | Error::Size { .. } => Code::INVALID_ARGUMENT,
        Error::NotBuilt(_) => Code::UNIMPLEMENTED,
        Error::Config(error) => match error {
            bootstrap::Error::Config { source, .. } if source.kind() == io::ErrorKind::NotFound => Code::NOT_FOUND,
            _ => Code::INVALID_ARGUMENT,
        },
        Error::Stdio(error) => match error {
            stdio::Error::Uri(UriError::Binary(_)) => Code::UNIMPLEMENTED,
            stdio::Error::Uri(_) | stdio::Error::NotAFifo(_) | stdio::Error::Fifo(_) => Code::INVALID_ARGUMENT,
            stdio::Error::Open { source, .. } if source.kind() == io::ErrorKind::NotFound => Code::NOT_FOUND,
            stdio::Error::Open { .. } | stdio::Error::Pipe(_) => Code::UNKNOWN,
        },
        Error::Runtime(error) => runtime_code(error),
        Error::Mounts(_) | Error::Send { .. } | Error::Resize { .. } | Error::File { .. } => Code::UNKNOWN,
        Error::Console { .. } | Error::Pid { .. } => Code::UNKNOWN,
    }
}

/// A runtime has one exit status for everything; for a signal to what has ended meanwhile, its words are known.
fn runtime_code(error: &runtime::Error) -> Code {
    const GONE: [&str; 4] = ["process already finished", "no such process", "does not exist", "not running"];
    match error {
        runtime::Error::Refused { verb: "kill", message } if GONE.iter().any(|words| message.contains(words)) => {
            Code::NOT_FOUND
        }
        runtime::Error::Absent(_) => Code::FAILED_PRECONDITION,
        runtime::Error::Refused { .. }
        | runtime::Error::Silent { .. }
        | runtime::Error::Spawn { .. }
        | runtime::Error::Prepare { .. } => Code::UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_chains() {
        let refused = |verb, message: &str| Error::Runtime(runtime::Error::Refused { verb, message: message.into() });
        let open =
            |kind: io::ErrorKind| Error::Stdio(stdio::Error::Open { path: "/f".into(), source: io::Error::from(kind) });
        for (error, wanted) in [
            (Error::NoTask("a".into()), Code::NOT_FOUND),
            (Error::Exists("a".into()), Code::ALREADY_EXISTS),
            (Error::State { name: "a".into(), what: "started", state: "running" }, Code::FAILED_PRECONDITION),
            (Error::Signal(99), Code::INVALID_ARGUMENT),
            (Error::NotBuilt("checkpoint"), Code::UNIMPLEMENTED),
            (refused("kill", "os: process already finished"), Code::NOT_FOUND),
            (refused("kill", "permission denied"), Code::UNKNOWN),
            (refused("create", "container does not exist"), Code::UNKNOWN),
            (open(io::ErrorKind::NotFound), Code::NOT_FOUND),
            (open(io::ErrorKind::PermissionDenied), Code::UNKNOWN),
            (Error::Stdio(UriError::Binary("binary:///l".into()).into()), Code::UNIMPLEMENTED),
        ] {
            assert_eq!(code(&error), wanted, "{error}");
        }
        let text = chain(&open(io::ErrorKind::NotFound));
        assert_eq!(text, "stdio `/f` cannot be opened: entity not found");
    }
}
