//! `list` and `get`: what the inner service knows, with systemd's word on who lives. One call for any number.

use std::collections::HashMap;

use super::manager::UnitState;
use super::service::SystemdService;
use super::unit;
use crate::error::Result;
use crate::machine::{Liveness, MachineName, Manager as Keeper, View};

impl SystemdService {
    pub(super) fn list_machines(&self) -> Result<Vec<View>> {
        let views = self.inner.list()?;
        if !views.iter().any(is_ours) {
            return Ok(views);
        }
        let states: Result<HashMap<String, UnitState>> = self
            .manager
            .borrow_mut()
            .list(&[unit::SERVICES])
            .map(|states| states.into_iter().map(|state| (state.name.clone(), state)).collect())
            .map_err(Into::into);
        Ok(views
            .into_iter()
            .map(|view| match (&states, is_ours(&view)) {
                (_, false) => view,
                (Ok(states), true) => {
                    let state = states.get(&unit::service_name(&view.name));
                    self.decorate(view, liveness_of(state))
                }
                // The machine may be well; it cannot be told.
                (Err(error), true) => with_unit(view).with_problem(error.clone()),
            })
            .collect())
    }

    /// The view with what systemd knows, if the machine is ours.
    pub(super) fn with_units(&self, view: View) -> Result<View> {
        if !is_ours(&view) {
            return Ok(view);
        }
        Ok(match self.liveness(&view.name) {
            Ok(liveness) => self.decorate(view, liveness),
            Err(error) => with_unit(view).with_problem(error),
        })
    }

    /// What systemd knows of the machine's runner.
    pub(super) fn liveness(&self, name: &MachineName) -> Result<Liveness> {
        let states = self.manager.borrow_mut().list(&[&unit::service_name(name)])?;
        Ok(liveness_of(states.first()))
    }

    /// The view as it is when systemd says this of its runner.
    pub(super) fn decorate(&self, view: View, liveness: Liveness) -> View {
        with_unit(view).with_liveness(liveness)
    }
}

fn is_ours(view: &View) -> bool {
    match view.manager() {
        Some(Keeper::Systemd) => true,
        Some(Keeper::Local) | None => false,
    }
}

fn with_unit(mut view: View) -> View {
    view.unit = Some(unit::service_name(&view.name));
    view
}

/// What a unit's line in the list says of the runner; no line means that the unit is not loaded.
pub(super) fn liveness_of(state: Option<&UnitState>) -> Liveness {
    let Some(state) = state else { return Liveness::Down };
    // Since systemd 254 a unit that waits for its restart may still be listed as inactive or failed.
    if state.sub.contains("auto-restart") {
        return Liveness::Waiting;
    }
    match state.active.as_str() {
        "active" | "reloading" | "refreshing" => Liveness::Up,
        "activating" => Liveness::Starting,
        "deactivating" => Liveness::Stopping,
        "failed" | "maintenance" => Liveness::Failed,
        _ => Liveness::Down,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemds_words_for_a_runner() {
        for (active, sub, liveness) in [
            ("active", "running", Liveness::Up),
            ("activating", "start", Liveness::Starting),
            ("activating", "auto-restart", Liveness::Waiting),
            ("failed", "failed-before-auto-restart", Liveness::Waiting),
            ("deactivating", "stop-post", Liveness::Stopping),
            ("failed", "failed", Liveness::Failed),
            ("inactive", "dead", Liveness::Down),
        ] {
            let state = UnitState { name: "x".into(), load: "loaded".into(), active: active.into(), sub: sub.into() };
            assert_eq!(liveness_of(Some(&state)), liveness, "{active}/{sub}");
        }
        assert_eq!(liveness_of(None), Liveness::Down);
    }
}
