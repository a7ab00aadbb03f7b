//! When a machine that ended is started again, and how long that waits.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::status::{Exit, Reason};
use super::text::kept_as_text;
use crate::error::Error;

/// When a machine that ended by itself is started again. One that was stopped on request never is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// After a failure, at most so many times in a row (`None`: without end).
    OnFailure(Option<u32>),
    /// Whatever the guest's exit was.
    Always,
}

/// A guest that ran this long has recovered: its failures are counted from zero again.
const RECOVERED_AFTER: Duration = Duration::from_secs(10);
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(60);

impl RestartPolicy {
    /// Whether a machine that ended like this, after `restarts` restarts in a row, is started once more.
    pub fn wants(self, exit: &Exit, restarts: u32) -> bool {
        // A first start that failed is answered with its reason, not with another try; a restart that failed is tried
        // again, as it worked before.
        if exit.reason.is_on_request() || (exit.reason == Reason::StartFailed && restarts == 0) {
            return false;
        }
        match self {
            Self::No => false,
            Self::Always => true,
            Self::OnFailure(None) => !exit.is_success(),
            Self::OnFailure(Some(most)) => !exit.is_success() && restarts < most,
        }
    }

    /// How many restarts in a row there were, given the count at the last start and how long the guest ran since.
    pub fn count_after(restarts: u32, ran: Duration) -> u32 {
        if ran >= RECOVERED_AFTER { 0 } else { restarts }
    }

    /// The wait before restart number `restart` (from 1): 100 ms, doubled each time, at most a minute.
    pub fn delay(restart: u32) -> Duration {
        let doublings = restart.saturating_sub(1).min(16);
        (FIRST_DELAY * 2u32.pow(doublings)).min(LONGEST_DELAY)
    }
}

impl FromStr for RestartPolicy {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        match text.split_once(':') {
            None if text == "no" => Ok(Self::No),
            None if text == "always" => Ok(Self::Always),
            None if text == "on-failure" => Ok(Self::OnFailure(None)),
            Some(("on-failure", most)) => most.parse().map(|n| Self::OnFailure(Some(n))).map_err(|_| {
                Error::new(format!("bad restart policy '{}': N in on-failure:N is not a number", text.escape_debug()))
            }),
            _ => Err(Error::new(format!(
                "bad restart policy '{}': known are no, on-failure, on-failure:N, always",
                text.escape_debug()
            ))),
        }
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => f.write_str("no"),
            Self::Always => f.write_str("always"),
            Self::OnFailure(None) => f.write_str("on-failure"),
            Self::OnFailure(Some(most)) => write!(f, "on-failure:{most}"),
        }
    }
}

kept_as_text!(RestartPolicy);

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(reason: Reason, code: u8) -> Exit {
        Exit { at: jiff::Timestamp::UNIX_EPOCH, reason, code, detail: String::new() }
    }

    #[test]
    fn a_stop_on_request_is_final() {
        for policy in [RestartPolicy::No, RestartPolicy::OnFailure(None), RestartPolicy::Always] {
            assert!(!policy.wants(&ended(Reason::Stopped, 0), 0));
        }
    }

    #[test]
    fn a_first_start_that_failed_is_not_tried_again() {
        let failed = ended(Reason::StartFailed, 126);
        assert!(!RestartPolicy::Always.wants(&failed, 0));
        assert!(RestartPolicy::Always.wants(&failed, 1));
    }

    #[test]
    fn failures_are_counted() {
        let policy: RestartPolicy = "on-failure:2".parse().unwrap();
        let failure = ended(Reason::Error, 3);
        assert!(policy.wants(&failure, 0) && policy.wants(&failure, 1) && !policy.wants(&failure, 2));
        assert!(!policy.wants(&ended(Reason::Finished, 0), 0));
        assert!(RestartPolicy::Always.wants(&ended(Reason::Finished, 0), 1000));
        assert_eq!(RestartPolicy::count_after(7, Duration::from_secs(11)), 0);
        assert_eq!(RestartPolicy::count_after(7, Duration::from_secs(9)), 7);
    }

    #[test]
    fn the_wait_doubles_up_to_a_minute() {
        let ms: Vec<_> = (1..=4).map(|n| RestartPolicy::delay(n).as_millis()).collect();
        assert_eq!(ms, [100, 200, 400, 800]);
        assert_eq!(RestartPolicy::delay(u32::MAX), LONGEST_DELAY);
    }

    #[test]
    fn texts() {
        for text in ["no", "always", "on-failure", "on-failure:5"] {
            assert_eq!(text.parse::<RestartPolicy>().unwrap().to_string(), text);
        }
        for bad in ["", "yes", "on-failure:", "on-failure:x", "on-failure:-1", "always:3"] {
            assert!(bad.parse::<RestartPolicy>().is_err(), "{bad}");
        }
    }
}
