//! The arguments that give a machine volumes.

use clap::Args;

use crate::error::Result;
use crate::machine::MountRequest;
use crate::volume::Missing;

/// What a machine sees of the host's directories.
#[derive(Debug, Clone, Args)]
pub(crate) struct VolumeArgs {
    /// Show a directory of the host's (a path that begins with / or .) or a named volume, or a directory in one, to the
    /// guest; may be repeated
    #[arg(short, long, value_name = "SRC:DST[:ro,rw,9p,virtiofs]", value_hint = clap::ValueHint::DirPath)]
    volume: Vec<String>,

    /// Make the directories of the host's that --volume names where they are missing
    #[arg(long, requires = "volume")]
    mkdir: bool,
}

impl VolumeArgs {
    /// What was typed.
    pub(crate) fn requests(&self) -> Result<Vec<MountRequest>> {
        self.volume.iter().map(|text| text.parse()).collect()
    }

    /// What becomes of directories that are not there.
    pub(crate) fn missing(&self) -> Missing {
        if self.mkdir { Missing::Make } else { Missing::Refuse }
    }
}
