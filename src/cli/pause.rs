//! `kraft pause` and `kraft unpause`.

use clap::Args;

use super::Outcome;
use super::app::App;
use super::each::{Targets, each};
use crate::machine::{Event, Next, State, next};

/// Pause machines
///
/// The guest stands still and keeps its memory; its unit stays active.
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    targets: Targets,
}

/// Let paused machines go on
#[derive(Debug, Args)]
pub(crate) struct UnpauseArgs {
    #[command(flatten)]
    targets: Targets,
}

pub(crate) fn pause(app: &App, args: &PauseArgs) -> Outcome {
    each(app, &args.targets, |service, name| {
        if args.targets.is_all() && service.get(name)?.state != State::Running {
            return Ok(());
        }
        service.pause(name).map(drop)
    })
}

pub(crate) fn unpause(app: &App, args: &UnpauseArgs) -> Outcome {
    each(app, &args.targets, |service, name| {
        let state = service.get(name)?.state;
        if args.targets.is_all() && state != State::Paused {
            return Ok(());
        }
        match next(state, Event::Unpause).map_err(|denied| denied.into_error(name))? {
            Next::Already => Ok(()),
            Next::To(_) => service.start(name).map(drop),
        }
    })
}
