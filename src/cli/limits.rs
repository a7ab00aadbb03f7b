//! The limits of a machine as `ps` and `inspect` show them: as the options of `run` take them.

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::machine::{Manager, Record};

/// What is enforced, by the name of its option; what is chosen for the machine, too. A property of the unit's that says
/// otherwise is not looked at.
pub(crate) fn shown(record: &Record) -> BTreeMap<&'static str, Vec<String>> {
    let mut shown = BTreeMap::new();
    // Nobody enforces any.
    if record.manager == Manager::Local {
        return shown;
    }
    let (spec, limits) = (&record.spec, &record.spec.limits);
    shown.insert("memory-max", vec![spec.memory_max().to_string()]);
    shown.insert("tasks-max", vec![spec.tasks_max().to_string()]);
    let mut add = |name, values: Vec<String>| {
        if !values.is_empty() {
            shown.insert(name, values);
        }
    };
    add("memory-swap-max", texts(&limits.memory_swap_max));
    add("cpu-quota", texts(&limits.cpu_quota));
    add("cpu-weight", texts(&limits.cpu_weight));
    add("cpuset-cpus", texts(&limits.cpuset_cpus));
    add("io-weight", texts(&limits.io_weight));
    add("io-read-bandwidth-max", texts(&limits.io_read_bandwidth_max));
    add("io-write-bandwidth-max", texts(&limits.io_write_bandwidth_max));
    add("io-read-iops-max", texts(&limits.io_read_iops_max));
    add("io-write-iops-max", texts(&limits.io_write_iops_max));
    shown
}

fn texts<'a, T: Display + 'a>(values: impl IntoIterator<Item = &'a T>) -> Vec<String> {
    values.into_iter().map(ToString::to_string).collect()
}

/// All in one line: `memory-max=1Gi cpu-quota=20%`.
pub(crate) fn line(limits: &BTreeMap<&'static str, Vec<String>>) -> String {
    let each = limits.iter().map(|(name, values)| format!("{name}={}", values.join(",")));
    each.collect::<Vec<_>>().join(" ")
}
