//! Whether the kernel killed something of ours for want of memory: the count of the control group that we are in.

use crate::paths;

/// How many processes of this process's control group (version 2) the OOM killer took so far; 0 where that is not told.
pub fn oom_kills() -> u64 {
    let Ok(groups) = std::fs::read_to_string(paths::OWN_CGROUPS) else { return 0 };
    group(&groups)
        .and_then(|group| {
            paths::CGROUP_ROOTS
                .iter()
                .find_map(|root| std::fs::read_to_string(format!("{root}{group}/memory.events")).ok())
        })
        .and_then(|events| count(&events))
        .unwrap_or(0)
}

fn group(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| line.strip_prefix("0::"))
}

fn count(events: &str) -> Option<u64> {
    events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernel_s_files() {
        assert_eq!(group("12:memory:/x\n0::/kraft.slice/a.service\n"), Some("/kraft.slice/a.service"));
        assert_eq!(count("low 0\noom 3\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(count(""), None);
    }
}
