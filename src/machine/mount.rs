//! Volumes of a machine: a directory of the host's that its guest sees.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ShareDriver;

/// A directory of the host's in the guest. In a record everything is settled: the source is absolute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The named volume, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// The host's directory, absolute.
    pub source: PathBuf,
    /// Where the guest sees it, an absolute path of its own.
    pub target: String,
    /// The guest cannot write, whatever it tries.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// How it gets there.
    pub driver: ShareDriver,
}
