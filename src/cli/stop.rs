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

    #[command(flatten)]
    way: Way,
}

/// How a guest is brought to its end.
#[derive(Debug, Args)]
pub(crate) struct Way {
    /// How long the guest may take to shut down, instead of the machine's own time-out
    #[arg(short, long, value_name = "TIME", value_parser = ValueParser::new(parse_duration))]
    timeout: Option<Duration>,

    /// End the guest at once
    #[arg(short, long, conflicts_with = "timeout")]
    force: bool,
}

impl Way {
    /// The way in the service's words.
    pub(crate) fn mode(&self) -> StopMode {
        if self.force { StopMode::Force } else { StopMode::Graceful(self.timeout) }
    }
}

pub(crate) fn stop(app: &App, args: &StopArgs) -> Outcome {
    each(app, &args.targets, |service, name| service.stop(name, args.way.mode()).map(drop))
}
