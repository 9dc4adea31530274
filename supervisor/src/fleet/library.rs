//! The library: what is kept of a fleet so that it outlives the server. Below `<state>/fleet`:
//!
//! ```text
//!   memory.json                     the highest serial ever believed; on disk before the index that has it
//!   index.json                      the index that is believed, its bytes and signature, checked again when it is read
//!   releases/sha256-….json          releases as they came
//!   bundles/sha256-…/               archives, unpacked: `config.json`, `rootfs`
//! ```
//!
//! Nothing is written while nothing changes. What is found damaged is left out, said, and fetched again.

use super::unpack;
use super::verify::{self, Judged, Keys, Memory};
use super::{Accepted, Settings, Staged};
use crate::chain::chain;
use crate::clock::rfc3339;
use crate::{digest, store};
use serde::{Deserialize, Serialize};
use skiff_planner::fleet::ReleaseRef;
use skiff_planner::lint;
use skiff_planner::name::{Digest, ReleaseId};
use skiff_planner::release::{Bundle, Release};
use skiff_planner::select::{Selection, select};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// Where the bundles of a release are, by the digest of their archive.
pub type Bundles = BTreeMap<Digest, PathBuf>;

/// Why something cannot be kept or found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// See [`store::Error`].
    #[error(transparent)]
    Store(#[from] store::Error),
    /// See [`unpack::Error`].
    #[error(transparent)]
    Unpack(#[from] unpack::Error),
    /// A folder of the library cannot be read.
    #[error("cannot read the folder `{path}`")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Why a release is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseRefusal {
    /// Other bytes than the index names.
    #[error("the release `{digest}` has the digest `{found}`")]
    Digest {
        /// As the index has it.
        digest: Digest,
        /// As it came.
        found: Digest,
    },
    /// Not a release.
    #[error("the release `{digest}` is not understood: {text}")]
    Syntax {
        /// Which.
        digest: Digest,
        /// Why not.
        text: String,
    },
    /// Wrong.
    #[error("the release `{digest}` is wrong: {text}")]
    Lint {
        /// Which.
        digest: Digest,
        /// All that is wrong.
        text: String,
    },
    /// Called otherwise than the index calls it.
    #[error("the release `{digest}` says that it is `{found}`; the index calls it `{version}`")]
    Version {
        /// Which.
        digest: Digest,
        /// As it says.
        found: String,
        /// As the index has it.
        version: String,
    },
}

impl ReleaseRefusal {
    /// One word for the metric.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Digest { .. } => "digest",
            Self::Syntax { .. } | Self::Version { .. } => "syntax",
            Self::Lint { .. } => "lint",
        }
    }
}

/// An index on disk. Bytes and signature are one document, so that no power cut can part them.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    index: String,
    signature: String,
    etag: Option<String>,
}

/// The index that is believed now.
#[derive(Clone, Debug)]
pub struct Believed {
    /// What was judged.
    pub judged: Judged,
    /// The server's name for it, which is only true of the server that gave it.
    pub etag: Option<String>,
    /// Which release this device is to run, and why.
    pub selection: Selection,
}

/// The library, with its one writer.
#[derive(Debug)]
pub struct Library {
    shelf: Shelf,
    memory: Memory,
    believed: Option<Believed>,
}

/// The library for those who only read. What it finds does not change under them: releases and bundles are immutable.
#[derive(Clone, Debug)]
pub struct Shelf {
    folder: PathBuf,
}

impl Library {
    /// Opens the library, without any network. What a killed skiffd left half is cleared away. An index that no trusted key
    /// holds for any more, or that is damaged, is not believed, and said so; releases are found by digest nevertheless.
    ///
    /// # Errors
    /// [`Error::Store`] when the folder cannot be made.
    pub fn open(settings: &Settings) -> Result<Self, Error> {
        let shelf = Shelf { folder: settings.folder.clone() };
        store::make_folder(&shelf.folder, 0o700)?;
        for folder in [shelf.releases(), shelf.bundles(), shelf.archives()] {
            store::make_folder(&folder, 0o700)?;
        }
        if let Err(error) = shelf.clear_leftovers() {
            // They are in nobody's way but that of a fetch, which says so itself.
            tracing::warn!("what an earlier skiffd left half stays: {:#}", anyhow::Error::from(error));
        }
        let memory = store::load::<Memory>(&shelf.memory()).unwrap_or_else(|error| {
            // Losing it must not stop a device for good; the index that is believed brings its own serial back.
            tracing::error!("what is remembered of the fleet is lost: {}", chain(&error));
            None
        });
        let memory = memory.unwrap_or_default();
        let mut library = Self { shelf, memory, believed: None };
        match library.read_index(settings) {
            Ok(None) => {}
            Ok(Some(mut believed)) => {
                // A memory that was lost or is older than the index cannot let an older index in.
                library.memory = newer(library.memory, &believed.judged.memory);
                believed.judged.memory = library.memory.clone();
                library.believed = Some(believed);
            }
            Err(text) => tracing::error!("the index on disk is not believed: {text}"),
        }
        Ok(library)
    }

    /// For reading.
    #[must_use]
    pub fn shelf(&self) -> Shelf {
        self.shelf.clone()
    }

    /// What is remembered.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The index that is believed.
    #[must_use]
    pub fn believed(&self) -> Option<&Believed> {
        self.believed.as_ref()
    }

    /// Keeps an index that holds: first what has to be remembered, then the index. The same once more writes nothing.
    ///
    /// # Errors
    /// [`Error::Store`], and then the one before is still believed.
    pub fn accept(
        &mut self,
        settings: &Settings,
        judged: Judged,
        bytes: &[u8],
        signature: &[u8],
        etag: Option<String>,
    ) -> Result<(), Error> {
        let selection = select(&judged.fleet, &settings.device);
        let same = self.believed.as_ref().is_some_and(|believed| believed.judged.digest == judged.digest);
        if judged.memory != self.memory {
            store::publish(&self.shelf.memory(), &judged.memory)?;
        }
        if !same {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let kept = Kept { index: text(bytes), signature: text(signature), etag: etag.clone() };
            store::publish(&self.shelf.index(), &kept)?;
        }
        self.memory = judged.memory.clone();
        self.believed = Some(Believed { judged, etag, selection });
        Ok(())
    }

    /// What the server calls the believed index now. Not written down: it is worth no more than one answer.
    pub fn called(&mut self, etag: Option<String>) {
        if let Some(believed) = &mut self.believed {
            believed.etag = etag;
        }
    }

    /// Keeps a release that holds.
    ///
    /// # Errors
    /// [`Error::Store`]
    pub fn keep_release(&self, digest: &Digest, bytes: &[u8]) -> Result<(), Error> {
        Ok(store::publish_bytes(&self.shelf.release_file(digest), bytes)?)
    }

    /// Takes away every release but these and the one that the believed index gives this device, and every bundle that
    /// none of them has. A release that cannot be read keeps every bundle: better a full disk than a missing one.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn collect(&self, keep: &[Digest]) -> Result<(), Error> {
        let mut kept: BTreeSet<Digest> = keep.iter().cloned().collect();
        kept.extend(self.believed.as_ref().and_then(Believed::release).map(|(id, _)| id.digest));
        let mut bundles = BTreeSet::new();
        for digest in &kept {
            match self.shelf.release(digest) {
                Ok(Some(release)) => bundles.extend(archives(&release).into_keys()),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!("nothing is collected: {}", chain(&error));
                    return Ok(());
                }
            }
        }
        let of_release = |name: &str| digest_of(name.strip_suffix(".json")?);
        for (name, _) in names(&self.shelf.releases())?.iter().filter_map(|name| Some((name, of_release(name)?))) {
            if of_release(name).is_some_and(|digest| !kept.contains(&digest)) {
                store::remove(&self.shelf.releases().join(name))?;
            }
        }
        for (name, digest) in names(&self.shelf.bundles())?.iter().filter_map(|name| Some((name, digest_of(name)?))) {
            if !bundles.contains(&digest) {
                // Out of sight first, so that a removal that is cut short does not look like a bundle.
                let (folder, hidden) =
                    (self.shelf.bundles().join(name), unpack::unfinished(&self.shelf.bundles().join(name)));
                unpack::discard(&hidden)?;
                std::fs::rename(&folder, &hidden).map_err(|source| Error::Folder { path: folder, source })?;
                unpack::discard(&hidden)?;
            }
        }
        Ok(())
    }

    /// The index on disk, judged anew.
    fn read_index(&self, settings: &Settings) -> Result<Option<Believed>, String> {
        let Some(kept) = store::load::<Kept>(&self.shelf.index()).map_err(|error| chain(&error))? else {
            return Ok(None);
        };
        let keys = Keys::read(&settings.trust).map_err(|error| chain(&error))?;
        let (bytes, signature) = (kept.index.as_bytes(), kept.signature.as_bytes());
        // What was believed once may be older than what is remembered: power failed before the newer one was on disk.
        let whose = Memory { fleet: self.memory.fleet.clone(), ..Memory::default() };
        let judged = verify::judge(bytes, signature, &keys, &whose, settings.name.as_deref());
        let judged = judged.map_err(|refusal| chain(&refusal))?;
        let selection = select(&judged.fleet, &settings.device);
        Ok(Some(Believed { judged, etag: kept.etag, selection }))
    }
}

impl Believed {
    /// The release that this device is to run, and how long its document is.
    #[must_use]
    pub fn release(&self) -> Option<(ReleaseId, u64)> {
        let version = self.selection.version.clone()?;
        match self.judged.fleet.releases.get(&version)? {
            ReleaseRef::Built { digest, size } => Some((ReleaseId { version, digest: digest.clone() }, *size)),
            // Not believed in the first place.
            ReleaseRef::Source(_) => None,
        }
    }

    /// What the daemon's loop hears of it.
    #[must_use]
    pub fn news(&self, remembered: bool) -> Accepted {
        let metadata = &self.judged.fleet.metadata;
        Accepted {
            fleet: metadata.name.clone(),
            serial: metadata.serial,
            digest: self.judged.digest.clone(),
            etag: self.etag.clone(),
            key: self.judged.key.clone(),
            expires: metadata.expires.as_deref().and_then(rfc3339::parse),
            signed: self.judged.memory.signed.and_then(verify::time),
            status: self.judged.fleet.status.clone(),
            group: self.selection.group.clone(),
            release: self.release().map(|(id, _)| id),
            remembered,
        }
    }

    /// The release of this index as the daemon's loop takes it, if it is there with all its bundles.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn staged(&self, shelf: &Shelf) -> Result<Option<Staged>, Error> {
        let Some((id, _)) = self.release() else { return Ok(None) };
        let Some((release, bundles)) = shelf.staged(&id.digest)? else { return Ok(None) };
        let (gate, group) = (self.selection.gate.clone(), self.selection.group.clone());
        Ok(Some(Staged { id, release, gate, group, bundles }))
    }
}

impl Shelf {
    /// A release, if it is here; one that went bad is not.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn release(&self, digest: &Digest) -> Result<Option<Release>, Error> {
        let Some(bytes) = store::read_bytes(&self.release_file(digest))? else { return Ok(None) };
        match judge_release(digest, &bytes) {
            Ok(release) => Ok(Some(release)),
            Err(refusal) => {
                tracing::warn!("on disk: {refusal}");
                Ok(None)
            }
        }
    }

    /// A release and where its bundles are, if all of it is here.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn staged(&self, digest: &Digest) -> Result<Option<(Release, Bundles)>, Error> {
        let Some(release) = self.release(digest)? else { return Ok(None) };
        let bundles: Bundles =
            archives(&release).into_keys().map(|digest| (digest.clone(), self.bundle(&digest))).collect();
        let whole = bundles.values().all(|folder| folder.join("config.json").is_file());
        Ok(whole.then_some((release, bundles)))
    }

    /// Where the bundle of an archive is, or would be.
    #[must_use]
    pub fn bundle(&self, digest: &Digest) -> PathBuf {
        self.bundles().join(digest.file_name())
    }

    /// Where an archive is while it is being fetched and unpacked.
    #[must_use]
    pub fn archive(&self, digest: &Digest) -> PathBuf {
        self.archives().join(digest.file_name())
    }

    fn clear_leftovers(&self) -> Result<(), Error> {
        for name in names(&self.bundles())?.iter().filter(|name| name.starts_with('.')) {
            unpack::discard(&self.bundles().join(name))?;
        }
        for name in names(&self.archives())? {
            store::remove(&self.archives().join(name))?;
        }
        Ok(())
    }

    fn memory(&self) -> PathBuf {
        self.folder.join("memory.json")
    }

    fn index(&self) -> PathBuf {
        self.folder.join("index.json")
    }

    fn releases(&self) -> PathBuf {
        self.folder.join("releases")
    }

    fn bundles(&self) -> PathBuf {
        self.folder.join("bundles")
    }

    fn archives(&self) -> PathBuf {
        self.folder.join("archives")
    }

    fn release_file(&self, digest: &Digest) -> PathBuf {
        self.releases().join(format!("{}.json", digest.file_name()))
    }
}

/// The memory that lets less in.
fn newer(memory: Memory, index: &Memory) -> Memory {
    let signed = memory.signed.max(index.signed);
    let known = memory.fleet == index.fleet && memory.serial >= index.serial;
    Memory { signed, ..if known { memory } else { index.clone() } }
}

/// Whether bytes are the release of a digest, as a device takes it.
///
/// # Errors
/// See [`ReleaseRefusal`].
pub fn judge_release(digest: &Digest, bytes: &[u8]) -> Result<Release, ReleaseRefusal> {
    let found = digest::of(bytes);
    if found != *digest {
        return Err(ReleaseRefusal::Digest { digest: digest.clone(), found });
    }
    let syntax = |error: serde_json::Error| ReleaseRefusal::Syntax { digest: digest.clone(), text: error.to_string() };
    let release: Release = serde_json::from_slice(bytes).map_err(syntax)?;
    let problems = lint::built_release(&release);
    if lint::refuses(&problems) {
        let errors = problems.iter().filter(|problem| problem.severity == lint::Severity::Error);
        let text = errors.map(ToString::to_string).collect::<Vec<_>>().join("; ");
        return Err(ReleaseRefusal::Lint { digest: digest.clone(), text });
    }
    Ok(release)
}

/// The archives that a release needs, and how long they are.
#[must_use]
pub fn archives(release: &Release) -> BTreeMap<Digest, u64> {
    let of = |bundle: &Bundle| match bundle {
        Bundle::Archive { digest, size } => Some((digest.clone(), *size)),
        Bundle::Path(_) => None,
    };
    release.services.values().filter_map(|service| of(&service.bundle)).collect()
}

fn digest_of(file_name: &str) -> Option<Digest> {
    file_name.replacen('-', ":", 1).parse().ok()
}

fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let fail = |source| Error::Folder { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        names.extend(entry.map_err(fail)?.file_name().into_string().ok());
    }
    Ok(names)
}
