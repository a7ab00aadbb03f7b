//! Waiting until another machine has come to what a service wants of it: by `up` and `start`, and by the condition of a
//! unit at boot.

use std::fmt;
use std::str::FromStr;

use crate::cli::app::App;
use crate::compose::Condition;
use crate::error::{Error, Kind, Result};
use crate::machine::{HealthState, MachineName, Ready, Reason, State, View};

/// A machine and what it has to have come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Awaited {
    pub(super) machine: MachineName,
    pub(super) condition: Condition,
}

/// `MACHINE:CONDITION`
impl FromStr for Awaited {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (machine, condition) = text.split_once(':').ok_or_else(|| Error::new("expected MACHINE:CONDITION"))?;
        Ok(Self { machine: machine.parse()?, condition: condition.parse()? })
    }
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.machine, self.condition)
    }
}

/// How a machine stands to a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    Met,
    NotYet,
    /// It never will be, for this reason.
    Never(String),
}

/// Waits for each of them. A machine that goes on for ever without coming to it is waited for as long.
///
/// # Errors
/// When one cannot come to it any more.
pub(in crate::cli) fn await_all(app: &App, all: &[Awaited]) -> Result<()> {
    all.iter().try_for_each(|awaited| await_one(app, awaited))
}

fn await_one(app: &App, awaited: &Awaited) -> Result<()> {
    let Awaited { machine, condition } = awaited;
    let never = |why: String| Error::new(format!("it waits for {machine} ({condition}), which {why}"));
    let service = match app.service_of(machine) {
        Err(error) if error.kind() == Kind::NoSuchMachine => return Err(never("is not there".into())),
        service => service?,
    };
    let mut said = false;
    for view in service.watch(Some(std::slice::from_ref(machine)))? {
        let view = view?;
        match standing(&view, *condition) {
            Standing::Met => return Ok(()),
            Standing::Never(why) => return Err(never(why)),
            Standing::NotYet if !said => {
                log::info!("waiting for {machine}: {condition}");
                said = true;
            }
            Standing::NotYet => {}
        }
    }
    Err(never("cannot be watched any more".into()))
}

fn standing(view: &View, condition: Condition) -> Standing {
    if let Some(problem) = &view.problem {
        return Standing::Never(match problem.kind() {
            Kind::NoSuchMachine => "is not there".into(),
            _ => format!("is unknown: {problem}"),
        });
    }
    let finished =
        view.state == State::Exited && view.exit.as_ref().is_some_and(|exit| exit.reason == Reason::Finished);
    let ended = || match &view.exit {
        Some(exit) => format!("is {}: {exit}", view.state),
        None => format!("is {}", view.state),
    };
    match (condition, view.state) {
        (Condition::Completed, State::Running | State::Paused | State::Restarting) => Standing::NotYet,
        (Condition::Completed, _) if finished => Standing::Met,
        (Condition::Started, State::Running | State::Paused | State::Restarting) => Standing::Met,
        // It was started, and that is all that was asked.
        (Condition::Started, State::Exited | State::Errored) => Standing::Met,
        (Condition::Healthy, State::Running) => match view.health() {
            Some(HealthState::Healthy) | None => Standing::Met,
            Some(HealthState::Unhealthy) => Standing::Never("is unhealthy".into()),
            // It runs because the same probe was answered once.
            Some(HealthState::Starting) if is_ready_by_probe(view) => Standing::Met,
            Some(HealthState::Starting) => Standing::NotYet,
        },
        (Condition::Healthy, State::Paused | State::Restarting) => Standing::NotYet,
        _ => Standing::Never(ended()),
    }
}

fn is_ready_by_probe(view: &View) -> bool {
    view.record.as_ref().is_some_and(|record| match (&record.spec.ready, &record.spec.health) {
        (Ready::Probe(ready), Some(health)) => *ready == health.probe,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Exit, Liveness, MachineId, Manager, Phase, Record, SCHEMA, Spec, Status};

    fn view(liveness: Liveness, exit: Option<Exit>) -> View {
        let at = jiff::Timestamp::UNIX_EPOCH;
        let record = Record {
            schema: SCHEMA,
            id: MachineId::from_bytes([1; 16]),
            created: at,
            manager: Manager::Local,
            stale: false,
            spec: Spec::example("db"),
        };
        let phase = if exit.is_some() { Phase::Ended } else { Phase::Running };
        let status = Status { phase, exit: exit.clone(), running_since: Some(at), ..Status::starting(1, at) };
        View::new(record, liveness, Some(status), exit)
    }

    fn ended(reason: Reason, code: u8) -> View {
        let exit = Exit { at: jiff::Timestamp::UNIX_EPOCH, reason, code, detail: String::new() };
        view(Liveness::Down, Some(exit))
    }

    #[test]
    fn what_a_machine_has_come_to() {
        let up = view(Liveness::Up, None);
        let is = |view: &View, condition| match standing(view, condition) {
            Standing::Met => "met",
            Standing::NotYet => "not yet",
            Standing::Never(_) => "never",
        };
        let all = |view: &View| {
            [Condition::Started, Condition::Healthy, Condition::Completed].map(|condition| is(view, condition))
        };
        assert_eq!(all(&up), ["met", "met", "not yet"]);
        assert_eq!(all(&ended(Reason::Finished, 0)), ["met", "never", "met"]);
        assert_eq!(all(&ended(Reason::Error, 3)), ["met", "never", "never"]);
        assert_eq!(all(&ended(Reason::Stopped, 0)), ["met", "never", "never"]);
        assert_eq!(all(&ended(Reason::StartFailed, 125)), ["never", "never", "never"]);
        let gone = View::unknown("db".parse().unwrap(), Error::of(Kind::NoSuchMachine, "gone"));
        assert_eq!(all(&gone), ["never"; 3]);
    }

    #[test]
    fn texts() {
        let text = "p-db-1:service_healthy";
        assert_eq!(text.parse::<Awaited>().unwrap().to_string(), text);
        assert!("p-db-1".parse::<Awaited>().is_err() && "x:y".parse::<Awaited>().is_err());
    }
}
