//! `skiffctl fleet serve`, the real program, through raw sockets: what a device asks for, what people who mean harm ask for.
#![allow(clippy::disallowed_methods, reason = "the bans protect the product; these programs only play with its output")]
#![allow(clippy::unwrap_used, reason = "the lint's exception for tests does not reach their helper functions")]

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A folder, and the server of it.
struct Serving {
    folder: tempfile::TempDir,
    address: SocketAddr,
    child: Child,
}

impl Serving {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("public/index.json", "{\"serial\": 1}"),
            ("public/index.json.minisig", "untrusted comment: x"),
            ("public/releases/sha256-aa.json", "{}"),
            ("public/fleet.key", "secret"),
            ("public/.hidden", "secret"),
            ("outside/secret", "secret"),
        ] {
            fs::create_dir_all(folder.path().join(path).parent().unwrap()).unwrap();
            fs::write(folder.path().join(path), text).unwrap();
        }
        symlink(folder.path().join("outside/secret"), folder.path().join("public/link")).unwrap();
        symlink("index.json", folder.path().join("public/inner")).unwrap();
        symlink(folder.path().join("outside"), folder.path().join("public/linked")).unwrap();
        let mut child = command(&folder, &["public", "--listen", "127.0.0.1:0", "--status", "status"]).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit("http://").next().unwrap().parse().expect(&line);
        Self { folder, address, child }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Sends bytes as they are, and returns all that comes until the server closes.
    fn say(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        let _refused_early = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _reset_after_the_answer = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn ask(&self, line: &str, headers: &str) -> Answer {
        let text = self.say(format!("{line} HTTP/1.1\r\nHost: x\r\n{headers}Connection: close\r\n\r\n").as_bytes());
        Answer(text)
    }

    fn put(&self, path: &str, body: &str) -> Answer {
        let length = body.len();
        Answer(
            self.say(
                format!(
                    "PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                )
                .as_bytes(),
            ),
        )
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The reports that are kept, by the names of their files.
    fn kept(&self) -> Vec<String> {
        let entries = fs::read_dir(self.at("status")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        self.child.wait().unwrap();
    }
}

fn command(folder: &tempfile::TempDir, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skiffctl"));
    command.args(["fleet", "serve"]).args(words).current_dir(folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

struct Answer(String);

impl Answer {
    fn status(&self) -> u16 {
        self.0.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no answer: {:?}", self.0))
    }

    fn header(&self, name: &str) -> Option<&str> {
        let head = self.0.split("\r\n\r\n").next()?;
        head.lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|it| it.1)
    }

    fn body(&self) -> &str {
        self.0.split_once("\r\n\r\n").unwrap().1
    }
}

#[test]
fn files_have_names_for_their_content() {
    let serving = Serving::new();
    let whole = serving.ask("GET /index.json", "");
    assert_eq!((whole.status(), whole.body()), (200, "{\"serial\": 1}"));
    assert_eq!(whole.header("content-type"), Some("application/json"));
    assert_eq!((whole.header("content-length"), whole.header("cache-control")), (Some("13"), Some("no-cache")));
    let tag = whole.header("etag").unwrap().to_owned();
    assert!(tag.starts_with('"'), "a strong one: {tag}");

    let head = serving.ask("HEAD /index.json", "");
    assert_eq!((head.status(), head.body(), head.header("content-length")), (200, "", Some("13")));
    assert_eq!(head.header("etag"), Some(tag.as_str()));

    for known in [tag.clone(), format!("\"x\", {tag}"), format!("W/{tag}"), "*".to_owned()] {
        for method in ["GET", "HEAD"] {
            let same = serving.ask(&format!("{method} /index.json"), &format!("If-None-Match: {known}\r\n"));
            assert_eq!((same.status(), same.body(), same.header("etag")), (304, "", Some(tag.as_str())), "{known}");
        }
    }
    // Written in place, in the same moment, with the same length.
    fs::write(serving.at("public/index.json"), "{\"serial\": 2}").unwrap();
    let other = serving.ask("GET /index.json", &format!("If-None-Match: {tag}\r\n"));
    assert_eq!((other.status(), other.body()), (200, "{\"serial\": 2}"));
    assert_ne!(other.header("etag"), Some(tag.as_str()));

    let release = serving.ask("GET /releases/sha256-aa.json?x=y", "");
    assert_eq!(release.status(), 200);
    assert!(release.header("cache-control").unwrap().contains("immutable"));
    assert!(serving.ask("GET /index.json.minisig", "").header("content-type").unwrap().starts_with("text/plain"));
}

#[test]
fn a_large_file_comes_whole() {
    let serving = Serving::new();
    let bytes: Vec<u8> = (0..3_000_017_u32).map(|number| (number * 7 + number / 251) as u8).collect();
    fs::create_dir(serving.at("public/blobs")).unwrap();
    fs::write(serving.at("public/blobs/sha256-bb"), &bytes).unwrap();
    let mut stream = serving.connect();
    stream.write_all(b"GET /blobs/sha256-bb HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.ends_with(&bytes), "{} bytes", answer.len());
    let head = serving.ask("HEAD /blobs/sha256-bb", "");
    assert_eq!(head.header("content-length"), Some("3000017"));
    let tag = head.header("etag").unwrap();
    assert_eq!(serving.ask("GET /blobs/sha256-bb", &format!("If-None-Match: {tag}\r\n")).status(), 304);
    assert_eq!(serving.ask("GET /blobs/sha256-bb", "If-None-Match: \"x\"\r\nRange: bytes=0-1\r\n").status(), 200);
}

#[test]
fn nothing_but_files_of_the_folder() {
    let serving = Serving::new();
    assert!(Command::new("mkfifo").arg(serving.at("public/pipe")).status().unwrap().success());
    for (path, status) in [
        ("/../outside/secret", 400),
        ("/releases/../../outside/secret", 400),
        ("/%2e%2e/outside/secret", 400),
        ("/.%2e/outside/secret", 400),
        ("/%2E%2E%2Foutside%2Fsecret", 400),
        ("/..%2foutside/secret", 400),
        ("/releases%2f..%2f..%2foutside%2fsecret", 400),
        ("/index.json%00.txt", 400),
        ("/%", 400),
        ("//etc/passwd", 404),
        ("/etc/passwd", 404),
        ("/%252e%252e/outside/secret", 404),
        ("/..\\outside\\secret", 404),
        ("/link", 404),
        ("/inner", 404),
        ("/linked/secret", 404),
        ("/linked", 404),
        ("/pipe", 404),
        ("/", 404),
        ("/releases", 404),
        ("/releases/", 404),
        ("/index.json/", 404),
        ("/index.json/x", 404),
        ("/.hidden", 404),
        ("/nothing", 404),
        ("/fleet.key", 403),
        ("/fleet%2ekey", 403),
        ("/FLEET.KEY", 403),
        ("/nothing.key", 403),
        ("http://x/../outside/secret", 400),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = serving.ask(&format!("{method} {path}"), "");
            // A name that hides has no other answer than one that does not exist; both are fine, the file is not.
            let hidden = status == 404 && answer.status() == 400;
            assert!(answer.status() == status || hidden, "{method} {path}: {}", answer.0);
            assert!(!answer.0.contains("secret\n") && !answer.body().starts_with("secret"), "{path}: {}", answer.0);
        }
    }
    for method in ["POST", "DELETE", "OPTIONS", "PATCH", "TRACE"] {
        let answer = serving.ask(&format!("{method} /index.json"), "");
        assert_eq!((answer.status(), answer.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    assert_eq!(serving.ask("GET /index.json", "").status(), 200, "it still serves");
}

#[test]
fn reports_are_kept_whole() {
    let serving = Serving::new();
    let report = r#"{"kind":"DeviceStatus","device":"till-1","reportSeq":981,"services":{"web":{}}}"#;
    let taken = serving.put("/devices/till-1/status", report);
    assert_eq!((taken.status(), taken.body()), (200, "{\"ackSeq\":981}\n"), "{}", taken.0);
    assert_eq!(fs::read_to_string(serving.at("status/till-1.json")).unwrap(), report);
    assert_eq!(fs::metadata(serving.at("status/till-1.json")).unwrap().permissions().mode() & 0o777, 0o600);
    let newer = report.replace("981", "982");
    assert!(serving.put("/devices/till-1/status", &newer).body().contains("982"));
    let chunked =
        "PUT /devices/till-2/status HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    let parts = "12\r\n{\"device\":\"till-2\"\r\n1\r\n}\r\n0\r\n\r\n";
    assert_eq!(Answer(serving.say(format!("{chunked}{parts}").as_bytes())).status(), 200);
    assert_eq!(serving.kept(), ["till-1.json", "till-2.json"]);
    assert_eq!(fs::read_to_string(serving.at("status/till-1.json")).unwrap(), newer);
    assert_eq!(serving.ask("GET /devices/till-1/status", "").status(), 404, "reports are not served");
}

#[test]
fn bad_reports_change_nothing() {
    let serving = Serving::new();
    let good = r#"{"device":"till-1","reportSeq":1}"#;
    assert_eq!(serving.put("/devices/till-1/status", good).status(), 200);
    let large = format!("{{\"device\":\"till-1\",\"x\":\"{}\"}}", "x".repeat(1 << 20));
    for (path, body, status) in [
        ("/devices/till-1/status", "", 400),
        ("/devices/till-1/status", "{", 400),
        ("/devices/till-1/status", "[]", 400),
        ("/devices/till-1/status", "{\"reportSeq\":2}", 400),
        ("/devices/till-1/status", "{\"device\":\"till-2\"}", 400),
        ("/devices/till-1/status", &format!("{good} {good}"), 400),
        ("/devices/till-1/status", &"[".repeat(100_000), 400),
        ("/devices/till-1/status", &large, 413),
        ("/devices//status", good, 400),
        ("/devices/../status", good, 400),
        ("/devices/%2e%2e%2findex/status", good, 400),
        ("/devices/a%2Fb/status", good, 400),
        ("/devices/a%00/status", good, 400),
        (&format!("/devices/{}/status", "x".repeat(129)), good, 400),
        ("/devices/till-1", good, 405),
        ("/devices/till-1/status/more", good, 405),
        ("/index.json", good, 405),
        ("/../status/till-1.json", good, 405),
    ] {
        let answer = serving.put(path, body);
        assert!(answer.status() == status, "{path} {:.40}: {}", body, answer.0);
    }
    let head = "PUT /devices/till-1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let chunk = format!("100000\r\n{}\r\n", "x".repeat(1 << 20));
    for (rest, status) in [
        (format!("Transfer-Encoding: chunked\r\n\r\n{chunk}1\r\nx\r\n"), 413),
        ("Content-Length: 1048577\r\nExpect: 100-continue\r\n\r\n".to_owned(), 413),
        ("Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}".to_owned(), 415),
        ("Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}".to_owned(), 400),
    ] {
        let answer = Answer(serving.say(format!("{head}{rest}").as_bytes()));
        assert_eq!(answer.status(), status, "{:.60}: {}", rest, answer.0);
    }
    // Cut off: half a report, and then nothing.
    let mut stream = serving.connect();
    stream.write_all(format!("{head}Content-Length: 33\r\n\r\n{}", &good[..20]).as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    let _reset = stream.read_to_end(&mut rest);
    assert_eq!(serving.kept(), ["till-1.json"]);
    assert_eq!(fs::read_to_string(serving.at("status/till-1.json")).unwrap(), good);
    assert_eq!(fs::read_to_string(serving.at("public/index.json")).unwrap(), "{\"serial\": 1}");
}

#[test]
fn heads_have_a_size_and_a_time() {
    let serving = Serving::new();
    for request in ["nonsense\r\n\r\n".to_owned(), format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20))] {
        let answer = serving.say(request.as_bytes());
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer:.100}");
    }
    let begun = Instant::now();
    let silent = serving.connect();
    let mut slow = serving.connect();
    slow.write_all(b"GET /index.json HTTP/1.1\r\nHost:").unwrap();
    for mut stream in [silent, slow] {
        let mut answer = Vec::new();
        let _reset = stream.read_to_end(&mut answer);
        assert!(!String::from_utf8_lossy(&answer).contains(" 200 "));
    }
    let waited = begun.elapsed();
    assert!((5..40).contains(&waited.as_secs()), "{waited:?}");
    assert_eq!(serving.ask("GET /index.json", "").status(), 200);
}

#[test]
fn connections_are_counted_and_wait_their_turn() {
    let serving = Serving::new();
    let crowd: Vec<TcpStream> = (0..64)
        .map(|_| {
            // Each has had its answer, so each has its place.
            let mut stream = serving.connect();
            stream.write_all(b"HEAD /index.json HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
            stream
        })
        .collect();
    let mut late = serving.connect();
    late.write_all(b"GET /index.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    late.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(late.read(&mut [0; 1]).is_err(), "no place is free");
    drop(crowd);
    late.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut answer = String::new();
    late.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn it_says_what_it_is_and_ends_when_told() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut serving = Serving::new();
        // Also in the middle of a request.
        let mut open = serving.connect();
        open.write_all(b"GET /index.json HTTP/1.1\r\n").unwrap();
        serving.signal(signal);
        assert_eq!(serving.child.wait().unwrap().code(), Some(0));
        let mut said = String::new();
        serving.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(said.contains("no TLS") && said.contains("trials"), "{said}");
    }
}

#[test]
fn what_cannot_be_served_is_said() {
    let serving = Serving::new();
    let taken = serving.address.to_string();
    for (words, code, said) in [
        (&["nothing"][..], 1, "cannot open the folder `nothing`"),
        (&["public/index.json"], 1, "cannot open the folder `public/index.json`"),
        (&["public", "--listen", &taken], 1, "`--listen` takes another address"),
        (&["public", "--listen", "127.0.0.1:0", "--status", "public/status"], 1, "lies in the folder that is served"),
        (&["public", "--listen", "127.0.0.1:0", "--status", "public"], 1, "lies in the folder that is served"),
        (&["public", "--listen", "nowhere"], 2, "--listen"),
        (&[], 2, "FOLDER"),
    ] {
        let output = command(&serving.folder, words).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {stderr}");
        assert!(stderr.contains(said), "{words:?}: {stderr}");
    }
    // Without a folder for them there are no reports.
    let mut child = command(&serving.folder, &["public", "--listen", "127.0.0.1:0"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let mut stream = TcpStream::connect(line.trim().rsplit("http://").next().unwrap()).unwrap();
    let request = "PUT /devices/a/status HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 405") && answer.contains("--status"), "{answer}");
    child.kill().unwrap();
    child.wait().unwrap();
}
