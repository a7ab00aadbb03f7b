//! How a guest ended, from how its QEMU ended.
//!
//! ```text
//! QEMU ended by          after                      the guest
//! a signal               guest ran                  signal, 128+N
//! a signal               guest never ran            start-failed, 126
//! any status             GUEST_PANICKED             panic, 134
//! any status             BROKEN (internal error)    crash, 134
//! 0                      guest-shutdown             finished, 0
//! 0                      guest-reset                Linux: finished, 0 (it rebooted); else crash, 134
//! 0                      host quit                  stopped, 0
//! odd, guest ran         no SHUTDOWN                isa-debug-exit with code (status-1)/2
//! odd                    nothing, no complaint      the same: it ended before QEMU could say that it ran
//! anything else          guest never ran            start-failed, 126
//! ```

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use jiff::Timestamp;

use crate::machine::{Exit, KernelKind, Reason};
use crate::platform::{GuestEvent, Shutdown};

/// 128 + SIGABRT: what a program that aborts is reported with.
const ABORTED: u8 = 134;
/// What Unikraft writes to isa-debug-exit when it halts well, and when it crashes.
const UNIKRAFT_HALT: u8 = 41;
const UNIKRAFT_CRASH: u8 = 42;

/// The pure decision.
pub(super) fn conclude(
    kind: KernelKind,
    status: ExitStatus,
    events: &[GuestEvent],
    complaint: Option<&str>,
    at: Timestamp,
) -> Exit {
    let exit = |reason, code, detail: &str| Exit { at, reason, code, detail: detail.to_owned() };
    let complaint = complaint.unwrap_or_default();
    if events.contains(&GuestEvent::Panicked) {
        return exit(Reason::Panic, ABORTED, "the guest panicked");
    }
    if let Some(why) = events.iter().find_map(|event| match event {
        GuestEvent::Broken(why) => Some(why),
        _ => None,
    }) {
        return exit(Reason::Crash, ABORTED, why);
    }
    if let Some(signal) = status.signal() {
        let name = nix::sys::signal::Signal::try_from(signal).map_or("an unknown signal", |signal| signal.as_str());
        let why = format!("the VMM was ended by {name}");
        return match events.contains(&GuestEvent::Started) {
            true => exit(Reason::Signal, 128 + signal as u8, &why),
            false => exit(Reason::StartFailed, 126, &why),
        };
    }
    let code = status.code().unwrap_or_default();
    // A guest may end before QEMU gets to say that it runs: then its exit code alone shows that it ran.
    let ran = events.contains(&GuestEvent::Started) || (code % 2 == 1 && complaint.is_empty());
    if !ran {
        let why = if complaint.is_empty() { format!("QEMU ended with status {code}") } else { complaint.to_owned() };
        return exit(Reason::StartFailed, 126, &why);
    }
    let shutdown = events.iter().rev().find_map(|event| match event {
        GuestEvent::Shutdown(shutdown) => Some(*shutdown),
        _ => None,
    });
    match (shutdown, code) {
        (Some(Shutdown::Host), _) => exit(Reason::Stopped, 0, ""),
        (Some(Shutdown::PowerOff) | None, 0) => exit(Reason::Finished, 0, ""),
        (Some(Shutdown::Reset), 0) if kind == KernelKind::Linux => exit(Reason::Finished, 0, "the guest rebooted"),
        (Some(Shutdown::Reset), _) => exit(Reason::Crash, ABORTED, "the guest reset itself"),
        (_, code) if code % 2 == 1 && (code != 1 || complaint.is_empty()) => {
            let guest = ((code - 1) / 2) as u8;
            match (kind, guest) {
                (_, 0) | (KernelKind::Unikraft, UNIKRAFT_HALT) => exit(Reason::Finished, 0, ""),
                (KernelKind::Unikraft, UNIKRAFT_CRASH) => exit(Reason::Crash, ABORTED, "the guest crashed"),
                (_, guest) => exit(Reason::Error, guest, ""),
            }
        }
        (_, code) => {
            let why =
                if complaint.is_empty() { format!("QEMU ended with status {code}") } else { complaint.to_owned() };
            exit(Reason::Crash, ABORTED, &why)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use GuestEvent::{Broken, Panicked, Started};

    fn judged(kind: KernelKind, raw: i32, events: &[GuestEvent], complaint: Option<&str>) -> (Reason, u8) {
        let exit = conclude(kind, ExitStatus::from_raw(raw), events, complaint, Timestamp::UNIX_EPOCH);
        (exit.reason, exit.code)
    }

    #[test]
    fn every_row_of_the_table() {
        let exited = |code: i32| code << 8;
        let pvh = KernelKind::Pvh;
        let off = GuestEvent::Shutdown(Shutdown::PowerOff);
        let reset = GuestEvent::Shutdown(Shutdown::Reset);
        let host = GuestEvent::Shutdown(Shutdown::Host);
        for (kind, raw, events, complaint, expected) in [
            (pvh, 9, vec![Started], None, (Reason::Signal, 137)),
            (pvh, exited(0), vec![Started, Panicked, host.clone()], None, (Reason::Panic, 134)),
            (pvh, exited(0), vec![Started, Broken("internal-error".into())], None, (Reason::Crash, 134)),
            (pvh, exited(0), vec![Started, off], None, (Reason::Finished, 0)),
            (pvh, exited(0), vec![Started, reset.clone()], None, (Reason::Crash, 134)),
            (KernelKind::Linux, exited(0), vec![Started, reset], None, (Reason::Finished, 0)),
            (pvh, exited(0), vec![Started, host], None, (Reason::Stopped, 0)),
            (pvh, exited(7), vec![Started], None, (Reason::Error, 3)),
            (pvh, exited(1), vec![Started], None, (Reason::Finished, 0)),
            (pvh, exited(1), vec![Started], Some("out of memory"), (Reason::Crash, 134)),
            (pvh, exited(83), vec![Started], None, (Reason::Error, 41)),
            (KernelKind::Unikraft, exited(83), vec![Started], None, (Reason::Finished, 0)),
            (KernelKind::Unikraft, exited(85), vec![Started], None, (Reason::Crash, 134)),
            (pvh, exited(1), vec![], Some("bad kernel"), (Reason::StartFailed, 126)),
            (pvh, exited(7), vec![], None, (Reason::Error, 3)),
            (pvh, exited(1), vec![], None, (Reason::Finished, 0)),
            (pvh, exited(0), vec![], None, (Reason::StartFailed, 126)),
            (pvh, exited(2), vec![Started], None, (Reason::Crash, 134)),
        ] {
            assert_eq!(judged(kind, raw, &events, complaint), expected, "{kind:?} {raw} {events:?}");
        }
    }
}
