//! What can be done with machines: the trait that managers implement, and the values it speaks in.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::state::derive;
use super::{
    Bytes, Exit, HealthState, Limit, Liveness, MachineId, MachineName, Phase, Reason, RestartPolicy, Sandbox, Spec,
    State, Status,
};
use crate::error::{Error, Kind, Result};

/// Who keeps a machine alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    /// A detached runner.
    Local,
    /// A systemd unit.
    Systemd,
}

impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Local => "local",
            Self::Systemd => "systemd",
        })
    }
}

/// What is kept of a machine on disk, from its creation to its removal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Layout version.
    pub schema: u32,
    /// Never used twice.
    pub id: MachineId,
    /// When it was created.
    pub created: Timestamp,
    /// Who keeps it alive.
    pub manager: Manager,
    /// The manager's own definition is older than this record: it is made anew before the next start.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
    /// What was asked.
    pub spec: Spec,
}

/// A machine as it is now.
#[derive(Debug, Clone)]
pub struct View {
    /// Its name, known even where the record cannot be read.
    pub name: MachineName,
    /// Its record, unless that is unreadable: then `problem` says why.
    pub record: Option<Record>,
    /// What its condition is called.
    pub state: State,
    /// What its runner said last.
    pub status: Option<Status>,
    /// How it ended the last time.
    pub exit: Option<Exit>,
    /// The unit that runs it, with the systemd manager.
    pub unit: Option<String>,
    /// Why the state is unknown.
    pub problem: Option<Error>,
}

impl View {
    /// A machine whose runner's condition is known.
    pub fn new(record: Record, liveness: Liveness, status: Option<Status>, exit: Option<Exit>) -> Self {
        // The status may know of a later end than the record: one that a full or read-only disk did not take.
        let said = status.as_ref().and_then(|status| status.exit.clone());
        let exit = [exit, said].into_iter().flatten().max_by_key(|exit| exit.at);
        let name = record.spec.name.clone();
        let view = Self { name, record: Some(record), state: State::Unknown, status, exit, unit: None, problem: None };
        view.with_liveness(liveness)
    }

    /// A machine of which only the name is known.
    pub fn unknown(name: MachineName, problem: Error) -> Self {
        Self { name, record: None, state: State::Unknown, status: None, exit: None, unit: None, problem: Some(problem) }
    }

    /// A machine that is not there any more, where that is no failure: [`View::unknown`] of kind `NoSuchMachine`.
    ///
    /// # Errors
    /// Any other than that it is gone.
    pub fn gone(name: &MachineName, error: Error) -> Result<Self> {
        if error.kind() == Kind::NoSuchMachine { Ok(Self::unknown(name.clone(), error)) } else { Err(error) }
    }

    /// What its health probes say, while it runs.
    pub fn health(&self) -> Option<HealthState> {
        let running = self.status.as_ref().filter(|_| self.state == State::Running);
        running.and_then(|status| status.health.as_ref()).map(|health| health.state)
    }

    /// The same machine by what another manager knows of its runner.
    #[must_use]
    pub fn with_liveness(mut self, liveness: Liveness) -> Self {
        if self.problem.is_some() {
            return self;
        }
        let ended = self.status.as_ref().filter(|status| status.phase == Phase::Restarting);
        let ended = ended.and_then(|status| status.exit.clone());
        self.exit = ended.clone().or(self.exit);
        self.state = derive(liveness, self.status.as_ref(), self.exit.as_ref());
        if let (Some(ended), State::Exited) = (ended, self.state) {
            // A stop that came before the restart that was due has nobody to record it.
            self.exit = Some(Exit { at: ended.at, reason: Reason::Stopped, code: 0, detail: String::new() });
        }
        self
    }

    /// The same machine, its condition unknown.
    #[must_use]
    pub fn with_problem(mut self, problem: Error) -> Self {
        self.state = State::Unknown;
        self.problem = Some(problem);
        self
    }

    /// Who keeps it alive, as far as that is known.
    pub fn manager(&self) -> Option<Manager> {
        self.record.as_ref().map(|record| record.manager)
    }
}

/// How to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Ask the guest, wait as long as its own stop time-out (or the one given), then end it.
    Graceful(Option<Duration>),
    /// End it at once; recorded as stopped.
    Force,
    /// End it at once; recorded as killed, exit code 137.
    Kill,
}

/// What `update` changes; `None` and empty leave as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// The guest's memory.
    pub memory: Option<Bytes>,
    /// Virtual CPUs.
    pub cpus: Option<u32>,
    /// The restart policy.
    pub restart: Option<RestartPolicy>,
    /// The stop time-out.
    pub stop_timeout: Option<Duration>,
    /// How far its unit confines it.
    pub sandbox: Option<Sandbox>,
    /// Labels to set; an empty value removes one.
    pub labels: BTreeMap<String, String>,
    /// Unit properties to set (`KEY=VALUE`).
    pub properties: Vec<String>,
    /// Limits to set or to leave to their defaults.
    pub limits: Vec<Limit>,
}

/// One setting that an update changed, and when that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The setting, as its flag is called.
    pub setting: String,
    /// Whether the running machine has it already.
    pub progress: Progress,
}

/// When a change counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Now.
    Live,
    /// From the next start on.
    NeedsRestart,
}

/// Which lines of a machine's console are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Go on with what comes.
    pub follow: bool,
    /// Only the last so many.
    pub tail: Option<u64>,
    /// From this moment on.
    pub since: Option<Timestamp>,
    /// Up to this moment.
    pub until: Option<Timestamp>,
}

/// One line of a machine's console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When it was written.
    pub at: Timestamp,
    /// The line without its end; bytes as the guest wrote them.
    pub text: Vec<u8>,
}

/// The lines that a [`LogQuery`] asked for, oldest first. Following ends when the machine is removed.
pub type Logs = Box<dyn Iterator<Item = Result<LogLine>> + Send>;

/// The machines that change, each as it is after the change, beginning with how they are now.
///
/// A removed machine comes as [`View::unknown`] of kind `NoSuchMachine`.
pub type Watch = Box<dyn Iterator<Item = Result<View>> + Send>;

/// What can be done with machines. Names are exact; resolving what a person typed is the caller's. So is the machine's
/// claim: the caller of `start`, `update` and `delete` holds it, as these read and then change. `stop` and `pause` need
/// none, so that a start which hangs can be ended.
///
/// Every method that changes something is idempotent: asking for what is so already succeeds.
pub trait MachineService {
    /// Keeps the record and makes the manager know the machine; does not start it.
    ///
    /// # Errors
    /// When the name is taken ([`Conflict`](crate::error::Kind::Conflict)), or nothing can be kept; then nothing is left.
    fn create(&self, record: Record) -> Result<View>;

    /// Starts it, or lets a paused one go on. Returns when the guest runs.
    ///
    /// # Errors
    /// When it never ran; the view that [`get`](Self::get) gives then says why.
    fn start(&self, name: &MachineName) -> Result<View>;

    /// Creates it and starts it. A machine that never ran is removed again.
    ///
    /// # Errors
    /// As [`create`](Self::create) and [`start`](Self::start); nothing is left then.
    fn create_and_start(&self, record: Record) -> Result<View>;

    /// Pauses the guest.
    ///
    /// # Errors
    /// When it is not running.
    fn pause(&self, name: &MachineName) -> Result<View>;

    /// Stops it and returns when it is down. One that removes itself then is [`View::gone`].
    ///
    /// # Errors
    /// When it did not go down.
    fn stop(&self, name: &MachineName, mode: StopMode) -> Result<View>;

    /// Changes the record, and the running machine where that can be.
    ///
    /// # Errors
    /// When a change cannot be; then nothing was changed.
    fn update(&self, name: &MachineName, changes: &Changes) -> Result<Vec<Change>>;

    /// Stops it and removes all that was kept of it.
    ///
    /// # Errors
    /// When something could not be removed; the record stays, so that it can be tried again.
    fn delete(&self, name: &MachineName) -> Result<()>;

    /// The machine as it is now.
    ///
    /// # Errors
    /// When there is none of that name.
    fn get(&self, name: &MachineName) -> Result<View>;

    /// All machines, by name. One that cannot be read is listed as unknown.
    ///
    /// # Errors
    /// When the store cannot be read at all.
    fn list(&self) -> Result<Vec<View>>;

    /// Follows these machines, or all of them.
    ///
    /// # Errors
    /// When changes cannot be subscribed to.
    fn watch(&self, names: Option<&[MachineName]>) -> Result<Watch>;

    /// Lines of its console.
    ///
    /// # Errors
    /// When there is no such machine, or its log cannot be read.
    fn logs(&self, name: &MachineName, query: &LogQuery) -> Result<Logs>;
}
