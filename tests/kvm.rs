//! The KVM probe, in a process of its own: what it costs and what it leaves.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::{Duration, Instant};

use kraft::platform::qemu::kvm::{Kvm, probe};

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Mappings of KVM, and all others by their number: the allocator's grow, but they do not multiply.
fn mappings() -> (usize, usize) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    (maps.lines().filter(|line| line.contains("kvm")).count(), maps.lines().count())
}

fn signals() -> Vec<String> {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    // SigQ counts for the whole user: that of others as well.
    let ours = |line: &&str| (line.starts_with("Sig") && !line.starts_with("SigQ")) || line.starts_with("ShdPnd");
    status.lines().filter(ours).map(str::to_owned).collect()
}

#[test]
fn probing_is_quick_repeatable_and_leaves_nothing() {
    let first = probe();
    let before = (descriptors(), mappings(), signals());
    let mut times: Vec<Duration> = (0..20)
        .map(|_| {
            let start = Instant::now();
            assert_eq!(probe(), first);
            start.elapsed()
        })
        .collect();
    assert_eq!((descriptors(), mappings(), signals()), before);
    times.sort_unstable();
    eprintln!("{first:?}: median {:?}, worst {:?}", times[10], times[19]);
    if let Kvm::Unusable(reason) = first {
        assert!(!reason.contains("did not end"), "{reason}");
    }
}
