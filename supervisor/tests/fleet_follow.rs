//! Following a fleet over real HTTP, from a server that does whatever servers and networks do. Whatever it does, what was
//! believed stays believed, the reason has its word, and the server is not asked in a hurry.
#![allow(clippy::disallowed_methods, reason = "the bans protect the product; this is the server that it talks to")]
#![allow(clippy::unwrap_used, reason = "the lint's exception for tests does not reach their helper functions")]

#[path = "fleet_follow/child.rs"]
mod child;
#[path = "fleet_follow/harness.rs"]
mod harness;
#[path = "fleet_follow/library.rs"]
mod library;
#[path = "fleet_follow/refusals.rs"]
mod refusals;
#[path = "fleet_follow/server.rs"]
mod server;

use harness::{Fleet, Follower, bundle, index, release, response};
use server::Act;
use skiff_planner::span::Span;
use skiff_supervisor::digest;
use skiff_supervisor::fleet::{Accepted, News, Order};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::time::{Duration, Instant};

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
