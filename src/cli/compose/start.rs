//! `kraft compose start`: machines of the project that are down are started, in the order of their services.

use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use clap::Args;

use super::staged::{Done, Starting};
use super::{ComposeArgs, Services, labels, staged};
use crate::cli::Outcome;
use crate::cli::app::App;

/// Start machines of the project that are there
#[derive(Debug, Args)]
pub(super) struct StartArgs {
    #[command(flatten)]
    services: Services,
}

pub(super) fn start(app: &App, args: &ComposeArgs, verb: &StartArgs) -> Outcome {
    let known = args.known()?;
    let members = known.members(app, &verb.services.services)?;
    let all = labels::members(app, &known.name).map_err(|error| vec![error])?;
    let errors =
        staged::start(app, members, Starting { all: &all, done: Done::Again, enough: &AtomicBool::new(false) });
    if errors.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(errors) }
}
