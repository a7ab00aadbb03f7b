//! What a machine may take of its host: memory, processors, disks, tasks. The words are those of docker and podman
//! where they have one, else systemd's. What a limit becomes in a unit is the systemd manager's.
//!
//! A limit that is not given is chosen (memory, tasks: `room`) or is none.

mod amounts;
mod room;

use serde::{Deserialize, Serialize};

pub use amounts::{Cap, Count, CpuQuota, CpuSet, DeviceRate, Weight};
pub use room::{Room, TRANSLATIONS, tasks, vmm};

use super::{Bytes, Spec};
use crate::error::{Error, Result};

/// The limits of a machine; `None` and empty are chosen or none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The most memory of guest and VMM together; what both need if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_max: Option<Cap<Bytes>>,
    /// The most that may be swapped out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_swap_max: Option<Cap<Bytes>>,
    /// The most processor time, in each tenth of a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_quota: Option<Cap<CpuQuota>>,
    /// Its share of processor time where others want it, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_weight: Option<Weight>,
    /// The host's processors that it may run on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpuset_cpus: Option<CpuSet>,
    /// Its share of a disk's time where others want it, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_weight: Option<Weight>,
    /// The most threads and processes; what the VMM may need if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks_max: Option<Cap<Count>>,
    /// Bytes a second that are read of a device.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub io_read_bandwidth_max: Vec<DeviceRate<Bytes>>,
    /// Bytes a second that are written to a device.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub io_write_bandwidth_max: Vec<DeviceRate<Bytes>>,
    /// Reads of a device a second.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub io_read_iops_max: Vec<DeviceRate<Count>>,
    /// Writes to a device a second.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub io_write_iops_max: Vec<DeviceRate<Count>>,
}

/// One limit, to be set or (`None`, empty) to be left to its default.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the field of `Limits` of its name")]
pub enum Limit {
    MemoryMax(Option<Cap<Bytes>>),
    MemorySwapMax(Option<Cap<Bytes>>),
    CpuQuota(Option<Cap<CpuQuota>>),
    CpuWeight(Option<Weight>),
    CpusetCpus(Option<CpuSet>),
    IoWeight(Option<Weight>),
    TasksMax(Option<Cap<Count>>),
    IoReadBandwidthMax(Vec<DeviceRate<Bytes>>),
    IoWriteBandwidthMax(Vec<DeviceRate<Bytes>>),
    IoReadIopsMax(Vec<DeviceRate<Count>>),
    IoWriteIopsMax(Vec<DeviceRate<Count>>),
}

impl Limit {
    /// As its flag is called.
    pub fn name(&self) -> &'static str {
        match self {
            Self::MemoryMax(_) => "memory-max",
            Self::MemorySwapMax(_) => "memory-swap-max",
            Self::CpuQuota(_) => "cpu-quota",
            Self::CpuWeight(_) => "cpu-weight",
            Self::CpusetCpus(_) => "cpuset-cpus",
            Self::IoWeight(_) => "io-weight",
            Self::TasksMax(_) => "tasks-max",
            Self::IoReadBandwidthMax(_) => "io-read-bandwidth-max",
            Self::IoWriteBandwidthMax(_) => "io-write-bandwidth-max",
            Self::IoReadIopsMax(_) => "io-read-iops-max",
            Self::IoWriteIopsMax(_) => "io-write-iops-max",
        }
    }
}

impl Limits {
    /// None was asked for.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Sets one.
    pub fn set(&mut self, limit: Limit) {
        match limit {
            Limit::MemoryMax(limit) => self.memory_max = limit,
            Limit::MemorySwapMax(limit) => self.memory_swap_max = limit,
            Limit::CpuQuota(limit) => self.cpu_quota = limit,
            Limit::CpuWeight(limit) => self.cpu_weight = limit,
            Limit::CpusetCpus(limit) => self.cpuset_cpus = limit,
            Limit::IoWeight(limit) => self.io_weight = limit,
            Limit::TasksMax(limit) => self.tasks_max = limit,
            Limit::IoReadBandwidthMax(limit) => self.io_read_bandwidth_max = limit,
            Limit::IoWriteBandwidthMax(limit) => self.io_write_bandwidth_max = limit,
            Limit::IoReadIopsMax(limit) => self.io_read_iops_max = limit,
            Limit::IoWriteIopsMax(limit) => self.io_write_iops_max = limit,
        }
    }

    /// The same with one set.
    #[must_use]
    pub fn with(mut self, limit: Limit) -> Self {
        self.set(limit);
        self
    }

    /// Refuses what would end the guest that it is for.
    ///
    /// # Errors
    /// Names the limit, and what the machine needs at least.
    pub fn check(&self, spec: &Spec) -> Result<()> {
        let room = vmm(spec);
        let least = Bytes(spec.memory.0.saturating_add(room.least.0));
        if let Some(Cap::At(memory)) = self.memory_max
            && memory < least
        {
            return Err(Error::new(format!(
                "--memory-max {memory} would end the guest: its memory ({}) and its VMM ({}) need at least {least}",
                spec.memory, room.least
            ))
            .with_hint(format!("without --memory-max it may take {}", ample(spec))));
        }
        let least = tasks(spec).least;
        if let Some(Cap::At(tasks)) = self.tasks_max
            && tasks < least
        {
            return Err(Error::new(format!("--tasks-max {tasks} would end the guest: its VMM needs at least {least}")));
        }
        Ok(())
    }

    /// Refuses limits where nobody enforces them.
    ///
    /// # Errors
    /// When one was asked for.
    pub fn need_systemd(&self) -> Result<()> {
        if self.is_default() {
            return Ok(());
        }
        Err(Error::new("limits are enforced by systemd, which does not run this machine")
            .with_hint("`kraft run --systemd` has systemd run it"))
    }
}

impl Spec {
    /// The memory that the machine may take: as given, or what is ample for its guest and its VMM.
    pub fn memory_max(&self) -> Cap<Bytes> {
        self.limits.memory_max.unwrap_or_else(|| Cap::At(ample(self)))
    }

    /// The threads and processes that it may have: as given, or what is ample for its VMM.
    pub fn tasks_max(&self) -> Cap<Count> {
        self.limits.tasks_max.unwrap_or_else(|| Cap::At(tasks(self).ample))
    }
}

/// What guest and VMM come to at the most.
fn ample(spec: &Spec) -> Bytes {
    Bytes(spec.memory.0.saturating_add(vmm(spec).ample.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut Spec)) -> Result<Spec> {
        let mut spec = Spec::example("web");
        change(&mut spec);
        spec.limits.check(&spec).map(|()| spec)
    }

    #[test]
    fn what_would_end_the_guest_is_refused_with_both_figures() {
        let error = with(|spec| spec.limits.memory_max = Some("80Mi".parse().unwrap())).unwrap_err();
        assert_eq!(
            error.to_string(),
            "--memory-max 80Mi would end the guest: its memory (64Mi) and its VMM (48Mi) need at least 112Mi"
        );
        assert_eq!(error.hint().unwrap(), "without --memory-max it may take 523Mi");
        with(|spec| spec.limits.memory_max = Some("112Mi".parse().unwrap())).unwrap();
        with(|spec| spec.limits.memory_max = Some(Cap::Infinity)).unwrap();
        let error = with(|spec| spec.limits.tasks_max = Some("4".parse().unwrap())).unwrap_err();
        assert_eq!(error.to_string(), "--tasks-max 4 would end the guest: its VMM needs at least 6");
        // More of a guest needs more.
        with(|spec| {
            spec.limits.memory_max = Some("112Mi".parse().unwrap());
            spec.memory = Bytes(65 * Bytes::MIB);
        })
        .unwrap_err();
        with(|spec| {
            spec.limits.tasks_max = Some("6".parse().unwrap());
            spec.cpus = 2;
        })
        .unwrap_err();
    }

    #[test]
    fn the_limits_of_an_old_record_and_of_a_new_one() {
        let mut spec = Spec::example("web");
        assert!(!toml::to_string(&spec).unwrap().contains("limits"));
        for (index, limit) in [
            Limit::MemoryMax(Some(Cap::Infinity)),
            Limit::MemorySwapMax(Some("1Gi".parse().unwrap())),
            Limit::CpuQuota(Some("12.5%".parse().unwrap())),
            Limit::CpuWeight(Some("20".parse().unwrap())),
            Limit::CpusetCpus(Some("3,0-1".parse().unwrap())),
            Limit::IoWeight(Some("10000".parse().unwrap())),
            Limit::TasksMax(Some("77".parse().unwrap())),
            Limit::IoReadBandwidthMax(vec!["/dev/vda:5M".parse().unwrap()]),
            Limit::IoWriteBandwidthMax(vec!["/dev/vda:5M".parse().unwrap()]),
            Limit::IoReadIopsMax(vec!["/srv/a:100".parse().unwrap()]),
            Limit::IoWriteIopsMax(vec!["/srv:100".parse().unwrap(), "/var:1".parse().unwrap()]),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(spec.limits.is_default(), index == 0);
            let name = limit.name().replace('-', "_");
            spec.limits.set(limit);
            assert!(toml::to_string(&spec).unwrap().contains(&name), "{name}");
        }
        assert_eq!(toml::from_str::<Spec>(&toml::to_string(&spec).unwrap()).unwrap(), spec);
    }

    #[test]
    fn limits_without_systemd() {
        assert!(Limits::default().need_systemd().is_ok());
        let some = Limits { cpu_weight: Some("20".parse().unwrap()), ..Limits::default() };
        assert!(some.need_systemd().unwrap_err().hint().unwrap().contains("--systemd"));
    }
}
