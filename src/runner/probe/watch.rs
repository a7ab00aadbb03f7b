//! Whether a machine is well, by one probe after the other. Pure.
//!
//! ```text
//!             success                     so many failures in a row
//! Starting ------------> Healthy -----------------------------------> Unhealthy
//!    |                      ^                                             |
//!    |                      +---------------------------------------------+
//!    |                                        success
//!    +--- so many failures in a row, once the start period is over ---> Unhealthy
//! ```

use std::time::{Duration, Instant};

use super::Target;
use crate::machine::{Health, HealthState};

/// It became another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::runner) struct Change {
    pub(in crate::runner) from: HealthState,
    pub(in crate::runner) to: HealthState,
    /// What the last failure was.
    pub(in crate::runner) why: String,
}

/// The health of a machine so far.
#[derive(Debug)]
pub(in crate::runner) struct Watch {
    target: Target,
    interval: Duration,
    timeout: Duration,
    retries: u32,
    start_period: Duration,
    patient_until: Instant,
    due: Instant,
    state: HealthState,
    probes: u64,
    failures: u32,
    why: String,
}

impl Watch {
    pub(super) fn new(health: &Health, target: Target) -> Self {
        let now = Instant::now();
        Self {
            target,
            interval: Duration::from_millis(health.interval_ms),
            timeout: Duration::from_millis(health.timeout_ms),
            retries: health.retries,
            start_period: Duration::from_millis(health.start_period_ms),
            patient_until: now,
            due: now,
            state: HealthState::Starting,
            probes: 0,
            failures: 0,
            why: String::new(),
        }
    }

    /// The machine is ready: the first probe is due.
    pub(super) fn begin(&mut self, now: Instant) {
        self.patient_until = now + self.start_period;
        self.due = now;
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }

    pub(super) fn postpone(&mut self, now: Instant) {
        self.due = now + self.interval;
    }

    pub(in crate::runner) fn state(&self) -> HealthState {
        self.state
    }

    pub(in crate::runner) fn probes(&self) -> u64 {
        self.probes
    }

    pub(in crate::runner) fn failures(&self) -> u32 {
        self.failures
    }

    pub(in crate::runner) fn why(&self) -> &str {
        &self.why
    }

    /// A probe is over.
    pub(super) fn tried(&mut self, outcome: Result<(), String>, now: Instant) -> Option<Change> {
        self.postpone(now);
        self.probes += 1;
        let to = match outcome {
            Ok(()) => {
                self.failures = 0;
                HealthState::Healthy
            }
            Err(why) => {
                self.why = why;
                if self.state == HealthState::Starting && now < self.patient_until {
                    return None;
                }
                self.failures = self.failures.saturating_add(1);
                if self.failures < self.retries { self.state } else { HealthState::Unhealthy }
            }
        };
        let from = std::mem::replace(&mut self.state, to);
        (from != to).then(|| Change { from, to, why: self.why.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{HealthAction, Probe, Way};
    use HealthState::{Healthy, Starting, Unhealthy};
    use proptest::prelude::*;

    fn watch(retries: u32, start_period_ms: u64, now: Instant) -> Watch {
        let probe = Probe::Tcp(80);
        let target = Target { probe: probe.clone(), way: Way::Network("10.0.0.2:80".parse().unwrap()) };
        let on_failure = HealthAction::None;
        let health = Health { probe, interval_ms: 100, timeout_ms: 50, retries, start_period_ms, on_failure };
        let mut watch = Watch::new(&health, target);
        watch.begin(now);
        watch
    }

    #[test]
    fn so_many_failures_in_a_row_are_one_too_many() {
        let now = Instant::now();
        let mut watch = watch(3, 0, now);
        let mut said = |outcome: Result<(), &str>| {
            watch.tried(outcome.map_err(str::to_owned), now).map(|change| (change.from, change.to, change.why))
        };
        assert_eq!(said(Ok(())), Some((Starting, Healthy, String::new())));
        assert_eq!(said(Ok(())), None);
        for _ in 0..2 {
            assert_eq!(said(Err("no")), None);
            assert_eq!(said(Err("no")), None);
            assert_eq!(said(Ok(())), None);
        }
        assert_eq!(said(Err("no")), None);
        assert_eq!(said(Err("no")), None);
        assert_eq!(said(Err("503")), Some((Healthy, Unhealthy, "503".to_owned())));
        assert_eq!(said(Err("503")), None);
        assert_eq!(said(Ok(())), Some((Unhealthy, Healthy, "503".to_owned())));
        assert_eq!((watch.probes(), watch.due()), (13, now + Duration::from_millis(100)));
    }

    #[test]
    fn a_start_is_given_time() {
        let now = Instant::now();
        let mut watch = watch(1, 1000, now);
        assert_eq!(watch.tried(Err("no".into()), now + Duration::from_millis(999)), None);
        assert_eq!((watch.state(), watch.failures()), (Starting, 0));
        let late = watch.tried(Err("no".into()), now + Duration::from_millis(1000)).unwrap();
        assert_eq!((late.from, late.to), (Starting, Unhealthy));
        // Once it was well, the time is over.
        let mut watch = self::watch(1, 1000, now);
        watch.tried(Ok(()), now);
        assert_eq!(watch.tried(Err("no".into()), now).unwrap().to, Unhealthy);
    }

    proptest! {
        #[test]
        fn changes_are_what_they_say(outcomes: Vec<bool>, retries in 1u32..5) {
            let now = Instant::now();
            let mut watch = watch(retries, 0, now);
            let mut state = Starting;
            for ok in outcomes {
                let before = watch.failures();
                if let Some(change) = watch.tried(if ok { Ok(()) } else { Err("no".into()) }, now) {
                    prop_assert_eq!(change.from, state);
                    prop_assert_ne!(change.to, state);
                    state = change.to;
                }
                prop_assert_eq!(watch.state(), state);
                prop_assert_eq!(watch.failures(), if ok { 0 } else { before + 1 });
                prop_assert_eq!(state == Unhealthy, watch.failures() >= retries);
            }
        }
    }
}
