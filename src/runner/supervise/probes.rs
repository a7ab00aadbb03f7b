//! What a guest's probes call for: the machine is said to be ready, or well, or it is brought to its end.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use log::Level;

use super::super::probe::{Change, News, Prober};
use super::{Life, Supervisor, take_step};
use crate::error::Result;
use crate::lifecycle::{EventKind, EventLog, Stopping};
use crate::logging::message;
use crate::machine::{Exit, HealthAction, HealthState, HealthStatus, Phase, Reason};
use crate::platform::{Ask, Vmm};

/// How often the count of probes is told at most.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// Why a guest is ended that runs.
#[derive(Debug)]
pub(super) enum Ill {
    /// It is not ready in time.
    NeverReady(String),
    /// Its health probes failed.
    Unhealthy(String),
}

impl Ill {
    /// The end, whatever the VMM made of it.
    pub(super) fn exit(&self, exit: Exit) -> Exit {
        match self {
            Self::NeverReady(why) => start_failed(exit, why.clone()),
            Self::Unhealthy(why) => exit.for_health(why),
        }
    }
}

/// The end of a guest that came before it was ready.
pub(super) fn ended_unready(exit: Exit) -> Exit {
    let detail = format!("not ready: the guest ended before: {exit}");
    start_failed(exit, detail)
}

fn start_failed(exit: Exit, detail: String) -> Exit {
    // The code is kraft's, as it is kraft that could not do what it was asked for.
    Exit { reason: Reason::StartFailed, code: 125, detail, ..exit }
}

/// The probes, as long as the guest is meant to go on.
pub(super) fn probes(life: &Life) -> Option<&Prober> {
    life.stopping.is_none().then_some(&life.prober)
}

impl Supervisor<'_> {
    /// The guest runs, and the machine is not ready by that.
    pub(super) fn waits(&mut self, life: &Life) -> Result<()> {
        let Some(wait) = life.prober.waits_for() else { return Ok(()) };
        self.status.waits_for = Some(wait.name().to_owned());
        self.write_status()?;
        self.notifier.status(&format!("waiting for {}", wait.name()));
        Ok(())
    }

    fn not_yet(&mut self, why: String) -> Result<()> {
        self.notifier.status(&why);
        self.status.unready = Some(why);
        self.write_status()
    }

    /// The machine is ready.
    pub(super) fn ready(&mut self, life: &Life) -> Result<()> {
        self.status.running_since = Some(Timestamp::now());
        self.status.waits_for = None;
        self.status.unready = None;
        if self.status.phase == Phase::Starting {
            self.status.phase = Phase::Running;
        }
        self.note_health(life);
        self.write_status()?;
        self.notifier.ready(&self.running_text());
        EventLog::of(self.store).append(EventKind::Start, self.record, None);
        log::info!(MESSAGE_ID = message::STARTED; "{}: the guest runs", self.record.spec.name);
        Ok(())
    }

    /// The guest ended: it has run, whether or not that was seen, and may have been ready.
    pub(super) fn ran(&mut self, life: &mut Life) -> Result<()> {
        if life.console.matched() {
            life.prober.line_matched();
        }
        if !life.prober.has_begun() {
            return self.started(life);
        }
        if life.console.matched() && life.prober.advance(Instant::now()) == Some(News::Ready) {
            return self.ready(life);
        }
        Ok(())
    }

    /// Looks at the guest, and does what that calls for.
    pub(super) fn probe(&mut self, vmm: &dyn Vmm, life: &mut Life) -> Result<()> {
        if life.console.matched() {
            life.prober.line_matched();
        }
        let now = Instant::now();
        while life.stopping.is_none()
            && let Some(news) = life.prober.advance(now)
        {
            match news {
                News::Ready => self.ready(life)?,
                News::NotYet(why) => self.not_yet(why)?,
                News::Never(why) => self.end_ill(vmm, life, Ill::NeverReady(why))?,
                News::Probed(change) => self.probed(vmm, life, change)?,
            }
        }
        if life.stopping.is_none() && life.prober.asks() {
            life.guest.ask(Ask::Connections)?;
        }
        Ok(())
    }

    /// A health probe is over.
    fn probed(&mut self, vmm: &dyn Vmm, life: &mut Life, change: Option<Change>) -> Result<()> {
        let Some(Change { from, to, why }) = change else {
            if self.told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
                self.note_health(life);
                self.write_status()?;
            }
            return Ok(());
        };
        self.note_health(life);
        self.write_status()?;
        let name = &self.record.spec.name;
        match (from, to) {
            (_, HealthState::Unhealthy) => log::warn!(MESSAGE_ID = message::UNHEALTHY; "{name}: unhealthy: {why}"),
            // Who was told the one is told the other, too.
            (HealthState::Unhealthy, _) => log::warn!(MESSAGE_ID = message::HEALTHY; "{name}: healthy again"),
            (HealthState::Starting | HealthState::Healthy, _) => {}
        }
        self.notifier.status(&self.running_text());
        EventLog::of(self.store).append_health(self.record, to);
        match self.record.spec.health.as_ref().map(|health| health.on_failure) {
            Some(HealthAction::Restart | HealthAction::Stop) if to == HealthState::Unhealthy => {
                self.end_ill(vmm, life, Ill::Unhealthy(why))
            }
            Some(HealthAction::Restart | HealthAction::Stop | HealthAction::None) | None => Ok(()),
        }
    }

    /// Has the status say what the probes said.
    fn note_health(&mut self, life: &Life) {
        let Some(watch) = life.prober.watch() else { return };
        let before = self.status.health.take().filter(|health| health.state == watch.state());
        self.status.health = Some(HealthStatus {
            state: watch.state(),
            since: before.map_or_else(Timestamp::now, |health| health.since),
            probes: watch.probes(),
            failures: watch.failures(),
            detail: if watch.failures() == 0 { String::new() } else { watch.why().to_owned() },
        });
        self.told = Some(Instant::now());
    }

    /// Ends a guest that runs, as gently as a stop does.
    fn end_ill(&mut self, vmm: &dyn Vmm, life: &mut Life, ill: Ill) -> Result<()> {
        let grace = self.grace(vmm, life, None);
        let text = match &ill {
            Ill::NeverReady(why) => {
                // The end tells the journal.
                log::log!(self.level(Level::Debug, Level::Error), "{}: {why}", self.record.spec.name);
                why.clone()
            }
            // That is logged already.
            Ill::Unhealthy(why) => format!("unhealthy: {why}"),
        };
        self.notifier.extend(&text, grace + Duration::from_secs(10));
        life.ill = Some(ill);
        let (stopping, step) = Stopping::begin(grace, false, Instant::now());
        life.stopping = Some(stopping);
        take_step(life, step)
    }

    /// How long the guest has for shutting itself down.
    pub(super) fn grace(&self, vmm: &dyn Vmm, life: &Life, asked: Option<Duration>) -> Duration {
        let spec = &self.record.spec;
        if life.prober.has_begun() && vmm.has_power_button(spec) {
            asked.unwrap_or_else(|| spec.stop_timeout())
        } else {
            Duration::ZERO
        }
    }

    /// What the line that `systemctl status` shows says of its health.
    pub(super) fn health_text(&self) -> String {
        self.status.health.as_ref().map_or_else(String::new, |health| match (health.state, health.detail.as_str()) {
            (HealthState::Starting, _) => ", health: starting".to_owned(),
            (HealthState::Unhealthy, why) if !why.is_empty() => format!(", unhealthy: {why}"),
            (state @ (HealthState::Healthy | HealthState::Unhealthy), _) => format!(", {state}"),
        })
    }
}
