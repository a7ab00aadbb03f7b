//! `stop`: word for the runner how, then the job of the unit.

use std::time::Duration;

use jiff::Timestamp;

use super::bus::Bus;
use super::failure::Failure;
use super::manager::{self, Interface, Manager, UnitState, text};
use super::service::SystemdService;
use super::{list, unit};
use crate::error::Result;
use crate::machine::{Exit, Liveness, MachineName, Phase, Reason, StopMode, View};

/// The longest that a stop without a time-out of its own takes, by any unit's time-out.
pub(super) const STOP_LIMIT: Duration = Duration::from_secs(150);
/// What is left beyond the guest's time-out to end it and clean up.
const MARGIN: Duration = Duration::from_secs(30);

impl SystemdService {
    pub(super) fn stop_machine(&self, name: &MachineName, mode: StopMode) -> Result<View> {
        let Some(record) = self.ours(name)? else { return self.inner.stop(name, mode) };
        let cannot = || format!("cannot stop {name}");
        let service = unit::service_name(name);
        let (state, frozen) = self.manager.borrow_mut().state_and_freezer(&service).map_err(|f| f.context(cannot()))?;
        let live = match list::liveness_of(state.as_ref()) {
            Liveness::Starting | Liveness::Up | Liveness::Stopping => true,
            Liveness::Waiting => false,
            Liveness::Down | Liveness::Failed => return self.inner.get(name).and_then(|view| self.with_units(view)),
        };
        if live {
            // A runner that lives reads it; nobody else would, and the next runner must not. Without it the machine
            // still stops, if not in the way that was asked for.
            let left = self.store.make_runtime(name).and_then(|_| self.store.request_stop(name, mode));
            if let Err(error) = left {
                log::warn!("cannot tell the runner of {name} how to stop: {error}");
            }
        }
        let limit = match mode {
            StopMode::Graceful(timeout) => timeout.unwrap_or(record.spec.stop_timeout()).saturating_add(MARGIN),
            StopMode::Force | StopMode::Kill => MARGIN,
        };
        {
            let mut manager = self.manager.borrow_mut();
            if frozen {
                // A stop of a frozen unit does nothing, or worse.
                manager.thaw(&service).map_err(|f| f.context(cannot()))?;
            }
            if list::liveness_of(state.as_ref()) == Liveness::Stopping {
                // A second stop of a unit sends no second SIGTERM; without one the runner does not look for the new
                // request.
                manager.terminate(&service).map_err(|f| f.context(cannot()))?;
            }
            manager
                .stop_and_wait(&service, limit)
                .map_err(|f| f.error.context(cannot()).with_hint(self.journal_hint(name)))?;
        }
        let down = self.inner.get(name).and_then(|view| self.with_units(view));
        down.and_then(|view| self.settle_stop(view)).or_else(|error| View::gone(name, error))
    }

    /// Records a stop that came between the end of one runner and the restart that was due: no runner was there to do it.
    fn settle_stop(&self, view: View) -> Result<View> {
        let Some(mut status) = view.status.clone().filter(|status| status.phase == Phase::Restarting) else {
            return Ok(view);
        };
        let name = &view.name;
        let exit = Exit { at: Timestamp::now(), reason: Reason::Stopped, code: 0, detail: String::new() };
        status.phase = Phase::Ended;
        status.exit = Some(exit.clone());
        self.store.write_exit(name, &exit)?;
        self.store.write_status(name, &status)?;
        // What the unit failed of is over.
        self.manager.borrow_mut().reset_failed(&[&unit::service_name(name)])?;
        self.inner.get(name).and_then(|view| self.with_units(view))
    }
}

impl Manager {
    /// A unit's line in the list, if it is loaded, and whether it is frozen; one round trip.
    fn state_and_freezer(&mut self, unit: &str) -> Result<(Option<UnitState>, bool), Failure> {
        let bus: &mut Bus = self.bus()?;
        let tickets = bus.send(vec![manager::list(&[unit]), manager::get(unit, Interface::Unit, "FreezerState")])?;
        let [listed, freezer]: [_; 2] =
            tickets.try_into().map_err(|_| crate::error::Error::new("a call without an answer"))?;
        let listed = bus.answer(listed);
        let freezer = bus.answer(freezer);
        let states = match listed {
            Ok(message) => manager::units(&message)?,
            // The manager re-executed itself: asked once more, which waits for it.
            Err(_) => self.list(&[unit])?,
        };
        let frozen = freezer
            .ok()
            .and_then(|message| message.body().deserialize().ok())
            .and_then(|value| text(&value))
            .is_some_and(|state| state.starts_with("fr"));
        Ok((states.into_iter().next(), frozen))
    }
}
