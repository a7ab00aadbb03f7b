//! What a runner that died without a word leaves behind, put in order: its end is recorded, its sockets are removed.

use jiff::Timestamp;

use crate::error::Result;
use crate::machine::{Exit, Phase, Reason, Record, Status};
use crate::store::Store;

use super::attach::detach;
use super::finish::{Verdict, finish, finish_for_good};
use super::handover::{is_split, take_back};
use super::notes;

const TOO_SLOW: &str = "the guest did not run in time";

/// What is known about a runner's death.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// It is gone; nothing else is known.
    Gone,
    /// What systemd told the unit's clean-up.
    Unit {
        /// `$SERVICE_RESULT`.
        result: String,
        /// `$EXIT_CODE`: `exited`, `killed`, `dumped`.
        code: String,
        /// `$EXIT_STATUS`: a number, or a signal's name.
        status: String,
        /// The kernel killed something in the unit's control group for want of memory.
        oom: bool,
    },
}

/// Sweeps a machine whose runner is dead. Returns the verdict of the end, recorded now or by the runner itself; `None`
/// if there was nothing to end.
///
/// # Errors
/// When something could not be written.
pub fn sweep(store: &Store, record: &Record, cause: &Cause) -> Result<Option<Verdict>> {
    let name = &record.spec.name;
    // The profile may have been changed since this life began.
    if (is_split(store, record) || notes::exist(store, record)) && *cause != Cause::Gone {
        take_back(store, record)?;
    }
    let verdict = match store.status(name)? {
        Some(mut status) => match status.phase {
            Phase::Ended => Some(match late(&status, cause) {
                Some(exit) => finish(store, record, &mut status, exit)?,
                None => Verdict::Final,
            }),
            // A runner under systemd ends here; a local one goes on, unless it was killed.
            Phase::Restarting
                if *cause != Cause::Gone && status.exit.as_ref().is_some_and(|exit| exit.at >= status.started) =>
            {
                Some(Verdict::Restart)
            }
            Phase::Starting | Phase::Running | Phase::Paused | Phase::Stopping | Phase::Restarting => {
                let exit = judge(&status, cause, Timestamp::now());
                Some(match cause {
                    // It was the runner that would have started the guest again.
                    Cause::Gone => finish_for_good(store, record, &mut status, exit)?,
                    Cause::Unit { .. } => finish(store, record, &mut status, exit)?,
                })
            }
        },
        None => None,
    };
    match std::fs::remove_file(store.control_socket(name)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => log::warn!("cannot remove the control socket: {e}"),
        _ => {}
    }
    for error in detach(store, record) {
        log::warn!("{error}");
    }
    Ok(verdict)
}

/// The end of a guest that its runner took for stopped on request, while its unit was too slow to start: both begin by
/// SIGTERM.
fn late(status: &Status, cause: &Cause) -> Option<Exit> {
    let exit = status.exit.as_ref().filter(|exit| exit.reason == Reason::Stopped && exit.at >= status.started)?;
    match cause {
        Cause::Unit { result, .. } if result == "timeout" && status.running_since.is_none() => {
            let detail = if exit.detail.is_empty() { TOO_SLOW.to_owned() } else { exit.detail.clone() };
            Some(Exit { reason: Reason::StartFailed, code: 125, detail, ..exit.clone() })
        }
        Cause::Unit { .. } | Cause::Gone => None,
    }
}

/// How a guest ended whose runner could not say.
fn judge(status: &Status, cause: &Cause, at: Timestamp) -> Exit {
    let ended = |reason, code, detail: &str| Exit { at, reason, code, detail: detail.to_owned() };
    match cause {
        Cause::Unit { result, .. } if result == "timeout" && status.running_since.is_none() => {
            ended(Reason::StartFailed, 125, TOO_SLOW)
        }
        _ if status.phase == Phase::Stopping => ended(Reason::Stopped, 0, "the runner was killed while it stopped"),
        Cause::Gone => ended(Reason::Signal, 137, "the runner was killed"),
        Cause::Unit { result, code, status: detail, oom } => match (result.as_str(), code.as_str()) {
            _ if *oom || result == "oom-kill" => {
                ended(Reason::Oom, 137, "the runner was killed because memory ran out")
            }
            ("watchdog", _) => ended(Reason::Watchdog, 134, "the VMM did not answer any more"),
            ("success", _) => ended(Reason::Stopped, 0, "the runner was killed while it stopped"),
            (_, "killed" | "dumped") => {
                let number = signal_number(detail);
                ended(Reason::Signal, 128u8.wrapping_add(number), &format!("the runner was ended by SIG{detail}"))
            }
            (result, _) => {
                let code = detail.parse().unwrap_or(125);
                let reason = if status.running_since.is_none() { Reason::StartFailed } else { Reason::Crash };
                ended(reason, code, &format!("the runner ended with {result}, status {detail}"))
            }
        },
    }
}

fn signal_number(name: &str) -> u8 {
    format!("SIG{name}").parse::<nix::sys::signal::Signal>().map_or(9, |signal| signal as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_is_believed() {
        let mut status = Status::starting(1, Timestamp::UNIX_EPOCH);
        status.phase = Phase::Running;
        status.running_since = Some(Timestamp::UNIX_EPOCH);
        let judged = |result: &str, code: &str, detail: &str| {
            let cause = Cause::Unit { result: result.into(), code: code.into(), status: detail.into(), oom: false };
            let exit = judge(&status, &cause, Timestamp::UNIX_EPOCH);
            (exit.reason, exit.code)
        };
        assert_eq!(judged("signal", "killed", "KILL"), (Reason::Signal, 137));
        assert_eq!(judged("signal", "killed", "SEGV"), (Reason::Signal, 139));
        assert_eq!(judged("watchdog", "dumped", "ABRT"), (Reason::Watchdog, 134));
        assert_eq!(judged("oom-kill", "killed", "KILL"), (Reason::Oom, 137));
        assert_eq!(judged("exit-code", "exited", "101"), (Reason::Crash, 101));
    }

    #[test]
    fn a_unit_that_is_too_slow_was_not_stopped() {
        let at = Timestamp::UNIX_EPOCH;
        let stopped = Exit { at, reason: Reason::Stopped, code: 0, detail: "not ready: it slept".into() };
        let mut status = Status { exit: Some(stopped), phase: Phase::Ended, ..Status::starting(1, at) };
        let cause =
            |result: &str| Cause::Unit { result: result.into(), code: "exited".into(), status: "0".into(), oom: false };
        let exit = late(&status, &cause("timeout")).unwrap();
        assert_eq!((exit.reason, exit.code, &*exit.detail), (Reason::StartFailed, 125, "not ready: it slept"));
        assert_eq!(late(&status, &cause("success")), None);
        status.running_since = Some(at);
        assert_eq!(late(&status, &cause("timeout")), None);
        assert_eq!(judge(&status, &cause("timeout"), at).reason, Reason::Crash);
        status.running_since = None;
        status.phase = Phase::Stopping;
        assert_eq!(judge(&status, &cause("timeout"), at).reason, Reason::StartFailed);
    }
}
