//! `start`: the job of the unit, and why it failed if it did.

use std::time::Duration;

use jiff::Timestamp;

use super::anchor::{Active, Anchored};
use super::bus::Ticket;
use super::failure::{Cause, Failure};
use super::job::Outcome;
use super::manager::{self, Interface, text};
use super::service::SystemdService;
use super::unit;
use crate::error::{Error, Kind, Result};
use crate::machine::{Exit, Liveness, MachineName, Phase, Record, State, View};

/// What is left beyond the unit's own time-out, in which systemd ends it.
const MARGIN: Duration = Duration::from_secs(30);

impl SystemdService {
    pub(super) fn start_machine(&self, name: &MachineName) -> Result<View> {
        let Some(record) = self.ours(name)? else { return self.inner.start(name) };
        let view = self.inner.get(name)?;
        if let Some(problem) = view.problem {
            return Err(problem.context(format!("cannot start {name}")));
        }
        if view.state == State::Paused {
            return self.inner.start(name).and_then(|view| self.with_units(view));
        }
        let begun = Timestamp::now();
        let ticket = self.queue_start(&record).map_err(|e| e.context(format!("cannot start {name}")))?;
        self.await_start(&record, ticket, begun)
    }

    /// Starts a machine whose last life ended under the start, which found its unit active still and did nothing: once
    /// that is over.
    fn start_behind(&self, record: &Record) -> Result<View> {
        let name = &record.spec.name;
        let begun = Timestamp::now();
        let ticket = self.manager.borrow_mut().queue(manager::restart(&unit::service_name(name)));
        let ticket = ticket.map_err(|failure| failure.context(format!("cannot start {name}")))?;
        match self.started(record, ticket, begun)? {
            Started::Runs(view) => Ok(*view),
            Started::EndedBefore => Err(Error::new(format!("cannot start {name}: its unit does not start it"))
                .with_hint(self.journal_hint(name))),
        }
    }

    /// Sends the start, after making the units if they are not there or are out of date.
    fn queue_start(&self, record: &Record) -> Result<Ticket> {
        let name = &record.spec.name;
        let service = unit::service_name(name);
        if record.stale && self.is_down(name)? {
            let anchor = unit::slice_name(name, record.spec.slice.as_deref())?;
            self.clear(&anchor, name)?;
            let anchored = self.anchor(record, Active::Machine)?;
            self.no_longer_stale(record)?;
            if let Anchored::Made(ticket) = anchored {
                return Ok(ticket);
            }
        }
        match self.try_queue_start(&service) {
            // A machine that only a file knows: its unit is to make the record.
            Err(failure) if failure.cause == Cause::NoSuchUnit && !self.store.directory(name).exists() => {
                Err(Error::new("systemd has not read its file yet")
                    .with_hint(format!("`systemctl {}daemon-reload` has it read all of them", self.manager_flag())))
            }
            // After a reboot, or when somebody stopped the slice.
            Err(failure) if failure.cause == Cause::NoSuchUnit => match self.anchor(record, Active::Machine)? {
                Anchored::Made(ticket) => Ok(ticket),
                Anchored::ByFile(_) => Ok(self.try_queue_start(&service)?),
            },
            result => Ok(result?),
        }
    }

    /// Sends the start and looks at its answer only as far as telling that the unit is there.
    fn try_queue_start(&self, service: &str) -> Result<Ticket, Failure> {
        let mut manager = self.manager.borrow_mut();
        let ticket = manager.queue(manager::start(service))?;
        match manager.bus()?.peek(&ticket) {
            Err(failure) if failure.cause == Cause::NoReply => {
                manager.bus()?.await_manager()?;
                manager.queue(manager::start(service))
            }
            Err(failure) => Err(failure),
            Ok(()) => Ok(ticket),
        }
    }

    /// The units are as the record says.
    fn no_longer_stale(&self, record: &Record) -> Result<()> {
        let current = self.store.read(&record.spec.name)?;
        // Changed since: then what was made is out of date already.
        if current != *record {
            return Ok(());
        }
        self.store.replace(&Record { stale: false, ..current })
    }

    /// Waits until the guest runs.
    pub(super) fn await_start(&self, record: &Record, ticket: Ticket, begun: Timestamp) -> Result<View> {
        match self.started(record, ticket, begun)? {
            Started::Runs(view) => Ok(*view),
            Started::EndedBefore => self.start_behind(record),
        }
    }

    fn started(&self, record: &Record, ticket: Ticket, begun: Timestamp) -> Result<Started> {
        let name = &record.spec.name;
        let cannot = |error: Error| error.context(format!("cannot start {name}")).with_hint(self.journal_hint(name));
        let runs = |view| Ok(Started::Runs(Box::new(view)));
        match self.end_of_job(record, ticket).map_err(|failure| cannot(failure.into()))? {
            Outcome::Done => {
                let view = self.inner.get(name)?;
                if view.status.as_ref().is_some_and(|status| status.started >= begun) {
                    return runs(self.decorate(view, Liveness::Up));
                }
                // No runner has begun since. It runs already, or did until this moment.
                let phase = view.status.as_ref().map(|status| status.phase);
                match self.liveness(name)? {
                    Liveness::Up if !matches!(phase, Some(Phase::Stopping | Phase::Restarting | Phase::Ended)) => {
                        runs(self.decorate(view, Liveness::Up))
                    }
                    // A unit whose condition is not met is not started, and its job is done all the same.
                    Liveness::Down | Liveness::Failed if !self.meets_its_condition(name) => {
                        Err(cannot(Error::new("a condition of its unit is not met")))
                    }
                    _ => Ok(Started::EndedBefore),
                }
            }
            Outcome::Unseen if !self.is_down(name)? => {
                self.inner.get(name).and_then(|v| self.with_units(v)).and_then(runs)
            }
            outcome => Err(cannot(self.why_not(name, outcome, begun))),
        }
    }

    /// Waits for the end of a start's job, as long as that may take. A drop-in may say that this is longer than the record
    /// tells, so systemd is asked when it is.
    fn end_of_job(&self, record: &Record, ticket: Ticket) -> Result<Outcome, Failure> {
        let name = &record.spec.name;
        let what = format!("the guest of {name} to run");
        let margin = record.spec.stop_timeout().saturating_add(MARGIN);
        let usual = unit::start_limit(record);
        let job = self.manager.borrow_mut().accepted(ticket)?;
        let ended = self.manager.borrow_mut().await_end(&job, &what, usual.saturating_add(margin));
        match ended {
            Err(failure) if failure.cause == Cause::Timeout => match self.start_limit(name).checked_sub(usual) {
                Some(more) if !more.is_zero() => self.manager.borrow_mut().await_end(&job, &what, more),
                Some(_) | None => Err(failure),
            },
            ended => ended,
        }
    }

    /// The longest that a start may take by the machine's unit; zero if that cannot be asked.
    fn start_limit(&self, name: &MachineName) -> Duration {
        let asked = [(Interface::Service, "TimeoutStartUSec")];
        let answers = self.manager.borrow_mut().properties(&unit::service_name(name), &asked);
        let micros = answers.ok().and_then(|answers| answers.into_iter().next().flatten());
        Duration::from_micros(micros.and_then(|value| value.downcast_ref::<u64>().ok()).unwrap_or_default())
    }

    /// Whether the conditions of the machine's unit were met when systemd looked last.
    fn meets_its_condition(&self, name: &MachineName) -> bool {
        let asked = [(Interface::Unit, "ConditionResult")];
        let answers = self.manager.borrow_mut().properties(&unit::service_name(name), &asked);
        let met = answers.ok().and_then(|answers| answers.into_iter().next().flatten());
        met.is_none_or(|value| value.downcast_ref::<bool>() != Ok(false))
    }

    /// Why the guest never ran: the runner's own word if it left one, else what systemd knows.
    fn why_not(&self, name: &MachineName, outcome: Outcome, begun: Timestamp) -> Error {
        // The end of the life before may have been recorded since, too.
        let is_ours = |exit: &Exit| match self.store.status(name) {
            Ok(Some(status)) => status.started >= begun && exit.at >= status.started,
            Ok(None) | Err(_) => exit.at >= begun,
        };
        if let Ok(Some(exit)) = self.store.last_exit(name)
            && is_ours(&exit)
        {
            let why = if exit.detail.is_empty() { exit.to_string() } else { exit.detail.clone() };
            return Error::new(why).with_kind(match exit.code {
                126 => Kind::CannotRun,
                127 => Kind::NotFound,
                _ => Kind::Failed,
            });
        }
        let service = unit::service_name(name);
        let asked = [
            (Interface::Service, "Result"),
            (Interface::Service, "ExecMainStatus"),
            (Interface::Service, "StatusText"),
            (Interface::Unit, "InactiveExitTimestamp"),
        ];
        let Ok(answers) = self.manager.borrow_mut().properties(&service, &asked) else {
            return outcome.into_error(&service);
        };
        let [Some(result), status, said, left] = answers.as_slice() else { return outcome.into_error(&service) };
        let status = status.as_ref().and_then(|value| value.downcast_ref::<i32>().ok());
        let said = said.as_ref().and_then(text).filter(|said| !said.is_empty());
        let left = left.as_ref().and_then(|value| value.downcast_ref::<u64>().ok());
        let is_ours = left.is_some_and(|left| i128::from(left) >= i128::from(begun.as_microsecond()));
        match (text(result), said) {
            // A disk that is full or read-only did not take the record of it, or there is none yet; but the runner told
            // systemd, too. The life before may have as well, if no other came of the job.
            (Some(result), Some(said)) if result == "exit-code" && (is_ours || outcome == Outcome::Failed) => {
                Error::new(said)
            }
            (Some(result), _) if outcome == Outcome::Failed => Error::new(in_words(&result, status)),
            _ => outcome.into_error(&service),
        }
    }

    fn is_down(&self, name: &MachineName) -> Result<bool> {
        Ok(matches!(self.liveness(name)?, Liveness::Down | Liveness::Failed))
    }
}

/// What came of a start.
enum Started {
    /// The guest runs.
    Runs(Box<View>),
    /// It ran when it was asked for, and has ended since.
    EndedBefore,
}

/// A service's `Result` and exit status for a person (systemd.exec(5), "process exit codes").
fn in_words(result: &str, status: Option<i32>) -> String {
    match (result, status) {
        ("exit-code", Some(200)) => "its runner cannot enter its directory".to_owned(),
        ("exit-code", Some(203)) => "its runner cannot be executed".to_owned(),
        ("exit-code", Some(216 | 217)) => "there is no such user or group for its unit".to_owned(),
        ("exit-code", Some(226)) => "systemd cannot set up its mounts".to_owned(),
        ("exit-code", Some(243)) => "systemd cannot load its secrets".to_owned(),
        ("exit-code", Some(status @ 200..=245)) => format!("systemd cannot set up its process (status {status})"),
        ("exit-code", Some(status)) => format!("its runner ended with code {status} before the guest ran"),
        ("signal" | "core-dump", Some(signal)) => format!("its runner was killed by signal {signal}"),
        ("timeout", _) => "it took longer than its unit may take to start".to_owned(),
        ("watchdog", _) => "its runner did not answer any more".to_owned(),
        ("oom-kill", _) => "it ran out of memory".to_owned(),
        ("protocol", _) => "its runner ended before the guest ran".to_owned(),
        ("resources", _) => "systemd ran out of something that its unit needs".to_owned(),
        (other, _) => format!("its unit ended as '{other}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_services_in_words() {
        assert_eq!(in_words("exit-code", Some(203)), "its runner cannot be executed");
        assert_eq!(in_words("exit-code", Some(125)), "its runner ended with code 125 before the guest ran");
        assert_eq!(in_words("new-word", None), "its unit ended as 'new-word'");
    }
}
