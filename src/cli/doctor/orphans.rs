//! What is left of machines and networks that are gone: shown, and removed.

use super::Check;
use crate::cli::app::App;
use crate::cli::{Outcome, output};
use crate::lifecycle;
use crate::volume::Volumes;

/// Removes every orphan; prints what each was.
pub(super) fn fix(app: &App) -> Outcome {
    // What is half made or half removed was never anybody's, and has no name to be told by.
    app.store.sweep_leftovers();
    Volumes::new(app.store.paths()).sweep_leftovers();
    let (orphans, mut errors) = lifecycle::orphans(&app.store);
    for orphan in orphans {
        let what = format!("removed {}", orphan.what());
        errors.extend(orphan.remove().and_then(|()| output::line(what)).err());
    }
    if errors.is_empty() { Ok(std::process::ExitCode::SUCCESS) } else { Err(errors) }
}

/// What is left of machines and networks that are gone.
pub(super) fn orphans(app: &App) -> Vec<Check> {
    let (orphans, errors) = lifecycle::orphans(&app.store);
    let cure = "`kraft doctor --fix` removes it";
    let mut checks: Vec<Check> = orphans.iter().map(|orphan| Check::warn("orphan", orphan.what(), cure)).collect();
    let errors = errors.iter().map(|error| {
        let hint = error.hint().unwrap_or("look at it as root, or put right what the error names");
        Check::warn("orphans", error.to_string(), hint)
    });
    checks.extend(errors);
    if checks.is_empty() { vec![Check::ok("orphans", "none")] } else { checks }
}
