//! What a machine's condition is called, and what may become of it.
//!
//! ```text
//!            start                     pause
//!  created ---------> (starting) ---> running <--------> paused
//!                      ^   |            |     unpause      |
//!                      |   | never      | guest ends,      |
//!                      |   | ready      | VMM dies, stop   |
//!     start            |   v            v                  |
//!  +-------------------+  failed   exited / errored <------+
//!  |                            \   |        |
//!  |                             v  v        v
//!  +--- restarting <------------- restart policy
//! ```
//!
//! [`next`] decides what an event does to a state; everything else asks it. [`derive`] names the state that the facts
//! of the manager and of the runner amount to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::status::{Exit, Phase, Reason, Status};
use crate::error::{Error, Kind};

/// The condition of a machine, by the words of the machine API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Never started.
    Created,
    /// The guest runs.
    Running,
    /// The guest is paused.
    Paused,
    /// It ended and is about to be started again.
    Restarting,
    /// It finished with success or was stopped.
    Exited,
    /// It ran and ended badly.
    Errored,
    /// It never became ready.
    Failed,
    /// What it is cannot be found out.
    Unknown,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Created,
        Self::Running,
        Self::Paused,
        Self::Restarting,
        Self::Exited,
        Self::Errored,
        Self::Failed,
        Self::Unknown,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Errored => "errored",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    /// A runner lives or is about to.
    pub fn is_live(self) -> bool {
        match self {
            Self::Running | Self::Paused | Self::Restarting => true,
            Self::Created | Self::Exited | Self::Errored | Self::Failed | Self::Unknown => false,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for State {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|known| known.as_str()).collect();
            Error::new(format!("unknown state '{}': known are {}", text.escape_debug(), known.join(", ")))
        })
    }
}

/// What happens to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Somebody asks for it to run.
    Start,
    /// Somebody asks for it to be paused.
    Pause,
    /// Somebody asks for it to go on.
    Unpause,
    /// Somebody asks for it to stop.
    Stop,
    /// Its guest runs.
    Ready,
    /// Its guest ended; `restart` if its policy starts it again.
    Ended {
        /// Why.
        reason: Reason,
        /// Its policy starts it again.
        restart: bool,
    },
}

/// What an event does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The machine becomes this.
    To(State),
    /// It is so already; there is nothing to do.
    Already,
}

/// An event that a state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    /// The state that does not allow it.
    pub state: State,
    /// What was asked.
    pub event: Event,
}

impl Denied {
    /// The denial as an error about a machine of that name.
    pub fn into_error(self, name: &super::MachineName) -> Error {
        let verb = match self.event {
            Event::Start => "start",
            Event::Pause => "pause",
            Event::Unpause => "unpause",
            Event::Stop => "stop",
            Event::Ready | Event::Ended { .. } => "follow",
        };
        let error = Error::of(Kind::Conflict, format!("cannot {verb} {name}: it is {}", self.state));
        match (self.state, self.event) {
            (State::Unknown, _) => error.with_hint(format!("`kraft inspect {name}` shows why")),
            (State::Created | State::Exited | State::Errored | State::Failed, Event::Pause | Event::Unpause) => {
                error.with_hint(format!("`kraft start {name}` starts it"))
            }
            _ => error,
        }
    }
}

/// What an event does to a machine in a state.
///
/// # Errors
/// When the state does not allow it.
pub fn next(state: State, event: Event) -> Result<Next, Denied> {
    use Event::{Ended, Pause, Ready, Start, Stop, Unpause};
    use State::{Created, Errored, Exited, Failed, Paused, Restarting, Running, Unknown};
    let denied = Err(Denied { state, event });
    match (event, state) {
        (Start, Created | Exited | Errored | Failed | Restarting | Paused) => Ok(Next::To(Running)),
        (Start, Running) => Ok(Next::Already),
        (Pause, Running) => Ok(Next::To(Paused)),
        (Pause, Paused) => Ok(Next::Already),
        (Unpause, Paused) => Ok(Next::To(Running)),
        (Unpause, Running) => Ok(Next::Already),
        (Pause | Unpause, Created | Restarting | Exited | Errored | Failed) => denied,
        (Stop, Running | Paused | Restarting) => Ok(Next::To(Exited)),
        (Stop, Created | Exited | Errored | Failed) => Ok(Next::Already),
        (Ready, Created | Restarting | Exited | Errored | Failed) => Ok(Next::To(Running)),
        (Ready, Running | Paused) => Ok(Next::Already),
        (Ended { restart: true, .. }, Created | Running | Paused | Restarting | Exited | Errored | Failed) => {
            Ok(Next::To(Restarting))
        }
        (Ended { reason, restart: false }, Created | Running | Paused | Restarting | Exited | Errored | Failed) => {
            Ok(Next::To(ended_as(reason)))
        }
        (Start | Pause | Unpause | Stop | Ready | Ended { .. }, Unknown) => denied,
    }
}

/// What a machine that ended for good is called.
fn ended_as(reason: Reason) -> State {
    match reason {
        Reason::Finished | Reason::Stopped => State::Exited,
        Reason::StartFailed => State::Failed,
        Reason::Error
        | Reason::Panic
        | Reason::Crash
        | Reason::Killed
        | Reason::Signal
        | Reason::Oom
        | Reason::Watchdog
        | Reason::Unhealthy
        | Reason::Expired => State::Errored,
    }
}

/// What the manager knows of a machine's runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// There is no runner.
    Down,
    /// There is no runner, and the manager calls that a failure.
    Failed,
    /// The runner is not ready yet.
    Starting,
    /// The runner is ready.
    Up,
    /// The runner is on its way out.
    Stopping,
    /// There is no runner, and the manager is about to start one.
    Waiting,
}

/// The state that the facts amount to: the manager is the truth about alive or dead, the status file about the guest,
/// the last exit about how it ended.
pub fn derive(liveness: Liveness, status: Option<&Status>, last: Option<&Exit>) -> State {
    let phase = status.map(|status| status.phase);
    match liveness {
        Liveness::Up | Liveness::Stopping => match phase {
            Some(Phase::Paused) => State::Paused,
            Some(Phase::Restarting) => State::Restarting,
            Some(Phase::Starting | Phase::Running | Phase::Stopping | Phase::Ended) | None => State::Running,
        },
        Liveness::Waiting => State::Restarting,
        Liveness::Starting => match phase {
            Some(Phase::Restarting) => State::Restarting,
            _ if status.is_some_and(|status| status.restarts > 0) => State::Restarting,
            _ => last.map_or(State::Created, |exit| ended_as(exit.reason)),
        },
        Liveness::Down => match (last, phase) {
            // Stopped before the restart that was due.
            (_, Some(Phase::Restarting)) => State::Exited,
            (Some(exit), _) => ended_as(exit.reason),
            (None, Some(_)) => State::Errored,
            (None, None) => State::Created,
        },
        // The guest ran and nobody lived to tell how it ended.
        Liveness::Failed
            if status.is_some_and(|status| {
                status.running_since.is_some()
                    && matches!(status.phase, Phase::Running | Phase::Paused | Phase::Stopping)
            }) =>
        {
            State::Errored
        }
        Liveness::Failed => match last {
            // The manager failed where the runner never had a say.
            None => State::Failed,
            Some(exit) if exit.is_success() => State::Failed,
            Some(exit) => ended_as(exit.reason),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_state() -> impl Strategy<Value = State> {
        proptest::sample::select(State::ALL.to_vec())
    }

    fn any_reason() -> impl Strategy<Value = Reason> {
        proptest::sample::select(vec![
            Reason::Finished,
            Reason::Stopped,
            Reason::Error,
            Reason::Panic,
            Reason::Crash,
            Reason::Killed,
            Reason::Signal,
            Reason::Oom,
            Reason::Watchdog,
            Reason::Expired,
            Reason::Unhealthy,
            Reason::StartFailed,
        ])
    }

    fn any_event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Start),
            Just(Event::Pause),
            Just(Event::Unpause),
            Just(Event::Stop),
            Just(Event::Ready),
            (any_reason(), any::<bool>()).prop_map(|(reason, restart)| Event::Ended { reason, restart }),
        ]
    }

    proptest! {
        #[test]
        fn a_request_that_was_met_is_met_again_without_effect(state in any_state(), event in any_event()) {
            let asked = matches!(event, Event::Start | Event::Pause | Event::Unpause | Event::Stop | Event::Ready);
            if let (true, Ok(Next::To(reached))) = (asked, next(state, event)) {
                prop_assert_eq!(next(reached, event), Ok(Next::Already));
            }
        }

        #[test]
        fn no_sequence_leaves_the_known_states(events in proptest::collection::vec(any_event(), 0..40)) {
            let mut state = State::Created;
            for event in events {
                match next(state, event) {
                    Ok(Next::To(reached)) => state = reached,
                    Ok(Next::Already) => {}
                    Err(denied) => prop_assert_eq!(denied.state, state),
                }
                prop_assert_ne!(state, State::Unknown);
                if matches!(event, Event::Stop) {
                    prop_assert!(!state.is_live());
                }
            }
        }

        #[test]
        fn unknown_allows_nothing(event in any_event()) {
            prop_assert!(next(State::Unknown, event).is_err());
        }

        #[test]
        fn what_ended_is_named_after_its_end(state in any_state(), reason in any_reason()) {
            prop_assume!(state != State::Unknown);
            let exit = Exit { at: jiff::Timestamp::UNIX_EPOCH, reason, code: 1, detail: String::new() };
            let Ok(Next::To(reached)) = next(state, Event::Ended { reason, restart: false }) else {
                return Err(TestCaseError::fail("an end is always possible"));
            };
            prop_assert_eq!(derive(Liveness::Down, None, Some(&exit)), reached);
        }
    }

    #[test]
    fn a_dead_runner_is_never_shown_alive() {
        let mut status = Status::starting(1, jiff::Timestamp::UNIX_EPOCH);
        for phase in [Phase::Starting, Phase::Running, Phase::Paused, Phase::Stopping, Phase::Restarting, Phase::Ended]
        {
            status.phase = phase;
            assert!(!derive(Liveness::Down, Some(&status), None).is_live());
            assert!(!derive(Liveness::Failed, Some(&status), None).is_live());
        }
    }

    #[test]
    fn a_restart_that_never_came_was_stopped() {
        let mut status = Status::starting(1, jiff::Timestamp::UNIX_EPOCH);
        status.phase = Phase::Restarting;
        let bad = Exit { at: jiff::Timestamp::UNIX_EPOCH, reason: Reason::Error, code: 3, detail: String::new() };
        assert_eq!(derive(Liveness::Waiting, Some(&status), Some(&bad)), State::Restarting);
        assert_eq!(derive(Liveness::Down, Some(&status), Some(&bad)), State::Exited);
        assert_eq!(derive(Liveness::Failed, Some(&status), Some(&bad)), State::Errored);
    }

    #[test]
    fn a_manager_that_failed_after_a_good_end_is_shown() {
        let good = Exit { at: jiff::Timestamp::UNIX_EPOCH, reason: Reason::Finished, code: 0, detail: String::new() };
        assert_eq!(derive(Liveness::Failed, None, Some(&good)), State::Failed);
        assert_eq!(derive(Liveness::Down, None, Some(&good)), State::Exited);
        assert_eq!(derive(Liveness::Down, None, None), State::Created);
    }
}
