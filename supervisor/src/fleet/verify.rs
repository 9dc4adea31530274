//! Belief: whether an index is what the holder of a trusted key said, for this fleet, and not older than what was believed
//! before. [`judge`] is pure; nothing of a document is parsed before its signature holds.

mod key;

pub(crate) use key::decode;
pub use key::{Error, Keys};

use crate::digest;
use minisign_verify::Signature;
use serde::{Deserialize, Serialize};
use skiff_planner::fleet::{API_VERSION, Fleet, ReleaseRef};
use skiff_planner::lint::{self, Severity};
use skiff_planner::name::Digest;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// The highest serial that is believed: beyond it JSON readers begin to round, and a document that claims it could never
/// be followed by another.
pub const HIGHEST_SERIAL: u64 = 1 << 53;

/// What is remembered of everything that was ever believed. It is on disk before anything that follows from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// The fleet; until the settings name another, no other is followed.
    pub fleet: Option<String>,
    /// The highest serial of that fleet.
    pub serial: u64,
    /// Of the bytes that had it.
    pub digest: Option<Digest>,
    /// The newest time that a key has vouched for, in seconds since 1970.
    pub signed: Option<u64>,
}

/// An index that is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// What it says.
    pub fleet: Fleet,
    /// Of its bytes.
    pub digest: Digest,
    /// Which key signed it.
    pub key: String,
    /// What is to be remembered from now on.
    pub memory: Memory,
}

/// Why an index is not believed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing came.
    #[error("the index is empty")]
    Empty,
    /// Something else came.
    #[error("the index is not JSON; it begins with `{0}`, as the page of a portal or a proxy might")]
    NotJson(String),
    /// The end is missing.
    #[error("the index is cut off after {0} bytes")]
    CutOff(usize),
    /// There is no key to check with.
    #[error("the index cannot be checked; put the fleet's public key into `{0}`")]
    NoKeys(String),
    /// The signature file is something else.
    #[error("the signature of the index is not a minisign signature")]
    NoSignature,
    /// The signature is of a kind that is not taken.
    #[error("the signature of the index by key {0} is of minisign's legacy kind; sign with `minisign -S -H`")]
    Legacy(String),
    /// Signed by somebody else.
    #[error("the index is signed by key {id}, which is not trusted; trusted are {trusted}")]
    UnknownKey {
        /// Who signed.
        id: String,
        /// Who may.
        trusted: String,
    },
    /// The bytes are not the signed ones.
    #[error("the index is not what key {0} signed")]
    Signature(String),
    /// Signed, and not an index.
    #[error("the index is signed, and not understood: {0}")]
    Syntax(String),
    /// Signed, and wrong.
    #[error("the index is signed, and wrong: {0}")]
    Lint(String),
    /// As people write it, not as a device takes it.
    #[error("the index names release `{0}` by a path; let `skiffctl fleet build` make the index")]
    Unbuilt(String),
    /// Another fleet's.
    #[error("the index is of fleet `{found}`; this device follows `{followed}`")]
    Fleet {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        followed: String,
    },
    /// An older one.
    #[error("the index has serial {found}; {seen} was seen already")]
    Rollback {
        /// What it has.
        found: u64,
        /// The highest seen.
        seen: u64,
    },
    /// Other bytes under the same serial.
    #[error("the index has serial {0}, as one with other content had; raise `metadata.serial` with each change")]
    Rewritten(u64),
    /// A serial that nothing could follow.
    #[error("the index has serial {0}; the highest is {HIGHEST_SERIAL}")]
    FastForward(u64),
}

impl Refusal {
    /// One word for the metric. These words are an interface: alerts are written against them.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotJson(_) => "not_json",
            Self::CutOff(_) => "cut_off",
            Self::NoKeys(_) => "no_keys",
            Self::NoSignature | Self::Legacy(_) | Self::Signature(_) => "signature",
            Self::UnknownKey { .. } => "unknown_key",
            Self::Syntax(_) | Self::Unbuilt(_) => "syntax",
            Self::Lint(_) => "lint",
            Self::Fleet { .. } => "other_fleet",
            Self::Rollback { .. } => "rollback",
            Self::Rewritten(_) => "rewritten",
            Self::FastForward(_) => "fast_forward",
        }
    }
}

/// Whether an index is believed. `name` is the fleet's where the settings give it.
///
/// # Errors
/// See [`Refusal`].
pub fn judge(
    bytes: &[u8],
    signature: &[u8],
    keys: &Keys,
    memory: &Memory,
    name: Option<&str>,
) -> Result<Judged, Refusal> {
    looks_whole(bytes)?;
    let (key, signed) = check_signature(bytes, signature, keys)?;
    let fleet = read(bytes)?;
    let followed = name.or(memory.fleet.as_deref());
    if let Some(followed) = followed.filter(|followed| *followed != fleet.metadata.name) {
        return Err(Refusal::Fleet { found: fleet.metadata.name, followed: followed.to_owned() });
    }
    // Serials of one fleet say nothing about another's, which only the settings can choose.
    let same_fleet = memory.fleet.as_ref() == Some(&fleet.metadata.name);
    let seen = if same_fleet { memory.serial } else { 0 };
    let digest = digest::of(bytes);
    let serial = fleet.metadata.serial;
    if serial > HIGHEST_SERIAL {
        return Err(Refusal::FastForward(serial));
    }
    if serial < seen {
        return Err(Refusal::Rollback { found: serial, seen });
    }
    if same_fleet && serial == seen && memory.digest.as_ref().is_some_and(|known| *known != digest) {
        return Err(Refusal::Rewritten(serial));
    }
    let problems = lint::fleet(&fleet, &BTreeMap::new());
    if lint::refuses(&problems) {
        let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
        return Err(Refusal::Lint(errors.map(ToString::to_string).collect::<Vec<_>>().join("; ")));
    }
    let memory = Memory {
        fleet: Some(fleet.metadata.name.clone()),
        serial,
        digest: Some(digest.clone()),
        signed: memory.signed.max(signed),
    };
    Ok(Judged { fleet, digest, key, memory })
}

/// A time that a key has vouched for, as the standard library has it.
#[must_use]
pub fn time(seconds: u64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Only for better words: what comes from portals, proxies and full disks of servers is told from a forgery.
fn looks_whole(bytes: &[u8]) -> Result<(), Refusal> {
    let inside = bytes.trim_ascii();
    match (inside.first(), inside.last()) {
        (None, _) | (_, None) => Err(Refusal::Empty),
        (Some(b'{'), Some(b'}')) => Ok(()),
        (Some(b'{'), Some(_)) => Err(Refusal::CutOff(bytes.len())),
        (Some(_), Some(_)) => {
            let start: String = String::from_utf8_lossy(&inside[..inside.len().min(16)]).escape_default().collect();
            Err(Refusal::NotJson(start))
        }
    }
}

/// Which key signed, and when it says it did.
fn check_signature(bytes: &[u8], signature: &[u8], keys: &Keys) -> Result<(String, Option<u64>), Refusal> {
    if keys.is_empty() {
        return Err(Refusal::NoKeys(keys.folder().display().to_string()));
    }
    let text = std::str::from_utf8(signature).map_err(|_| Refusal::NoSignature)?;
    let decoded = Signature::decode(text).map_err(|_| Refusal::NoSignature)?;
    let id = key::id(text).ok_or(Refusal::NoSignature)?;
    let of_that_id = keys.by_id(&id);
    if of_that_id.is_empty() {
        return Err(Refusal::UnknownKey { id, trusted: keys.ids().join(", ") });
    }
    let results: Vec<_> = of_that_id.iter().map(|key| key.verify(bytes, &decoded, false)).collect();
    if results.iter().any(Result::is_ok) {
        return Ok((id, timestamp(decoded.trusted_comment())));
    }
    if results.iter().any(|result| matches!(result, Err(minisign_verify::Error::UnexpectedAlgorithm))) {
        return Err(Refusal::Legacy(id));
    }
    Err(Refusal::Signature(id))
}

/// `timestamp:1633700835` of a trusted comment, which is signed as well.
fn timestamp(comment: &str) -> Option<u64> {
    comment.split_whitespace().find_map(|word| word.strip_prefix("timestamp:")?.parse().ok())
}

/// What an index says, with everything refused that a device does not take.
///
/// # Errors
/// [`Refusal::Syntax`], [`Refusal::Unbuilt`]
fn read(bytes: &[u8]) -> Result<Fleet, Refusal> {
    let fleet: Fleet = serde_json::from_slice(bytes).map_err(|error| Refusal::Syntax(error.to_string()))?;
    if fleet.api_version != API_VERSION || fleet.kind != "Fleet" {
        let found = format!("it is a `{}` of `{}`, not a `Fleet` of `{API_VERSION}`", fleet.kind, fleet.api_version);
        return Err(Refusal::Syntax(found));
    }
    let unbuilt = fleet.releases.iter().find(|(_, release)| matches!(release, ReleaseRef::Source(_)));
    if let Some((version, _)) = unbuilt {
        return Err(Refusal::Unbuilt(version.clone()));
    }
    Ok(fleet)
}

#[cfg(test)]
mod tests;
