//! The keys that a device trusts: a folder of public keys as `minisign` and `skiffctl fleet keygen` write them.

use minisign_verify::PublicKey;
use std::io;
use std::path::{Path, PathBuf};

/// Why the keys cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder.
    #[error("cannot read the folder of trusted keys `{path}`")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// One key. Nothing is checked with the others: a device that silently trusts fewer keys than it was given would
    /// refuse the next edition for a reason that nobody sees.
    #[error("cannot read the trusted key `{path}`")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Not a key.
    #[error("`{path}` is not a public key of minisign; it has a line of comment and a line that begins with `RW`")]
    Key {
        /// Which.
        path: PathBuf,
    },
}

/// The keys, any one of which makes an index believed.
#[derive(Clone, Debug)]
pub struct Keys {
    folder: PathBuf,
    keys: Vec<(String, PublicKey)>,
}

impl Keys {
    /// Reads `*.pub` of a folder; there are none where there is no folder.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let fail = |source| Error::Folder { path: folder.to_owned(), source };
        let mut keys = Vec::new();
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { folder: folder.to_owned(), keys });
            }
            Err(source) => return Err(fail(source)),
        };
        for entry in entries {
            let path = entry.map_err(fail)?.path();
            if path.extension().is_some_and(|extension| extension == "pub") {
                let text = std::fs::read_to_string(&path);
                let text = text.map_err(|source| Error::File { path: path.clone(), source })?;
                keys.push(parse(&text).ok_or(Error::Key { path })?);
            }
        }
        Ok(Self { folder: folder.to_owned(), keys })
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Where they were read from.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What they are called, as `minisign` prints it.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        let mut ids: Vec<_> = self.keys.iter().map(|(id, _)| id.clone()).collect();
        ids.sort();
        ids
    }

    /// The keys of that name: eight bytes of chance, so that two are possible.
    pub(super) fn by_id(&self, id: &str) -> Vec<&PublicKey> {
        self.keys.iter().filter(|(own, _)| own == id).map(|(_, key)| key).collect()
    }
}

fn parse(text: &str) -> Option<(String, PublicKey)> {
    Some((id(text)?, PublicKey::decode(text).ok()?))
}

/// The key's id in the second line of a public key or a signature: bytes 2 to 9, of which `minisign` prints the last first.
pub(super) fn id(text: &str) -> Option<String> {
    let bytes = decode(text.lines().nth(1)?)?;
    Some(bytes.get(2..10)?.iter().rev().map(|byte| format!("{byte:02X}")).collect())
}

/// Bytes written in base64.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    for four in text.trim_end_matches('=').as_bytes().chunks(4) {
        let bits = four.iter().try_fold(0_u32, |bits, digit| Some(bits << 6 | sextet(*digit)?))?;
        let bits = bits << (6 * (4 - four.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    Some(bytes)
}

/// One digit of base64.
fn sextet(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}
