//! What is one thing in a record and several keys in a machine file: limits, the health probe.

use std::time::Duration;

use super::Settings;
use crate::machine::{Health, Limits, MountRequest, Sandbox, ShareDriver};

impl Settings {
    /// How far it is confined if it does not say: what virtiofsd serves it has to see.
    pub fn usual_profile(&self) -> Sandbox {
        let served = |mount: &MountRequest| mount.driver == Some(ShareDriver::Virtiofs);
        if self.volumes.iter().flatten().any(served) { Sandbox::Compatible } else { Sandbox::default() }
    }

    /// The limits that it asks for.
    pub fn limits(&self) -> Limits {
        Limits {
            memory_max: self.memory_max,
            memory_swap_max: self.memory_swap_max,
            cpu_quota: self.cpu_quota,
            cpu_weight: self.cpu_weight,
            cpuset_cpus: self.cpuset_cpus.clone(),
            io_weight: self.io_weight,
            tasks_max: self.tasks_max,
            io_read_bandwidth_max: self.io_read_bandwidth_max.clone().unwrap_or_default(),
            io_write_bandwidth_max: self.io_write_bandwidth_max.clone().unwrap_or_default(),
            io_read_iops_max: self.io_read_iops_max.clone().unwrap_or_default(),
            io_write_iops_max: self.io_write_iops_max.clone().unwrap_or_default(),
        }
    }

    /// The same that asks for these limits.
    #[must_use]
    pub fn with_limits(self, limits: &Limits) -> Self {
        fn some<T: Clone>(list: &[T]) -> Option<Vec<T>> {
            (!list.is_empty()).then(|| list.to_vec())
        }
        Self {
            memory_max: limits.memory_max,
            memory_swap_max: limits.memory_swap_max,
            cpu_quota: limits.cpu_quota,
            cpu_weight: limits.cpu_weight,
            cpuset_cpus: limits.cpuset_cpus.clone(),
            io_weight: limits.io_weight,
            tasks_max: limits.tasks_max,
            io_read_bandwidth_max: some(&limits.io_read_bandwidth_max),
            io_write_bandwidth_max: some(&limits.io_write_bandwidth_max),
            io_read_iops_max: some(&limits.io_read_iops_max),
            io_write_iops_max: some(&limits.io_write_iops_max),
            ..self
        }
    }

    /// The health probe that it asks for.
    pub fn health(&self) -> Option<Health> {
        let usual = Health::new(self.health.clone()?);
        let milliseconds = |time: Option<Duration>, usual| {
            time.map_or(usual, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
        };
        Some(Health {
            interval_ms: milliseconds(self.health_interval, usual.interval_ms),
            timeout_ms: milliseconds(self.health_timeout, usual.timeout_ms),
            retries: self.health_retries.unwrap_or(usual.retries),
            start_period_ms: milliseconds(self.health_start_period, usual.start_period_ms),
            on_failure: self.health_on_failure.unwrap_or(usual.on_failure),
            ..usual
        })
    }

    /// Which of the keys about the health probe are given without one.
    pub fn idle_health(&self) -> Option<&'static str> {
        let given = [
            ("health-interval", self.health_interval.is_some()),
            ("health-timeout", self.health_timeout.is_some()),
            ("health-retries", self.health_retries.is_some()),
            ("health-start-period", self.health_start_period.is_some()),
            ("health-on-failure", self.health_on_failure.is_some()),
        ];
        given.into_iter().find(|(_, is_given)| *is_given && self.health.is_none()).map(|(key, _)| key)
    }

    /// The same that asks for this health probe.
    #[must_use]
    pub fn with_health(self, health: Option<&Health>) -> Self {
        let Some(health) = health else { return self };
        Self {
            health: Some(health.probe.clone()),
            health_interval: Some(Duration::from_millis(health.interval_ms)),
            health_timeout: Some(Duration::from_millis(health.timeout_ms)),
            health_retries: Some(health.retries),
            health_start_period: Some(Duration::from_millis(health.start_period_ms)),
            health_on_failure: Some(health.on_failure),
            ..self
        }
    }
}
