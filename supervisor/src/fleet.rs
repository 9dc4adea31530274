//! Index and releases: fetched by a child, believed only when signed, kept so that they outlive the server.
//!
//! ```text
//!                 ┌─ fetch::child (own user, no files) ─┐
//!   fleet files ──┤  GET, conditional and limited       ├──> verify ──> library (memory, then index) ──> planner::select
//!                 └─────────────────────────────────────┘    (pure)                                          │
//!   unpack::child (no network, one folder) <── archives by digest <── release by digest <────────────────────┘
//!            │
//!            └──> library (bundles) ──> News::Staged to the daemon's loop
//! ```
//!
//! `follow` is the task that goes through this again and again. It has no say about containers: it tells the loop what it
//! found ([`News`]), and the loop tells it what to keep ([`Order`]).

mod children;
mod confine;
pub mod fetch;
pub mod follow;
pub mod library;
pub mod schedule;
pub mod unpack;
pub mod verify;

use crate::config::Config;
use skiff_planner::fleet::{Gate, Poll, StatusTarget};
use skiff_planner::name::{Digest, ReleaseId};
use skiff_planner::release::Release;
use skiff_planner::select::Device;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// Which fleet is followed, how, and where what it says is kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder of `index.json`: `http://`, `https://` or `file:///`, without a slash at its end.
    pub url: String,
    /// The fleet's name, where the device knows it.
    pub name: Option<String>,
    /// The folder with the public keys, `*.pub`; read anew each time.
    pub trust: PathBuf,
    /// Certificates in place of those built in.
    pub ca_file: Option<PathBuf>,
    /// The user of the child that talks to the network.
    pub user: String,
    /// Where the library is: `<state>/fleet`.
    pub folder: PathBuf,
    /// Whose release is wanted.
    pub device: Device,
    /// `skiffd`: the children are `skiffd fetch` and `skiffd unpack`.
    pub program: PathBuf,
    /// Until an index says how often to look.
    pub poll: Poll,
    /// From one request to the next, at least.
    pub spacing: Duration,
    /// How much is taken.
    pub limits: Limits,
}

/// How much is taken from a server and from an archive. What is larger is refused, whoever signed it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of an index.
    pub index: u64,
    /// Bytes of a release.
    pub release: u64,
    /// Bytes of an archive.
    pub archive: u64,
    /// Bytes of all files of an archive.
    pub unpacked: u64,
    /// Entries of an archive.
    pub entries: u64,
    /// Until a server has taken the connection.
    pub connect: Duration,
    /// Until a small document is there, and the least for an archive.
    pub document: Duration,
    /// An archive may take [`Self::document`] and a second for each so many bytes.
    pub slowest: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            index: 4 << 20,
            release: 1 << 20,
            archive: 2 << 30,
            unpacked: 4 << 30,
            entries: 200_000,
            connect: Duration::from_secs(20),
            document: Duration::from_secs(60),
            slowest: 16 << 10,
        }
    }
}

impl Settings {
    /// The settings of the fleet that `config` names, if it names one.
    #[must_use]
    pub fn new(config: &Config, program: PathBuf) -> Option<Self> {
        let fleet = config.fleet.clone()?;
        Some(Self {
            url: fleet.url,
            name: fleet.name,
            trust: fleet.trust,
            ca_file: fleet.ca_file,
            user: fleet.user,
            folder: config.state.join("fleet"),
            device: config.device.clone(),
            program,
            poll: Poll { interval: crate::config::FIRST_POLL, ..Poll::default() },
            spacing: Duration::from_secs(1),
            limits: Limits::default(),
        })
    }
}

/// What the daemon's loop hears.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// An index holds. It is on disk. Also the first news after a start, from disk, before any network.
    Accepted(Box<Accepted>),
    /// This device's release is on disk with all its bundles: it can be run, also without the server.
    Staged(Box<Staged>),
    /// The index has no release for this device.
    NoRelease {
        /// Each step of the choice.
        steps: Vec<String>,
    },
    /// The server answered, and what it said is not believed. What was believed before still is.
    Refused {
        /// One word, for `skiff_fleet_fetch_failures_total`.
        reason: &'static str,
        /// For people.
        text: String,
    },
    /// The server did not answer, or with an error.
    Unreachable {
        /// One word, for `skiff_fleet_fetch_failures_total`.
        reason: &'static str,
        /// For people.
        text: String,
    },
    /// The server answered that nothing changed.
    Unchanged,
}

/// An index that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The fleet.
    pub fleet: String,
    /// Its edition.
    pub serial: u64,
    /// Of the index's bytes.
    pub digest: Digest,
    /// The server's name for this edition, if it gave one.
    pub etag: Option<String>,
    /// Which key signed it.
    pub key: String,
    /// Past it the index is stale, which raises an alarm and stops nothing.
    pub expires: Option<SystemTime>,
    /// The newest time that a key has vouched for: no earlier time is true, whatever the clock says.
    pub signed: Option<SystemTime>,
    /// Where to report to.
    pub status: Option<StatusTarget>,
    /// The group that this device is in.
    pub group: Option<String>,
    /// The release that this device is to run.
    pub release: Option<ReleaseId>,
    /// Whether this came from disk at the start.
    pub remembered: bool,
}

impl Accepted {
    /// Whether the index is past its day. The clock is believed only forwards: an hour that a key has vouched for is past.
    #[must_use]
    pub fn is_stale(&self, clock: SystemTime) -> bool {
        let now = self.signed.map_or(clock, |signed| signed.max(clock));
        self.expires.is_some_and(|expires| now > expires)
    }
}

/// A release that can be run.
#[derive(Clone, Debug, PartialEq)]
pub struct Staged {
    /// Which.
    pub id: ReleaseId,
    /// What it says.
    pub release: Release,
    /// When it counts as good.
    pub gate: Gate,
    /// Through which group it is this device's; none for a pin.
    pub group: Option<String>,
    /// Where the bundles are that came as archives: folders with `config.json` and `rootfs`.
    pub bundles: BTreeMap<Digest, PathBuf>,
}

/// What the daemon's loop asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Look now, whatever the schedule says; the spacing of requests stays.
    Sync,
    /// Of releases and their bundles keep these and the one that is being fetched. Sent after a commit.
    Keep(Vec<Digest>),
}
