//! Whether a machine is ready: when it is tried again, and when that is given up. Pure.

use std::time::{Duration, Instant};

use super::Target;
use crate::machine::Ready;

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// A packet that is lost while the guest starts is not waited for long; a guest that takes its time is given it.
const FIRST_ATTEMPT: Duration = Duration::from_millis(250);
const LONGEST_ATTEMPT: Duration = Duration::from_secs(5);

/// The wait for a guest to do what makes its machine ready.
#[derive(Debug)]
pub(in crate::runner) struct Readiness {
    name: String,
    guest: bool,
    target: Option<Target>,
    limit: Option<Duration>,
    give_up: Option<Instant>,
    due: Option<Instant>,
    tries: u32,
    complaint: String,
}

impl Readiness {
    pub(super) fn new(ready: &Ready, target: Option<Target>, limit: Option<Duration>) -> Self {
        let complaint = match ready {
            Ready::Guest => String::new(),
            Ready::Console(pattern) => format!("no line of the console matched '{pattern}'"),
            Ready::Probe(probe) => format!("{} was not tried", probe.name()),
        };
        let (name, guest) = (ready.name(), ready.is_guest());
        Self { name, guest, target, limit, give_up: None, due: None, tries: 0, complaint }
    }

    pub(super) fn begin(&mut self, now: Instant) {
        self.give_up = self.limit.and_then(|limit| now.checked_add(limit));
        self.due = self.target.is_some().then_some(now);
    }

    /// There is nothing to wait for.
    pub(super) fn is_guest(&self) -> bool {
        self.guest
    }

    /// What is waited for.
    pub(in crate::runner) fn name(&self) -> &str {
        &self.name
    }

    /// Why the machine is not ready.
    pub(in crate::runner) fn complaint(&self) -> String {
        format!("not ready: {}", self.complaint)
    }

    pub(super) fn target(&self) -> Option<&Target> {
        self.target.as_ref()
    }

    pub(super) fn give_up(&self) -> Option<Instant> {
        self.give_up
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The longest that the next attempt may take.
    pub(super) fn attempt_limit(&self) -> Duration {
        doubled(FIRST_ATTEMPT, self.tries).min(LONGEST_ATTEMPT)
    }

    /// An attempt failed. Returns the complaint if it is another than the last.
    pub(super) fn failed(&mut self, why: String, now: Instant) -> Option<String> {
        self.due = Some(now + doubled(FIRST_PAUSE, self.tries).min(LONGEST_PAUSE));
        self.tries += 1;
        if self.complaint == why {
            return None;
        }
        self.complaint = why;
        Some(self.complaint())
    }
}

fn doubled(time: Duration, times: u32) -> Duration {
    time * 2u32.pow(times.min(16))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Probe, Way};

    #[test]
    fn it_is_tried_again_with_back_off_until_it_is_late() {
        let target = Target { probe: Probe::Tcp(80), way: Way::Network("10.0.0.2:80".parse().unwrap()) };
        let ready = "tcp:80".parse().unwrap();
        let mut wait = Readiness::new(&ready, Some(target), Some(Duration::from_secs(9)));
        let start = Instant::now();
        assert_eq!((wait.due(), wait.give_up()), (None, None));
        wait.begin(start);
        assert_eq!((wait.due(), wait.give_up()), (Some(start), Some(start + Duration::from_secs(9))));
        let mut pauses = Vec::new();
        let mut limits = Vec::new();
        for _ in 0..8 {
            limits.push(wait.attempt_limit().as_millis());
            wait.failed("nobody listens".into(), start);
            pauses.push(wait.due().unwrap().duration_since(start).as_millis());
        }
        assert_eq!(pauses, [20, 40, 80, 160, 320, 500, 500, 500]);
        assert_eq!(limits, [250, 500, 1000, 2000, 4000, 5000, 5000, 5000]);
        assert_eq!(wait.failed("nobody listens".into(), start), None);
        assert_eq!(wait.failed("it answered 503".into(), start).unwrap(), "not ready: it answered 503");
    }

    #[test]
    fn a_console_is_not_tried() {
        let mut wait = Readiness::new(&"console:up".parse().unwrap(), None, None);
        wait.begin(Instant::now());
        assert_eq!((wait.due(), wait.give_up()), (None, None));
        assert_eq!(wait.complaint(), "not ready: no line of the console matched 'up'");
    }
}
