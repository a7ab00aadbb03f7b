//! `kraft net rm`.

use clap::Args;

use super::Targets;
use crate::cli::Outcome;
use crate::cli::app::App;
use crate::network::{self, Keep};

/// Remove networks
///
/// One that a machine is on, in whatever state, is kept.
#[derive(Debug, Args)]
pub(super) struct RmArgs {
    #[command(flatten)]
    targets: Targets,

    /// Remove one even if machines that do not run are on it: they cannot start any more; or if its record is broken
    #[arg(short, long)]
    force: bool,
}

pub(super) fn rm(app: &App, args: &RmArgs) -> Outcome {
    let keep = if args.force { Keep::ForRunning } else { Keep::ForAny };
    args.targets.each(app, |networks, name| network::remove(networks, &app.store, name, keep))
}
