//! `kraft restart`.

use clap::Args;

use super::Outcome;
use super::app::App;
use super::each::{Targets, each};
use super::stop::Way;

/// Stop machines and start them again
///
/// One that does not run is started.
#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    #[command(flatten)]
    targets: Targets,

    #[command(flatten)]
    way: Way,
}

pub(crate) fn restart(app: &App, args: &RestartArgs) -> Outcome {
    each(app, &args.targets, |service, name| {
        let _claim = app.claim(name)?;
        service.stop(name, args.way.mode())?;
        service.start(name).map(drop)
    })
}
