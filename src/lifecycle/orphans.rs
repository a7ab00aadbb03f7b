//! What power cuts and killed processes left that no start and no end of a machine comes by any more.

use crate::error::{Error, Result};
use crate::network;
use crate::store::Store;
use crate::undo::Orphan;

/// Finds what is left of one kind. It goes by our own marks alone.
type Finder = fn(&Store) -> Result<Vec<Orphan>>;

/// Every kind. A finder that fails keeps no other from looking.
const FINDERS: [Finder; 2] = [network::orphans, runtime_files];

/// All that is found, and what kept us from looking.
pub fn orphans(store: &Store) -> (Vec<Orphan>, Vec<Error>) {
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for find in FINDERS {
        match find(store) {
            Ok(orphans) => found.extend(orphans),
            Err(error) => errors.push(error),
        }
    }
    (found, errors)
}

/// Runtime directories of machines that have no record.
fn runtime_files(store: &Store) -> Result<Vec<Orphan>> {
    let orphan = |name: crate::machine::MachineName| {
        let store = store.clone();
        Orphan::new(format!("runtime files of {name}, which is gone"), move || match store.directory(&name).exists() {
            true => Ok(()),
            false => store.remove_runtime(&name),
        })
    };
    Ok(store.runtime_without_record()?.into_iter().map(orphan).collect())
}
