//! Programs for Linux, run by a Unikraft kernel that is a loader of ELF files.
//!
//! ```text
//! dynamic     what an ELF file says of itself            host    files by their names, and the links on the way
//! program     whether a file is a program that can be run
//! libraries   what it loads, as ld.so finds it           cache   ld.so.cache
//! files       all of that as a tree to be packed
//! loader      how a loader wants its program
//! plan        what a machine is made of that runs it     place   where it starts
//! ```
//!
//! Nothing of the program's is run, nor is anything else.

mod cache;
mod dynamic;
mod files;
mod host;
mod libraries;
mod loader;
mod place;
mod plan;
mod program;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

pub use files::Collection;
pub use loader::{DEFAULT, Loader, Taken};
pub use plan::{Asked, DIRECTORY, LIBRARY_PATH, Plan};
pub use program::{Linkage, Program};

/// A name for people.
fn shown(name: &OsStr) -> String {
    super::tree::show(name.as_bytes())
}

/// Looks at bytes as at an object and at a cache, for fuzzing: whatever they are, that ends, and in an answer.
#[doc(hidden)]
pub fn look_at(bytes: &[u8]) {
    let _ = dynamic::parse(bytes);
    if let Some(cache) = cache::Cache::parse(bytes) {
        for name in [b"libc.so.6".as_slice(), b""] {
            let _ = cache.find(name, crate::machine::Arch::X86_64);
        }
    }
}

#[cfg(test)]
mod tests;
