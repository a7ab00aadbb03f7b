//! How an end is recorded: the exit where it survives a reboot, the status, the event; and whether a restart follows.

use jiff::Timestamp;

use crate::error::Result;
use crate::machine::{Exit, Manager, Phase, Reason, Record, RestartPolicy, Status};
use crate::store::Store;

use super::announce::announce;
use super::events::{EventKind, EventLog};

/// What follows an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The machine's policy starts it again.
    Restart,
    /// It stays down.
    Final,
}

/// Records how a guest ended and decides what follows.
///
/// # Errors
/// When something could not be written; all that could be was, and the verdict is in `status.phase`.
pub fn finish(store: &Store, record: &Record, status: &mut Status, exit: Exit) -> Result<Verdict> {
    let restarts = RestartPolicy::count_after(status.restarts, status.ran_until(exit.at));
    let verdict = if record.spec.wants_restart(&exit, restarts) { Verdict::Restart } else { Verdict::Final };
    // Without systemd nobody reads the lines, or a person does who is told by the exit code.
    if record.manager == Manager::Systemd {
        announce(record, &exit, verdict);
    }
    record_end(store, record, status, exit, verdict).map(|()| verdict)
}

/// Records how a guest ended that nobody is left to start again, whatever the machine's policy.
///
/// # Errors
/// Those of [`finish`].
pub(super) fn finish_for_good(store: &Store, record: &Record, status: &mut Status, exit: Exit) -> Result<Verdict> {
    record_end(store, record, status, exit, Verdict::Final).map(|()| Verdict::Final)
}

/// Records why there was no runner at all, which its manager says in its stead.
///
/// # Errors
/// When it cannot be written.
pub fn never_began(store: &Store, record: &Record, why: String) -> Result<()> {
    let (name, at) = (&record.spec.name, Timestamp::now());
    let exit = Exit { at, reason: Reason::StartFailed, code: 125, detail: why };
    let kept = store.write_exit(name, &exit);
    // A life of its own, if a short one.
    let status = Status { phase: Phase::Ended, exit: Some(exit.clone()), ..Status::starting(0, at) };
    let said = store.make_runtime(name).and_then(|_| store.write_status(name, &status));
    kept.and(said)?;
    EventLog::of(store).append(EventKind::Die, record, Some(&exit));
    Ok(())
}

fn record_end(store: &Store, record: &Record, status: &mut Status, exit: Exit, verdict: Verdict) -> Result<()> {
    let name = &record.spec.name;
    let restarts = RestartPolicy::count_after(status.restarts, status.ran_until(exit.at));
    status.phase = match verdict {
        Verdict::Restart => Phase::Restarting,
        Verdict::Final => Phase::Ended,
    };
    status.restarts = match verdict {
        Verdict::Restart => restarts + 1,
        Verdict::Final => restarts,
    };
    status.vmm_pid = None;
    status.waits_for = None;
    status.unready = None;
    status.exit = Some(exit.clone());
    // Neither depends on the other, and each is worth having when the other's file system is full.
    let kept = store.write_exit(name, &exit);
    let said = store.write_status(name, status);
    EventLog::of(store).append(EventKind::Die, record, Some(&exit));
    kept.and(said)
}
