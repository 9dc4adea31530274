//! A fleet with its key on a server, a device that follows it, and the news that it has.

use super::server::Server;
use minisign::KeyPair;
use skiff_planner::fleet::Poll;
use skiff_planner::select::Device;
use skiff_planner::span::Span;
use skiff_supervisor::digest;
use skiff_supervisor::fleet::follow::follow;
use skiff_supervisor::fleet::library::Library;
use skiff_supervisor::fleet::{Accepted, Limits, News, Order, Settings, Staged};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;

/// A server with a fleet, and its key.
pub(super) struct Fleet {
    pub(super) server: Server,
    pub(super) pair: KeyPair,
}

impl Fleet {
    pub(super) fn new() -> Self {
        Self { server: Server::start(), pair: KeyPair::generate_unencrypted_keypair().unwrap() }
    }

    pub(super) fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        sign(&self.pair, bytes)
    }

    /// Publishes an archive and a release that has it, and returns how an index names the release.
    pub(super) fn release(&self, version: &str, archive: &[u8]) -> String {
        let blob = digest::of(archive);
        self.server.put(&format!("/blobs/{}", blob.file_name()), archive);
        let release = release(version, blob.as_str(), archive.len());
        self.server.put(&format!("/releases/{}.json", digest::of(release.as_bytes()).file_name()), release.clone());
        named(version, &release)
    }

    pub(super) fn publish(&self, index: &str) {
        self.server.put("/index.json", index);
        self.server.put("/index.json.minisig", self.sign(index.as_bytes()));
    }

    /// Publishes edition `serial` with one release, `version`, for everybody.
    pub(super) fn edition(&self, serial: u64, version: &str) {
        let release = self.release(version, &bundle(version));
        self.publish(&index(serial, &release, version));
    }
}

pub(super) fn sign(pair: &KeyPair, bytes: &[u8]) -> Vec<u8> {
    minisign::sign(None, &pair.sk, bytes, Some("timestamp:1700000000"), None).unwrap().to_string().into()
}

pub(super) fn index(serial: u64, releases: &str, version: &str) -> String {
    format!(
        r#"{{"apiVersion":"skiff.dev/v1","kind":"Fleet","metadata":{{"name":"kiosks","serial":{serial}}},
        "poll":{{"interval":"1h","jitter":"0%","maxBackoff":"6h"}},
        "releases":{{{releases}}},"groups":[{{"name":"all","release":"{version}"}}]}}"#
    )
}

pub(super) fn release(version: &str, blob: &str, size: impl std::fmt::Display) -> String {
    format!(
        r#"{{"apiVersion":"skiff.dev/v1","kind":"Release","metadata":{{"name":"kiosk","version":"{version}"}},
        "services":{{"web":{{"bundle":{{"digest":"{blob}","size":{size}}}}}}}}}"#
    )
}

pub(super) fn named(version: &str, release: &str) -> String {
    let digest = digest::of(release.as_bytes());
    format!(r#""{version}":{{"digest":"{digest}","size":{}}}"#, release.len())
}

/// An archive of a small bundle.
pub(super) fn bundle(text: &str) -> Vec<u8> {
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
pub(super) struct Follower {
    pub(super) folder: tempfile::TempDir,
    pub(super) settings: Settings,
}

impl Follower {
    pub(super) fn new(fleet: &Fleet) -> Self {
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

    pub(super) fn start(&self) -> Following {
        let (news_to, news) = mpsc::channel(64);
        let (orders, orders_from) = mpsc::channel(64);
        let library = Library::open(&self.settings).unwrap();
        let task = tokio::spawn(follow(self.settings.clone(), library, news_to, orders_from));
        Following { news, orders, task }
    }

    /// Every file of the library: path, inode, time and content.
    pub(super) fn kept(&self) -> Vec<(PathBuf, u64, i64, Vec<u8>)> {
        let mut kept = Vec::new();
        look(&self.settings.folder, &mut kept);
        kept.sort();
        kept
    }
}

pub(super) fn look(folder: &Path, kept: &mut Vec<(PathBuf, u64, i64, Vec<u8>)>) {
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

pub(super) struct Following {
    pub(super) news: mpsc::Receiver<News>,
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) task: tokio::task::JoinHandle<()>,
}

impl Following {
    pub(super) async fn next(&mut self) -> News {
        tokio::time::timeout(Duration::from_secs(30), self.news.recv()).await.expect("news within a moment").unwrap()
    }

    pub(super) async fn accepted(&mut self) -> Accepted {
        match self.next().await {
            News::Accepted(accepted) => *accepted,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn staged(&mut self) -> Staged {
        match self.next().await {
            News::Staged(staged) => *staged,
            other => panic!("{other:?}"),
        }
    }

    /// A new edition whose release is then there.
    pub(super) async fn settled(&mut self) {
        self.accepted().await;
        self.staged().await;
    }

    /// The reason why there is nothing new.
    pub(super) async fn failed(&mut self) -> (&'static str, String) {
        match self.next().await {
            News::Refused { reason, text } | News::Unreachable { reason, text } => (reason, text),
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn order(&self, order: Order) {
        self.orders.send(order).await.unwrap();
    }

    pub(super) async fn end(mut self) {
        self.news.close();
        tokio::time::timeout(Duration::from_secs(10), self.task).await.expect("it ends with its listener").unwrap();
    }
}

pub(super) fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {status}\r\n{headers}\r\n").as_bytes(), body].concat()
}
