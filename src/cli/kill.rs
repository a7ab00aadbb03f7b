//! `kraft kill`.

use clap::Args;

use super::Outcome;
use super::app::App;
use super::each::{Targets, each};
use crate::error::{Error, Kind};
use crate::machine::StopMode;

/// End machines at once
///
/// The guest is not asked. It is recorded as killed, with exit code 137, and not started again.
#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    #[command(flatten)]
    targets: Targets,
}

pub(crate) fn kill(app: &App, args: &KillArgs) -> Outcome {
    each(app, &args.targets, |service, name| {
        if !service.get(name)?.state.is_live() {
            if args.targets.is_all() {
                return Ok(());
            }
            return Err(Error::of(Kind::Conflict, format!("cannot kill {name}: it is not running")));
        }
        service.stop(name, StopMode::Kill).map(drop)
    })
}
