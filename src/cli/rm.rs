//! `kraft rm`.

use clap::Args;

use super::Outcome;
use super::app::App;
use super::disable::{self, Removed};
use super::each::{Targets, each};
use crate::error::{Error, Kind};
use crate::machine::StopMode;

/// Remove machines
///
/// A running machine is stopped first. Nothing is left of it but its lines in the journal.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    #[command(flatten)]
    targets: Targets,

    /// End a running guest at once, without asking it to shut down
    #[arg(short, long)]
    force: bool,
}

pub(crate) fn rm(app: &App, args: &RmArgs) -> Outcome {
    let mode = if args.force { StopMode::Force } else { StopMode::Graceful(None) };
    // An earlier removal that was killed half-way left what no name leads to.
    app.store.sweep_leftovers();
    each(app, &args.targets, |service, name| {
        if let Removed::Theirs(file) = disable::look(app, name)? {
            if args.targets.is_all() && app.is_only_declared(name) {
                return Ok(());
            }
            return Err(Error::of(Kind::Conflict, format!("cannot remove {name}: it is declared in {file}"))
                .with_hint(format!("remove that file, then `kraft rm {name}`")));
        }
        // Stopped before it is claimed: a start that hangs holds the claim, and is ended by this.
        if service.get(name).is_ok_and(|view| view.state.is_live()) {
            service.stop(name, mode)?;
        }
        match app.store.claim(name) {
            Ok(_claim) => {
                disable::remove_file(app, name)?;
                service.delete(name)
            }
            // Somebody else was faster, or it removed itself: it is gone, as was asked.
            Err(error) if error.kind() == Kind::NoSuchMachine => Ok(()),
            Err(error) => Err(error),
        }
    })
}
