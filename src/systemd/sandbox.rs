//! What confines a machine's runner and its VMM: which directive, in which profile, and why. A table, and what depends on
//! the machine.
//!
//! The runner of a system machine starts without rights: what needs them is done before by `ExecStartPre` and after by
//! `ExecStopPost`, which run as root, outside of all this (`PermissionsStartOnly=`; the prefix `+` does not survive a
//! daemon-reload in a transient unit of systemd 252). A user's manager has neither namespaces nor capabilities to take
//! away: there the few directives that it can do hold for all three commands.
//!
//! All of it is optional in the unit but what makes the two parts: a systemd that does not know a directive leaves it out.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use super::definition::{Definition, quote};
use super::unit::utf8;
use crate::error::Result;
use crate::machine::{Accel, Record, Sandbox, ShareDriver};
use crate::paths::{self, Paths, Scope};

/// Descriptors that a preparation hands over: more than a machine can have.
const DESCRIPTORS: &str = "128";

/// A line of the table: the directive, its value, and the profiles that have it.
type Line = (&'static str, &'static str, On);

/// Who has a directive. What only a process with privileges could do is refused to those that have some: a strict runner
/// is nobody's, without a capability, and each mount and filter more is paid for at each start (`contrib/bench/run sandbox`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    /// Compatible alone, whose runner is root with some capabilities.
    Compatible,
    /// Strict alone.
    Strict,
    /// Strict and compatible.
    Both,
    /// The same, and strict in the user scope, where it needs no privilege.
    Everywhere,
}

const TABLE: &[Line] = &[
    // First, as systemd makes each filter for the architectures that are left.
    ("SystemCallArchitectures", "native", On::Everywhere),
    // What QEMU and the runner are refused, they do without: an error and not a signal.
    ("SystemCallErrorNumber", "EPERM", On::Strict),
    // QEMU narrows its own further, which 252 does not count among what services do.
    ("SystemCallFilter", "@system-service seccomp", On::Strict),
    ("SystemCallFilter", "~@privileged @resources", On::Strict),
    // Nothing is made executable that was written: QEMU translates into memory that is mapped twice (`split-wx`).
    ("MemoryDenyWriteExecute", "yes", On::Both),
    ("RestrictNamespaces", "yes", On::Both),
    ("RestrictRealtime", "yes", On::Everywhere),
    ("RestrictSUIDSGID", "yes", On::Both),
    ("LockPersonality", "yes", On::Everywhere),
    ("KeyringMode", "private", On::Both),
    ("UMask", "0077", On::Strict),
    // A core has the guest's memory.
    ("LimitCORE", "0", On::Both),
    ("ProtectClock", "yes", On::Both),
    ("ProtectHostname", "yes", On::Compatible),
    ("ProtectKernelLogs", "yes", On::Compatible),
    ("ProtectKernelModules", "yes", On::Compatible),
    ("ProtectKernelTunables", "yes", On::Compatible),
    ("ProtectControlGroups", "yes", On::Compatible),
    ("ProtectProc", "invisible", On::Strict),
    ("ProtectSystem", "strict", On::Strict),
    ("PrivateTmp", "yes", On::Strict),
    ("PrivateDevices", "yes", On::Strict),
    ("DevicePolicy", "closed", On::Both),
    ("RemoveIPC", "yes", On::Strict),
];

/// What root's user keeps in the compatible profile: a guest's files belong to whom it says, and virtiofsd has a root of
/// its own.
const KEPT: &str = "CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_MKNOD CAP_SETGID CAP_SETUID \
                    CAP_SETFCAP CAP_SYS_CHROOT";

/// How the guest's packets leave, which is what the VMM has to do with the host's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Network {
    /// By taps that it is handed, or not at all.
    Handed,
    /// By its own sockets, or those by which the runner tries the guest; the flag says whether it takes ports that are root's.
    Own { low: bool },
}

impl Network {
    fn of(record: &Record) -> Self {
        let spec = &record.spec;
        let own = spec.networks.is_empty() && !spec.ports.is_empty();
        if own || spec.probes_network() {
            Self::Own { low: own && spec.ports.iter().any(|port| port.host < 1024) }
        } else {
            Self::Handed
        }
    }
}

/// Whether the machine's start is split into a privileged part and the runner.
pub(super) fn is_split(record: &Record, paths: &Paths) -> bool {
    paths.scope == Scope::System && record.spec.sandbox != Sandbox::Off
}

/// Sets all that confines the machine.
pub(super) fn confine(unit: &mut Definition, record: &Record, executable: &Path, paths: &Paths) -> Result<()> {
    let profile = record.spec.sandbox;
    let has = |on: On| match (paths.scope, profile, on) {
        (_, Sandbox::Off, _) | (Scope::User, Sandbox::Compatible, _) => false,
        (Scope::System, Sandbox::Strict, on) => on != On::Compatible,
        (Scope::System, Sandbox::Compatible, on) => on != On::Strict,
        (Scope::User, Sandbox::Strict, on) => on == On::Everywhere,
    };
    for (key, value, _) in TABLE.iter().filter(|(_, _, on)| has(*on)) {
        unit.optional(key, *value);
    }
    if !is_split(record, paths) {
        return Ok(());
    }
    unit.required("PermissionsStartOnly", "yes");
    unit.required("FileDescriptorStoreMax", DESCRIPTORS);
    match profile {
        Sandbox::Strict => strict(unit, record, executable, paths),
        Sandbox::Compatible => {
            let low = Network::of(record) == Network::Own { low: true };
            let port = if low { " CAP_NET_BIND_SERVICE" } else { "" };
            // virtiofsd takes from its own bounding set what it does not need.
            let served = if is_served(record) { " CAP_SETPCAP" } else { "" };
            unit.optional("CapabilityBoundingSet", format!("{KEPT}{port}{served}"));
            unit.optional("PrivateNetwork", if Network::of(record) == Network::Handed { "yes" } else { "no" });
            devices(unit, record);
            Ok(())
        }
        Sandbox::Off => Ok(()),
    }
}

/// Whether virtiofsd serves one of its volumes.
fn is_served(record: &Record) -> bool {
    record.spec.volumes.iter().any(|mount| mount.driver == ShareDriver::Virtiofs)
}

fn strict(unit: &mut Definition, record: &Record, executable: &Path, paths: &Paths) -> Result<()> {
    let name = &record.spec.name;
    unit.required("DynamicUser", "yes");
    unit.required("User", format!("kraft-{}", record.id.short()));
    match Network::of(record) {
        Network::Handed => {
            unit.optional("PrivateNetwork", "yes");
            unit.optional("RestrictAddressFamilies", "AF_UNIX");
            unit.optional("IPAddressDeny", "any");
            unit.optional("PrivateUsers", "yes");
            unit.optional("CapabilityBoundingSet", "");
        }
        Network::Own { low } => {
            unit.optional("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6");
            unit.optional("CapabilityBoundingSet", if low { "CAP_NET_BIND_SERVICE" } else { "" });
            if low {
                // Counts only where users are the host's.
                unit.optional("AmbientCapabilities", "CAP_NET_BIND_SERVICE");
            } else {
                unit.optional("PrivateUsers", "yes");
            }
        }
    }
    devices(unit, record);
    // All that it writes to. The preparation makes it, in a view in which it may be missing.
    let runtime = paths.runtime.join(name);
    unit.required("BindPaths", quote(&format!("-{}", utf8(&runtime)?)));
    // A program in somebody's home is not to be found in a view that has none.
    let at_home = paths::HOMES.iter().any(|home| executable.starts_with(home));
    unit.optional("ProtectHome", if at_home { "tmpfs" } else { "yes" });
    if at_home || paths::TEMPORARY.iter().any(|dir| executable.starts_with(dir)) {
        unit.required("BindReadOnlyPaths", quote(utf8(executable)?));
    }
    // Nothing that it has to do goes by the bus.
    unit.optional("InaccessiblePaths", format!("-{} -{}", paths::BUS_DIRECTORY, paths::SYSTEM_STATE));
    Ok(())
}

/// KVM is the one device that a VMM opens itself. The others are the preparation's, which is in the same control group;
/// the runner has no nodes of them.
fn devices(unit: &mut Definition, record: &Record) {
    if !record.spec.networks.is_empty() {
        for device in [paths::TUN, paths::VHOST_NET] {
            unit.optional("DeviceAllow", format!("{device} rw"));
        }
    }
    if record.spec.accel == Accel::Tcg {
        return;
    }
    let kvm = paths::KVM.to_string_lossy();
    unit.optional("DeviceAllow", format!("{kvm} rw"));
    if record.spec.sandbox == Sandbox::Strict {
        unit.optional("BindPaths", format!("-{kvm}"));
        if let Some(group) = kvm_group(Path::new(&*kvm)) {
            unit.optional("SupplementaryGroups", group.to_string());
        }
    }
}

/// Whose members may use KVM, if not everybody may. A generator runs before the device has its group.
fn kvm_group(device: &Path) -> Option<u32> {
    let about = std::fs::metadata(device).ok().filter(|about| about.file_type().is_char_device());
    match about {
        Some(about) if about.mode() & 0o006 == 0o006 => None,
        Some(about) if about.gid() != 0 => Some(about.gid()),
        _ => nix::unistd::Group::from_name("kvm").ok().flatten().map(|group| group.gid.as_raw()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Kernel, KernelKind, Manager, Spec};
    use crate::store::Store;

    fn text(change: impl FnOnce(&mut Spec), scope: Scope) -> String {
        let kernel = Kernel::new("/k", KernelKind::Pvh);
        let mut spec = Spec { kernel, sandbox: Sandbox::Strict, ..Spec::example("web") };
        change(&mut spec);
        let record = Store::new_record(spec, Manager::Systemd).unwrap();
        let paths = Paths { scope, state: "/s".into(), runtime: "/r".into(), overridden: false };
        let mut unit = Definition::new("kraft-web.service");
        confine(&mut unit, &record, Path::new("/usr/bin/kraft"), &paths).unwrap();
        unit.to_unit().unwrap();
        unit.to_file()
    }

    #[test]
    fn a_machine_without_sockets_of_its_own_has_no_network() {
        let text = text(|_| {}, Scope::System);
        for line in
            ["PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX\n", "CapabilityBoundingSet=\n", "DynamicUser=yes"]
        {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(text.contains("BindPaths=-/r/web\n"), "{text}");
    }

    #[test]
    fn ports_of_its_own_network_are_the_hosts() {
        let text = text(|spec| spec.ports = vec!["80:80".parse().unwrap()], Scope::System);
        assert!(!text.contains("PrivateNetwork=yes") && !text.contains("PrivateUsers"), "{text}");
        assert!(text.contains("CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n"), "{text}");
    }

    #[test]
    fn profiles() {
        let with = |profile| move |spec: &mut Spec| spec.sandbox = profile;
        assert_eq!(text(with(Sandbox::Off), Scope::System), "");
        assert_eq!(text(with(Sandbox::Off), Scope::User), "");
        let compatible = text(with(Sandbox::Compatible), Scope::System);
        assert!(compatible.contains("CAP_DAC_OVERRIDE") && !compatible.contains("DynamicUser"), "{compatible}");
        let user = text(|_| {}, Scope::User);
        assert!(user.contains("LockPersonality=yes") && !user.contains("Private"), "{user}");
    }
}
