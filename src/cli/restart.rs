//! `kraft restart`.

use std::time::Duration;

use clap::Args;
use clap::builder::ValueParser;

use super::Outcome;
use super::app::App;
use super::each::{Targets, each};
use crate::machine::{StopMode, parse_duration};

/// Stop machines and start them again
///
/// One that does not run is started.
#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    #[command(flatten)]
    targets: Targets,

    /// How long the guest may take to shut down, instead of the machine's own time-out
    #[arg(short, long, value_name = "TIME", value_parser = ValueParser::new(parse_duration))]
    timeout: Option<Duration>,

    /// End the guest at once
    #[arg(short, long, conflicts_with = "timeout")]
    force: bool,
}

pub(crate) fn restart(app: &App, args: &RestartArgs) -> Outcome {
    let mode = if args.force { StopMode::Force } else { StopMode::Graceful(args.timeout) };
    each(app, &args.targets, |service, name| {
        let _claim = app.store.claim(name)?;
        service.stop(name, mode)?;
        service.start(name).map(drop)
    })
}
