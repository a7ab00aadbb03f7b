//! How a start begins: whether it is a restart, and how long that has to wait.

use std::time::Duration;

use jiff::Timestamp;

use crate::error::Result;
use crate::machine::{MachineName, Phase, RestartPolicy, Status};
use crate::store::Store;

/// A start that comes this much later than its restart was due is not that restart: a person asked for it.
const SLACK: Duration = Duration::from_secs(5);

/// A start, as it begins.
#[derive(Debug)]
pub struct Begin {
    /// The status to go on with.
    pub status: Status,
    /// How long to wait before the guest is started.
    pub wait: Duration,
}

/// Looks at how the machine ended before, and begins a new status. `delay` is how long after that its manager may start it
/// again by itself; it is asked only where it makes a difference.
///
/// # Errors
/// When the old status cannot be read.
pub fn begin(
    store: &Store,
    name: &MachineName,
    runner_pid: u32,
    now: Timestamp,
    delay: &dyn Fn() -> Duration,
) -> Result<Begin> {
    Ok(decide(store.status(name)?, runner_pid, now, delay))
}

fn decide(before: Option<Status>, runner_pid: u32, now: Timestamp, manager: &dyn Fn() -> Duration) -> Begin {
    let mut status = Status::starting(runner_pid, now);
    let Some(Status { phase: Phase::Restarting, restarts, exit: Some(exit), .. }) = before else {
        return Begin { status, wait: Duration::ZERO };
    };
    let delay = RestartPolicy::delay(restarts);
    let passed = Duration::try_from(now.duration_since(exit.at)).unwrap_or_default();
    if passed > delay + SLACK && passed > manager().saturating_add(SLACK) {
        return Begin { status, wait: Duration::ZERO };
    }
    status.restarts = restarts;
    status.exit = Some(exit);
    Begin { status, wait: delay.saturating_sub(passed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Exit, Reason};
    use jiff::ToSpan as _;

    #[test]
    fn a_restart_waits_and_a_later_start_does_not() {
        let at = Timestamp::UNIX_EPOCH;
        let mut before = Status::starting(1, at);
        before.phase = Phase::Restarting;
        before.restarts = 4;
        before.exit = Some(Exit { at, reason: Reason::Error, code: 3, detail: String::new() });
        let soon = decide(Some(before.clone()), 2, at + 100.milliseconds(), &|| panic!("it need not be asked"));
        assert_eq!((soon.status.restarts, soon.wait), (4, Duration::from_millis(700)));
        let later = decide(Some(before.clone()), 2, at + 1.minute(), &|| Duration::ZERO);
        assert_eq!((later.status.restarts, later.wait), (0, Duration::ZERO));
        // A manager that waits a minute itself has not been asked anew.
        let slow = decide(Some(before.clone()), 2, at + 1.minute(), &|| Duration::from_secs(60));
        assert_eq!((slow.status.restarts, slow.wait), (4, Duration::ZERO));
        let ever = decide(Some(before.clone()), 2, at + 1.hour(), &|| Duration::MAX);
        assert_eq!((ever.status.restarts, ever.wait), (4, Duration::ZERO));
        before.phase = Phase::Ended;
        assert_eq!(decide(Some(before), 2, at, &|| Duration::ZERO).wait, Duration::ZERO);
        assert_eq!(decide(None, 2, at, &|| Duration::ZERO).wait, Duration::ZERO);
    }
}
