//! `kraft restart`.

use clap::Args;

use super::Outcome;
use super::app::App;
use super::each::{Targets, each};
use super::stop::Way;
use crate::lifecycle::secrets;

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
        let claim = app.claim(name)?;
        // Before anything is stopped that would not start again. One that only a file knows of has no record yet.
        if claim.is_some() {
            let record = app.store.read(name)?;
            secrets::check(&record.spec, record.manager)?;
        }
        service.stop(name, args.way.mode())?;
        service.start(name).map(drop)
    })
}
