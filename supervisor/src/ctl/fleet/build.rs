//! `skiffctl fleet build`: what people write becomes what devices take. Archives and releases are named by their digests and
//! written first; index and signature come last, so that a reader of the folder never finds an index that points at nothing.

use super::key;
use super::pack::{self, Owners};
use super::source::{self, Source};
use crate::{digest, store};
use anyhow::{Context as _, bail};
use clap::Args;
use minisign::KeyPair;
use sha2::{Digest as _, Sha256};
use skiff_planner::fleet::{Fleet, ReleaseRef};
use skiff_planner::name::Digest;
use skiff_planner::release::{Bundle, Release};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

/// What was typed.
#[derive(Args)]
pub(in crate::ctl) struct Arguments {
    /// The secret key that signs the index
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    password: key::Password,
    /// Keep the owners of files in bundle folders; otherwise all are root's
    #[arg(long)]
    keep_owners: bool,
    /// The folder with fleet.yaml
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The folder to serve; made if it is missing
    #[arg(value_name = "OUT")]
    out: PathBuf,
}

/// Builds.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let source = match source::read(&arguments.folder) {
        Ok(source) => source,
        Err(problems) => return Ok(source::complain(&problems)),
    };
    source::complain(&source.warnings);
    let pair = key::load(&arguments.key, &arguments.password)?;
    let published = Published::read(&arguments.out)?;
    let serial = source.fleet.metadata.serial;
    if let Some(there) = published.serial().filter(|there| *there > serial) {
        bail!(
            "`metadata.serial` is {serial}, and `{}` holds {there} already; devices refuse a lower one",
            arguments.out.display()
        );
    }
    let owners = if arguments.keep_owners { Owners::Kept } else { Owners::Root };
    let packed = BTreeMap::new();
    let built = Building { folder: &arguments.folder, out: &arguments.out, owners, packed }.build(source)?;
    let mut bytes = serde_json::to_vec_pretty(&built).context("cannot write the index as JSON")?;
    bytes.push(b'\n');
    if bytes.len() > 4 << 20 {
        bail!("the index has {} bytes, and devices take 4 MiB; name fewer releases or pins", bytes.len());
    }
    publish(&arguments.out, &published, &bytes, serial, &pair)?;
    println!(
        "{}: fleet `{}`, serial {serial}, {} releases",
        arguments.out.display(),
        built.metadata.name,
        built.releases.len()
    );
    Ok(ExitCode::SUCCESS)
}

/// What the folder holds already.
struct Published {
    index: Option<Vec<u8>>,
    signature: Option<Vec<u8>>,
}

impl Published {
    fn read(out: &Path) -> anyhow::Result<Self> {
        Ok(Self { index: store::read_bytes(&index(out))?, signature: store::read_bytes(&signature(out))? })
    }

    /// The serial of the index that is there; nothing where it cannot be read, and then it is replaced.
    fn serial(&self) -> Option<u64> {
        let index: Fleet = serde_json::from_slice(self.index.as_ref()?).ok()?;
        Some(index.metadata.serial)
    }
}

fn publish(out: &Path, published: &Published, bytes: &[u8], serial: u64, pair: &KeyPair) -> anyhow::Result<()> {
    let same = published.index.as_deref() == Some(bytes);
    if published.serial() == Some(serial) && !same {
        let place = out.display();
        bail!("`{place}` holds another index with serial {serial}; raise `metadata.serial` with each change");
    }
    if same && published.signature.as_deref().is_some_and(|signature| holds(pair, bytes, signature)) {
        return Ok(());
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let comment = format!("timestamp:{now}\tfile:index.json\tserial:{serial}");
    let signed = minisign::sign(Some(&pair.pk), &pair.sk, bytes, Some(&comment), Some("signature of a Skiff fleet"));
    let text = signed.context("cannot sign the index")?.to_string();
    store::publish_for_all(&index(out), bytes)?;
    store::publish_for_all(&signature(out), text.as_bytes())?;
    Ok(())
}

fn holds(pair: &KeyPair, bytes: &[u8], signature: &[u8]) -> bool {
    let text = String::from_utf8_lossy(signature);
    minisign::SignatureBox::from_string(&text).is_ok_and(|signature| {
        minisign::verify(&pair.pk, &signature, io::Cursor::new(bytes), true, false, false).is_ok()
    })
}

struct Building<'a> {
    folder: &'a Path,
    out: &'a Path,
    owners: Owners,
    /// What was packed already: services and releases often share a bundle.
    packed: BTreeMap<PathBuf, (Digest, u64)>,
}

impl Building<'_> {
    /// Writes archives and releases, and returns the index that names them.
    fn build(&mut self, source: Source) -> anyhow::Result<Fleet> {
        for name in ["releases", "blobs"] {
            store::make_folder(&self.out.join(name), 0o755)?;
        }
        let mut fleet = source.fleet;
        for (version, (path, mut release)) in source.releases {
            self.pack_bundles(&path, &mut release).with_context(|| format!("release `{version}`"))?;
            let bytes = serde_json::to_vec(&release).context("cannot write a release as JSON")?;
            let digest = digest::of(&bytes);
            let place = self.out.join("releases").join(format!("{}.json", digest.file_name()));
            if !is_whole(&place, &digest) {
                store::publish_for_all(&place, &bytes)?;
            }
            fleet.releases.insert(version, ReleaseRef::Built { digest, size: bytes.len() as u64 });
        }
        Ok(fleet)
    }

    fn pack_bundles(&mut self, path: &Path, release: &mut Release) -> anyhow::Result<()> {
        for (name, service) in &mut release.services {
            let Bundle::Path(bundle) = &service.bundle else { continue };
            if Path::new(bundle).is_absolute() {
                continue;
            }
            let place = source::bundle_place(self.folder, path, bundle).context("a bundle outside of the folder")?;
            let known = self.packed.get(&place).cloned();
            let (digest, size) = match known {
                Some(known) => known,
                None => self.blob(&place).with_context(|| format!("bundle of `{name}`"))?,
            };
            self.packed.insert(place, (digest.clone(), size));
            service.bundle = Bundle::Archive { digest, size };
        }
        Ok(())
    }

    /// Packs a folder, or takes an archive as it is, under its digest.
    fn blob(&self, place: &Path) -> anyhow::Result<(Digest, u64)> {
        let blobs = self.out.join("blobs");
        let new = blobs.join(".new");
        let fail = || format!("cannot write `{}`", new.display());
        let mut to = Hashing::new(BufWriter::new(File::create(&new).with_context(fail)?));
        if place.is_dir() {
            to = pack::pack(place, self.owners, to)?;
        } else {
            let mut from = File::open(place).with_context(|| format!("cannot read `{}`", place.display()))?;
            io::copy(&mut from, &mut to).with_context(fail)?;
        }
        let (file, digest, size) = to.end();
        let file = file.into_inner().map_err(io::IntoInnerError::into_error).with_context(fail)?;
        let named = blobs.join(digest.file_name());
        if is_whole(&named, &digest) {
            fs::remove_file(&new).with_context(fail)?;
            return Ok((digest, size));
        }
        file.sync_all().with_context(fail)?;
        fs::rename(&new, &named).with_context(|| format!("cannot publish `{}`", named.display()))?;
        store::sync_folder(&named)?;
        Ok((digest, size))
    }
}

/// Counts and digests what passes.
struct Hashing<W> {
    to: W,
    digest: Sha256,
    size: u64,
}

impl<W: Write> Hashing<W> {
    fn new(to: W) -> Self {
        Self { to, digest: Sha256::new(), size: 0 }
    }

    fn end(self) -> (W, Digest, u64) {
        (self.to, digest::end(self.digest), self.size)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Whether a file is there that holds what its name says; one that went bad is written again.
fn is_whole(path: &Path, digest: &Digest) -> bool {
    let found = || -> io::Result<Digest> {
        let mut hashing = Hashing::new(io::sink());
        io::copy(&mut File::open(path)?, &mut hashing)?;
        Ok(hashing.end().1)
    };
    found().is_ok_and(|found| found == *digest)
}

fn index(out: &Path) -> PathBuf {
    out.join("index.json")
}

fn signature(out: &Path) -> PathBuf {
    out.join("index.json.minisig")
}
