//! `kraft net up`, `kraft net down`.

use clap::Args;

use super::Targets;
use crate::cli::Outcome;
use crate::cli::app::App;
use crate::network::{self, InUse};

/// Bring networks up
///
/// A machine that starts brings its networks up itself.
#[derive(Debug, Args)]
pub(super) struct UpArgs {
    #[command(flatten)]
    targets: Targets,
}

/// Take networks down: their bridges and rules, not their records
#[derive(Debug, Args)]
pub(super) struct DownArgs {
    #[command(flatten)]
    targets: Targets,

    /// Cut off machines that run on them
    #[arg(short, long)]
    force: bool,
}

pub(super) fn up(app: &App, args: &UpArgs) -> Outcome {
    args.targets.each(app, network::up)
}

pub(super) fn down(app: &App, args: &DownArgs) -> Outcome {
    let in_use = if args.force { InUse::Cut } else { InUse::Refuse };
    args.targets.each(app, |networks, name| network::down(networks, &app.store, name, in_use))
}
