//! What an archive says, entry by entry: refused or understood, before anything is made of it. No file system is touched.
//!
//! The `tar` crate reads blocks; long names and PAX records are put together here, so that each has a limit and none is
//! passed over. A record that this does not know is refused by its name.

use std::io::{self, BufRead, Read};
use tar::{Archive, EntryType, Header, PaxExtensions};

/// The longest path or link in bytes, path_resolution(7).
const LONGEST_PATH: usize = 4095;
/// The longest name in it.
const LONGEST_NAME: usize = 255;
/// Folders in each other. Each entry is reached from the top, so the time that a tree takes grows with the square of its
/// depth; and whoever clears it away holds each open on the way down, with 1024 files at most.
const DEEPEST: usize = 256;
/// Bytes of PAX records before one entry.
const RECORDS: u64 = 64 << 10;
/// Bytes of a block.
const BLOCK: usize = 512;
/// An archive that grows more than this in unpacking is a bomb, when it is large besides.
const GROWTH: u64 = 250;
/// Large.
const LARGE: u64 = 64 << 20;

/// How much is taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Entries.
    pub(crate) entries: u64,
    /// Bytes of all files.
    pub(crate) bytes: u64,
    /// How long the archive itself is.
    pub(crate) archive: u64,
}

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// An entry.
    #[error("entry `{name}` {why}")]
    Entry {
        /// Its path, in a form that can be printed.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// The archive itself.
    #[error("the archive {0}")]
    Archive(String),
    /// What was understood could not be made.
    #[error("cannot make `{name}`")]
    Make {
        /// Its path.
        name: String,
        /// Why not.
        source: io::Error,
    },
}

/// One entry, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The names on the way to it, from the top of the archive; none for the top itself.
    pub(crate) path: Vec<Vec<u8>>,
    /// What it is.
    pub(crate) kind: Kind,
    /// Permission bits, with set-user-id and the like.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// In seconds since 1970.
    pub(crate) mtime: u64,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A folder.
    Folder,
    /// A file of so many bytes.
    File(u64),
    /// A symbolic link: its text, which nobody follows here.
    Symlink(Vec<u8>),
    /// Another name of a file that came before.
    Link(Vec<Vec<u8>>),
}

impl Entry {
    /// Its path, to be printed.
    pub(crate) fn name(&self) -> String {
        shown(&self.path.join(&b'/'))
    }
}

/// Reads an archive, plain or gzipped, and hands over each entry with its bytes.
///
/// # Errors
/// See [`Refusal`]. What was handed over until then is of no use.
pub(crate) fn each<R: BufRead>(
    mut from: R,
    limits: Limits,
    mut take: impl FnMut(&Entry, &mut dyn Read) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let start = from.fill_buf().map_err(unreadable)?;
    match start {
        [0x1f, 0x8b, ..] => walk(flate2::bufread::MultiGzDecoder::new(from), limits, &mut take),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Err(packed("zstd")),
        [0xfd, b'7', b'z', ..] => Err(packed("xz")),
        [b'B', b'Z', b'h', ..] => Err(packed("bzip2")),
        [] => Err(Refusal::Archive("is empty".into())),
        _ => walk(from, limits, &mut take),
    }
}

fn packed(how: &str) -> Refusal {
    Refusal::Archive(format!("is packed with {how}, which is not built yet; use gzip"))
}

fn unreadable(error: io::Error) -> Refusal {
    Refusal::Archive(format!("cannot be read: {error}"))
}

fn walk(
    from: impl Read,
    limits: Limits,
    take: &mut dyn FnMut(&Entry, &mut dyn Read) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    // Headers and padding come on top of the files themselves.
    let most = limits.bytes.saturating_add(limits.entries.saturating_mul(2048));
    let growth = limits.archive.saturating_mul(GROWTH).max(LARGE);
    let mut archive = Archive::new(Zeros { from: from.take(most.min(growth)), run: 0 });
    let (mut extra, mut count, mut bytes, mut last) = (Extra::default(), 0, 0, "the first".to_owned());
    for block in archive.entries().map_err(unreadable)?.raw(true) {
        let mut block = block.map_err(|error| {
            Refusal::Archive(format!(
                "is cut off or no tar archive after `{last}`, or it grows beyond all measure: {error}"
            ))
        })?;
        count += 1;
        if count > limits.entries {
            return Err(Refusal::Archive(format!("has more than {} entries, at `{last}`", limits.entries)));
        }
        let header = block.header().clone();
        if extra.takes(&header, block.size(), &mut block, &last)? {
            continue;
        }
        let entry = std::mem::take(&mut extra).entry(&header, block.size())?;
        last = entry.name();
        if let Kind::File(size) = entry.kind {
            bytes += size;
            if bytes > limits.bytes {
                return Err(refuse(&last, &format!("makes it more than {} bytes", limits.bytes)));
            }
        }
        let mut counted = Counted { from: &mut block, read: 0 };
        take(&entry, &mut counted)?;
        if matches!(entry.kind, Kind::File(size) if size != counted.read) {
            return Err(refuse(&last, "is cut off, or the archive grows beyond all measure"));
        }
    }
    if extra != Extra::default() {
        return Err(Refusal::Archive(format!("ends with a name of nothing after `{last}`")));
    }
    end(archive.into_inner(), &last)
}

/// An archive ends with empty blocks and, where it is packed, with a checksum. Readers differ in what they make of more; what
/// differs is refused.
fn end<R: Read>(mut from: Zeros<io::Take<R>>, last: &str) -> Result<(), Refusal> {
    if from.run < BLOCK {
        return Err(Refusal::Archive(format!("is cut off after `{last}`: its end is missing")));
    }
    let (mut piece, mut zeros) = (vec![0; 64 << 10], true);
    loop {
        match from.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => zeros &= piece[..read].iter().all(|byte| *byte == 0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(Refusal::Archive(format!("is cut off or damaged after its end, `{last}`: {error}")));
            }
        }
    }
    if from.from.limit() == 0 {
        return Err(Refusal::Archive(format!("grows beyond all measure after its end, `{last}`")));
    }
    if zeros { Ok(()) } else { Err(Refusal::Archive(format!("goes on after its end, `{last}`"))) }
}

/// Counts the zeros that were read last.
struct Zeros<R> {
    from: R,
    run: usize,
}

impl<R: Read> Read for Zeros<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        let zeros = buffer[..read].iter().rev().take_while(|byte| **byte == 0).count();
        self.run = if zeros == read { self.run.saturating_add(zeros) } else { zeros };
        Ok(read)
    }
}

struct Counted<'a, R> {
    from: &'a mut R,
    read: u64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.read += read as u64;
        Ok(read)
    }
}

/// What comes before an entry and is about it.
#[derive(Default, PartialEq, Eq)]
struct Extra {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<u64>,
    size: Option<u64>,
}

impl Extra {
    /// Whether a block is about the next one; then it is taken in.
    fn takes(&mut self, header: &Header, size: u64, from: &mut impl Read, last: &str) -> Result<bool, Refusal> {
        let after = |why: &str| Refusal::Archive(format!("has {why} after `{last}`"));
        match header.entry_type() {
            EntryType::GNULongName if self.path.is_none() => {
                self.path = Some(without_zero(read_some(from, size, LONGEST_PATH as u64 + 1, last)?));
            }
            EntryType::GNULongLink if self.link.is_none() => {
                self.link = Some(without_zero(read_some(from, size, LONGEST_PATH as u64 + 1, last)?));
            }
            EntryType::XHeader if *self == Self::default() => {
                let records = read_some(from, size, RECORDS, last)?;
                for record in PaxExtensions::new(&records) {
                    let record = record.map_err(|_| after("a PAX record that is not understood"))?;
                    self.record(record.key_bytes(), record.value_bytes()).map_err(|why| after(&why))?;
                }
            }
            EntryType::XGlobalHeader => {
                let records = read_some(from, size, RECORDS, last)?;
                // `git archive` writes its commit there.
                let known =
                    |record: io::Result<tar::PaxExtension<'_>>| record.is_ok_and(|it| it.key_bytes() == b"comment");
                if !PaxExtensions::new(&records).all(known) {
                    return Err(after("PAX records for all entries, which are not built yet,"));
                }
            }
            EntryType::GNULongName | EntryType::GNULongLink | EntryType::XHeader => {
                return Err(after("two names for one entry"));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let number = || {
            // Times have fractions.
            let whole = value.split(|byte| *byte == b'.').next().unwrap_or_default();
            let text = std::str::from_utf8(whole).ok();
            text.and_then(|text| text.parse::<u64>().ok()).ok_or_else(|| "a PAX number that is none".to_owned())
        };
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number()?),
            b"uid" => self.uid = Some(number()?),
            b"gid" => self.gid = Some(number()?),
            // Before 1970 is as good as then.
            b"mtime" => self.mtime = Some(number().unwrap_or(0)),
            // Names of owners are the packing machine's; these times and numbers as well.
            b"uname"
            | b"gname"
            | b"atime"
            | b"ctime"
            | b"comment"
            | b"LIBARCHIVE.creationtime"
            | b"SCHILY.dev"
            | b"SCHILY.ino"
            | b"SCHILY.nlink" => {}
            _ => return Err(format!("a PAX record `{}`, which is not built yet,", shown(key))),
        }
        Ok(())
    }

    /// The entry that all this was about.
    fn entry(self, header: &Header, size: u64) -> Result<Entry, Refusal> {
        let raw = self.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let name = shown(&raw);
        let no = |why: &str| refuse(&name, why);
        let bad = |error: io::Error| refuse(&name, &format!("has a header that is not understood: {error}"));
        // Readers differ in which of two sizes they believe; what differs is refused.
        if self.size.is_some_and(|other| other != size) {
            return Err(no("has two sizes"));
        }
        let path = split(&raw).map_err(no)?;
        let link = self.link.or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
        let link = || link.filter(|text| !text.is_empty() && text.len() <= LONGEST_PATH && !text.contains(&0));
        let kind = match header.entry_type() {
            EntryType::Directory => Kind::Folder,
            // As archives of the seventies have folders.
            EntryType::Regular if raw.ends_with(b"/") => Kind::Folder,
            EntryType::Regular | EntryType::Continuous => Kind::File(size),
            EntryType::Symlink => Kind::Symlink(link().ok_or_else(|| no("is a link to nothing"))?),
            EntryType::Link => {
                let text = link().ok_or_else(|| no("is a link to nothing"))?;
                Kind::Link(split(&text).map_err(|why| no(&format!("is a link to `{}`, which {why}", shown(&text))))?)
            }
            EntryType::Char | EntryType::Block => return Err(no("is a device, which a bundle does not carry")),
            EntryType::Fifo => return Err(no("is a pipe, which a bundle does not carry")),
            EntryType::GNUSparse => {
                return Err(no("is a sparse file, which is not built yet; pack without `--sparse`"));
            }
            other => return Err(no(&format!("is of kind {:?}, which is not known", char::from(other.as_byte())))),
        };
        if size > 0 && !matches!(kind, Kind::File(_)) {
            return Err(no("is no file, and has bytes"));
        }
        let id =
            |number: u64| u32::try_from(number).ok().filter(|id| *id != u32::MAX).ok_or_else(|| no("has no owner"));
        Ok(Entry {
            path,
            kind,
            mode: header.mode().map_err(bad)? & 0o7777,
            uid: id(self.uid.map_or_else(|| header.uid(), Ok).map_err(bad)?)?,
            gid: id(self.gid.map_or_else(|| header.gid(), Ok).map_err(bad)?)?,
            mtime: self.mtime.map_or_else(|| header.mtime(), Ok).map_err(bad)?,
        })
    }
}

fn refuse(name: &str, why: &str) -> Refusal {
    Refusal::Entry { name: name.to_owned(), why: why.to_owned() }
}

fn read_some(from: &mut impl Read, size: u64, most: u64, last: &str) -> Result<Vec<u8>, Refusal> {
    if size > most {
        return Err(Refusal::Archive(format!("has a name or record of {size} bytes after `{last}`; {most} are taken")));
    }
    let mut bytes = Vec::new();
    from.take(size).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 != size {
        return Err(Refusal::Archive(format!("is cut off after `{last}`")));
    }
    Ok(bytes)
}

fn without_zero(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    bytes
}

/// The names of a path. It must be relative and must not go up.
fn split(path: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    if path.is_empty() || path.len() > LONGEST_PATH {
        return Err("has a path of a length that does not exist");
    }
    if path.contains(&0) {
        return Err("has a zero in its path");
    }
    if path.starts_with(b"/") {
        return Err("has an absolute path");
    }
    let mut names = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => return Err("goes up by `..`"),
            _ if name.len() > LONGEST_NAME => return Err("has a name that is too long"),
            _ if names.len() == DEEPEST => return Err("lies more than 256 levels deep"),
            _ => names.push(name.to_vec()),
        }
    }
    Ok(names)
}

/// Bytes as people may see them, on one line.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
    text.chars().map(|it| if it.is_control() { char::REPLACEMENT_CHARACTER } else { it }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 5 GiB are 1 GiB in 32 bits.
    #[test]
    fn sizes_beyond_4_gib_are_what_they_are() {
        let mut header = Header::new_ustar();
        header.set_path("rootfs/image").unwrap();
        header.set_size(5 << 30);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        let seen = |bytes| {
            let limits = Limits { entries: 10, bytes, archive: bytes };
            let mut kind = None;
            let outcome = each(header.as_bytes().as_slice(), limits, |entry, _| {
                kind = Some(entry.kind.clone());
                Ok(())
            });
            (kind, outcome.unwrap_err().to_string())
        };
        let (kind, why) = seen(6 << 30);
        assert_eq!(kind, Some(Kind::File(5 << 30)), "{why}");
        assert!(why.contains("is cut off"), "{why}");
        let (kind, why) = seen(4 << 30);
        assert_eq!(kind, None);
        assert!(why.contains("makes it more than 4294967296 bytes"), "{why}");
    }
}
