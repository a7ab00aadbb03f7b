//! `kraft restore`: what `kraft.service` runs at boot. Not for people.

use std::process::ExitCode;

use clap::Args;

use super::Outcome;
use super::app::App;

/// Give machines their units back that were lost with the last boot; for kraft.service
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {}

pub(crate) fn restore(app: &App, _args: &RestoreArgs) -> Outcome {
    let errors = app.systemd().restore().map_err(|error| vec![error])?;
    if errors.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(errors) }
}
