//! Which image a machine was made of.

use serde::{Deserialize, Serialize};

use super::Digest;

/// The image that a machine was made of. Its content is kept as long as the machine is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageOrigin {
    /// Its name as it was resolved, with registry and tag or digest.
    pub reference: String,
    /// The manifest that was chosen of it.
    pub manifest: Digest,
}
