//! Which of an image's kernels.

use clap::Args;

use crate::cli::complete;
use crate::image::oci::choose::{Asked, Plat};
use crate::machine::Arch;

/// What chooses among the kernels of an image.
#[derive(Debug, Clone, Args)]
pub(crate) struct Select {
    /// Take the kernel for this platform; the best for this host if not given
    #[arg(long, value_name = "qemu|fc|xen", add = complete::words(&["qemu", "fc", "xen"]))]
    plat: Option<Plat>,

    /// Take the kernel for this architecture; the host's if not given
    #[arg(long, value_name = "x86_64|arm64", add = complete::words(Arch::ALL))]
    arch: Option<Arch>,
}

impl Select {
    pub(crate) fn asked(&self) -> Asked {
        Asked { plat: self.plat.clone(), arch: self.arch }
    }
}
