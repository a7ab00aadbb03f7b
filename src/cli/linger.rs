//! Whether the caller's machines outlive the caller's login.

use std::path::Path;

use super::app::App;
use super::output;
use crate::machine::{MachineName, Manager};
use crate::paths::{self, Scope};

/// The caller's name, and whether the service manager of that account runs without a login.
pub(crate) fn linger() -> Option<(String, bool)> {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok()??.name;
    let lingers = Path::new(paths::LINGER).join(&user).exists();
    Some((user, lingers))
}

/// Says of a machine that was just started when it ends with the caller's last session.
pub(crate) fn note(app: &App, manager: Manager, name: &MachineName) {
    if app.scope == Scope::User
        && manager == Manager::Systemd
        && let Some((user, false)) = linger()
    {
        output::note(format!("hint: {name} ends when you log out; `loginctl enable-linger {user}` lets it go on"));
    }
}
