//! What the kernel counts for a control group: version 2, or version 1 with each controller for itself, or both.
//!
//! A controller that has no group of this unit's own (it is not enabled, or nobody delegated it) would tell of others:
//! then there is nothing to tell.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Traffic, Usage, number};
use crate::paths;

/// Version 1 has this for no limit, less what does not make a page.
const NO_LIMIT: u64 = 1 << 62;

/// What is known of the group of `unit` among those that a process of it is in (`/proc/PID/cgroup`).
pub(super) fn read(groups: &str, unit: &str) -> Usage {
    let mut usage = Usage::nothing();
    if let Some(path) = path_of(groups, unit, |controllers| controllers.is_empty()) {
        let root = paths::CGROUP_ROOTS.iter().map(|root| below(root, &path)).find(|dir| dir.is_dir());
        if let Some(dir) = root {
            unified(&mut usage, &dir);
        }
    }
    let controller = |name: &str| {
        let path = path_of(groups, unit, |controllers| controllers.split(',').any(|its| its == name))?;
        Some(below(&format!("{}/{name}", paths::CGROUPS), &path))
    };
    legacy(&mut usage, controller);
    usage
}

/// The path of the group in the hierarchy that is wanted, if it is the unit's own.
fn path_of(groups: &str, unit: &str, wanted: impl Fn(&str) -> bool) -> Option<String> {
    groups.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let is_own = path.rsplit('/').next() == Some(unit) && !path.contains("/../");
        (wanted(controllers) && is_own).then(|| path.to_owned())
    })
}

fn below(root: &str, path: &str) -> PathBuf {
    Path::new(root).join(path.trim_start_matches('/'))
}

fn unified(usage: &mut Usage, dir: &Path) {
    let cpu = std::fs::read_to_string(dir.join("cpu.stat")).unwrap_or_default();
    usage.cpu = field(&cpu, "usage_usec").map(Duration::from_micros);
    usage.throttled = field(&cpu, "nr_throttled");
    usage.memory = number(&dir.join("memory.current")).map(|all| less_cache(all, dir, "inactive_file"));
    usage.memory_limit = number(&dir.join("memory.max"));
    usage.io = std::fs::read_to_string(dir.join("io.stat")).ok().map(|text| io(&text));
    usage.tasks = number(&dir.join("pids.current"));
    usage.tasks_limit = number(&dir.join("pids.max"));
}

fn legacy(usage: &mut Usage, controller: impl Fn(&str) -> Option<PathBuf>) {
    if let Some(dir) = controller("cpuacct") {
        usage.cpu = usage.cpu.or_else(|| number(&dir.join("cpuacct.usage")).map(Duration::from_nanos));
    }
    if let Some(dir) = controller("cpu") {
        let stat = std::fs::read_to_string(dir.join("cpu.stat")).unwrap_or_default();
        usage.throttled = usage.throttled.or_else(|| field(&stat, "nr_throttled"));
    }
    if let Some(dir) = controller("memory") {
        let all = number(&dir.join("memory.usage_in_bytes"));
        usage.memory = usage.memory.or_else(|| all.map(|all| less_cache(all, &dir, "total_inactive_file")));
        let limit = number(&dir.join("memory.limit_in_bytes")).filter(|&limit| limit < NO_LIMIT);
        usage.memory_limit = usage.memory_limit.or(limit);
    }
    if let Some(dir) = controller("blkio") {
        let text = std::fs::read_to_string(dir.join("blkio.throttle.io_service_bytes_recursive"))
            .or_else(|_| std::fs::read_to_string(dir.join("blkio.throttle.io_service_bytes")));
        usage.io = usage.io.or_else(|| text.ok().map(|text| blkio(&text)));
    }
    if let Some(dir) = controller("pids") {
        usage.tasks = usage.tasks.or_else(|| number(&dir.join("pids.current")));
        usage.tasks_limit = usage.tasks_limit.or_else(|| number(&dir.join("pids.max")));
    }
}

/// As docker and podman count: pages of files that nobody has looked at for long are not in use.
fn less_cache(all: u64, dir: &Path, what: &str) -> u64 {
    let stat = std::fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
    all.saturating_sub(field(&stat, what).unwrap_or(0))
}

/// `KEY NUMBER` of a file of such lines.
fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
}

/// `8:0 rbytes=1 wbytes=2 rios=3 ...`, a line for each device.
fn io(text: &str) -> Traffic {
    let sum =
        |key: &str| text.split_ascii_whitespace().filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok()).sum();
    Traffic { input: sum("rbytes="), output: sum("wbytes=") }
}

/// `8:0 Read 1`, `8:0 Write 2`, ..., and a last line `Total 3`.
fn blkio(text: &str) -> Traffic {
    let sum = |what: &str| {
        let number = |line: &str| line.split_once(' ')?.1.strip_prefix(what)?.trim().parse::<u64>().ok();
        text.lines().filter_map(number).sum()
    };
    Traffic { input: sum("Read "), output: sum("Write ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = "kraft-web.service";

    #[test]
    fn only_a_group_of_its_own_counts() {
        let groups = "5:memory:/\n4:cpu,cpuacct:/kraft.slice/kraft-web.service\n1:name=systemd:/kraft.slice/kraft-web.service\n\
                      0::/kraft.slice/kraft-web.slice/kraft-web.service\n";
        let path = |wanted: &str| path_of(groups, UNIT, |its| its.split(',').any(|one| one == wanted));
        assert_eq!(path("").unwrap(), "/kraft.slice/kraft-web.slice/kraft-web.service");
        assert_eq!(path("cpuacct").unwrap(), "/kraft.slice/kraft-web.service");
        assert_eq!((path("memory"), path("pids")), (None, None));
        assert_eq!(path_of("0::/../../kraft-web.service", UNIT, str::is_empty), None);
    }

    #[test]
    fn the_kernels_files() {
        assert_eq!(field("usage_usec 12\nuser_usec 7\n", "user_usec"), Some(7));
        assert_eq!(field("usage_usec 12\n", "usage"), None);
        let text = "8:0 rbytes=1 wbytes=2 rios=9 wios=9 dbytes=9 dios=9\n254:0 rbytes=10 wbytes=20 rios=9 wios=9\n";
        assert_eq!(io(text), Traffic { input: 11, output: 22 });
        assert_eq!(io(""), Traffic::default());
        let text = "8:0 Read 1\n8:0 Write 2\n8:0 Sync 9\n8:0 Total 9\n8:16 Read 10\nTotal 9\n";
        assert_eq!(blkio(text), Traffic { input: 11, output: 2 });
    }

    #[test]
    fn both_versions_of_control_groups() {
        let dir = std::env::temp_dir().join(format!("kraft-group-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let files = [
            ("cpu.stat", "usage_usec 1500000\nnr_throttled 3\n"),
            ("memory.current", "1000\n"),
            ("memory.max", "max\n"),
            ("memory.stat", "inactive_file 100\ntotal_inactive_file 200\n"),
            ("pids.current", "7\n"),
            ("pids.max", "77\n"),
            ("cpuacct.usage", "2500000000\n"),
            ("memory.usage_in_bytes", "1000\n"),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        files.iter().for_each(|(name, text)| std::fs::write(dir.join(name), text).unwrap());
        let (mut two, mut one, mut none) = (Usage::nothing(), Usage::nothing(), Usage::nothing());
        unified(&mut two, &dir);
        legacy(&mut one, |_| Some(dir.clone()));
        legacy(&mut none, |_| None);
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!((two.cpu, two.throttled), (Some(Duration::from_millis(1500)), Some(3)));
        assert_eq!((two.memory, two.memory_limit, two.io), (Some(900), None, None));
        assert_eq!((two.tasks, two.tasks_limit), (Some(7), Some(77)));
        assert_eq!((one.cpu, one.throttled), (Some(Duration::from_millis(2500)), Some(3)));
        assert_eq!((one.memory, one.memory_limit, one.io, one.tasks), (Some(800), None, None, Some(7)));
        assert_eq!((none.cpu, none.memory, none.tasks), (None, None, None));
    }
}
