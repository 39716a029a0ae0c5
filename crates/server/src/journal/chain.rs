//! The chain of digests that makes every change of a past row visible.

use polder_model::PoolId;
use sha2::{Digest as _, Sha256};

/// SHA-256.
pub(crate) type Digest = [u8; 32];

/// What stands before the first event.
pub(super) fn genesis(pool: &PoolId) -> Digest {
    of(&[b"polder journal ", pool.as_str().as_bytes()])
}

/// The digest of a row after `before`. Numbers have a fixed width, so no two rows run together.
pub(super) fn next(
    before: &Digest,
    seq: u64,
    epoch: u64,
    at: u64,
    version: u32,
    body: &str,
) -> Digest {
    of(&[
        before,
        &seq.to_be_bytes(),
        &epoch.to_be_bytes(),
        &at.to_be_bytes(),
        &version.to_be_bytes(),
        body.as_bytes(),
    ])
}

/// The digest of these bytes in a row.
pub(crate) fn of(parts: &[&[u8]]) -> Digest {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}
