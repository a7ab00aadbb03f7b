//! `kraft disable`: a machine is not started at boot any more. What kraft wrote for that goes.

use clap::Args;

use super::Outcome;
use super::app::App;
use super::each::{Targets, each};
use super::enable::place_of;
use crate::config;
use crate::declared;
use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::MachineName;

/// Have machines not start at boot any more
///
/// They are not stopped, and stay as they are otherwise.
#[derive(Debug, Args)]
pub(crate) struct DisableArgs {
    #[command(flatten)]
    targets: Targets,
}

pub(crate) fn disable(app: &App, args: &DisableArgs) -> Outcome {
    each(app, &args.targets, |_, name| {
        let _claim = app.claim(name)?;
        match remove_file(app, name)? {
            Removed::Yes | Removed::NotThere => Ok(()),
            Removed::Theirs(_) if args.targets.is_all() => Ok(()),
            Removed::Theirs(file) => {
                Err(Error::of(Kind::Conflict, format!("cannot disable {name}: it is declared in {file}")).with_hint(
                    "without the table [install] it is not started at boot; `systemctl daemon-reload` has it read",
                ))
            }
        }
    })
}

/// What came of removing a machine's file.
#[derive(Debug)]
pub(super) enum Removed {
    Yes,
    NotThere,
    /// It is not kraft's to remove; this is the file.
    Theirs(String),
}

/// What would come of removing a machine's file.
pub(super) fn look(app: &App, name: &MachineName) -> Result<Removed> {
    let Some(dirs) = app.dirs() else { return Ok(Removed::NotThere) };
    Ok(match config::own_file(&dirs, name) {
        _ if declared::written_for(&place_of(app, name)?).is_some() => Removed::Yes,
        Some(file) => Removed::Theirs(file.display().to_string()),
        None => Removed::NotThere,
    })
}

/// Removes the file that kraft wrote for a machine.
pub(super) fn remove_file(app: &App, name: &MachineName) -> Result<Removed> {
    let found = look(app, name)?;
    if matches!(found, Removed::Yes) {
        let ours = place_of(app, name)?;
        std::fs::remove_file(&ours).with_context(|| format!("cannot remove {}", ours.display()))?;
        app.store.forget_origin(name)?;
    }
    Ok(found)
}
