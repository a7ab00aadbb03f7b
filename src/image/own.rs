//! A file that a machine is given as it is, as the machine's own: what becomes of the source later does not matter to it.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::rootfs::{is_settled, stamp, still};
use crate::error::{Context as _, Result};
use crate::machine::Digest;
use crate::store::RootfsCache;

/// Puts a copy of a file among the others, unless it is there and the file has not changed since. `what` is the word for it
/// in messages: kernel, rootfs.
///
/// # Errors
/// When it cannot be read, when it changes meanwhile, or when the disk is full. Nothing is left then.
pub fn keep(what: &str, path: &Path, copies: &RootfsCache) -> Result<Digest> {
    let cannot = || format!("cannot copy {what} {}", path.display());
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut file = super::open(what, path)?;
    let (before, newest) = stamp(&file).with_context(cannot)?;
    let fingerprint = is_settled(newest, began).then_some(before);
    if let Some(digest) = fingerprint.and_then(|fingerprint| copies.find(fingerprint)) {
        return Ok(digest);
    }
    let copy = copies.copy(&mut file).with_context(cannot)?;
    still(&file, before).with_context(cannot)?;
    copy.keep(fingerprint).with_context(cannot)
}
