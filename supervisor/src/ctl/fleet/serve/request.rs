//! What a request asks for. Pure: method and path become names that can exist below a folder, or a refusal.

use crate::{config, percent};
use hyper::{Method, StatusCode};

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A file, by the names on the way to it: none is empty, hidden, `.` or `..`.
    File(Vec<String>),
    /// A device's report is brought.
    Report(String),
}

/// Why it is not done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// One line for whoever asked.
    pub(super) text: String,
    /// The methods that are taken there.
    pub(super) allow: Option<&'static str>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), allow: None }
    }
}

/// Another method than those that read.
pub(super) fn not_taken(text: &str) -> Refusal {
    Refusal { allow: Some("GET, HEAD"), ..Refusal::new(StatusCode::METHOD_NOT_ALLOWED, text) }
}

/// Finds out what a request asks for.
pub(super) fn wanted(method: &Method, path: &str) -> Result<Wanted, Refusal> {
    let names = path.strip_prefix('/').ok_or_else(|| bad("give a path that begins with `/`"))?;
    let names = names.split('/').map(decode).collect::<Result<Vec<_>, _>>()?;
    if *method == Method::PUT {
        return match names.as_slice() {
            [devices, id, status] if devices == "devices" && status == "status" => report(id),
            _ => Err(not_taken("only `/devices/ID/status` takes a PUT")),
        };
    }
    if *method != Method::GET && *method != Method::HEAD {
        return Err(not_taken("files are only read, with GET or HEAD"));
    }
    for name in &names {
        if name == ".." || name == "." {
            return Err(bad("a path here does not go up"));
        }
        // What begins with a dot is not meant for devices, or not finished yet.
        if name.is_empty() || name.starts_with('.') {
            return Err(missing());
        }
        if name.to_ascii_lowercase().ends_with(".key") {
            return Err(Refusal::new(StatusCode::FORBIDDEN, "a key is never served"));
        }
    }
    Ok(Wanted::File(names))
}

/// There is no such file, or none that is served.
pub(super) fn missing() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "there is no such file")
}

pub(super) fn bad(text: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, text)
}

fn report(id: &str) -> Result<Wanted, Refusal> {
    if config::is_device_id(id) {
        return Ok(Wanted::Report(id.to_owned()));
    }
    Err(bad("a device's id has 1 to 128 letters, digits, `-`, `_` and `.`"))
}

/// Undoes percent-encoding. A `/` that is hidden so is no part of a name.
fn decode(text: &str) -> Result<String, Refusal> {
    let text = percent::decode(text).filter(|text| !text.contains('/'));
    text.ok_or_else(|| bad("the path is not percent-encoded text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(method: &Method, path: &str) -> Result<Wanted, u16> {
        wanted(method, path).map_err(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn names_that_can_be_files() {
        for (path, names) in [("/index.json", vec!["index.json"]), ("/a/b%2Dc", vec!["a", "b-c"]), ("/é", vec!["é"])]
        {
            let names = names.into_iter().map(String::from).collect();
            assert_eq!(status(&Method::GET, path), Ok(Wanted::File(names)), "{path}");
        }
        let cases = [
            (404, &["/", "//", "/a/", "//etc/passwd", "/.git/config", "/a/.new", "/%2egit"][..]),
            (400, &["/..", "/a/../b", "/%2e%2e/b", "/.%2E", "/a%2fb", "/a%00", "/%", "/%zz", "/%ff", "*", "/a%0a"]),
            (403, &["/fleet.key", "/FLEET.KEY", "/a/b%2ekey", "/%66leet.key", "/x.key/y"]),
        ];
        for (expected, paths) in cases {
            for path in paths {
                assert_eq!(status(&Method::HEAD, path), Err(expected), "{path}");
            }
        }
    }

    #[test]
    fn reports_have_one_place() {
        assert_eq!(status(&Method::PUT, "/devices/till-1/status"), Ok(Wanted::Report("till-1".into())));
        for id in ["", "a%2fb", "a%20b", "%00", "é", &"x".repeat(129)] {
            assert_eq!(status(&Method::PUT, &format!("/devices/{id}/status")), Err(400), "{id}");
        }
        for path in ["/index.json", "/devices/a", "/devices/a/status/", "/devices/a/b/status", "/"] {
            assert_eq!(status(&Method::PUT, path), Err(405), "{path}");
        }
        for method in [Method::POST, Method::DELETE, Method::OPTIONS] {
            assert_eq!(status(&method, "/devices/a/status"), Err(405));
        }
    }
}
