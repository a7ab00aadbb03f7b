//! A program for Linux. What loads it is found where its machine is settled, whoever asks for it.

use std::path::Path;

use super::{As, Asked, Found};
use crate::error::Result;
use crate::image::binary::Program;

/// The program in the kernel's place.
pub(super) fn binary(path: &Path, _asked: &Asked<'_>) -> Result<Found> {
    let program = Program::inspect(path)?;
    Ok(Found { arch: Some(program.arch), ..Found::new(As::Binary, path.to_owned()) })
}
