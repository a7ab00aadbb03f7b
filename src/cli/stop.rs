//! `kraft stop`.

use std::time::Duration;

use clap::Args;
use clap::builder::ValueParser;

use super::Outcome;
use super::app::App;
use super::each::{Targets, each};
use crate::machine::{StopMode, parse_duration};

/// Stop machines
///
/// The guest is asked to shut down; it is ended when it does not within its time-out. A guest that is known not to
/// listen is ended at once.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    targets: Targets,

    /// How long the guest may take, instead of the machine's own time-out
    #[arg(short, long, value_name = "TIME", value_parser = ValueParser::new(parse_duration))]
    timeout: Option<Duration>,

    /// End the guest at once
    #[arg(short, long, conflicts_with = "timeout")]
    force: bool,
}

pub(crate) fn stop(app: &App, args: &StopArgs) -> Outcome {
    let mode = if args.force { StopMode::Force } else { StopMode::Graceful(args.timeout) };
    each(app, &args.targets, |service, name| service.stop(name, mode).map(drop))
}
