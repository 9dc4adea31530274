//! Where a caller wants a stream to go, as it writes it: a path (a fifo), or a URI.

use std::path::PathBuf;

/// A log that is rotated, as far as its URI tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// A file is put aside before it grows beyond this many bytes.
    pub(crate) max_size: u64,
    /// Files in all, the one being written included.
    pub(crate) max_files: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_size: 8 << 20, max_files: 3 }
    }
}

/// The far end of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// `/dev/null`
    Nothing,
    /// A fifo whose other end is the caller's.
    Fifo(PathBuf),
    /// A file that is appended to.
    File(PathBuf),
    /// A log of ours.
    Log(PathBuf, Limits),
}

/// Why it is not a place.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Error {
    /// A scheme of containerd's that is not built.
    #[error("stdio `{0}`: loggers as separate programs are not built yet; use a fifo, `file://` or `rotate://`")]
    Binary(String),
    /// No such scheme.
    #[error("stdio `{0}` is not understood; use a fifo's path, `file://` or `rotate://`")]
    Scheme(String),
    /// Not absolute.
    #[error("stdio `{0}` is not an absolute path")]
    Relative(String),
    /// A query that means nothing.
    #[error(
        "stdio `{uri}`: `{word}` is not understood; `max-size` (bytes, at least 4096) and `max-files` (1 to 1000) are"
    )]
    Query {
        /// The whole.
        uri: String,
        /// The part.
        word: String,
    },
    /// Only fifos can be read from.
    #[error("stdin `{0}` cannot be read from; use a fifo")]
    Input(String),
}

/// Reads the place of standard output or error.
pub(crate) fn output(uri: &str) -> Result<Place, Error> {
    if uri.is_empty() {
        return Ok(Place::Nothing);
    }
    let Some((scheme, rest)) = uri.split_once("://") else {
        return absolute(uri, uri).map(Place::Fifo);
    };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = decode(path);
    match scheme {
        "fifo" => absolute(uri, &path).map(Place::Fifo),
        "file" => absolute(uri, &path).map(Place::File),
        "rotate" => Ok(Place::Log(absolute(uri, &path)?, limits(uri, query)?)),
        "binary" | "binary-v2" => Err(Error::Binary(uri.to_owned())),
        _ => Err(Error::Scheme(uri.to_owned())),
    }
}

/// Reads the place of standard input.
pub(crate) fn input(uri: &str) -> Result<Place, Error> {
    match output(uri)? {
        place @ (Place::Nothing | Place::Fifo(_)) => Ok(place),
        Place::File(_) | Place::Log(..) => Err(Error::Input(uri.to_owned())),
    }
}

fn absolute(uri: &str, path: &str) -> Result<PathBuf, Error> {
    if path.starts_with('/') { Ok(path.into()) } else { Err(Error::Relative(uri.to_owned())) }
}

fn limits(uri: &str, query: &str) -> Result<Limits, Error> {
    let mut limits = Limits::default();
    for word in query.split('&').filter(|word| !word.is_empty()) {
        let refused = || Error::Query { uri: uri.to_owned(), word: word.to_owned() };
        let (name, value) = word.split_once('=').ok_or_else(refused)?;
        let number: u64 = value.parse().map_err(|_| refused())?;
        match (name, number) {
            ("max-size", 4096..) => limits.max_size = number,
            ("max-files", 1..=1000) => limits.max_files = u32::try_from(number).expect("at most a thousand"),
            _ => return Err(refused()),
        }
    }
    Ok(limits)
}

/// Percent-encoding of RFC 3986; what is not one stands for itself.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let pair = (*byte == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(decoded) => {
                out.push(decoded);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let limits = |max_size, max_files| Limits { max_size, max_files };
        for (uri, wanted) in [
            ("", Place::Nothing),
            ("/run/f", Place::Fifo("/run/f".into())),
            ("fifo:///run/f", Place::Fifo("/run/f".into())),
            ("file:///var/log/a%20b%zz", Place::File("/var/log/a b%zz".into())),
            ("rotate:///l", Place::Log("/l".into(), Limits::default())),
            ("rotate:///l?max-size=4096", Place::Log("/l".into(), limits(4096, 3))),
            ("rotate:///l?max-size=8192&max-files=1", Place::Log("/l".into(), limits(8192, 1))),
        ] {
            assert_eq!(output(uri), Ok(wanted), "{uri}");
        }
    }

    #[test]
    fn refusals_name_what_is_wrong() {
        for uri in [
            "relative",
            "file://relative",
            "binary:///bin/logger",
            "binary-v2:///l",
            "http://x/y",
            "rotate:///l?max-size=1",
            "rotate:///l?max-files=0",
            "rotate:///l?colour=red",
            "rotate:///l?max-size",
            "rotate:///l?max-size=-1",
        ] {
            let said = output(uri).unwrap_err().to_string();
            assert!(said.contains(uri), "{said}");
        }
        assert!(matches!(output("binary:///l"), Err(Error::Binary(_))));
        assert!(input("").is_ok() && input("/f").is_ok());
        assert!(matches!(input("file:///f"), Err(Error::Input(_))));
    }
}
