//! The arguments that say what to run, and what they find.

use std::path::PathBuf;

use clap::Args;

use super::complete;
use super::images::Images;
use crate::image::oci::pull::Policy;
use crate::machine::{Arch, Platform};
use crate::paths;
use crate::source::{self, As, Asked, Looked};

/// What to run.
#[derive(Debug, Clone, Args)]
pub(crate) struct SourceArgs {
    /// What to run: a kernel, a program for Linux, a project's directory, or an image; the project in the working directory
    /// if not given
    #[arg(value_name = "WHAT", value_hint = clap::ValueHint::AnyPath)]
    pub(crate) what: Option<PathBuf>,

    /// Take WHAT for this, without looking what it is
    #[arg(long = "as", value_name = "kernel|binary|project|oci", add = complete::words(As::ALL))]
    forced: Option<As>,

    /// The project's target to run: its name, or its platform and architecture
    #[arg(short, long, value_name = "NAME|PLAT/ARCH")]
    target: Option<String>,

    /// The project's Kraftfile, instead of the one in its directory
    #[arg(short = 'K', long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    kraftfile: Option<PathBuf>,

    /// When to fetch an image: if it is not there, each time, or not at all
    #[arg(long, value_name = "missing|always|never", default_value = "missing", add = complete::words(Policy::ALL))]
    pub(crate) pull: Policy,
}

impl SourceArgs {
    /// Looks what it is.
    pub(crate) fn look(&self, platform: Platform, arch: Option<Arch>, images: &Images<'_>) -> Looked {
        let variables = |name: &str| paths::environment_variable(name)?.into_string().ok();
        let asked = Asked {
            forced: self.forced,
            target: self.target.as_deref(),
            kraftfile: self.kraftfile.as_deref(),
            platform,
            arch,
            variables: &variables,
            images: &|name, arch| images.resolve(name, arch),
        };
        source::look(self.what.as_deref(), &asked)
    }
}
