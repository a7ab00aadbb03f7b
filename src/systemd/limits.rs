//! Limits as directives of a machine's service. Pure.

use super::definition::Definition;
use crate::machine::limits::{Cap, DeviceRate};
use crate::machine::{Bytes, Limit, Spec};

/// Whether there has to be such a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// A person asked for it.
    Yes,
    /// It is our own choice: left out where systemd does not know it.
    No,
}

/// What is counted of every machine: `kraft stats` reads it.
const ACCOUNTING: [&str; 4] = ["CPUAccounting", "MemoryAccounting", "IOAccounting", "TasksAccounting"];

/// Sets the limits of a machine in its service.
pub(super) fn set(unit: &mut Definition, spec: &Spec) {
    for key in ACCOUNTING {
        unit.optional(key, "yes");
    }
    for (key, value, asked) in all(spec) {
        match asked {
            Asked::Yes => unit.required(key, value),
            Asked::No => unit.optional(key, value),
        }
    }
}

fn all(spec: &Spec) -> Vec<(&'static str, String, Asked)> {
    let limits = &spec.limits;
    let asked = |given: bool| if given { Asked::Yes } else { Asked::No };
    let mut all = vec![
        ("MemoryMax", bytes(spec.memory_max()), asked(limits.memory_max.is_some())),
        ("TasksMax", spec.tasks_max().to_string(), asked(limits.tasks_max.is_some())),
    ];
    let mut add = |key, value: Option<String>| all.extend(value.map(|value| (key, value, Asked::Yes)));
    add("MemorySwapMax", limits.memory_swap_max.map(bytes));
    add("CPUQuota", limits.cpu_quota.map(|quota| quota.to_string()));
    add("CPUWeight", limits.cpu_weight.map(|weight| weight.to_string()));
    add("AllowedCPUs", limits.cpuset_cpus.as_ref().map(ToString::to_string));
    add("IOWeight", limits.io_weight.map(|weight| weight.to_string()));
    let mut rates = |key, values: Vec<String>| all.extend(values.into_iter().map(|value| (key, value, Asked::Yes)));
    rates("IOReadBandwidthMax", of_devices(&limits.io_read_bandwidth_max, |rate| rate.0));
    rates("IOWriteBandwidthMax", of_devices(&limits.io_write_bandwidth_max, |rate| rate.0));
    rates("IOReadIOPSMax", of_devices(&limits.io_read_iops_max, |rate| rate.0));
    rates("IOWriteIOPSMax", of_devices(&limits.io_write_iops_max, |rate| rate.0));
    all
}

/// What is set in a loaded service when one limit has changed: `KEY=VALUE`, an empty value before what it replaces.
pub(super) fn changed(limit: &Limit, spec: &Spec) -> Vec<String> {
    let key = key(limit);
    let mut typed = vec![format!("{key}=")];
    let new: Vec<_> = all(spec).into_iter().filter(|(its, ..)| *its == key).collect();
    let is_list = matches!(
        limit,
        Limit::IoReadBandwidthMax(_)
            | Limit::IoWriteBandwidthMax(_)
            | Limit::IoReadIopsMax(_)
            | Limit::IoWriteIopsMax(_)
    );
    if !new.is_empty() && !is_list {
        typed.clear();
    }
    typed.extend(new.into_iter().map(|(key, value, _)| format!("{key}={value}")));
    typed
}

/// What a guest that has become larger or smaller means for the limits that are chosen by it.
#[derive(Debug, Default)]
pub(super) struct MoreRoom {
    /// What is set at once: whoever starts the machine next may not make its unit anew.
    pub(super) more: Vec<String>,
    /// Some are to be lower, which waits for the next units.
    pub(super) less: bool,
}

/// Compares what is chosen for two specs of a machine.
pub(super) fn more_room(before: &Spec, after: &Spec) -> MoreRoom {
    let mut room = MoreRoom::default();
    if let (None, None, Cap::At(old), Cap::At(new)) =
        (before.limits.memory_max, after.limits.memory_max, before.memory_max(), after.memory_max())
    {
        room.add("MemoryMax", old.0, new.0);
    }
    if let (None, None, Cap::At(old), Cap::At(new)) =
        (before.limits.tasks_max, after.limits.tasks_max, before.tasks_max(), after.tasks_max())
    {
        room.add("TasksMax", old.0, new.0);
    }
    room
}

impl MoreRoom {
    fn add(&mut self, key: &str, old: u64, new: u64) {
        self.less |= new < old;
        if new > old {
            self.more.push(format!("{key}={new}"));
        }
    }
}

/// The directive of a limit.
pub(super) fn key(limit: &Limit) -> &'static str {
    match limit {
        Limit::MemoryMax(_) => "MemoryMax",
        Limit::MemorySwapMax(_) => "MemorySwapMax",
        Limit::CpuQuota(_) => "CPUQuota",
        Limit::CpuWeight(_) => "CPUWeight",
        Limit::CpusetCpus(_) => "AllowedCPUs",
        Limit::IoWeight(_) => "IOWeight",
        Limit::TasksMax(_) => "TasksMax",
        Limit::IoReadBandwidthMax(_) => "IOReadBandwidthMax",
        Limit::IoWriteBandwidthMax(_) => "IOWriteBandwidthMax",
        Limit::IoReadIopsMax(_) => "IOReadIOPSMax",
        Limit::IoWriteIopsMax(_) => "IOWriteIOPSMax",
    }
}

/// systemd has no `Gi`.
fn bytes(cap: Cap<Bytes>) -> String {
    match cap {
        Cap::Infinity => "infinity".into(),
        Cap::At(bytes) => bytes.0.to_string(),
    }
}

fn of_devices<T>(rates: &[DeviceRate<T>], number: impl Fn(&T) -> u64) -> Vec<String> {
    let text = |rate: &DeviceRate<T>| format!("{} {}", rate.device.display(), number(&rate.rate));
    rates.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Limits;

    fn file(spec: &Spec) -> String {
        let mut unit = Definition::new("x.service");
        set(&mut unit, spec);
        // The manager takes all of it.
        unit.to_unit().unwrap();
        unit.to_file()
    }

    #[test]
    fn every_machine_is_counted_and_has_ample_limits() {
        let mut spec = Spec::example("web");
        let text = file(&spec);
        for line in ["MemoryAccounting=yes", "IOAccounting=yes", "MemoryMax=548405248", "TasksMax=129"] {
            assert!(text.lines().any(|its| its == line), "{line} in {text}");
        }
        assert!(!text.contains("Quota") && !text.contains("Weight"), "{text}");
        spec.limits.memory_max = Some(Cap::Infinity);
        assert!(file(&spec).contains("MemoryMax=infinity\n"));
    }

    #[test]
    fn limits_become_directives() {
        let limits = [
            Limit::MemoryMax(Some("1Gi".parse().unwrap())),
            Limit::CpuQuota(Some("12.5%".parse().unwrap())),
            Limit::CpuWeight(Some("20".parse().unwrap())),
            Limit::CpusetCpus(Some("3,0-1".parse().unwrap())),
            Limit::IoReadBandwidthMax(vec!["/dev/a:5M".parse().unwrap(), "/srv/b:1K".parse().unwrap()]),
            Limit::IoWriteIopsMax(vec!["/srv/b:7".parse().unwrap()]),
        ];
        let mut spec = Spec::example("web");
        limits.into_iter().for_each(|limit| spec.limits.set(limit));
        let text = file(&spec);
        for line in [
            "MemoryMax=1073741824",
            "CPUQuota=12.5%",
            "CPUWeight=20",
            "AllowedCPUs=0-1,3",
            "IOReadBandwidthMax=/dev/a 5242880",
            "IOReadBandwidthMax=/srv/b 1024",
            "IOWriteIOPSMax=/srv/b 7",
        ] {
            assert!(text.lines().any(|its| its == line), "{line} in {text}");
        }
    }

    #[test]
    fn what_changes_replaces_what_was() {
        let mut spec = Spec::example("web");
        let mut changed = |limit: Limit| {
            spec.limits.set(limit.clone());
            super::changed(&limit, &spec)
        };
        assert_eq!(changed(Limit::CpuQuota(Some("20%".parse().unwrap()))), ["CPUQuota=20%"]);
        assert_eq!(changed(Limit::CpuQuota(None)), ["CPUQuota="]);
        assert_eq!(changed(Limit::TasksMax(None)), ["TasksMax=129"]);
        let rate = "/dev/a:7".parse().unwrap();
        assert_eq!(changed(Limit::IoReadIopsMax(vec![rate])), ["IOReadIOPSMax=", "IOReadIOPSMax=/dev/a 7"]);
        assert_eq!(changed(Limit::IoReadIopsMax(Vec::new())), ["IOReadIOPSMax="]);
        assert_eq!(spec.limits, Limits::default());
    }
}
