//! The settings that a machine file has: what `kraft run` can say, by the words of its long options.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::image::{Entrypoint, Rootfs};
use super::value::{Around, Directives, Install, Read, Setting, Written};
use crate::machine::limits::{Cap, Count, CpuQuota, CpuSet, DeviceRate, Weight};
use crate::machine::{
    Accel, Arch, Bytes, Compression, Dialect, HealthAction, ImageName, MachineType, Machined, MountRequest,
    NetworkRequest, Platform, Port, Probe, Pull, Ready, RestartPolicy, Sandbox, SecretRequest,
};

macro_rules! settings {
    ($($(#[$meta:meta])* $field:ident: $type:ty = $key:literal;)+) => {
        /// What machine files say; `None` where they say nothing.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Settings { $($(#[$meta])* pub $field: Option<$type>),+ }

        impl Settings {
            /// Every key, in the order in which they are written.
            pub const KEYS: &'static [&'static str] = &[$($key),+];

            /// Takes one key's value; false if there is no such key.
            pub(super) fn read(&mut self, key: &str, value: &Written<'_>, around: &Around<'_>) -> Read<bool> {
                match key {
                    $($key => self.$field = Some(Setting::read(value, around)?),)+
                    _ => return Ok(false),
                }
                Ok(true)
            }

            /// Takes what another file says later.
            pub(super) fn merge(&mut self, later: Self) {
                $(match (&mut self.$field, later.$field) {
                    (Some(ours), Some(theirs)) => ours.overlay(theirs),
                    (ours @ None, theirs) => *ours = theirs,
                    (Some(_), None) => {}
                })+
            }

            /// Every key that has something to say, with its value.
            pub(super) fn values(&self) -> Vec<(&'static str, toml::Value)> {
                let values = [$(($key, self.$field.as_ref().and_then(Setting::write))),+];
                values.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
            }
        }
    };
}

settings! {
    /// The kernel to run.
    kernel: PathBuf = "kernel";
    /// The image that has the kernel and what goes with it.
    image: ImageName = "image";
    /// What the command begins with, in place of what the image says.
    entrypoint: Entrypoint = "entrypoint";
    /// When the image is fetched.
    pull: Pull = "pull";
    /// Arguments for the kernel.
    kernel_args: Vec<String> = "kernel-args";
    /// Arguments for the application in the guest.
    args: Vec<String> = "args";
    /// The guest's memory.
    memory: Bytes = "memory";
    /// Virtual CPUs.
    cpus: u32 = "cpus";
    /// The root file system: a directory, a tar archive, a RAM disk, an image.
    rootfs: Rootfs = "rootfs";
    /// How the RAM disk is compressed that a directory or a tar archive becomes.
    rootfs_compress: Compression = "rootfs-compress";
    /// Published ports.
    ports: Vec<Port> = "ports";
    /// Networks.
    networks: Vec<NetworkRequest> = "networks";
    /// Directories and named volumes that the guest sees.
    volumes: Vec<MountRequest> = "volumes";
    /// Directories of the host's that volumes name are made where they are missing.
    mkdir: bool = "mkdir";
    /// When it is started again after it ended by itself.
    restart: RestartPolicy = "restart";
    /// How long the guest may take to shut down.
    stop_timeout: Duration = "stop-timeout";
    /// The machine is removed when it ends.
    rm: bool = "rm";
    /// The platform that runs the guest.
    platform: Platform = "platform";
    /// The guest's architecture.
    arch: Arch = "arch";
    /// What runs the guest's instructions.
    accel: Accel = "accel";
    /// The machine type.
    machine_type: MachineType = "machine-type";
    /// What the kernel's command line is written in.
    dialect: Dialect = "dialect";
    /// The slice that the machine's own is put in.
    slice: String = "slice";
    /// How far its unit confines it.
    sandbox: Sandbox = "sandbox";
    /// Properties of the unit, `KEY=VALUE`.
    properties: Vec<String> = "properties";
    /// The most memory of guest and VMM together.
    memory_max: Cap<Bytes> = "memory-max";
    /// The most that may be swapped out.
    memory_swap_max: Cap<Bytes> = "memory-swap-max";
    /// The most processor time.
    cpu_quota: Cap<CpuQuota> = "cpu-quota";
    /// Its share of processor time.
    cpu_weight: Weight = "cpu-weight";
    /// The host's processors that it may run on.
    cpuset_cpus: CpuSet = "cpuset-cpus";
    /// Its share of a disk's time.
    io_weight: Weight = "io-weight";
    /// Bytes a second that are read of a device.
    io_read_bandwidth_max: Vec<DeviceRate<Bytes>> = "io-read-bandwidth-max";
    /// Bytes a second that are written to a device.
    io_write_bandwidth_max: Vec<DeviceRate<Bytes>> = "io-write-bandwidth-max";
    /// Reads of a device a second.
    io_read_iops_max: Vec<DeviceRate<Count>> = "io-read-iops-max";
    /// Writes to a device a second.
    io_write_iops_max: Vec<DeviceRate<Count>> = "io-write-iops-max";
    /// The most threads and processes.
    tasks_max: Cap<Count> = "tasks-max";
    /// What the guest is given and nobody else is to see.
    secrets: Vec<SecretRequest> = "secrets";
    /// When systemd starts it.
    on_calendar: Vec<String> = "on-calendar";
    /// How long the guest may run.
    runtime_max: Duration = "runtime-max";
    /// Whether systemd-machined is told of it.
    machined: Machined = "machined";
    /// What decides that it is ready.
    ready: Ready = "ready";
    /// How long that may take.
    ready_timeout: Duration = "ready-timeout";
    /// The probe of whether it is well.
    health: Probe = "health";
    /// The time between two probes.
    health_interval: Duration = "health-interval";
    /// How long one may take.
    health_timeout: Duration = "health-timeout";
    /// How many in a row fail until it is unhealthy.
    health_retries: u32 = "health-retries";
    /// How long failures do not count at first.
    health_start_period: Duration = "health-start-period";
    /// What becomes of one that is unhealthy.
    health_on_failure: HealthAction = "health-on-failure";
    /// The guest's environment.
    env: BTreeMap<String, String> = "env";
    /// Labels.
    labels: BTreeMap<String, String> = "labels";
    /// Directives for the service's section `[Unit]`.
    unit: Directives = "unit";
    /// Directives for the section `[Service]`.
    service: Directives = "service";
    /// What it is started with.
    install: Install = "install";
}

/// Keys that a person may take for ours, and ours.
const MEANT: &[(&str, &str)] = &[
    ("app-args", "args"),
    ("cmd", "args"),
    ("command", "args"),
    ("environment", "env"),
    ("initrd", "rootfs"),
    ("kernel-arg", "kernel-args"),
    ("label", "labels"),
    ("machine", "machine-type"),
    ("network", "networks"),
    ("plat", "platform"),
    ("port", "ports"),
    ("property", "properties"),
    ("publish", "ports"),
    ("secret", "secrets"),
    ("cpus-limit", "cpu-quota"),
    ("pids-limit", "tasks-max"),
    ("volume", "volumes"),
    ("Unit", "unit"),
    ("Service", "service"),
    ("Install", "install"),
];

/// The key that was meant by one that there is not, if one is near.
pub(super) fn meant(unknown: &str) -> Option<&'static str> {
    let like = unknown.replace('_', "-").to_lowercase();
    let known = || Settings::KEYS.iter().copied();
    known()
        .find(|key| *key == like)
        .or_else(|| MEANT.iter().find(|(other, _)| *other == unknown || *other == like).map(|(_, key)| *key))
        .or_else(|| {
            known().map(|key| (distance(key, &like), key)).min().filter(|(far, _)| *far <= 2).map(|(_, key)| key)
        })
}

/// How many letters are to be put in, taken out or changed (Levenshtein).
fn distance(one: &str, two: &str) -> usize {
    let two: Vec<char> = two.chars().collect();
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, b) in two.iter().enumerate() {
            let changed = corner + usize::from(a != *b);
            corner = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(corner + 1);
        }
    }
    row[two.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_keys_are_found() {
        for (typed, key) in [
            ("memry", "memory"),
            ("kernel_args", "kernel-args"),
            ("volume", "volumes"),
            ("cpu", "cpus"),
            ("initrd", "rootfs"),
        ] {
            assert_eq!(meant(typed), Some(key), "{typed}");
        }
        assert_eq!(meant("something"), None);
        assert_eq!((distance("", "abc"), distance("kitten", "sitting")), (3, 3));
    }
}
