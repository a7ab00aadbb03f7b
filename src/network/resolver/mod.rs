//! Names of machines: on a network of ours, each machine finds the others by name, asking the network's gateway.
//!
//! ```text
//! RUNTIME/.names/NETWORK/hosts/MACHINE    its addresses and names, written when it starts, removed when it ends
//! RUNTIME/.names/NETWORK/lock             held by the network's server as long as it lives
//! RUNTIME/.names/NETWORK/standby          held by the server that no service manager started, while it waits, too
//! ```
//!
//! dnsmasq answers, as it does for libvirt: it is in every distribution, is small, is kept up, runs as nobody, follows
//! the host's own resolver, and watches a directory for names, so that a machine that comes or goes is a file and no
//! signal. `kraft net serve` is what holds it: a server for each network, which listens on that network's addresses
//! alone. Under systemd it is a unit that machines want; without, a start brings it up and it ends with the last
//! machine.
//!
//! Without dnsmasq all else works.

mod names;
mod orphan;
mod output;
mod probe;
mod serve;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::{MachineId, MachineName, NetworkName, Record};
use crate::paths::{self, Paths};
use crate::process;

pub use serve::{End, serve, tell};

/// The program that answers.
const PROGRAM: &str = "dnsmasq";

/// The directory of all names. The dot keeps it apart from machines.
const NAMES: &str = ".names";

/// Where a network's names are.
#[derive(Debug, Clone)]
struct Place {
    dir: PathBuf,
}

impl Place {
    fn of(paths: &Paths, network: &NetworkName) -> Self {
        Self { dir: paths.runtime.join(NAMES).join(network.as_str()) }
    }

    fn hosts(&self) -> PathBuf {
        self.dir.join("hosts")
    }

    fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    fn standby(&self) -> PathBuf {
        self.dir.join("standby")
    }

    /// Where dnsmasq says which process it is.
    fn pid(&self) -> PathBuf {
        self.dir.join("dnsmasq.pid")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }
}

/// Whether machines' names can resolve on this host: by this program.
///
/// # Errors
/// [`Kind::CannotRun`], with what to install.
pub fn check() -> Result<PathBuf> {
    match paths::find_program(Path::new(PROGRAM)) {
        Some(path) => Ok(path),
        None => Err(Error::of(Kind::CannotRun, "names of machines do not resolve: dnsmasq is not installed")
            .with_hint("`apt install dnsmasq-base`, `dnf install dnsmasq`; it needs no configuration")),
    }
}

/// Lets the machines of a network know one more. Its names lead to the addresses that it has there.
///
/// # Errors
/// When it cannot be written.
pub fn announce(paths: &Paths, network: &NetworkName, record: &Record) -> Result<()> {
    let there = record.spec.networks.iter().filter(|on| !on.foreign && on.network == network.as_str());
    names::write(&Place::of(paths, network), record, &there.map(|on| &on.ip).collect::<Vec<_>>())
        .with_context(|| format!("cannot announce {} on network {network}", record.spec.name))
}

/// Has them forget it. One that is forgotten already is a success.
///
/// # Errors
/// When it cannot be removed.
pub fn withdraw(paths: &Paths, network: &NetworkName, machine: &MachineName, id: MachineId) -> Result<()> {
    let place = Place::of(paths, network);
    names::remove(&place, machine, id)
        .and_then(|()| if serve::is_served(&place)? { Ok(()) } else { orphan::end(&place) })
        .with_context(|| format!("cannot take back the name of {machine} on network {network}"))
}

/// Every machine that is announced, and where.
pub(super) fn announced(paths: &Paths) -> Vec<(NetworkName, MachineName, MachineId)> {
    let Ok(networks) = std::fs::read_dir(paths.runtime.join(NAMES)) else { return Vec::new() };
    let names = networks.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<NetworkName>().ok());
    names
        .flat_map(|network| {
            let owners = names::owners(&Place::of(paths, &network));
            owners.into_iter().map(move |(machine, id)| (network.clone(), machine, id))
        })
        .collect()
}

/// Removes all that is kept of a network that is taken down.
///
/// # Errors
/// When it cannot be removed.
pub fn forget(paths: &Paths, network: &NetworkName) -> Result<()> {
    let place = Place::of(paths, network);
    if !serve::is_served(&place)? {
        orphan::end(&place)?;
    }
    match std::fs::remove_dir_all(&place.dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(e).with_context(|| format!("cannot remove the names of network {network}"));
        }
        _ => {}
    }
    // The last one takes the directory of all along: it is not empty before.
    let _ = place.dir.parent().map(std::fs::remove_dir);
    Ok(())
}

/// Sees to it that somebody answers for the network until its last machine ends, whatever a service manager does. Does
/// not wait until it answers. The host's network is locked and a machine announced, so that a server that is about to
/// end does not.
///
/// # Errors
/// When it cannot be started.
pub fn ensure(paths: &Paths, network: &NetworkName) -> Result<()> {
    let place = Place::of(paths, network);
    if serve::has_standby(&place)? {
        return Ok(());
    }
    let cannot = || format!("cannot serve the names of network {network}");
    let log = std::fs::File::create(place.log()).with_context(cannot)?;
    let mut command = process::command(paths::own_executable()?);
    command.args(["--log-level", "warn", "net", "serve", "--while-needed", network.as_str()]);
    command.env("KRAFT_STATE_DIR", &paths.state).env("KRAFT_RUNTIME_DIR", &paths.runtime);
    command.stdout(Stdio::null()).stderr(log).current_dir("/");
    process::detach(&mut command);
    command.spawn().map(drop).with_context(cannot)
}
