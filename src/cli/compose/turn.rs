//! Whoever makes or removes what a project is made of does so alone.

use crate::cli::app::App;
use crate::cli::output;
use crate::error::Result;
use crate::store::PassingLock;

/// Takes the project for one change, and says so if somebody else is changing it. Not held while machines are waited
/// for, so that `down` can end that.
///
/// # Errors
/// When somebody else changes it for minutes, or the runtime directory is not ours.
pub(super) fn take(app: &App, project: &str) -> Result<PassingLock> {
    let what = format!("project {project}");
    // No machine's runtime directory begins so.
    let path = app.store.paths().runtime.join(format!(".compose:{project}.lock"));
    PassingLock::take(path, &what, || output::note(format_args!("waiting for another kraft that changes {what}")))
}
