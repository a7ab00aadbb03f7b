//! Machines in systemd-machined's list: `machinectl list`, `status` and `terminate` know them.
//!
//! A machine is registered by a unit of its own, which its service wants and which comes after it: whoever started the
//! machine, systemd starts that unit when the guest runs, and nobody waits for it. A command of the service itself
//! (`ExecStartPost=`) would be waited for, and a guest that ends meanwhile would count as one that never ran. machined
//! drops a machine by itself when its unit is down.
//!
//! ```text
//! kraft-NAME.service           READY=1
//! kraft:machined-NAME.service    └── After: kraft runner --register NAME ── machined
//! ```

use std::path::Path;
use std::time::Duration;

use zbus::{Connection, OwnedObjectPath, OwnedVariant, connection};

use super::definition::{Definition, command, time};
use super::unit::{environment, service_name, slice_name, utf8};
use crate::error::{Error, Kind, Result};
use crate::machine::{Machined, Record};
use crate::paths::{self, Paths, Scope};

const MACHINED: &str = "org.freedesktop.machine1";
const PATH: &str = "/org/freedesktop/machine1";
const MANAGER: &str = "org.freedesktop.machine1.Manager";
const MACHINE: &str = "org.freedesktop.machine1.Machine";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const EXISTS: &str = "org.freedesktop.machine1.MachineExists";

/// The longest that machined may take to start and to answer.
const ANSWER: Duration = Duration::from_secs(30);

/// Whether this machine is to be registered. Those of a person are not: their machined is younger than most systems.
fn is_wanted(record: &Record, paths: &Paths) -> bool {
    match (paths.scope, record.spec.machined) {
        (Scope::User, _) | (Scope::System, Machined::No) => false,
        (Scope::System, Machined::Yes) => true,
        (Scope::System, Machined::Auto) => {
            paths::MACHINED_SERVICES.iter().any(|file| Path::new(file).exists())
                && is_host_name(record.spec.name.as_str())
        }
    }
}

/// machined takes names of hosts alone, which ours are but for dots and dashes at odd places.
fn is_host_name(name: &str) -> bool {
    let of_hosts = |label: &str| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
    !name.contains('@') && name.split('.').all(of_hosts)
}

/// The unit that registers the machine, if that is wanted. Looks whether machined is installed.
pub(super) fn registrar(record: &Record, executable: &Path, paths: &Paths) -> Result<Option<Definition>> {
    if !is_wanted(record, paths) {
        return Ok(None);
    }
    let name = &record.spec.name;
    // Not `kraft-`: it is not to be among the machines that are listed.
    let mut unit = Definition::new(format!("kraft:machined-{name}.service"));
    unit.required("Description", format!("Tell systemd-machined of {name}"));
    unit.required("Type", "oneshot");
    // A machine that machined does not know runs all the same.
    unit.required("ExecStart", command("-", utf8(executable)?, &["runner", "--register", name.as_str()]));
    // It ends with the machine's anchor.
    unit.required("Slice", slice_name(name, record.spec.slice.as_deref())?);
    unit.required("After", service_name(name));
    unit.required("TimeoutStartSec", time(ANSWER * 2));
    // As often as the machine is started.
    unit.required("StartLimitIntervalSec", "0");
    unit.required("CollectMode", "inactive-or-failed");
    unit.optional("SyslogIdentifier", format!("kraft-{name}"));
    environment(&mut unit, paths)?;
    Ok(Some(unit))
}

/// Registers a machine whose runner is the process `leader`.
///
/// # Errors
/// When there is no machined, or it refuses.
pub fn register(record: &Record, leader: u32) -> Result<()> {
    let name = record.spec.name.as_str();
    let cannot = || format!("cannot register {name} with systemd-machined");
    // Of a confined machine the number is said by who may be a guest that broke out.
    let groups = std::fs::read_to_string(format!("{}/{leader}/cgroup", paths::PROCESSES));
    let groups = groups.map_err(|e| Error::new(e.to_string()).context(cannot()))?;
    if !is_of(&groups, &service_name(&record.spec.name)) {
        return Err(Error::new(format!("process {leader} is none of its unit's")).context(cannot()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::new(e.to_string()).context(cannot()))?;
    let registered = runtime.block_on(async { tokio::time::timeout(ANSWER, try_register(record, leader)).await });
    match registered {
        Ok(result) => result.map_err(|e| Error::new(in_words(&e)).context(cannot())),
        Err(_) => {
            Err(Error::of(Kind::Timeout, format!("waited {} s for an answer", ANSWER.as_secs())).context(cannot()))
        }
    }
}

async fn try_register(record: &Record, leader: u32) -> zbus::Result<()> {
    let bus = connection::Builder::system().build().await?;
    let name = record.spec.name.as_str();
    let id: Vec<u8> = record.id.to_bytes().to_vec();
    let machine = (name, id, "kraft", "vm", leader, "");
    let call = async |bus: &Connection| {
        bus.call_method(Some(MACHINED), PATH, Some(MANAGER), "RegisterMachine", &machine).await
    };
    match call(&bus).await {
        // The life before this one, which machined has not missed yet.
        Err(zbus::Error::MethodError(error, ..)) if error.as_str() == EXISTS && is_ours(&bus, record).await? => {
            bus.call_method(Some(MACHINED), PATH, Some(MANAGER), "UnregisterMachine", &name).await?;
            call(&bus).await.map(drop)
        }
        result => result.map(drop),
    }
}

/// Whether the machine that machined has under this name is in our unit.
async fn is_ours(bus: &Connection, record: &Record) -> zbus::Result<bool> {
    let name = record.spec.name.as_str();
    let message = bus.call_method(Some(MACHINED), PATH, Some(MANAGER), "GetMachine", &name).await?;
    let path: OwnedObjectPath = message.body().deserialize()?;
    let unit = bus.call_method(Some(MACHINED), &path, Some(PROPERTIES), "Get", &(MACHINE, "Unit")).await?;
    let unit: OwnedVariant = unit.body().deserialize()?;
    Ok(unit.downcast_ref::<&str>().is_ok_and(|unit| unit == service_name(&record.spec.name)))
}

/// Whether a process of these control groups (`/proc/PID/cgroup`) is a unit's.
fn is_of(groups: &str, unit: &str) -> bool {
    groups.lines().any(|line| line.rsplit('/').next() == Some(unit))
}

fn in_words(error: &zbus::Error) -> String {
    match error {
        zbus::Error::MethodError(_, Some(text), _) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_machined_takes() {
        for name in ["web", "web-1", "a.b", "a_b"] {
            assert!(is_host_name(name), "{name}");
        }
        for name in ["web-", "a..b", "a.", "a.-b", "web@1"] {
            assert!(!is_host_name(name), "{name}");
        }
    }
}
