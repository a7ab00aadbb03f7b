//! What the kernel counts for processes: a machine's runner and what that has started.

use std::time::Duration;

use super::{Traffic, Usage};
use crate::paths;

/// The sums over a runner and its children; `None` if it is gone.
pub(super) fn read(runner: u32) -> Option<Usage> {
    let mut usage = process(runner)?;
    let children = std::fs::read_to_string(format!("{}/{runner}/task/{runner}/children", paths::PROCESSES));
    for child in children.unwrap_or_default().split_ascii_whitespace().filter_map(|pid| pid.parse().ok()) {
        // One that ends at this moment has nothing any more.
        if let Some(its) = process(child) {
            usage.add(&its);
        }
    }
    Some(usage)
}

impl Usage {
    fn add(&mut self, other: &Self) {
        let sum = |a: Option<u64>, b: Option<u64>| Some(a? + b?);
        self.cpu = self.cpu.zip(other.cpu).map(|(a, b)| a + b);
        self.memory = sum(self.memory, other.memory);
        self.tasks = sum(self.tasks, other.tasks);
        self.io = self.io.zip(other.io).map(|(a, b)| Traffic { input: a.input + b.input, output: a.output + b.output });
    }
}

fn process(pid: u32) -> Option<Usage> {
    let file = |name: &str| std::fs::read_to_string(format!("{}/{pid}/{name}", paths::PROCESSES));
    let stat = stat(&file("stat").ok()?)?;
    // Who is not its owner does not get to see this.
    let io = file("io").ok().and_then(|text| io(&text));
    Some(Usage {
        cpu: Some(Duration::from_secs_f64(stat.ticks as f64 / ticks_per_second())),
        memory: Some(stat.pages * rustix::param::page_size() as u64),
        tasks: Some(stat.threads),
        io,
        ..Usage::nothing()
    })
}

fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second().max(1) as f64
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    ticks: u64,
    threads: u64,
    pages: u64,
}

/// proc_pid_stat(5). The second field, a name in parentheses, may hold anything.
fn stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    // The first of them is field 3.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Stat { ticks: field(14)? + field(15)?, threads: field(20)?, pages: field(24)? })
}

fn io(text: &str) -> Option<Traffic> {
    let field = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
    Some(Traffic { input: field("read_bytes:")?, output: field("write_bytes:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files() {
        let text =
            "42 (a b) c) S 1 42 42 0 -1 4194560 1 0 0 0 70 30 0 0 20 0 3 0 99 1000000 512 18446744073709551615\n";
        assert_eq!(stat(text), Some(Stat { ticks: 100, threads: 3, pages: 512 }));
        assert_eq!(stat("42 (a"), None);
        let text = "rchar: 9\nwchar: 9\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 0\n";
        assert_eq!(io(text), Some(Traffic { input: 4096, output: 8192 }));
    }

    #[test]
    fn this_very_process() {
        let usage = read(std::process::id()).unwrap();
        assert!(usage.memory.unwrap() > 0 && usage.tasks.unwrap() > 0);
        assert_eq!(read(u32::MAX >> 1), None);
    }
}
