//! What an image is made of.

use super::{Asked, Found};
use crate::error::{Error, Kind, Result};

/// The kernel and all else that is in an image.
pub(super) fn image(reference: &str, _asked: &Asked<'_>) -> Result<Found> {
    let why = format!("no such file or directory: {reference}; as an image this kraft cannot run it yet");
    Err(Error::of(Kind::NotFound, why))
}
