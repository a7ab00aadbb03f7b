//! `kraft start`.

use clap::Args;

use super::Outcome;
use super::app::App;
use super::each::{Targets, each};
use crate::lifecycle::secrets;

/// Start machines, or let paused ones go on
///
/// Returns when their guests run.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    #[command(flatten)]
    targets: Targets,
}

pub(crate) fn start(app: &App, args: &StartArgs) -> Outcome {
    each(app, &args.targets, |service, name| {
        let claim = app.claim(name)?;
        // One that only a file knows of has its record made, and its secrets looked at, by its unit.
        if claim.is_some() {
            let record = app.store.read(name)?;
            if !record.spec.secrets.is_empty() && !service.get(name)?.state.is_live() {
                secrets::check(&record.spec, record.manager)?;
            }
        }
        service.start(name).map(drop)
    })
}
