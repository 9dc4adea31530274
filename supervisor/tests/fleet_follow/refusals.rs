//! What a server or a network may do with index, releases and archives: each has its word, and what was believed stays.

use super::harness::{Fleet, Follower, bundle, index, named, release, response, sign};
use super::server::Act;
use minisign::KeyPair;
use skiff_supervisor::digest;
use skiff_supervisor::fleet::library::Library;
use skiff_supervisor::fleet::{News, Order};
use std::fs;
use std::time::Duration;

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
    let sized = |size: u64| release("2.0", blob.as_str(), size);
    let text = sized(good.len() as u64);
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
        same("cut_off", "an archive that is shorter than declared", &sized(good.len() as u64 + 1)),
        same("too_large", "one that is longer", &sized(good.len() as u64 - 1)),
        Wrong { act: Some(endless), ..same("too_large", "one that has no end", &text) },
        same("too_large", "one that is larger than is taken", &sized(1 << 40)),
        Wrong { archive: Some(bad.clone()), ..same("digest", "another bundle", &sized(bad.len() as u64)) },
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
