//! What the runner says of its guest: the status file, and how a guest ended.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{HealthState, SCHEMA};

/// How the guest is doing, as its runner wrote it last. Kept in the runtime directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Layout version.
    pub schema: u32,
    /// Where the guest is in its life.
    pub phase: Phase,
    /// The runner's process.
    pub runner_pid: u32,
    /// The VMM's process, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vmm_pid: Option<u32>,
    /// What runs the guest's instructions (`kvm` or `tcg`), once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accel: Option<String>,
    /// The VMM's machine type, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_type: Option<String>,
    /// When the runner began.
    pub started: Timestamp,
    /// When the machine was ready: its guest runs, and did what it was to do first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_since: Option<Timestamp>,
    /// What its guest, which runs, has yet to do until the machine is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Why it did not so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unready: Option<String>,
    /// How it is, if it is probed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthStatus>,
    /// Restarts in a row before this start.
    #[serde(default)]
    pub restarts: u32,
    /// How it ended, in phase `ended` and `restarting`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
}

impl Status {
    /// The status at a runner's first breath.
    pub fn starting(runner_pid: u32, started: Timestamp) -> Self {
        Self {
            schema: SCHEMA,
            phase: Phase::Starting,
            runner_pid,
            vmm_pid: None,
            accel: None,
            machine_type: None,
            started,
            running_since: None,
            waits_for: None,
            unready: None,
            health: None,
            restarts: 0,
            exit: None,
        }
    }

    /// How long the guest ran until `end`; zero if it never did.
    pub fn ran_until(&self, end: Timestamp) -> Duration {
        self.running_since
            .and_then(|since| Duration::try_from(end.duration_since(since)).ok())
            .unwrap_or(Duration::ZERO)
    }
}

/// What a machine's probes said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthStatus {
    /// What they amount to.
    pub state: HealthState,
    /// Since when.
    pub since: Timestamp,
    /// How many there were. Written once a second at most, and with each change.
    pub probes: u64,
    /// How many of the last failed, in a row.
    pub failures: u32,
    /// What the last failure was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// Where a guest is in its life, as its runner sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The VMM is being made ready.
    Starting,
    /// The guest runs.
    Running,
    /// The guest is paused.
    Paused,
    /// The guest was asked to stop.
    Stopping,
    /// The guest ended and waits for its restart.
    Restarting,
    /// The guest ended for good.
    Ended,
}

/// How a guest ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: Reason,
    /// The exit code that `kraft wait` ends with.
    pub code: u8,
    /// The cause in words, if there is more to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

impl Exit {
    /// The guest finished well or was stopped on request.
    pub fn is_success(&self) -> bool {
        match self.reason {
            Reason::Finished | Reason::Stopped => true,
            Reason::Error
            | Reason::Panic
            | Reason::Crash
            | Reason::Killed
            | Reason::Signal
            | Reason::Oom
            | Reason::Watchdog
            | Reason::Expired
            | Reason::Unhealthy
            | Reason::StartFailed => false,
        }
    }
}

impl fmt::Display for Exit {
    /// A sentence for a person, such as `ended with code 3` or `panic: guest panicked`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            Reason::Finished | Reason::Stopped => write!(f, "{}", self.reason)?,
            _ => write!(f, "{} (code {})", self.reason, self.code)?,
        }
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

/// Why a guest ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The guest ended by itself, with success.
    Finished,
    /// It was stopped on request.
    Stopped,
    /// The guest ended with a non-zero code.
    Error,
    /// The guest said that it panicked.
    Panic,
    /// The guest or its VMM broke: triple fault, internal error.
    Crash,
    /// It was killed on request, by `kraft kill`.
    Killed,
    /// The VMM or the runner was ended by a signal that nobody asked for.
    Signal,
    /// The kernel's OOM killer took the VMM or the runner.
    Oom,
    /// The VMM did not answer any more.
    Watchdog,
    /// The guest failed its health probes.
    Unhealthy,
    /// It ran as long as it may, and was stopped for that.
    Expired,
    /// It never ran, or was never ready.
    StartFailed,
}

impl Reason {
    /// Somebody asked for it, so no restart policy applies.
    pub fn is_on_request(self) -> bool {
        matches!(self, Self::Stopped | Self::Killed)
    }

    /// The word for it, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Stopped => "stopped",
            Self::Error => "error",
            Self::Panic => "panic",
            Self::Crash => "crash",
            Self::Killed => "killed",
            Self::Signal => "signal",
            Self::Oom => "oom",
            Self::Watchdog => "watchdog",
            Self::Expired => "expired",
            Self::Unhealthy => "unhealthy",
            Self::StartFailed => "start-failed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
