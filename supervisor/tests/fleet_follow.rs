//! Following a fleet over real HTTP, from a server that does whatever servers and networks do. Whatever it does, what was
//! believed stays believed, the reason has its word, and the server is not asked in a hurry.
#![allow(clippy::disallowed_methods, reason = "the bans protect the product; this is the server that it talks to")]
#![allow(clippy::unwrap_used, reason = "the lint's exception for tests does not reach their helper functions")]

#[path = "fleet_follow/server.rs"]
mod server;

use minisign::KeyPair;
use server::{Act, Server};
use skiff_planner::fleet::Poll;
use skiff_planner::select::Device;
use skiff_planner::span::Span;
use skiff_supervisor::digest;
use skiff_supervisor::fleet::fetch::{self, Reason, Session};
use skiff_supervisor::fleet::follow::follow;
use skiff_supervisor::fleet::library::Library;
use skiff_supervisor::fleet::verify::{Keys, Memory};
use skiff_supervisor::fleet::{Accepted, Limits, News, Order, Settings, Staged};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// A server with a fleet, and its key.
struct Fleet {
    server: Server,
    pair: KeyPair,
}

impl Fleet {
    fn new() -> Self {
        Self { server: Server::start(), pair: KeyPair::generate_unencrypted_keypair().unwrap() }
    }

    fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        sign(&self.pair, bytes)
    }

    /// Publishes an archive and a release that has it, and returns how an index names the release.
    fn release(&self, version: &str, archive: &[u8]) -> String {
        let blob = digest::of(archive);
        self.server.put(&format!("/blobs/{}", blob.file_name()), archive);
        let release = release(version, blob.as_str(), archive.len());
        self.server.put(&format!("/releases/{}.json", digest::of(release.as_bytes()).file_name()), release.clone());
        named(version, &release)
    }

    fn publish(&self, index: &str) {
        self.server.put("/index.json", index);
        self.server.put("/index.json.minisig", self.sign(index.as_bytes()));
    }

    /// Publishes edition `serial` with one release, `version`, for everybody.
    fn edition(&self, serial: u64, version: &str) {
        let release = self.release(version, &bundle(version));
        self.publish(&index(serial, &release, version));
    }
}

fn sign(pair: &KeyPair, bytes: &[u8]) -> Vec<u8> {
    minisign::sign(None, &pair.sk, bytes, Some("timestamp:1700000000"), None).unwrap().to_string().into()
}

fn index(serial: u64, releases: &str, version: &str) -> String {
    format!(
        r#"{{"apiVersion":"skiff.dev/v1","kind":"Fleet","metadata":{{"name":"kiosks","serial":{serial}}},
        "poll":{{"interval":"1h","jitter":"0%","maxBackoff":"6h"}},
        "releases":{{{releases}}},"groups":[{{"name":"all","release":"{version}"}}]}}"#
    )
}

fn release(version: &str, blob: &str, size: usize) -> String {
    format!(
        r#"{{"apiVersion":"skiff.dev/v1","kind":"Release","metadata":{{"name":"kiosk","version":"{version}"}},
        "services":{{"web":{{"bundle":{{"digest":"{blob}","size":{size}}}}}}}}}"#
    )
}

fn named(version: &str, release: &str) -> String {
    let digest = digest::of(release.as_bytes());
    format!(r#""{version}":{{"digest":"{digest}","size":{}}}"#, release.len())
}

/// An archive of a small bundle.
fn bundle(text: &str) -> Vec<u8> {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut archive = tar::Builder::new(gzip);
    for (path, bytes) in [("config.json", "{}"), ("rootfs/version", text)] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, path, bytes.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

/// A device that follows it.
struct Follower {
    folder: tempfile::TempDir,
    settings: Settings,
}

impl Follower {
    fn new(fleet: &Fleet) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let trust = folder.path().join("trust");
        fs::create_dir(&trust).unwrap();
        fs::write(trust.join("fleet.pub"), fleet.pair.pk.to_box().unwrap().to_string()).unwrap();
        let limits = Limits {
            index: 64 << 10,
            connect: Duration::from_secs(2),
            document: Duration::from_secs(2),
            ..Limits::default()
        };
        let settings = Settings {
            url: fleet.server.url(),
            name: None,
            trust,
            ca_file: None,
            user: "skiff-fetch".into(),
            folder: folder.path().join("fleet"),
            device: Device { id: "till-1".into(), labels: [("role".into(), "kiosk".into())].into() },
            program: env!("CARGO_BIN_EXE_skiffd").into(),
            poll: Poll { interval: Span::from_secs(3600), jitter: "0%".into(), max_backoff: Span::from_secs(7200) },
            spacing: Duration::from_millis(5),
            limits,
        };
        Self { folder, settings }
    }

    fn start(&self) -> Following {
        let (news_to, news) = mpsc::channel(64);
        let (orders, orders_from) = mpsc::channel(64);
        let library = Library::open(&self.settings).unwrap();
        let task = tokio::spawn(follow(self.settings.clone(), library, news_to, orders_from));
        Following { news, orders, task }
    }

    /// Every file of the library: path, inode, time and content.
    fn kept(&self) -> Vec<(PathBuf, u64, i64, Vec<u8>)> {
        let mut kept = Vec::new();
        look(&self.settings.folder, &mut kept);
        kept.sort();
        kept
    }
}

fn look(folder: &Path, kept: &mut Vec<(PathBuf, u64, i64, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        if metadata.is_dir() {
            look(&path, kept);
        }
        let bytes = if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        // The folder of archives is empty before and after.
        let time = if path.ends_with("archives") { 0 } else { metadata.mtime_nsec() };
        kept.push((path, metadata.ino(), time, bytes));
    }
}

struct Following {
    news: mpsc::Receiver<News>,
    orders: mpsc::Sender<Order>,
    task: tokio::task::JoinHandle<()>,
}

impl Following {
    async fn next(&mut self) -> News {
        tokio::time::timeout(Duration::from_secs(30), self.news.recv()).await.expect("news within a moment").unwrap()
    }

    async fn accepted(&mut self) -> Accepted {
        match self.next().await {
            News::Accepted(accepted) => *accepted,
            other => panic!("{other:?}"),
        }
    }

    async fn staged(&mut self) -> Staged {
        match self.next().await {
            News::Staged(staged) => *staged,
            other => panic!("{other:?}"),
        }
    }

    /// A new edition whose release is then there.
    async fn settled(&mut self) {
        self.accepted().await;
        self.staged().await;
    }

    /// The reason why there is nothing new.
    async fn failed(&mut self) -> (&'static str, String) {
        match self.next().await {
            News::Refused { reason, text } | News::Unreachable { reason, text } => (reason, text),
            other => panic!("{other:?}"),
        }
    }

    async fn order(&self, order: Order) {
        self.orders.send(order).await.unwrap();
    }

    async fn end(mut self) {
        self.news.close();
        tokio::time::timeout(Duration::from_secs(10), self.task).await.expect("it ends with its listener").unwrap();
    }
}

fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {status}\r\n{headers}\r\n").as_bytes(), body].concat()
}

#[tokio::test]
async fn a_release_is_pulled_and_outlives_the_server() {
    let fleet = Fleet::new();
    fleet.edition(1, "1.0");
    let follower = Follower::new(&fleet);
    let mut following = follower.start();
    let accepted = following.accepted().await;
    assert_eq!((accepted.serial, accepted.fleet.as_str(), accepted.remembered), (1, "kiosks", false));
    assert_eq!(accepted.group.as_deref(), Some("all"));
    let staged = following.staged().await;
    assert_eq!(Some(&staged.id), accepted.release.as_ref());
    let folder = staged.bundles.values().next().unwrap();
    assert_eq!(fs::read_to_string(folder.join("rootfs/version")).unwrap(), "1.0");
    assert_eq!(fs::metadata(folder).unwrap().mode() & 0o777, 0o700);
    let kept = follower.kept();
    for _ in 0..3 {
        following.order(Order::Sync).await;
        assert_eq!(following.next().await, News::Unchanged);
    }
    // A server without names for its editions sends everything again.
    fleet.server.names(false);
    for _ in 0..2 {
        following.order(Order::Sync).await;
        assert_eq!(following.next().await, News::Unchanged);
    }
    assert_eq!(follower.kept(), kept, "nothing is written while nothing changes");
    following.end().await;
    drop(fleet);
    let mut following = follower.start();
    assert_eq!(following.accepted().await, Accepted { remembered: true, ..accepted });
    assert_eq!(following.staged().await, staged);
    assert_eq!(following.failed().await.0, "connection");
    assert_eq!(follower.kept(), kept);
}

#[tokio::test]
async fn only_what_is_needed_is_asked_for() {
    let fleet = Fleet::new();
    fleet.edition(1, "1.0");
    let follower = Follower::new(&fleet);
    let mut following = follower.start();
    following.settled().await;
    following.order(Order::Sync).await;
    following.next().await;
    let log: Vec<_> = fleet.server.log().into_iter().map(|(_, line)| line).collect();
    let kinds: Vec<_> = log.iter().map(|line| line.split("sha256").next().unwrap()).collect();
    assert_eq!(
        kinds,
        ["GET /index.json", "GET /index.json.minisig", "GET /releases/", "GET /blobs/", "GET /index.json"]
    );
    // The second edition has the same bundle under another release.
    let same = fleet.release("1.1", &bundle("1.0"));
    fleet.publish(&index(2, &same, "1.1"));
    following.order(Order::Sync).await;
    assert_eq!(following.accepted().await.serial, 2);
    assert_eq!(following.staged().await.id.version, "1.1");
    assert_eq!(fleet.server.log().iter().filter(|(_, line)| line.contains("/blobs/")).count(), 1);
}

/// What a server or a network may do with the index, and the word for it.
fn faults() -> Vec<(&'static str, &'static str, Act)> {
    let whole = index(2, "", "1.0").into_bytes();
    let length = whole.len();
    let ok = |headers: &str, body: &[u8]| Act::Raw(response("200 OK", headers, body));
    let status = |line: &str| Act::Raw(response(line, "Content-Length: 0\r\n", b""));
    let to = |place: &str| Act::Raw(response("302 Found", &format!("Location: {place}\r\nContent-Length: 0\r\n"), b""));
    let gzip = {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::copy(&mut std::io::Read::take(std::io::repeat(b' '), 10 << 20), &mut writer).unwrap();
        writer.finish().unwrap()
    };
    let gzipped = format!("Content-Encoding: gzip\r\nContent-Length: {}\r\n", gzip.len());
    let many = (0..100_000).map(|number| format!("X-{number}: y\r\n")).collect::<String>();
    let long = format!("X-Long: {}\r\n", "y".repeat(1 << 20));
    vec![
        ("a body that ends early", "cut_off", ok(&format!("Content-Length: {length}\r\n"), &whole[..length / 2])),
        (
            "a body that is cut where the length says",
            "cut_off",
            ok(&format!("Content-Length: {}\r\n", length / 2), &whole),
        ),
        ("an empty body", "empty", ok("Content-Length: 0\r\n", b"")),
        ("a portal", "not_json", ok("Content-Type: text/html\r\nContent-Length: 20\r\n", b"<html>Sign in</html>")),
        ("chunks that are none", "protocol", ok("Transfer-Encoding: chunked\r\n", b"zz\r\nhello\r\n")),
        ("chunks that end early", "cut_off", ok("Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n")),
        ("no HTTP", "protocol", Act::Raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec())),
        ("nothing", "cut_off", Act::Raw(Vec::new())),
        ("silence", "timeout", Act::Hang(Vec::new())),
        ("half a header", "timeout", Act::Hang(b"HTTP/1.1 200 OK\r\nContent-".to_vec())),
        (
            "half a body",
            "timeout",
            Act::Hang(response("200 OK", &format!("Content-Length: {length}\r\n"), &whole[..9])),
        ),
        ("a body that drips", "timeout", Act::Drip(response("200 OK", "\r\n", &whole), Duration::from_millis(100))),
        ("a reset", "cut_off", Act::Reset(response("200 OK", "Content-Length: 500\r\n", b"{"))),
        ("a body without end", "too_large", Act::Endless(response("200 OK", "", b""))),
        ("ten gigabytes", "too_large", Act::Endless(response("200 OK", "Content-Length: 10737418240\r\n", b""))),
        ("a bomb", "too_large", ok(&gzipped, &gzip)),
        ("100 000 headers", "protocol", ok(&many, b"")),
        ("a header of a megabyte", "protocol", ok(&long, b"")),
        ("moved in a circle", "redirect", to("/index.json")),
        ("moved to a file", "redirect", to("file:///etc/passwd")),
        ("moved to another scheme", "redirect", to("https://127.0.0.1/")),
        ("moved to a cloud's own", "redirect", to("http://169.254.169.254/latest/meta-data")),
        ("304 for another name", "status", Act::Raw(response("304 Not Modified", "", b""))),
        ("400", "status", status("400 Bad Request")),
        ("401", "status", status("401 Unauthorized")),
        ("403", "status", status("403 Forbidden")),
        ("404", "status", status("404 Not Found")),
        ("408", "status", status("408 Request Timeout")),
        ("429", "status", status("429 Too Many Requests")),
        ("500", "status", status("500 Internal Server Error")),
        ("502", "status", status("502 Bad Gateway")),
        ("503", "status", status("503 Service Unavailable")),
        ("204", "status", Act::Raw(response("204 No Content", "", b""))),
        ("206", "status", ok("", b"").partial()),
    ]
}

trait Partial {
    fn partial(self) -> Self;
}

impl Partial for Act {
    fn partial(self) -> Self {
        Act::Raw(response("206 Partial Content", "Content-Length: 1\r\n", b"{"))
    }
}

#[tokio::test]
async fn whatever_the_server_does_what_was_believed_stays() {
    let fleet = Fleet::new();
    fleet.edition(1, "1.0");
    let follower = Follower::new(&fleet);
    let mut following = follower.start();
    following.settled().await;
    // So that 304 is no answer to what is asked.
    fleet.server.names(false);
    following.order(Order::Sync).await;
    assert_eq!(following.next().await, News::Unchanged);
    let kept = follower.kept();
    let memory = resident();
    for (what, word, act) in faults() {
        fleet.server.misbehave("/index.json", act);
        let (asked, sent) = (fleet.server.log().len(), fleet.server.sent());
        following.order(Order::Sync).await;
        let (reason, text) = following.failed().await;
        assert_eq!(reason, word, "{what}: {text}");
        assert!(!text.contains(['\n', '\r']) && text.len() < 400, "{what}: {text}");
        assert_eq!(follower.kept(), kept, "{what}");
        let asked = fleet.server.log().len() - asked;
        assert!(asked <= 5, "{what}: asked {asked} times");
        assert!(fleet.server.sent() - sent < 24 << 20, "{what}: took {} bytes", fleet.server.sent() - sent);
        fleet.server.behave();
        following.order(Order::Sync).await;
        assert_eq!(following.next().await, News::Unchanged, "after {what}");
    }
    assert!(resident() < memory + (8 << 10), "{} KiB after {memory}", resident());
    fleet.edition(2, "2.0");
    following.order(Order::Sync).await;
    assert_eq!(following.accepted().await.serial, 2);
    assert_eq!(following.staged().await.id.version, "2.0");
}

/// Of this process, in KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_is_not_signed_by_a_trusted_key_is_refused() {
    let fleet = Fleet::new();
    fleet.edition(5, "1.0");
    let follower = Follower::new(&fleet);
    let mut following = follower.start();
    following.settled().await;
    let kept = follower.kept();
    let release = fleet.release("1.0", &bundle("1.0"));
    let next = index(6, &release, "1.0");
    let other = KeyPair::generate_unencrypted_keypair().unwrap();
    let flipped = next.replace("1h", "2h");
    let cases: Vec<(&str, String, Option<Vec<u8>>)> = vec![
        ("status", next.clone(), None),
        ("signature", next.clone(), Some(Vec::new())),
        ("signature", next.clone(), Some(b"<html>".to_vec())),
        ("signature", next.clone(), Some(fleet.sign(flipped.as_bytes()))),
        ("unknown_key", next.clone(), Some(sign(&other, next.as_bytes()))),
        ("rollback", index(4, &release, "1.0"), Some(fleet.sign(index(4, &release, "1.0").as_bytes()))),
        ("rewritten", index(5, &release, "1.0") + " ", Some(fleet.sign((index(5, &release, "1.0") + " ").as_bytes()))),
        ("lint", index(6, &release, "9.9"), Some(fleet.sign(index(6, &release, "9.9").as_bytes()))),
        ("other_fleet", next.replace("kiosks", "tills"), Some(fleet.sign(next.replace("kiosks", "tills").as_bytes()))),
        ("too_large", next.clone(), Some(vec![b'x'; 5000])),
    ];
    for (word, index, signature) in cases {
        fleet.server.put("/index.json", index);
        match signature {
            Some(signature) => fleet.server.put("/index.json.minisig", signature),
            None => drop(fleet.server.take("/index.json.minisig")),
        }
        following.order(Order::Sync).await;
        let (reason, text) = following.failed().await;
        assert_eq!(reason, word, "{text}");
        assert_eq!(follower.kept(), kept, "{word}");
    }
    // A key that joins the folder counts from the next look.
    let index = next.replace("\"serial\":6", "\"serial\":7");
    fleet.server.put("/index.json", index.clone());
    fleet.server.put("/index.json.minisig", sign(&other, index.as_bytes()));
    fs::write(follower.settings.trust.join("second.pub"), other.pk.to_box().unwrap().to_string()).unwrap();
    following.order(Order::Sync).await;
    assert_eq!(following.accepted().await.serial, 7);
    following.end().await;
    // One that leaves it is not believed any more, also not from disk, and its serial is not forgotten.
    fs::remove_file(follower.settings.trust.join("second.pub")).unwrap();
    let library = Library::open(&follower.settings).unwrap();
    assert!(library.believed().is_none() && library.memory().serial == 7);
}

/// A release that a server gives, and how it is refused.
struct Wrong {
    word: &'static str,
    what: &'static str,
    /// Its line in the index.
    named: String,
    /// What the server has in its place; nothing where it has none.
    release: Option<Vec<u8>>,
    archive: Option<Vec<u8>>,
    act: Option<Act>,
}

/// `good` is the archive that is meant.
fn wrong_releases(good: &[u8]) -> Vec<Wrong> {
    let blob = digest::of(good);
    let sized = |size: usize| release("2.0", blob.as_str(), size);
    let text = sized(good.len());
    let wrong = |word, what, meant: &str, release: Option<&str>| Wrong {
        word,
        what,
        named: named("2.0", meant),
        release: release.map(|text| text.as_bytes().to_vec()),
        archive: Some(good.to_vec()),
        act: None,
    };
    let same = |word, what, text: &str| wrong(word, what, text, Some(text));
    let endless = Act::Endless(response("200 OK", "Content-Length: 999999\r\n", b""));
    let bad = bundle("bad");
    vec![
        wrong("status", "no release", &text, None),
        wrong("digest", "another release", &text, Some(&text.replace("kiosk", "kiosq"))),
        wrong("cut_off", "half a release", &text, Some(&text[..9])),
        same("syntax", "a key that is not built", &text.replace("\"bundle\"", "\"image\":\"x\",\"bundle\"")),
        same(
            "lint",
            "a path of a workstation",
            &text.replace("\"services\":{", "\"services\":{\"a\":{\"bundle\":\"relative\"},"),
        ),
        same("syntax", "another version", &text.replace("2.0", "2.1")),
        Wrong { archive: None, ..same("status", "no archive", &text) },
        Wrong { archive: Some(vec![7; good.len()]), ..same("digest", "another archive of that size", &text) },
        same("cut_off", "an archive that is shorter than declared", &sized(good.len() + 1)),
        same("too_large", "one that is longer", &sized(good.len() - 1)),
        Wrong { act: Some(endless), ..same("too_large", "one that has no end", &text) },
        same("too_large", "one that is larger than is taken", &sized(1 << 40)),
        Wrong { archive: Some(bad.clone()), ..same("digest", "another bundle", &sized(bad.len())) },
    ]
}

#[tokio::test]
async fn releases_and_archives_are_what_the_index_says() {
    let fleet = Fleet::new();
    fleet.edition(1, "1.0");
    let follower = Follower::new(&fleet);
    let mut following = follower.start();
    following.settled().await;
    let good = bundle("2.0");
    let blob_path = format!("/blobs/{}", digest::of(&good).file_name());
    for (serial, Wrong { word, what, named, release, archive, act }) in (2..).zip(wrong_releases(&good)) {
        // The size that the index gives is that of what it means.
        let of: String = named.split("sha256:").nth(1).unwrap().chars().take(64).collect();
        let at = format!("/releases/sha256-{of}.json");
        match release {
            Some(release) => fleet.server.put(&at, release),
            None => drop(fleet.server.take(&at)),
        }
        match archive {
            Some(archive) => fleet.server.put(&blob_path, archive),
            None => drop(fleet.server.take(&blob_path)),
        }
        if let Some(act) = act {
            fleet.server.misbehave(&blob_path, act);
        }
        fleet.publish(&index(serial, &named, "2.0"));
        following.order(Order::Sync).await;
        assert_eq!(following.accepted().await.serial, serial, "{what}");
        let (reason, text) = following.failed().await;
        assert_eq!(reason, word, "{what}: {text}");
        fleet.server.behave();
        let bundles: Vec<_> = fs::read_dir(follower.settings.folder.join("bundles")).unwrap().collect();
        assert_eq!(bundles.len(), 1, "{what}: nothing half is left");
        assert_eq!(fs::read_dir(follower.settings.folder.join("archives")).unwrap().count(), 0, "{what}");
    }
}

#[tokio::test]
async fn an_archive_that_comes_late_is_taken_without_a_new_index() {
    let fleet = Fleet::new();
    fleet.edition(1, "1.0");
    let follower = Follower::new(&fleet);
    let mut following = follower.start();
    following.settled().await;
    let good = bundle("2.0");
    let text = release("2.0", digest::of(&good).as_str(), good.len());
    let blob_path = format!("/blobs/{}", digest::of(&good).file_name());
    fleet.server.put(&format!("/releases/{}.json", digest::of(text.as_bytes()).file_name()), text.clone());
    fleet.publish(&index(50, &named("2.0", &text), "2.0"));
    following.order(Order::Sync).await;
    assert_eq!(following.accepted().await.serial, 50);
    assert_eq!(following.failed().await.0, "status");
    fleet.server.put(&blob_path, good);
    following.order(Order::Sync).await;
    assert_eq!(following.next().await, News::Unchanged);
    assert_eq!(following.staged().await.id.version, "2.0");
}

#[tokio::test]
async fn a_server_is_never_asked_in_a_hurry() {
    let fleet = Fleet::new();
    fleet.edition(1, "1.0");
    let mut follower = Follower::new(&fleet);
    follower.settings.spacing = Duration::from_millis(300);
    let mut following = follower.start();
    following.settled().await;
    // Orders and failures as fast as they come.
    fleet.server.misbehave("/index.json", Act::Raw(Vec::new()));
    for _ in 0..5 {
        following.order(Order::Sync).await;
        following.failed().await;
    }
    let log = fleet.server.log();
    // When a request leaves is what counts; when it arrives is a little later, now more and now less.
    let between = log[log.len() - 1].0 - log[0].0;
    let spaced = follower.settings.spacing * u32::try_from(log.len() - 1).unwrap();
    assert!(log.len() == 9 && between + Duration::from_millis(200) > spaced, "{} in {between:?}", log.len());
    assert!(log.windows(2).all(|pair| pair[1].0 - pair[0].0 > Duration::from_millis(100)));
}

#[tokio::test]
async fn a_server_that_asks_for_peace_gets_it() {
    let fleet = Fleet::new();
    fleet
        .publish(&index(1, "", "1.0").replace(r#","groups":[{"name":"all","release":"1.0"}]"#, "").replace("1h", "1s"));
    let mut follower = Follower::new(&fleet);
    follower.settings.poll.interval = Span::from_millis(100);
    let mut following = follower.start();
    following.accepted().await;
    assert!(matches!(following.next().await, News::NoRelease { .. }));
    assert_eq!(following.next().await, News::Unchanged, "by the schedule of the index");
    let peace = response("503 Service Unavailable", "Retry-After: 3\r\nContent-Length: 0\r\n", b"");
    fleet.server.misbehave("/index.json", Act::Raw(peace));
    assert_eq!(following.failed().await.0, "status");
    let before = Instant::now();
    fleet.server.behave();
    assert_eq!(following.next().await, News::Unchanged);
    assert!(before.elapsed() > Duration::from_millis(2800), "{:?}", before.elapsed());
}

#[tokio::test]
async fn what_is_not_needed_any_more_goes_and_the_rest_stays() {
    let fleet = Fleet::new();
    let follower = Follower::new(&fleet);
    let mut following = Some(follower.start());
    let mut digests = Vec::new();
    for (serial, version) in [(1, "1.0"), (2, "2.0"), (3, "3.0")] {
        fleet.edition(serial, version);
        let following = following.as_mut().unwrap();
        following.order(Order::Sync).await;
        // The first look may come before the first edition.
        let accepted = loop {
            match following.next().await {
                News::Accepted(accepted) => break accepted,
                News::Unreachable { .. } => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(accepted.serial, serial);
        digests.push(following.staged().await.id.digest);
    }
    let count = |name: &str| fs::read_dir(follower.settings.folder.join(name)).unwrap().count();
    assert_eq!((count("releases"), count("bundles")), (3, 3));
    let following = following.take().unwrap();
    following.order(Order::Keep(vec![digests[1].clone()])).await;
    following.order(Order::Sync).await;
    let shelf = Library::open(&follower.settings).unwrap().shelf();
    let mut following = following;
    following.next().await;
    assert_eq!((count("releases"), count("bundles")), (2, 2), "the one to keep and the one that is wanted");
    assert!(shelf.staged(&digests[0]).unwrap().is_none());
    assert!(shelf.staged(&digests[1]).unwrap().is_some() && shelf.staged(&digests[2]).unwrap().is_some());
}

#[tokio::test]
async fn the_library_loads_whatever_power_left_of_it() {
    let fleet = Fleet::new();
    fleet.edition(1, "1.0");
    let follower = Follower::new(&fleet);
    let mut following = follower.start();
    following.settled().await;
    fleet.edition(2, "2.0");
    following.order(Order::Sync).await;
    following.settled().await;
    following.end().await;
    let (index, memory) = (follower.settings.folder.join("index.json"), follower.settings.folder.join("memory.json"));
    let open = || {
        let library = Library::open(&follower.settings).unwrap();
        let serial = library.believed().map(|believed| believed.judged.fleet.metadata.serial);
        (serial, library.memory().serial)
    };
    assert_eq!(open(), (Some(2), 2));
    for (path, wanted) in [(&index, (Some(1), 2)), (&memory, (Some(2), 2))] {
        let whole = fs::read(path).unwrap();
        for length in (0..whole.len()).step_by(7) {
            fs::write(path, &whole[..length]).unwrap();
            assert_eq!(open(), wanted, "{} at {length}", path.display());
        }
        for at in (0..whole.len()).step_by(11) {
            let mut flipped = whole.clone();
            flipped[at] ^= 4;
            fs::write(path, flipped).unwrap();
            assert_eq!(open(), wanted, "{} flipped at {at}", path.display());
        }
        fs::write(path, whole).unwrap();
    }
    // Whatever is lost, the serial that was seen is not: not with the memory, and not with the index.
    fs::remove_file(&memory).unwrap();
    fs::remove_file(follower.settings.folder.join("memory.json.previous")).unwrap();
    assert_eq!(open(), (Some(2), 2));
    // Leftovers of a skiffd that was killed.
    fs::create_dir_all(follower.settings.folder.join("bundles/.sha256-x.new/rootfs/deep")).unwrap();
    fs::write(follower.settings.folder.join("archives/sha256-x"), "half").unwrap();
    assert_eq!(open(), (Some(2), 2));
    assert!(!follower.settings.folder.join("bundles/.sha256-x.new").exists());
    assert!(!follower.settings.folder.join("archives/sha256-x").exists());
    // A bundle that lost its configuration is fetched again.
    let bundles = follower.settings.folder.join("bundles");
    for bundle in fs::read_dir(&bundles).unwrap() {
        fs::remove_file(bundle.unwrap().path().join("config.json")).unwrap();
    }
    let mut following = follower.start();
    assert!(following.accepted().await.remembered);
    assert_eq!(following.next().await, News::Unchanged);
    assert_eq!(following.staged().await.id.version, "2.0");
}

#[tokio::test]
async fn a_memory_that_went_ahead_of_its_index_refuses_the_older_one() {
    let fleet = Fleet::new();
    fleet.edition(1, "1.0");
    let follower = Follower::new(&fleet);
    let mut following = follower.start();
    following.settled().await;
    following.end().await;
    // Power failed between the two: the second edition is remembered, the first is what there is.
    let memory = Memory { fleet: Some("kiosks".into()), serial: 3, digest: None, signed: Some(9) };
    skiff_supervisor::store::publish(&follower.settings.folder.join("memory.json"), &memory).unwrap();
    let mut following = follower.start();
    assert_eq!(following.accepted().await.serial, 1);
    following.staged().await;
    assert_eq!(following.next().await, News::Unchanged);
    fleet.edition(2, "2.0");
    following.order(Order::Sync).await;
    assert_eq!(following.failed().await.0, "rollback");
    fleet.edition(3, "2.0");
    following.order(Order::Sync).await;
    assert_eq!(following.accepted().await.serial, 3);
}

#[tokio::test]
async fn a_full_disk_refuses_and_recovers() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root, to mount a small disk");
        return;
    }
    let fleet = Fleet::new();
    fleet.edition(1, "1.0");
    let follower = Follower::new(&fleet);
    fs::create_dir(&follower.settings.folder).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", &follower.settings.folder, "tmpfs", flags, c"size=256k").unwrap();
    let mut following = follower.start();
    following.settled().await;
    let noise: Vec<u8> = (0..40_000_u32)
        .flat_map(|number| digest::of(&number.to_be_bytes()).as_str().as_bytes()[7..23].to_vec())
        .collect();
    let large = fleet.release("2.0", &bundle(&String::from_utf8(noise).unwrap()));
    fleet.publish(&index(2, &large, "2.0"));
    following.order(Order::Sync).await;
    assert_eq!(following.accepted().await.serial, 2);
    let (reason, text) = following.failed().await;
    assert_eq!(reason, "disk", "{text}");
    fleet.edition(3, "3.0");
    following.order(Order::Sync).await;
    assert_eq!(following.accepted().await.serial, 3);
    assert_eq!(following.staged().await.id.version, "3.0");
    following.end().await;
    rustix::mount::unmount(&follower.settings.folder, rustix::mount::UnmountFlags::DETACH).unwrap();
}

#[tokio::test]
async fn a_stick_is_as_good_as_a_server() {
    let fleet = Fleet::new();
    fleet.edition(1, "1.0");
    let mut follower = Follower::new(&fleet);
    let stick = tempfile::tempdir().unwrap();
    let public = stick.path().join("fleet");
    follower.settings.url = format!("file://{}", public.display());
    let mut following = follower.start();
    assert_eq!(following.failed().await.0, "status", "not plugged in yet");
    // Plugged in: the files of the server, for anybody to read.
    fs::set_permissions(stick.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for name in ["releases", "blobs"] {
        fs::create_dir_all(public.join(name)).unwrap();
    }
    let plug = |names: &[&str]| {
        for name in names {
            fs::write(public.join(name), fleet.server.take(&format!("/{name}")).unwrap()).unwrap();
        }
    };
    let blob = format!("blobs/{}", digest::of(&bundle("1.0")).file_name());
    let text = release("1.0", digest::of(&bundle("1.0")).as_str(), bundle("1.0").len());
    plug(&[
        "index.json",
        "index.json.minisig",
        &blob,
        &format!("releases/{}.json", digest::of(text.as_bytes()).file_name()),
    ]);
    following.order(Order::Sync).await;
    assert_eq!(following.accepted().await.serial, 1);
    following.staged().await;
    following.order(Order::Sync).await;
    assert_eq!(following.next().await, News::Unchanged);
    // A link on a stick leads nowhere.
    fs::remove_file(public.join("index.json")).unwrap();
    symlink("/etc/passwd", public.join("index.json")).unwrap();
    following.order(Order::Sync).await;
    assert_eq!(following.failed().await.0, "file");
    fs::remove_dir_all(&public).unwrap();
    following.order(Order::Sync).await;
    assert_eq!(following.failed().await.0, "status");
}

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
