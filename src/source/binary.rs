//! What runs a program for Linux.

use std::path::Path;

use super::{Asked, Found};
use crate::error::{Error, Result};

/// A kernel that loads the program, with the program in its root file system.
pub(super) fn binary(path: &Path, _asked: &Asked<'_>) -> Result<Found> {
    let why = format!("kernel {} is a program for Linux, which this kraft cannot run yet", path.display());
    Err(Error::new(why).with_hint("give a unikernel; Unikraft's ELF loader is one that runs programs for Linux"))
}
