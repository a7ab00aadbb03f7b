//! The longest that a guest may run, and whether it came to that.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::machine::{Exit, Reason};

/// The exit code of what ran out of its time, as timeout(1) has it.
const CODE: u8 = 124;

/// A guest's time.
#[derive(Debug)]
pub(super) struct Expiry {
    longest: Option<Duration>,
    at: Option<Instant>,
    expired: bool,
}

impl Expiry {
    /// Of a guest that does not run yet.
    pub(super) fn new(longest: Option<Duration>) -> Self {
        Self { longest, at: None, expired: false }
    }

    /// The guest runs from now on.
    pub(super) fn begin(&mut self, now: Instant) {
        self.at = self.longest.and_then(|longest| now.checked_add(longest));
    }

    /// When it is over, unless it is already.
    pub(super) fn next(&self) -> Option<Instant> {
        self.at
    }

    /// Whether it is over, for the first time.
    pub(super) fn due(&mut self, now: Instant) -> bool {
        if self.at.is_none_or(|at| now < at) {
            return false;
        }
        self.at = None;
        self.expired = true;
        true
    }

    /// Somebody stops the guest: that it could run longer does not matter any more.
    pub(super) fn cancel(&mut self) {
        self.at = None;
    }

    /// The end of a guest whose time was over.
    pub(super) fn exit(&self, at: Timestamp) -> Option<Exit> {
        let longest = self.longest.filter(|_| self.expired)?;
        let detail = format!("it ran as long as it may, {longest:?}");
        Some(Exit { at, reason: Reason::Expired, code: CODE, detail })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_s_time_is_over_once() {
        let start = Instant::now();
        let end = start + Duration::from_secs(5);
        let mut expiry = Expiry::new(Some(Duration::from_secs(5)));
        assert_eq!((expiry.next(), expiry.due(end)), (None, false));
        expiry.begin(start);
        assert_eq!((expiry.next(), expiry.due(start)), (Some(end), false));
        assert_eq!(expiry.exit(Timestamp::UNIX_EPOCH), None);
        assert!(expiry.due(end) && !expiry.due(end));
        let exit = expiry.exit(Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(exit.to_string(), "expired (code 124): it ran as long as it may, 5s");
        let mut stopped = Expiry::new(Some(Duration::ZERO));
        stopped.begin(start);
        stopped.cancel();
        assert_eq!((stopped.due(end), stopped.exit(Timestamp::UNIX_EPOCH)), (false, None));
        let mut endless = Expiry::new(None);
        endless.begin(start);
        assert!(!endless.due(end));
    }
}
