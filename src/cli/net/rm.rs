//! `kraft net rm`.

use clap::Args;

use super::Targets;
use crate::cli::Outcome;
use crate::cli::app::App;
use crate::error::Result;
use crate::machine::NetworkName;
use crate::network::{self, Keep, Networks};

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
    args.targets.each(app, |networks, name| remove(app, networks, name, keep))
}

/// Removes a network, and what answers on it.
pub(in crate::cli) fn remove(app: &App, networks: &Networks, name: &NetworkName, keep: Keep) -> Result<()> {
    network::remove(networks, &app.store, name, keep)?;
    end_names(app, name)
}

/// Ends what answers for names on a network that is gone.
pub(super) fn end_names(app: &App, name: &NetworkName) -> Result<()> {
    let systemd = app.systemd();
    if systemd.is_reachable() { systemd.end_names(name) } else { Ok(()) }
}
