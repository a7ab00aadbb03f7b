//! The options that limit what a machine takes of its host, the same for `run`, `create` and `update`.

use std::path::Path;
use std::str::FromStr;

use clap::Args;

use super::LIMITS;
use crate::error::{Context as _, Error, Result};
use crate::machine::limits::{Count, CpuQuota, CpuSet, DeviceRate, Weight};
use crate::machine::{Bytes, Cap, Limit};
use crate::paths;

/// What a machine may take of its host.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = LIMITS)]
pub(crate) struct LimitArgs {
    /// The most memory of guest and VMM together; auto is ample for both, and the default
    #[arg(long, value_name = "SIZE|auto|infinity")]
    memory_max: Option<Or<Cap<Bytes>>>,

    /// The most memory that may be swapped out
    #[arg(long, value_name = "SIZE|auto|infinity")]
    memory_swap_max: Option<Or<Cap<Bytes>>>,

    /// The most processor time, in per cent of one processor's: 20%, or 200% for two
    #[arg(long, value_name = "PERCENT|infinity", conflicts_with = "cpus_limit")]
    cpu_quota: Option<Or<Cap<CpuQuota>>>,

    /// The same as a number of processors: 0.2, or 2
    #[arg(long, value_name = "N")]
    cpus_limit: Option<Cpus>,

    /// The share of processor time where others want it, too: 1 to 10000, 100 is usual
    #[arg(long, value_name = "N|auto")]
    cpu_weight: Option<Or<Weight>>,

    /// The host's processors that it may run on, such as 0-3,8
    #[arg(long, value_name = "CPUS|auto")]
    cpuset_cpus: Option<Or<CpuSet>>,

    /// The share of a disk's time where others want it, too: 1 to 10000, 100 is usual
    #[arg(long, visible_alias = "blkio-weight", value_name = "N|auto")]
    io_weight: Option<Or<Weight>>,

    /// The most that is read of a device a second; may be repeated
    #[arg(long, visible_alias = "device-read-bps", value_name = "DEVICE:SIZE|auto")]
    io_read_bandwidth_max: Vec<Or<DeviceRate<Bytes>>>,

    /// The most that is written to a device a second; may be repeated
    #[arg(long, visible_alias = "device-write-bps", value_name = "DEVICE:SIZE|auto")]
    io_write_bandwidth_max: Vec<Or<DeviceRate<Bytes>>>,

    /// The most reads of a device a second; may be repeated
    #[arg(long, visible_alias = "device-read-iops", value_name = "DEVICE:N|auto")]
    io_read_iops_max: Vec<Or<DeviceRate<Count>>>,

    /// The most writes to a device a second; may be repeated
    #[arg(long, visible_alias = "device-write-iops", value_name = "DEVICE:N|auto")]
    io_write_iops_max: Vec<Or<DeviceRate<Count>>>,

    /// The most threads and processes; auto is ample for the VMM, and the default
    #[arg(long, visible_alias = "pids-limit", value_name = "N|auto|infinity")]
    tasks_max: Option<Or<Cap<Count>>>,
}

/// A value, or `auto`: the default.
#[derive(Debug, Clone)]
struct Or<T>(Option<T>);

impl<T: FromStr<Err = Error>> FromStr for Or<T> {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "auto" { Ok(Self(None)) } else { text.parse().map(|value| Self(Some(value))) }
    }
}

#[derive(Debug, Clone, Copy)]
struct Cpus(CpuQuota);

impl FromStr for Cpus {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        CpuQuota::of_cpus(text).map(Self)
    }
}

impl LimitArgs {
    /// What was given, each once.
    ///
    /// # Errors
    /// When this host has no such processor or device.
    pub(crate) fn limits(self) -> Result<Vec<Limit>> {
        let mut limits = Vec::new();
        limits.extend(self.memory_max.map(|to| Limit::MemoryMax(to.0)));
        limits.extend(self.memory_swap_max.map(|to| Limit::MemorySwapMax(to.0)));
        limits.extend(self.cpu_quota.map(|to| Limit::CpuQuota(to.0)));
        limits.extend(self.cpus_limit.map(|Cpus(quota)| Limit::CpuQuota(Some(Cap::At(quota)))));
        limits.extend(self.cpu_weight.map(|to| Limit::CpuWeight(to.0)));
        if let Some(Or(cpus)) = self.cpuset_cpus {
            cpus.as_ref().map_or(Ok(()), check_processors)?;
            limits.push(Limit::CpusetCpus(cpus));
        }
        limits.extend(self.io_weight.map(|to| Limit::IoWeight(to.0)));
        limits.extend(rates(self.io_read_bandwidth_max)?.map(Limit::IoReadBandwidthMax));
        limits.extend(rates(self.io_write_bandwidth_max)?.map(Limit::IoWriteBandwidthMax));
        limits.extend(rates(self.io_read_iops_max)?.map(Limit::IoReadIopsMax));
        limits.extend(rates(self.io_write_iops_max)?.map(Limit::IoWriteIopsMax));
        limits.extend(self.tasks_max.map(|to| Limit::TasksMax(to.0)));
        Ok(limits)
    }
}

/// Where there is none of these processors, the kernel would let the machine run on all.
fn check_processors(wanted: &CpuSet) -> Result<()> {
    let there =
        std::fs::read_to_string(paths::PROCESSORS).with_context(|| format!("cannot read {}", paths::PROCESSORS));
    let there: CpuSet = there?.parse()?;
    match wanted.without(&there).first() {
        Some(missing) => Err(Error::new(format!("there is no processor {missing}: this host has {there}"))),
        None => Ok(()),
    }
}

/// `None` if nothing was said; empty for `auto`.
fn rates<T>(typed: Vec<Or<DeviceRate<T>>>) -> Result<Option<Vec<DeviceRate<T>>>> {
    if typed.is_empty() {
        return Ok(None);
    }
    let rates: Vec<DeviceRate<T>> = typed.into_iter().filter_map(|Or(rate)| rate).collect();
    // systemd would leave such a limit away with a word in its log.
    rates.iter().try_for_each(|rate| there_is(&rate.device))?;
    Ok(Some(rates))
}

fn there_is(device: &Path) -> Result<()> {
    std::fs::metadata(device).map(drop).with_context(|| format!("cannot limit what goes to {}", device.display()))
}
