//! How a guest is brought to its end, as pure steps in time.
//!
//! ```text
//! power button --grace--> quit --2 s--> kill
//! ```
//!
//! A guest that does not listen to the button begins at `quit`. A later request may shorten the grace, never
//! lengthen it.

use std::time::{Duration, Instant};

use crate::store::StopRequest;

/// How long the VMM has for ending itself.
const QUIT_WITHIN: Duration = Duration::from_secs(2);

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Press the power button.
    PowerButton,
    /// Tell the VMM to end.
    Quit,
    /// Kill the VMM.
    Kill,
}

/// A stop under way.
#[derive(Debug)]
pub struct Stopping {
    step: Step,
    deadline: Instant,
    /// It is to be recorded as killed.
    pub kill: bool,
}

impl Stopping {
    /// Begins a stop: returns it and its first step. `grace` is zero for a guest that cannot be asked.
    pub fn begin(grace: Duration, kill: bool, now: Instant) -> (Self, Step) {
        let step = if grace.is_zero() { Step::Quit } else { Step::PowerButton };
        let within = if grace.is_zero() { QUIT_WITHIN } else { grace };
        (Self { step, deadline: now + within, kill }, step)
    }

    /// When the next step is due.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The step that is due, if any. Killing is the last one and is repeated while the VMM is there.
    pub fn advance(&mut self, now: Instant) -> Option<Step> {
        if now < self.deadline {
            return None;
        }
        self.step = match self.step {
            Step::PowerButton => Step::Quit,
            Step::Quit | Step::Kill => Step::Kill,
        };
        self.deadline = now + QUIT_WITHIN;
        Some(self.step)
    }

    /// Somebody asks once more.
    pub fn hurry(&mut self, request: &StopRequest, now: Instant) {
        self.kill |= request.kill;
        if let (Step::PowerButton, Some(timeout)) = (self.step, request.timeout_ms) {
            self.deadline = self.deadline.min(now + Duration::from_millis(timeout));
        }
    }

    /// The guest cannot be asked after all.
    pub fn skip_grace(&mut self, now: Instant) {
        if self.step == Step::PowerButton {
            self.deadline = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_in_time() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let (mut stop, first) = Stopping::begin(Duration::from_secs(10), false, start);
        assert_eq!(first, Step::PowerButton);
        assert_eq!(stop.advance(after(9)), None);
        assert_eq!(stop.advance(after(10)), Some(Step::Quit));
        assert_eq!(stop.advance(after(11)), None);
        assert_eq!(stop.advance(after(12)), Some(Step::Kill));
        assert_eq!(stop.advance(after(14)), Some(Step::Kill));
    }

    #[test]
    fn a_second_request_only_shortens() {
        let start = Instant::now();
        let (mut stop, _) = Stopping::begin(Duration::from_secs(10), false, start);
        stop.hurry(&StopRequest { timeout_ms: Some(60_000), kill: false }, start);
        assert_eq!(stop.advance(start + Duration::from_secs(10)), Some(Step::Quit));
        let (mut stop, _) = Stopping::begin(Duration::from_secs(10), false, start);
        stop.hurry(&StopRequest { timeout_ms: Some(0), kill: true }, start);
        assert_eq!(stop.advance(start), Some(Step::Quit));
        assert!(stop.kill);
        assert_eq!(Stopping::begin(Duration::ZERO, false, start).1, Step::Quit);
    }
}
