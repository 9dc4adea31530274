//! One file of the folder: reached name by name from the folder's descriptor and through no link, named by an ETag that
//! changes with its content.

use super::Body;
use super::request::{Refusal, missing};
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Response, StatusCode};
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};

/// A file up to this size is read whole, and its ETag is the digest of what is sent.
const SMALL: u64 = 1 << 20;

/// Answers GET and HEAD.
pub(super) fn answer(
    root: &OwnedFd,
    names: &[String],
    method: &Method,
    asked: &HeaderMap,
) -> Result<Response<Body>, Refusal> {
    let (file, stat) = open(root, names).map_err(refusal)?;
    let length = u64::try_from(stat.st_size).unwrap_or(0);
    let (body, length, tag) = if length <= SMALL {
        let bytes = read(file).map_err(|_| failed())?;
        (Body::Whole(bytes.clone().into()), bytes.len() as u64, format!("\"{:x}\"", Sha256::digest(&bytes)))
    } else {
        (Body::File(file, length), length, stamp(&stat))
    };
    let known = asked.get_all(IF_NONE_MATCH).iter().any(|value| value.to_str().is_ok_and(|list| lists(list, &tag)));
    let mut response = Response::new(if known || *method == Method::HEAD { Body::Whole("".into()) } else { body });
    let name = names.last().map_or("", String::as_str);
    let headers = response.headers_mut();
    headers.insert(ETAG, HeaderValue::from_str(&tag).map_err(|_| failed())?);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(lasts(name)));
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind(name)));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("none"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// As `openat2(2)` with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`, on every kernel: the names are plain, so each step either
/// goes down into a folder or fails.
fn open(root: &OwnedFd, names: &[String]) -> Result<(File, Stat), Errno> {
    let (name, above) = names.split_last().ok_or(Errno::NOENT)?;
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at: Option<OwnedFd> = None;
    for name in above {
        let from = at.as_ref().unwrap_or(root).as_fd();
        at = Some(rustix::fs::openat(from, name, folder, Mode::empty())?);
    }
    // A pipe that nobody writes must not make everybody wait.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(at.as_ref().unwrap_or(root), name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::NOENT);
    }
    Ok((file.into(), stat))
}

fn read(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(SMALL + 1).read_to_end(&mut bytes)?;
    // It grows while it is read; what would be sent is no state that it ever had.
    if bytes.len() as u64 > SMALL { Err(io::ErrorKind::InvalidData.into()) } else { Ok(bytes) }
}

/// Large files are archives, which are published whole under a new name and never written again.
fn stamp(stat: &Stat) -> String {
    let (changed, nanos) = (stat.st_ctime, stat.st_ctime_nsec);
    format!("\"{:x}-{:x}-{:x}-{changed:x}.{nanos:x}\"", stat.st_dev, stat.st_ino, stat.st_size)
}

/// RFC 9110, section 13.1.2: the comparison is the weak one.
fn lists(list: &str, tag: &str) -> bool {
    let names = |one: &str| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag;
    list.split(',').map(str::trim).any(names)
}

fn lasts(name: &str) -> &'static str {
    if name.starts_with("sha256-") { "public, max-age=31536000, immutable" } else { "no-cache" }
}

fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, suffix)| suffix) {
        Some("json") => "application/json",
        Some("minisig" | "pub" | "txt") => "text/plain; charset=utf-8",
        Some("gz" | "tgz") => "application/gzip",
        Some("tar") => "application/x-tar",
        _ => "application/octet-stream",
    }
}

fn refusal(errno: Errno) -> Refusal {
    match errno {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG | Errno::NXIO => missing(),
        Errno::ACCESS | Errno::PERM => Refusal::new(StatusCode::FORBIDDEN, "the server's user may not read this file"),
        _ => failed(),
    }
}

fn failed() -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the file cannot be read now")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_in_lists() {
        for list in ["\"a\"", "W/\"a\"", "\"b\", \"a\"", "*", "\"b\" ,W/\"a\""] {
            assert!(lists(list, "\"a\""), "{list}");
        }
        for list in ["", "a", "\"ab\"", "\"b\",", "w/\"a\""] {
            assert!(!lists(list, "\"a\""), "{list}");
        }
    }
}
