//! The units that answer for names of machines, one for each network: `kraft:net-NAME.service`.
//!
//! Each machine on the network wants it. That starts it with the first machine, however that is started, keeps it
//! loaded for as long as there is a machine, and ends it with the last one that runs: it is stopped when unneeded. So
//! nobody has to take it down, and a network that is removed leaves none.

use std::path::Path;

use super::definition::{Definition, command, time};
use super::manager::{Interface, NewUnit, text};
use super::service::SystemdService;
use super::stop::STOP_LIMIT;
use super::unit::{environment, utf8};
use crate::error::{Context as _, Error, Result};
use crate::machine::{NetworkName, Record};
use crate::paths::Paths;

/// A machine does not wait longer than this for names to resolve.
const START_LIMIT: std::time::Duration = std::time::Duration::from_secs(15);
const RESTART_DELAY: std::time::Duration = std::time::Duration::from_secs(1);

/// The units that a machine wants, by name.
pub(super) fn names(record: &Record) -> Vec<String> {
    networks(record).into_iter().map(unit_name).collect()
}

fn unit_name(network: &str) -> String {
    format!("kraft:net-{network}.service")
}

/// The networks of ours that a machine is on, each once.
fn networks(record: &Record) -> Vec<&str> {
    let ours = record.spec.networks.iter().filter(|attachment| !attachment.foreign);
    let mut names: Vec<&str> = ours.map(|attachment| attachment.network.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The units that a machine wants, ready to be made.
pub(super) fn units(record: &Record, executable: &Path, paths: &Paths) -> Result<Vec<Definition>> {
    let names = names(record).into_iter().zip(networks(record));
    names.map(|(name, network)| unit(name, network, utf8(executable)?, paths)).collect()
}

fn unit(name: String, network: &str, executable: &str, paths: &Paths) -> Result<Definition> {
    let mut unit = Definition::new(name);
    unit.required("Description", format!("Names of machines on network {network}"));
    unit.required("Type", "notify");
    unit.required("NotifyAccess", "main");
    unit.required("ExecStart", command("", executable, &["net", "serve", network]));
    unit.required("KillMode", "mixed");
    unit.required("Slice", "kraft.slice");
    unit.required("TimeoutStartSec", time(START_LIMIT));
    unit.required("Restart", "on-failure");
    unit.required("RestartSec", time(RESTART_DELAY));
    unit.required("StartLimitIntervalSec", "0");
    unit.required("StopWhenUnneeded", "yes");
    unit.required("CollectMode", "inactive-or-failed");
    let identifier = unit.name.trim_end_matches(".service").to_owned();
    unit.required("SyslogIdentifier", identifier);
    environment(&mut unit, paths)?;
    Ok(unit)
}

impl SystemdService {
    /// Ends what answers for names on a network that is gone. systemd does so with the last machine, but not if another one of
    /// them had a job in that moment.
    ///
    /// # Errors
    /// When it cannot be stopped.
    pub fn end_names(&self, network: &NetworkName) -> Result<()> {
        let stopped = self.manager.borrow_mut().stop_and_wait(&unit_name(network.as_str()), STOP_LIMIT);
        stopped.map_err(Error::from).with_context(|| format!("cannot end what answers for names on network {network}"))
    }

    /// Those of these units that are not there yet.
    pub(super) fn missing<'a>(&self, units: &'a [NewUnit]) -> Result<Vec<&'a NewUnit>> {
        if units.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<&str> = units.iter().map(|unit| unit.name.as_str()).collect();
        let loaded = self.manager.borrow_mut().list(&names)?;
        let is_loaded = |unit: &NewUnit| loaded.iter().any(|state| state.name == unit.name && state.load == "loaded");
        let mut missing = Vec::new();
        for unit in units.iter().filter(|unit| !is_loaded(unit)) {
            // The list has no unit that nothing refers to yet, as one that a file of an enabled machine's brought along.
            let state = self.manager.borrow_mut().properties(&unit.name, &[(Interface::Unit, "LoadState")])?;
            if state.first().and_then(|state| state.as_ref().and_then(text)).as_deref() != Some("loaded") {
                missing.push(unit);
            }
        }
        Ok(missing)
    }
}
