//! What a running machine takes of its host, read straight from the kernel's files.
//!
//! ```text
//! group       its control group, version 2 or 1: what the kernel counts for the whole unit
//! processes   its processes: for a machine that has no control group of its own
//! ```
//!
//! What the kernel does not count here is `None`, never zero.

mod group;
mod processes;

use std::path::Path;
use std::time::{Duration, Instant};

use crate::paths;

/// What a machine has taken until now, and what it has at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// When that was.
    pub at: Instant,
    /// Processor time.
    pub cpu: Option<Duration>,
    /// Periods in which it was kept from running by its quota.
    pub throttled: Option<u64>,
    /// Bytes of memory, without what the kernel takes back as soon as it needs it.
    pub memory: Option<u64>,
    /// The most that it may have.
    pub memory_limit: Option<u64>,
    /// Bytes that it read and wrote.
    pub io: Option<Traffic>,
    /// Bytes that its guest received and sent.
    pub net: Option<Traffic>,
    /// Threads.
    pub tasks: Option<u64>,
    /// The most that it may have.
    pub tasks_limit: Option<u64>,
}

/// Bytes in and out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Read or received.
    pub input: u64,
    /// Written or sent.
    pub output: u64,
}

impl Usage {
    fn nothing() -> Self {
        Self {
            at: Instant::now(),
            cpu: None,
            throttled: None,
            memory: None,
            memory_limit: None,
            io: None,
            net: None,
            tasks: None,
            tasks_limit: None,
        }
    }

    /// Per cent of one processor since an earlier reading.
    #[allow(clippy::cast_precision_loss, reason = "a percentage is for people")]
    pub fn cpu_percent(&self, earlier: &Self) -> Option<f64> {
        let passed = self.at.checked_duration_since(earlier.at)?.as_secs_f64();
        let used = self.cpu?.checked_sub(earlier.cpu?)?.as_secs_f64();
        (passed > 0.0).then(|| used / passed * 100.0)
    }
}

/// What the machine of this runner takes. `unit` is the control group that is its own, if it has one; `taps` are its ends
/// of networks. `None` if there is no such process any more.
pub fn read(runner: u32, unit: Option<&str>, taps: &[String]) -> Option<Usage> {
    let mut usage = match unit {
        Some(unit) => {
            let groups = std::fs::read_to_string(format!("{}/{runner}/cgroup", paths::PROCESSES)).ok()?;
            group::read(&groups, unit)
        }
        None => processes::read(runner)?,
    };
    usage.net = traffic(Path::new(paths::INTERFACES), taps);
    Some(usage)
}

/// What went through its taps. What a tap sends, the guest receives.
fn traffic(interfaces: &Path, taps: &[String]) -> Option<Traffic> {
    let count = |tap: &str, what: &str| number(&interfaces.join(tap).join("statistics").join(what));
    let each = taps.iter().map(|tap| Some((count(tap, "tx_bytes")?, count(tap, "rx_bytes")?)));
    let each: Vec<(u64, u64)> = each.collect::<Option<_>>()?;
    let sum = |sum: Traffic, (input, output)| Traffic { input: sum.input + input, output: sum.output + output };
    (!each.is_empty()).then(|| each.into_iter().fold(Traffic::default(), sum))
}

/// The number that a file of the kernel's holds; `max` is none.
fn number(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_per_cent_of_one() {
        let now = Instant::now();
        let at = |seconds, cpu| Usage {
            at: now + Duration::from_secs(seconds),
            cpu: Some(Duration::from_millis(cpu)),
            ..Usage::nothing()
        };
        assert_eq!(at(2, 3000).cpu_percent(&at(0, 0)), Some(150.0));
        // Another life's counter, the same moment, no counter.
        assert_eq!(at(2, 3000).cpu_percent(&at(0, 4000)), None);
        assert_eq!(at(2, 3000).cpu_percent(&at(2, 2000)), None);
        assert_eq!(at(2, 3000).cpu_percent(&Usage { cpu: None, ..at(0, 0) }), None);
    }

    #[test]
    fn a_guest_receives_what_its_taps_send() {
        let dir = std::env::temp_dir().join(format!("kraft-usage-{}", std::process::id()));
        for (tap, rx, tx) in [("a", 1, 20), ("b", 300, 4000)] {
            let statistics = dir.join(tap).join("statistics");
            std::fs::create_dir_all(&statistics).unwrap();
            std::fs::write(statistics.join("rx_bytes"), format!("{rx}\n")).unwrap();
            std::fs::write(statistics.join("tx_bytes"), format!("{tx}\n")).unwrap();
        }
        let of = |taps: &[&str]| traffic(&dir, &taps.iter().map(|&tap| tap.to_owned()).collect::<Vec<_>>());
        let (both, missing, none) = (of(&["a", "b"]), of(&["a", "gone"]), of(&[]));
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!((both, missing, none), (Some(Traffic { input: 4020, output: 301 }), None, None));
    }
}
