//! A bundle folder as an archive: the same folder always gives the same bytes, whoever packs it and when. Names in order,
//! no times, and owner 0 unless the folder's own owners are asked for.

use anyhow::{Context as _, bail};
use flate2::{Compression, GzBuilder};
use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// Whose the files of an archive are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Owners {
    /// All are root's, as in an image that was built without root.
    Root,
    /// As they are in the folder.
    Kept,
}

/// Writes a bundle folder, gzipped.
pub(super) fn pack<W: Write>(folder: &Path, owners: Owners, to: W) -> anyhow::Result<W> {
    for name in names(folder)? {
        if name != "config.json" && name != "rootfs" {
            let place = folder.join(&name);
            bail!("`{}` is neither `config.json` nor `rootfs`; a bundle has nothing else", place.display());
        }
    }
    // No name and no time in gzip's own header either.
    let gzip = GzBuilder::new().mtime(0).write(to, Compression::default());
    let mut packing = Packing { root: folder, owners, archive: Builder::new(gzip), linked: BTreeMap::new() };
    for name in ["config.json", "rootfs"] {
        packing.add(Path::new(name))?;
    }
    let gzip = packing.archive.into_inner().context("cannot end the archive")?;
    gzip.finish().context("cannot end the archive")
}

struct Packing<'a, W: Write> {
    root: &'a Path,
    owners: Owners,
    archive: Builder<W>,
    /// Where a file with several names was packed first, by device and inode.
    linked: BTreeMap<(u64, u64), PathBuf>,
}

impl<W: Write> Packing<'_, W> {
    fn add(&mut self, path: &Path) -> anyhow::Result<()> {
        let place = self.root.join(path);
        let metadata = place.symlink_metadata().with_context(|| format!("cannot look at `{}`", place.display()))?;
        let fail = || format!("cannot pack `{}`", place.display());
        let kind = metadata.file_type();
        let mut header = self.header(&metadata);
        if kind.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            let target = fs::read_link(&place).with_context(fail)?;
            return self.archive.append_link(&mut header, path, target).with_context(fail);
        }
        if kind.is_dir() {
            header.set_entry_type(EntryType::Directory);
            self.archive.append_data(&mut header, path, std::io::empty()).with_context(fail)?;
            for name in names(&place)? {
                self.add(&path.join(name))?;
            }
            return Ok(());
        }
        if !kind.is_file() {
            let what = if kind.is_fifo() || kind.is_socket() { "a pipe or a socket" } else { "a device" };
            bail!("`{}` is {what}, which a bundle does not carry; take it out", place.display());
        }
        if metadata.nlink() > 1 {
            let first = self.linked.entry((metadata.dev(), metadata.ino())).or_insert_with(|| path.to_owned());
            if first != path {
                header.set_entry_type(EntryType::Link);
                return self.archive.append_link(&mut header, path, &first).with_context(fail);
            }
        }
        header.set_size(metadata.len());
        let file = File::open(&place).with_context(fail)?;
        self.archive.append_data(&mut header, path, file).with_context(fail)
    }

    fn header(&self, metadata: &Metadata) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(metadata.mode() & 0o7777);
        let (uid, gid) = match self.owners {
            Owners::Root => (0, 0),
            Owners::Kept => (metadata.uid(), metadata.gid()),
        };
        header.set_uid(uid.into());
        header.set_gid(gid.into());
        header.set_mtime(0);
        header.set_size(0);
        header
    }
}

/// The names in a folder, in order of their bytes.
fn names(folder: &Path) -> anyhow::Result<Vec<std::ffi::OsString>> {
    let fail = || format!("cannot read the folder `{}`", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(fail)? {
        names.push(entry.with_context(fail)?.file_name());
    }
    names.sort();
    Ok(names)
}
