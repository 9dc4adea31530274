//! The child that talks to the network: what it may, what it says when it cannot, reports, and TLS.

use super::harness::{Fleet, Follower, response};
use super::server::Act;
use skiff_supervisor::fleet::fetch::{self, Reason, Session};
use skiff_supervisor::fleet::verify::Keys;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_server_without_a_name_or_a_port_is_unreachable() {
    let fleet = Fleet::new();
    let mut follower = Follower::new(&fleet);
    for (url, words) in [
        ("http://skiff.invalid", &["dns", "timeout"][..]),
        ("http://127.0.0.1:1", &["connection"]),
        ("http://[::1", &["url"]),
        ("ftp://127.0.0.1", &["url"]),
        ("https://127.0.0.1:1", &["connection"]),
    ] {
        follower.settings.url = url.into();
        let (reason, text) = follower.start().failed().await;
        assert!(words.contains(&reason), "{url}: {reason} {text}");
    }
    // A server that speaks no TLS.
    follower.settings.url = fleet.server.url().replace("http:", "https:");
    let (reason, text) = follower.start().failed().await;
    assert!(["tls", "connection", "protocol", "cut_off", "timeout"].contains(&reason), "{reason} {text}");
}

#[tokio::test]
async fn a_child_that_does_not_work_is_said() {
    let fleet = Fleet::new();
    let mut follower = Follower::new(&fleet);
    for program in ["/nonexistent", "/bin/false", "/bin/cat"] {
        follower.settings.program = program.into();
        assert_eq!(follower.start().failed().await.0, "child", "{program}");
    }
}

#[tokio::test]
async fn the_child_has_nothing_and_goes_with_skiffd() {
    let fleet = Fleet::new();
    fleet.server.misbehave("/index.json", Act::Hang(Vec::new()));
    let mut follower = Follower::new(&fleet);
    follower.settings.limits.document = Duration::from_secs(60);
    let mut session = Session::open(&follower.settings).await.unwrap();
    assert_eq!(session.not_enforced(), not_enforced_here());
    let pid = child_of(std::process::id());
    let get = session.get("index.json", None, 100);
    // While it hangs, it is looked at.
    assert!(tokio::time::timeout(Duration::from_millis(300), get).await.is_err());
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap();
        line.split_once(':').unwrap().1.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    if rustix::process::geteuid().is_root() {
        assert!(
            !field("Uid").split(' ').any(|id| id == "0") && !field("Gid").split(' ').any(|id| id == "0"),
            "{status}"
        );
        assert_eq!((field("Groups").as_str(), field("CapBnd").as_str()), ("", "0000000000000000"));
    }
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!((field("NoNewPrivs").as_str(), field("Seccomp").as_str()), ("1", "2"));
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    assert!(limits.lines().any(|line| line.starts_with("Max file size") && line.contains(" 0 ")), "{limits}");
    // Beside its standard streams it holds its connection, and no file but what this test itself was started with.
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let fd = entry.unwrap().path();
        let to = fs::read_link(&fd).unwrap();
        let inherited = fs::read_link(Path::new("/proc/self/fd").join(fd.file_name().unwrap())).ok();
        let harmless = ["pipe:", "socket:"].iter().any(|kind| to.to_string_lossy().starts_with(kind))
            || inherited.is_some_and(|own| own == to);
        assert!(harmless || fd.ends_with("2"), "{} is {}", fd.display(), to.display());
    }
    let environment = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    assert!(environment.starts_with("SKIFFD_CHILD=") && environment.matches('\0').count() == 1, "{environment}");
    drop(session);
    let gone = || !Path::new(&format!("/proc/{pid}/exe")).exists();
    let end = Instant::now() + Duration::from_secs(5);
    while !gone() && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(gone());
}

/// What the kernel and the user of this test cannot enforce, as far as it is known beforehand.
fn not_enforced_here() -> Vec<String> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let mut missing = Vec::new();
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let numbers: Vec<u32> = release.split(['.', '-']).map_while(|part| part.parse().ok()).take(2).collect();
    // Scopes are the youngest part (landlock(7)).
    if numbers < vec![6, 12] {
        missing.push("landlock: in part, this kernel is older".to_owned());
    }
    if !rustix::process::geteuid().is_root() {
        missing.push("user `skiff-fetch`: not root, so this user stays".to_owned());
    } else if !passwd.contains("\nskiff-fetch:") {
        missing.push("user `skiff-fetch`: there is none, so this is `nobody`".to_owned());
    }
    missing
}

/// The one child of this test's own thread; other tests of this program have theirs in other threads.
fn child_of(process: u32) -> u32 {
    let thread = rustix::thread::gettid().as_raw_nonzero();
    let path = format!("/proc/{process}/task/{thread}/children");
    let children = fs::read_to_string(path).unwrap();
    children.split_whitespace().next_back().expect("the session has a child").parse().unwrap()
}

#[tokio::test]
async fn a_report_is_put() {
    let fleet = Fleet::new();
    let follower = Follower::new(&fleet);
    let url = format!("{}/devices/till-1/status", fleet.server.url());
    let answer = |status: &str, headers: &str, body: &str| {
        let headers = format!("{headers}Content-Length: {}\r\n", body.len());
        fleet.server.misbehave("/devices/till-1/status", Act::Raw(response(status, &headers, body.as_bytes())));
    };
    answer("200 OK", "", "{\"ackSeq\":981}");
    let taken = fetch::put(&follower.settings, &url, "{\"reportSeq\":981}".into()).await.unwrap();
    assert_eq!((taken.status, taken.body.as_slice(), taken.retry_after), (200, &b"{\"ackSeq\":981}"[..], None));
    assert_eq!(fleet.server.bodies(), ["{\"reportSeq\":981}"]);
    answer("429 Too Many Requests", "Retry-After: 120\r\n", "");
    let taken = fetch::put(&follower.settings, &url, "{}".into()).await.unwrap();
    assert_eq!((taken.status, taken.retry_after), (429, Some(Duration::from_secs(120))));
    // A report is not sent on to whoever a server names.
    answer("307 Temporary Redirect", "Location: /elsewhere\r\n", "");
    assert_eq!(fetch::put(&follower.settings, &url, "{}".into()).await.unwrap().status, 307);
    answer("200 OK", "", &"x".repeat(100_000));
    assert_eq!(fetch::put(&follower.settings, &url, "{}".into()).await.unwrap_err().reason, Reason::TooLarge);
    let large = format!("\"{}\"", "x".repeat(600 << 10));
    answer("200 OK", "", "");
    assert_eq!(fetch::put(&follower.settings, &url, large).await.unwrap().status, 200);
    assert_eq!(fleet.server.bodies().last().unwrap().len(), (600 << 10) + 2);
}

#[tokio::test]
async fn tls_is_believed_only_from_those_it_should() {
    if std::process::Command::new("openssl").arg("version").output().is_err() {
        println!("skipped: there is no openssl to play the server");
        return;
    }
    let fleet = Fleet::new();
    let mut follower = Follower::new(&fleet);
    let at = |name: &str| follower.folder.path().join(name);
    let openssl = |words: &[&str]| {
        let output = std::process::Command::new("openssl").args(words).current_dir(follower.folder.path()).output();
        assert!(output.unwrap().status.success(), "{words:?}");
    };
    for (name, host) in [("right", "IP:127.0.0.1"), ("wrong", "DNS:elsewhere.example")] {
        openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=skiff",
            "-keyout",
            &format!("{name}.key"),
            "-out",
            &format!("{name}.pem"),
            "-addext",
            &format!("subjectAltName={host}"),
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ]);
    }
    fs::create_dir(at("www")).unwrap();
    fs::write(at("www/index.json"), "").unwrap();
    for (certificate, ca, word) in
        [("right", "right", "empty"), ("right", "wrong", "tls"), ("wrong", "wrong", "tls"), ("right", "", "tls")]
    {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = std::process::Command::new("openssl");
        server.args(["s_server", "-quiet", "-WWW", "-accept", &format!("127.0.0.1:{port}")]);
        server.args(["-key", at(&format!("{certificate}.key")).to_str().unwrap()]);
        server.args(["-cert", at(&format!("{certificate}.pem")).to_str().unwrap()]).current_dir(at("www"));
        let mut server =
            server.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        follower.settings.url = format!("https://127.0.0.1:{port}");
        follower.settings.ca_file = (!ca.is_empty()).then(|| at(&format!("{ca}.pem")));
        let (reason, text) = follower.start().failed().await;
        server.kill().unwrap();
        server.wait().unwrap();
        assert_eq!(reason, word, "{certificate} {ca}: {text}");
    }
    follower.settings.ca_file = Some(at("www/index.json"));
    assert_eq!(follower.start().failed().await.0, "child", "certificates that are none");
    let keys = Keys::read(&follower.settings.trust).unwrap();
    assert_eq!(keys.ids().len(), 1);
}
