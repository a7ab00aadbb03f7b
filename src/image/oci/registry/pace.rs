//! A body that has to get on: one that trickles would hold us for ever, as each byte of it is in time.

use std::io::{Error, ErrorKind, Read, Result};
use std::time::{Duration, Instant};

/// So often it is looked how much came.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
/// The least that has to come in that time.
pub(super) const LEAST: u64 = 16 << 10;

/// How much came since when.
#[derive(Debug)]
struct Pace {
    since: Instant,
    bytes: u64,
}

impl Pace {
    /// Takes note of what came until now. Says whether that is enough.
    fn keeps(&mut self, bytes: u64, now: Instant) -> bool {
        self.bytes += bytes;
        if now.duration_since(self.since) < WINDOW {
            return true;
        }
        let enough = self.bytes >= LEAST;
        *self = Self { since: now, bytes: 0 };
        enough
    }
}

/// Reads what keeps pace.
pub(super) struct Paced<R> {
    inner: R,
    pace: Pace,
}

impl<R: Read> Paced<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, pace: Pace { since: Instant::now(), bytes: 0 } }
    }
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        // What is done with it in between is not the other side's time.
        let before = Instant::now();
        let read = self.inner.read(buffer).map_err(in_our_words)?;
        let now = Instant::now();
        let idle = before.saturating_duration_since(self.pace.since);
        if self.pace.keeps(read as u64, now) || read == 0 || idle >= WINDOW {
            return Ok(read);
        }
        let seconds = WINDOW.as_secs();
        Err(Error::new(ErrorKind::TimedOut, format!("less than {LEAST} bytes came in {seconds} s")))
    }
}

/// ureq's deadline is one of the system's, for whoever reads.
fn in_our_words(error: Error) -> Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
    match inner {
        Some(ureq::Error::Timeout(_)) => Error::new(ErrorKind::TimedOut, "it fell silent"),
        Some(_) | None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_trickles_does_not_keep_pace() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace { since: start, bytes: 0 };
        assert!(pace.keeps(1, at(59)));
        assert!(!pace.keeps(1, at(60)), "two bytes in a minute");
        assert!(pace.keeps(LEAST, at(61)) && pace.keeps(0, at(120)), "enough in the next");
        assert!(pace.keeps(1, at(150)) && !pace.keeps(1, at(200)));
    }

    #[test]
    fn silence_is_a_deadline_that_passed() {
        let silent = in_our_words(ureq::Error::Timeout(ureq::Timeout::PerRead).into_io());
        assert_eq!((silent.kind(), silent.to_string().as_str()), (ErrorKind::TimedOut, "it fell silent"));
        assert_eq!(in_our_words(Error::other("x")).to_string(), "x");
    }

    #[test]
    fn what_comes_at_once_is_read_whole() {
        let mut all = Vec::new();
        Paced::new([7_u8; 100_000].as_slice()).read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), 100_000);
    }
}
