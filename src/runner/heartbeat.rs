//! Whether the VMM still answers: a ping at half the watchdog's time, an answer that is waited for.

use std::time::{Duration, Instant};

/// A VMM that is silent for this long is dead, where no manager's watchdog says so.
const SILENT_FOR: Duration = Duration::from_secs(60);

/// Whether the VMM still answers.
#[derive(Debug)]
pub(super) struct Heartbeat {
    interval: Duration,
    next: Instant,
    last_heard: Instant,
    waiting: bool,
}

/// What a heartbeat calls for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Beat {
    Rest,
    Ping,
    Silent,
}

impl Heartbeat {
    /// When the next look is due.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    pub(super) fn new(watchdog: Option<Duration>, now: Instant) -> Self {
        let interval = watchdog.unwrap_or(SILENT_FOR) / 2;
        Self { interval, next: now + interval, last_heard: now, waiting: false }
    }

    /// The VMM said something. Returns whether that answers a ping.
    pub(super) fn heard(&mut self, now: Instant) -> bool {
        self.last_heard = now;
        std::mem::take(&mut self.waiting)
    }

    pub(super) fn due(&mut self, now: Instant) -> Beat {
        if now < self.next {
            return Beat::Rest;
        }
        self.next = now + self.interval;
        if !self.waiting {
            self.waiting = true;
            Beat::Ping
        } else if now.duration_since(self.last_heard) >= self.interval * 2 {
            Beat::Silent
        } else {
            Beat::Rest
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_vmm_is_noticed_after_two_intervals() {
        let start = Instant::now();
        let mut heart = Heartbeat::new(Some(Duration::from_secs(20)), start);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(heart.due(at(9)), Beat::Rest);
        assert_eq!(heart.due(at(10)), Beat::Ping);
        assert!(heart.heard(at(11)));
        assert!(!heart.heard(at(11)));
        assert_eq!(heart.due(at(20)), Beat::Ping);
        assert_eq!(heart.due(at(30)), Beat::Rest);
        assert_eq!(heart.due(at(40)), Beat::Silent);
    }
}
