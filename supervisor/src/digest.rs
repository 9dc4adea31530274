//! SHA-256 digests, by which whatever is immutable is named.

use sha2::{Digest as _, Sha256};
use skiff_planner::name::Digest;

/// Of bytes, as releases and archives are named.
#[must_use]
pub fn of(bytes: &[u8]) -> Digest {
    end(Sha256::new_with_prefix(bytes))
}

/// Of what was hashed piece by piece.
pub(crate) fn end(hash: Sha256) -> Digest {
    format!("sha256:{:x}", hash.finalize()).parse().expect("64 lower-case digits follow the prefix")
}
