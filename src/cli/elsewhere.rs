//! The machines that this call of kraft does not look at: those of the other scope, and how to see them.

use super::app::App;
use super::output;
use crate::machine::{MachineName, Selector};
use crate::paths::{Paths, Scope};
use crate::store::Store;

/// Somebody else's machines, as far as the caller may look at them.
struct Elsewhere {
    store: Store,
    /// Where they are.
    place: String,
    /// What shows them, with this verb.
    way: fn(&str) -> String,
}

/// The scopes that the caller may have meant.
fn elsewhere(app: &App) -> Vec<Elsewhere> {
    let found = |paths: Paths, place: String, way| Elsewhere { store: Store::new(paths), place, way };
    match app.scope {
        Scope::User => {
            let paths = Paths::find(Scope::System).ok();
            paths
                .map(|paths| found(paths, "in the system scope".into(), |verb| format!("`kraft --system{verb}`")))
                .into_iter()
                .collect()
        }
        Scope::System => {
            let own = Paths::find(Scope::User).ok();
            let own = own.map(|paths| found(paths, "in the user scope".into(), |verb| format!("`kraft --user{verb}`")));
            let sudoer = Paths::of_sudoer().map(|(user, paths)| {
                found(paths, format!("among those of {user}"), |verb| format!("`kraft{verb}` without sudo"))
            });
            own.into_iter().chain(sudoer).collect()
        }
    }
}

/// Where a machine is that is not in this scope: a hint, if it is anywhere.
pub(crate) fn has(app: &App, selector: &Selector) -> Option<String> {
    // Looking at somebody else's machines may well be forbidden: then there is nothing to hint at.
    elsewhere(app).into_iter().find_map(|other| {
        let name: MachineName = other.store.resolve(selector).ok()?;
        Some(format!("there is a machine {name} {}: {}", other.place, (other.way)("")))
    })
}

/// Says on standard error whose machines were not listed.
pub(crate) fn note(app: &App) {
    for other in elsewhere(app) {
        let count = other.store.names().map_or(0, |names| names.len());
        if count > 0 {
            let machines = if count == 1 { "machine is" } else { "machines are" };
            output::note(format!("{count} {machines} {}: {}", other.place, (other.way)(" ps")));
        }
    }
}
