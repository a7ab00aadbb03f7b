//! Jobs of the service manager, waited for without a race.
//!
//! The order is: match `JobRemoved`, call, then wait for *that* job. The match rule needs no answer, so waiting costs no
//! round trip.

use std::fmt;
use std::time::{Duration, Instant};

use zbus::{Message, OwnedObjectPath};

use super::bus::{Bus, Call, MANAGER, Signal, Ticket};
use super::failure::{Cause, Failure};
use super::manager::{self, Manager, unreadable};
use crate::error::{Error, Kind};

/// Longer than anybody waits, and a time that there is.
const EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A job that was queued, by its place on the bus.
#[derive(Debug)]
pub(super) struct Job(OwnedObjectPath);

/// How a job ended, by the words of `JobRemoved`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It did what it was for.
    Done,
    /// Another request took its place.
    Canceled,
    /// The unit took longer than it may.
    TimedOut,
    /// The unit failed.
    Failed,
    /// A unit that it needs failed.
    Dependency,
    /// There was nothing to do, or a condition was not met.
    Skipped,
    /// The unit is frozen, so nothing was done.
    Frozen,
    /// It ended while the manager re-executed itself: only the unit's state tells how.
    Unseen,
    /// A word that is newer than this program, or `assert`, `unsupported`, `collected`, `once`, `invalid`.
    Other(String),
}

impl Outcome {
    fn from_word(word: &str) -> Self {
        match word {
            "done" => Self::Done,
            "canceled" => Self::Canceled,
            "timeout" => Self::TimedOut,
            "failed" => Self::Failed,
            "dependency" => Self::Dependency,
            "skipped" => Self::Skipped,
            "frozen" => Self::Frozen,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The outcome as the reason why a job on `unit` did not do what it was for.
    pub(super) fn into_error(self, unit: &str) -> Error {
        let error = Error::new(format!("{unit}: {self}"));
        match self {
            Self::Canceled => error.with_kind(Kind::Conflict),
            Self::TimedOut => error.with_kind(Kind::Timeout),
            Self::Done
            | Self::Failed
            | Self::Dependency
            | Self::Skipped
            | Self::Frozen
            | Self::Unseen
            | Self::Other(_) => error,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("the job is done"),
            Self::Canceled => f.write_str("another request took the place of this one"),
            Self::TimedOut => f.write_str("it took longer than the unit may take"),
            Self::Failed => f.write_str("the unit failed"),
            Self::Dependency => f.write_str("a unit that it needs failed"),
            Self::Skipped => f.write_str("the job was skipped"),
            Self::Frozen => f.write_str("the unit is frozen"),
            Self::Unseen => f.write_str("the job ended while systemd re-executed itself"),
            Self::Other(word) => write!(f, "the job ended as '{word}'"),
        }
    }
}

impl Manager {
    /// Sends a call that queues a job, after asking for the signal of how jobs end.
    ///
    /// The manager says how a job ends to whoever queued it. Nobody has to subscribe for that, which would have it
    /// broadcast every change of every unit meanwhile: some twenty messages for one start.
    pub(super) fn queue(&mut self, call: Call) -> Result<Ticket, Failure> {
        let fresh = {
            self.bus()?;
            !std::mem::replace(&mut self.follows_jobs, true)
        };
        let bus = self.bus()?;
        bus.clear_signals();
        if fresh {
            bus.match_signals(&[format!(
                "type='signal',sender='{MANAGER}',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'"
            )])?;
        }
        let tickets = bus.send(vec![call])?;
        tickets.into_iter().next().ok_or_else(|| Error::new("a call without an answer").into())
    }

    /// Waits for the end of the job that a call queued. `what` names the wait, `limit` is the longest.
    pub(super) fn finish(&mut self, ticket: Ticket, what: &str, limit: Duration) -> Result<Outcome, Failure> {
        let job = self.accepted(ticket)?;
        self.await_end(&job, what, limit)
    }

    /// The job that a call queued.
    pub(super) fn accepted(&mut self, ticket: Ticket) -> Result<Job, Failure> {
        let answer = self.bus()?.answer(ticket)?;
        answer.body().deserialize().map(Job).map_err(unreadable)
    }

    /// Waits for the end of a job. After a [time-out](Cause::Timeout) it can be waited for once more.
    pub(super) fn await_end(&mut self, job: &Job, what: &str, limit: Duration) -> Result<Outcome, Failure> {
        let (deadline, path) = (Instant::now() + limit.min(EVER), job.0.as_str());
        let bus = self.bus()?;
        loop {
            match bus.next_signal(deadline, what)? {
                Signal::Said(message) => {
                    if let Some(outcome) = outcome_of(&message, path) {
                        return Ok(outcome);
                    }
                }
                Signal::ManagerChanged => {
                    if !still_queued(bus, path)? {
                        return Ok(heard_of(bus, path).unwrap_or(Outcome::Unseen));
                    }
                }
            }
        }
    }

    /// Queues one job and waits for its end. The call is one that may be made twice.
    pub(super) fn run(&mut self, call: impl Fn() -> Call, what: &str, limit: Duration) -> Result<Outcome, Failure> {
        let once = |manager: &mut Self| {
            let ticket = manager.queue(call())?;
            manager.finish(ticket, what, limit)
        };
        match once(self) {
            Err(failure) if failure.cause == Cause::NoReply => {
                self.bus()?.await_manager()?;
                once(self)
            }
            result => result,
        }
    }

    /// Stops a unit and waits until it is down. One that is not loaded is down.
    pub(super) fn stop_and_wait(&mut self, unit: &str, limit: Duration) -> Result<(), Failure> {
        match self.run(|| manager::stop(unit), &format!("{unit} to stop"), limit) {
            Ok(Outcome::Done | Outcome::Skipped) => Ok(()),
            Ok(Outcome::Unseen) if self.is_down(unit)? => Ok(()),
            Ok(outcome) => Err(outcome.into_error(unit).context(format!("cannot stop unit {unit}")).into()),
            Err(failure) if failure.cause == Cause::NoSuchUnit => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    fn is_down(&mut self, unit: &str) -> Result<bool, Failure> {
        Ok(self.list(&[unit])?.iter().all(|state| matches!(state.active.as_str(), "inactive" | "failed")))
    }
}

/// How the job of that path ended, if this signal tells.
fn outcome_of(signal: &Message, job: &str) -> Option<Outcome> {
    if signal.header().member().is_none_or(|member| member.as_str() != "JobRemoved") {
        return None;
    }
    let body = signal.body();
    let (_, path, _, word): (u32, OwnedObjectPath, &str, &str) = body.deserialize().ok()?;
    (path.as_str() == job).then(|| Outcome::from_word(word))
}

/// Whether a manager that has just re-executed itself still has the job; signals it would have sent meanwhile are lost.
fn still_queued(bus: &mut Bus, job: &str) -> Result<bool, Failure> {
    let Some(id) = job.rsplit('/').next().and_then(|id| id.parse().ok()) else { return Ok(false) };
    match bus.call(manager::job(id)) {
        Err(failure) if failure.cause == Cause::NoSuchJob => Ok(false),
        result => result.map(|_| true),
    }
}

fn heard_of(bus: &mut Bus, job: &str) -> Option<Outcome> {
    while let Some(signal) = bus.queued_signal() {
        if let Signal::Said(message) = signal
            && let Some(outcome) = outcome_of(&message, job)
        {
            return Some(outcome);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_in_words() {
        let error = Outcome::from_word("frozen").into_error("kraft-web.service");
        assert_eq!(error.to_string(), "kraft-web.service: the unit is frozen");
        assert_eq!(Outcome::from_word("concurrency"), Outcome::Other("concurrency".into()));
        assert_eq!(Outcome::from_word("timeout").into_error("x").kind(), Kind::Timeout);
    }
}
