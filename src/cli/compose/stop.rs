//! `kraft compose stop`: machines of the project are stopped, against the order of their services.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use clap::builder::ValueParser;

use super::{ComposeArgs, Services, staged};
use crate::cli::Outcome;
use crate::cli::app::App;
use crate::machine::{StopMode, parse_duration};

/// Stop machines of the project, and remove nothing
#[derive(Debug, Args)]
pub(super) struct StopArgs {
    #[command(flatten)]
    services: Services,

    /// How long a guest may take to shut down, instead of its own time-out
    #[arg(short, long, value_name = "TIME", value_parser = ValueParser::new(parse_duration))]
    timeout: Option<Duration>,
}

pub(super) fn stop(app: &App, args: &ComposeArgs, verb: &StopArgs) -> Outcome {
    let members = args.known()?.members(app, &verb.services.services)?;
    let errors = staged::stop(app, members, StopMode::Graceful(verb.timeout));
    if errors.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(errors) }
}
