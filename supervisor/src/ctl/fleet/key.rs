//! Reading the key that signs, and its password.

use crate::fleet::verify;
use anyhow::{Context as _, bail};
use clap::Args;
use minisign::{KeyPair, PublicKey, SecretKey, SecretKeyBox};
use std::path::{Path, PathBuf};

/// Bytes of a public key with the words before it: algorithm and number.
const PUBLIC: usize = 42;

/// Where the password of a secret key comes from: the terminal, unless one of these is given.
#[derive(Args)]
pub(in crate::ctl) struct Password {
    /// The secret key has no password
    #[arg(short = 'W', long, conflicts_with = "password_file")]
    no_password: bool,
    /// The password is the first line of this file
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl Password {
    /// Whether there is to be none.
    pub(super) fn none(&self) -> bool {
        self.no_password
    }

    /// The password; nothing where a person is to be asked.
    pub(super) fn read(&self) -> anyhow::Result<Option<String>> {
        let Some(path) = &self.password_file else { return Ok(None) };
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        match text.lines().next() {
            Some(password) if !password.is_empty() => Ok(Some(password.to_owned())),
            _ => bail!("`{}` begins with an empty line; use -W for a key without a password", path.display()),
        }
    }
}

/// Reads a secret key, made by us or by `minisign`, with or without a password.
pub(super) fn load(path: &Path, password: &Password) -> anyhow::Result<KeyPair> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the key `{}`", path.display()))?;
    if text.lines().nth(1).and_then(verify::decode).is_some_and(|bytes| bytes.len() == PUBLIC) {
        bail!("`{}` is the public half of a pair; name the other half, `NAME.key`", path.display());
    }
    let boxed =
        || SecretKeyBox::from_string(&text).with_context(|| format!("`{}` is not a secret key", path.display()));
    // A key says itself whether it has a password; asking for one that does not exist would only confuse.
    let open = match boxed()?.into_unencrypted_secret_key() {
        Ok(key) => Ok(key),
        Err(error) => match without_checksum(&text) {
            Some(key) => Ok(key),
            None if password.none() => Err(error),
            None => boxed()?.into_secret_key(password.read()?),
        },
    };
    let sk = open.with_context(|| format!("cannot open the key `{}`; is the password right?", path.display()))?;
    let pk = PublicKey::from_secret_key(&sk).with_context(|| format!("`{}` is not a pair's half", path.display()))?;
    Ok(KeyPair { pk, sk })
}

/// A key without a password as `minisign -GW` makes it: its checksum, which only tells a wrong password, is left at zero.
/// What it signs is checked with its public half.
fn without_checksum(text: &str) -> Option<SecretKey> {
    let bytes = verify::decode(text.lines().nth(1)?)?;
    let (kind, checksum) = (bytes.get(2..4)?, bytes.get(126..)?);
    if kind != [0, 0] || checksum != [0; 32] {
        return None;
    }
    SecretKey::from_bytes(&bytes).ok()
}
