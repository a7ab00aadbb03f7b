//! One line in the journal for the end of a guest, by the kind of its end.

use log::Level;

use super::finish::Verdict;
use crate::logging::message;
use crate::machine::{Exit, Reason, Record};

/// Says how a guest ended, and what follows.
pub(super) fn announce(record: &Record, exit: &Exit, verdict: Verdict) {
    let (level, id) = kind(exit.reason);
    let next = match verdict {
        Verdict::Restart => "; it is started again",
        Verdict::Final => "",
    };
    log::log!(level, MESSAGE_ID = id, KRAFT_REASON = exit.reason.as_str(), KRAFT_EXIT_CODE = exit.code;
        "{}: {exit}{next}", record.spec.name);
}

fn kind(reason: Reason) -> (Level, &'static str) {
    match reason {
        Reason::Finished | Reason::Stopped | Reason::Killed => (Level::Info, message::EXITED),
        Reason::Error => (Level::Warn, message::FAILED),
        Reason::Panic | Reason::Crash => (Level::Error, message::CRASHED),
        Reason::Signal => (Level::Error, message::KILLED),
        Reason::Oom => (Level::Error, message::OUT_OF_MEMORY),
        Reason::Watchdog => (Level::Error, message::UNRESPONSIVE),
        Reason::Unhealthy => (Level::Error, message::UNHEALTHY),
        Reason::Expired => (Level::Info, message::TIME_OVER),
        Reason::StartFailed => (Level::Error, message::NOT_STARTED),
    }
}
