//! What the privileged part of a machine's start hands to its unprivileged runner, and what is taken back in the end.
//!
//! ```text
//! ExecStartPre  root      prepare: attach, then hand everything over as descriptors ── systemd's FD store ──┐
//! ExecStart     machine   take: the plan and all that it names; reaches nothing but RUNTIME/NAME  <─────────┘
//! ExecStopPost  root      take_back: the runtime directory, what the runner noted, how it ended
//! ```
//!
//! The plan is a sealed file in memory: what is settled of the machine, without what only the host needs. From the
//! moment on in which the runner starts, all that root finds in the runtime directory may be a guest's that broke out.

mod fdstore;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::sched::{CloneFlags, setns};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use serde::{Deserialize, Serialize};

use super::attach::{self, Attached};
use super::{notes, secrets, shares};
use crate::error::{Context as _, Error, Result};
use crate::machine::{Accel, IpConfig, Mac, Manager, Phase, Port, Record, Sandbox, ShareDriver, Status};
use crate::paths::{self, Scope};
use crate::platform::qemu::kvm::{self, Kvm};
use crate::platform::{Files, Nic, NicBackend};
use crate::store::{Owner, RunnerLock, Store};
use crate::volume::detached;

const PLAN: &str = "plan";
const LOCK: &str = "lock";
const EVENTS: &str = "events";
const KERNEL: &str = "kernel";
const INITRD: &str = "initrd";

/// What the runner has to know.
#[derive(Debug, Serialize, Deserialize)]
struct Plan {
    record: Record,
    status: Status,
    /// `None` where it is not asked for.
    kvm: Option<Kvm>,
    nics: Vec<PlannedNic>,
    /// As many as the machine has volumes.
    directories: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct PlannedNic {
    mac: Option<Mac>,
    ip: IpConfig,
    backend: PlannedBackend,
}

#[derive(Debug, Serialize, Deserialize)]
enum PlannedBackend {
    User(Vec<Port>),
    Tap { vhost: bool },
}

/// What a runner was handed.
#[derive(Debug)]
pub struct Handover {
    plan: Plan,
    fds: BTreeMap<String, OwnedFd>,
}

/// Whether a machine's start has a privileged part and an unprivileged one.
pub fn is_split(store: &Store, record: &Record) -> bool {
    record.manager == Manager::Systemd
        && store.paths().scope == Scope::System
        && match record.spec.sandbox {
            Sandbox::Strict | Sandbox::Compatible => true,
            Sandbox::Off => false,
        }
}

/// Removes what an earlier start left with systemd.
///
/// # Errors
/// When systemd cannot be told.
pub fn clear(record: &Record) -> Result<()> {
    fdstore::remove(names(record))?;
    fdstore::barrier()
}

/// Goes where the host's files and networks are. A unit's privileged commands are put into its namespaces, too, by some
/// of its directives. To be called by a process of one thread.
///
/// # Errors
/// When the host's namespaces cannot be entered.
pub fn enter_host() -> Result<()> {
    let cannot = "cannot leave the unit's namespaces";
    // The unit's is meant for the runner; what root makes is read by others.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    for (host, own, kind) in [
        (paths::HOST_NETWORK, paths::OWN_NETWORK, CloneFlags::CLONE_NEWNET),
        (paths::HOST_MOUNTS, paths::OWN_MOUNTS, CloneFlags::CLONE_NEWNS),
    ] {
        let is_there = std::fs::read_link(host).context(cannot)? == std::fs::read_link(own).context(cannot)?;
        if !is_there {
            setns(File::open(host).context(cannot)?, kind).context(cannot)?;
        }
    }
    Ok(())
}

/// Makes all that the machine needs, and hands it over. Nothing is left of it when that fails.
///
/// # Errors
/// Names what could not be had.
pub fn prepare(store: &Store, record: &Record, status: &Status, lock: &RunnerLock) -> Result<()> {
    shares::check_confined(&record.spec)?;
    let prepared = attach::prepare(store, record)?;
    hand_over(store, record, status, lock, prepared).inspect_err(|_| {
        for error in attach::detach(store, record) {
            log::warn!("{error}");
        }
    })
}

fn hand_over(
    store: &Store,
    record: &Record,
    status: &Status,
    lock: &RunnerLock,
    prepared: attach::Prepared,
) -> Result<()> {
    let spec = &record.spec;
    let owner = machine_user()?;
    put_file(KERNEL, &spec.kernel.path, owner)?;
    if let Some(initrd) = &spec.initrd {
        put_file(INITRD, initrd, owner)?;
    }
    let mut nics = Vec::new();
    for (index, nic) in prepared.nics.into_iter().enumerate() {
        let backend = match nic.backend {
            NicBackend::User { forwards } => PlannedBackend::User(forwards),
            NicBackend::Tap { queue, vhost } => {
                fdstore::put(&format!("tap{index}"), queue.as_fd())?;
                if let Some(vhost) = &vhost {
                    fdstore::put(&format!("vhost{index}"), vhost.as_fd())?;
                }
                PlannedBackend::Tap { vhost: vhost.is_some() }
            }
        };
        nics.push(PlannedNic { mac: nic.mac, ip: nic.ip, backend });
    }
    for (index, (directory, mount)) in prepared.directories.iter().zip(&spec.volumes).enumerate() {
        let what = mount.what();
        if mount.driver == ShareDriver::Virtiofs {
            // virtiofsd has to find it by a path, which a mount that nobody else sees has none of.
            fdstore::put(&format!("directory{index}"), directory.as_fd())?;
            continue;
        }
        let directory = detached(directory.as_fd(), mount.read_only, owner.map(|owner| (owner.uid, owner.gid)), &what)?;
        fdstore::put(&format!("directory{index}"), directory.as_fd())?;
    }
    let kvm = (spec.accel != Accel::Tcg).then(|| kvm::probe_cached(&store.paths().runtime));
    let plan = Plan { record: record.clone(), status: status.clone(), kvm, nics, directories: spec.volumes.len() };
    let text = serde_json::to_vec(&plan).context("cannot write the plan")?;
    fdstore::put(PLAN, in_memory(PLAN, &mut text.as_slice())?.as_fd())?;
    fdstore::put(EVENTS, notes::begin(store, record)?.as_fd())?;
    fdstore::put(LOCK, lock.as_fd())?;
    if let Some(owner) = owner {
        store.cede_runtime(&spec.name, owner)?;
    }
    fdstore::barrier()
}

/// The user that systemd made for this unit; `None` if it runs as root.
fn machine_user() -> Result<Option<Owner>> {
    let Some(user) = paths::environment_variable("USER").filter(|user| user != "root") else { return Ok(None) };
    let shown = user.to_string_lossy();
    // What systemd has of it, as not every host has its NSS module.
    let mut link = std::ffi::OsString::from(paths::DYNAMIC_USERS);
    link.push(&user);
    if let Some(id) = std::fs::read_link(link).ok().and_then(|id| id.to_str()?.parse().ok()) {
        return Ok(Some(Owner { uid: id, gid: id }));
    }
    let user = nix::unistd::User::from_name(&shown).with_context(|| format!("cannot find user {shown}"))?;
    let user = user.ok_or_else(|| Error::new(format!("there is no user {shown}")))?;
    Ok(Some(Owner { uid: user.uid.as_raw(), gid: user.gid.as_raw() }))
}

/// Hands over a file of root's choice. What not everybody reads is copied, so that its owner's rights stay what they are.
fn put_file(name: &str, path: &Path, owner: Option<Owner>) -> Result<()> {
    let cannot = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(cannot)?;
    let open_to_all = file.metadata().with_context(cannot)?.permissions().mode() & 0o004 != 0;
    if owner.is_none() || open_to_all {
        return fdstore::put(name, file.as_fd());
    }
    fdstore::put(name, in_memory(name, &mut file).with_context(cannot)?.as_fd())
}

/// A file without a name that nobody can change any more.
fn in_memory(name: &str, content: &mut dyn std::io::Read) -> Result<File> {
    let cannot = || format!("cannot keep {name} in memory");
    let file = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).with_context(cannot)?;
    let mut file = File::from(file);
    std::io::copy(content, &mut file).and_then(|_| file.flush()).with_context(cannot)?;
    // Opened again by the runner's user, by way of its descriptor.
    file.set_permissions(std::fs::Permissions::from_mode(0o444)).with_context(cannot)?;
    file.rewind().with_context(cannot)?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    fcntl_add_seals(&file, seals).with_context(cannot)?;
    Ok(file)
}

/// Every name under which something of this machine's may be handed over.
fn names(record: &Record) -> Vec<String> {
    let mut names: Vec<String> = [PLAN, LOCK, EVENTS, KERNEL, INITRD].map(str::to_owned).into();
    names.extend((0..record.spec.networks.len()).flat_map(|index| [format!("tap{index}"), format!("vhost{index}")]));
    names.extend((0..record.spec.volumes.len()).map(|index| format!("directory{index}")));
    names
}

impl Handover {
    /// What this process was handed; `None` if it was not.
    ///
    /// # Errors
    /// When it cannot be understood.
    pub fn take() -> Result<Option<Self>> {
        let mut fds = fdstore::take();
        let Some(plan) = fds.remove(PLAN) else { return Ok(None) };
        let cannot = "cannot read what was prepared";
        let mut text = Vec::new();
        let mut plan = File::from(plan);
        plan.rewind().and_then(|()| plan.read_to_end(&mut text)).context(cannot)?;
        let plan = serde_json::from_slice(&text).context(cannot)?;
        // systemd is to hold none of it: a tap lives as long as somebody does.
        fdstore::remove(fds.keys().map(String::as_str).chain([PLAN]))?;
        Ok(Some(Self { plan, fds }))
    }

    /// The machine.
    pub fn record(&self) -> &Record {
        &self.plan.record
    }

    /// Its status so far.
    pub fn status(&self) -> &Status {
        &self.plan.status
    }

    /// Whether the host has KVM, if that was asked.
    pub fn kvm(&self) -> Kvm {
        self.plan.kvm.clone().unwrap_or_else(|| Kvm::Unusable("nobody asked".into()))
    }

    /// The lock that says that a runner lives, and where its events are noted.
    ///
    /// # Errors
    /// When one was not handed over.
    pub fn take_books(&mut self) -> Result<(OwnedFd, File)> {
        Ok((self.take_fd(LOCK)?, self.take_fd(EVENTS)?.into()))
    }

    /// Everything that the VMM is given.
    ///
    /// # Errors
    /// When something was not handed over, or a program that serves a directory cannot be started.
    pub fn attached(&mut self, store: &Store) -> Result<(Attached, Files)> {
        let files = Files { kernel: Some(self.take_fd(KERNEL)?), initrd: self.fds.remove(INITRD) };
        let disk = files.initrd.as_ref().map(|disk| Path::new(paths::OWN_FDS).join(disk.as_raw_fd().to_string()));
        let (secrets, initrd) = secrets::open(&self.plan.record, disk.as_deref())?;
        let mut attached = Attached { secrets, initrd, ..Attached::default() };
        for (index, nic) in std::mem::take(&mut self.plan.nics).into_iter().enumerate() {
            let backend = match nic.backend {
                PlannedBackend::User(forwards) => NicBackend::User { forwards },
                PlannedBackend::Tap { vhost } => NicBackend::Tap {
                    queue: self.take_fd(&format!("tap{index}"))?,
                    vhost: if vhost { Some(self.take_fd(&format!("vhost{index}"))?) } else { None },
                },
            };
            attached.nics.push(Nic { mac: nic.mac, ip: nic.ip, backend });
        }
        let directories: Result<Vec<_>> =
            (0..self.plan.directories).map(|index| self.take_fd(&format!("directory{index}"))).collect();
        (attached.shares, attached.servers) = shares::serve(store, &self.plan.record.spec, directories?)?;
        Ok((attached, files))
    }

    fn take_fd(&mut self, name: &str) -> Result<OwnedFd> {
        self.fds.remove(name).ok_or_else(|| Error::new(format!("the preparation did not hand over {name}")))
    }
}

/// Takes back what a runner had for the time of its life, and keeps what it said of its end. It is dead, with all that it
/// started.
///
/// # Errors
/// When the directory cannot be had back, or the end cannot be kept.
pub(super) fn take_back(store: &Store, record: &Record) -> Result<()> {
    if let Err(error) = clear(record) {
        log::warn!("{error}");
    }
    let name = &record.spec.name;
    store.reclaim_runtime(name)?;
    let noted = notes::keep(store, record);
    let status = match store.status(name) {
        Ok(status) => status,
        // A guest that broke out wrote there what it liked: systemd knows how it ended.
        Err(error) => {
            log::warn!("{error}");
            store.write_status(name, &Status::starting(0, jiff::Timestamp::now()))?;
            return Ok(());
        }
    };
    let exit = match status {
        Some(Status { phase: Phase::Ended | Phase::Restarting, exit, .. }) => exit,
        Some(_) => None,
        // Somebody removed the runtime directory, and the runner could make no other.
        None => {
            if let Some(exit) = &noted {
                let phase = if record.spec.restart.wants(exit, 0) { Phase::Restarting } else { Phase::Ended };
                store.make_runtime(name)?;
                let status = Status { phase, exit: Some(exit.clone()), ..Status::starting(0, exit.at) };
                store.write_status(name, &status)?;
            }
            noted
        }
    };
    if let Some(exit) = exit
        && store.last_exit(name).ok().flatten().as_ref() != Some(&exit)
        && let Err(error) = store.write_exit(name, &exit)
    {
        // The status says it, too.
        log::error!("{error}");
    }
    Ok(())
}
