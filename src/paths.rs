//! Every absolute path and every environment variable that names one.
//!
//! ```text
//! scope    state (survives a reboot)              runtime (gone with the boot)      configuration
//! system   /var/lib/kraft                         /run/kraft                        /etc/kraft
//! user     $XDG_STATE_HOME/kraft                  $XDG_RUNTIME_DIR/kraft            $XDG_CONFIG_HOME/kraft
//! ```
//!
//! `KRAFT_STATE_DIR` and `KRAFT_RUNTIME_DIR` replace the first two, `KRAFT_CONFIG_DIR` the third.

#![allow(clippy::disallowed_methods, reason = "this is the file that reads the environment for paths")]

use std::ffi::{CStr, OsString};
use std::fmt;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use crate::error::{Context as _, Error, Result};

/// Where the system's records are, unless told otherwise.
pub const SYSTEM_STATE: &str = "/var/lib/kraft";

/// The network namespace of the host, as the service manager itself is in it.
pub const HOST_NETWORK: &str = "/proc/1/ns/net";
/// Its mounts.
pub const HOST_MOUNTS: &str = "/proc/1/ns/mnt";
/// The network namespace of this process.
pub const OWN_NETWORK: &str = "/proc/self/ns/net";
/// Its mounts.
pub const OWN_MOUNTS: &str = "/proc/self/ns/mnt";
/// What systemd knows of the users that it made: a link from the name behind this to the number.
pub const DYNAMIC_USERS: &str = "/run/systemd/dynamic-uid/direct:";

/// KVM's device.
pub const KVM: &CStr = c"/dev/kvm";
/// Another value after every boot.
pub const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The same on every boot, and on no other host (`machine-id(5)`).
pub const MACHINE_ID: &str = "/etc/machine-id";
/// The host's name.
pub const HOST_NAME: &str = "/proc/sys/kernel/hostname";
/// The release of the running kernel.
pub const KERNEL_RELEASE: &str = "/proc/sys/kernel/osrelease";

/// There if systemd is PID 1 (`sd_booted(3)`).
pub const SYSTEMD_BOOTED: &str = "/run/systemd/system";
/// The name of PID 1.
pub const INIT_NAME: &str = "/proc/1/comm";
/// Where the system bus listens.
pub const BUS_DIRECTORY: &str = "/run/dbus";
/// People's directories, which a confined machine does not see.
pub const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
/// Directories that a confined machine has its own of.
pub const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];
/// The system bus.
pub const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";
/// A file for every user whose manager runs without a login.
pub const LINGER: &str = "/var/lib/systemd/linger";
/// The root of the control groups.
pub const CGROUPS: &str = "/sys/fs/cgroup";
/// The journal that survives a reboot, if there is one.
pub const JOURNAL: &str = "/var/log/journal";
/// Makes taps.
pub const TUN: &str = "/dev/net/tun";
/// Carries packets between a guest and its tap inside the kernel.
pub const VHOST_NET: &str = "/dev/vhost-net";
/// Where packages and `contrib/install` put kraft itself.
pub const KRAFT: [&str; 2] = ["/usr/bin/kraft", "/usr/local/bin/kraft"];
/// Where distributions put the program that serves directories to guests.
pub const VIRTIOFSD: [&str; 3] = ["/usr/libexec/virtiofsd", "/usr/lib/virtiofsd", "/usr/local/libexec/virtiofsd"];
/// Where distributions put the firmware that starts a microvm quickest.
pub const QBOOT: [&str; 4] = [
    "/usr/share/qemu/qboot.rom",
    "/usr/share/seabios/qboot.rom",
    "/usr/share/qboot/qboot.rom",
    "/usr/local/share/qemu/qboot.rom",
];

/// Where systemd-machined's name on the bus is registered, if it is installed.
pub const MACHINED_SERVICES: [&str; 2] = [
    "/usr/share/dbus-1/system-services/org.freedesktop.machine1.service",
    "/usr/local/share/dbus-1/system-services/org.freedesktop.machine1.service",
];

/// Where systemd looks for credentials that are not given by a path, in its order (systemd.exec(5)).
pub const CREDSTORES: [&str; 3] = ["/etc/credstore", "/run/credstore", "/usr/lib/credstore"];
/// The same for those that are encrypted.
pub const ENCRYPTED_CREDSTORES: [&str; 3] =
    ["/etc/credstore.encrypted", "/run/credstore.encrypted", "/usr/lib/credstore.encrypted"];
/// Where secrets are in a RAM disk, relative to its root.
pub const GUEST_SECRETS: [&str; 2] = ["run", "run/credentials"];

/// Where systemd put the credentials of the unit that this process is in, if it has any.
pub fn credentials_directory() -> Option<PathBuf> {
    dir_from_env("CREDENTIALS_DIRECTORY").ok().flatten()
}

/// Where systemd's user manager looks for a person's credentials.
pub fn user_credstores() -> Vec<PathBuf> {
    let config =
        dir_from_env("XDG_CONFIG_HOME").ok().flatten().or_else(|| Some(home("XDG_CONFIG_HOME").ok()?.join(".config")));
    [config, user_runtime_dir().ok()].into_iter().flatten().map(|dir| dir.join("credstore")).collect()
}

/// Whose machines: the host's, or one person's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Root's machines: the system bus and the system manager.
    System,
    /// One person's machines: the user bus and the user manager.
    User,
}

impl Scope {
    /// The scope of whoever runs this process: root's is the system.
    pub fn of_caller() -> Self {
        if rustix::process::geteuid().is_root() { Self::System } else { Self::User }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "system",
            Self::User => "user",
        })
    }
}

/// Where this scope keeps its things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Whose machines these are.
    pub scope: Scope,
    /// Records; survives a reboot.
    pub state: PathBuf,
    /// Status files and sockets; gone with the boot.
    pub runtime: PathBuf,
    /// The directories are not the scope's usual ones.
    pub overridden: bool,
}

impl Paths {
    /// Finds the directories of a scope from the environment. Touches no file.
    ///
    /// # Errors
    /// In the user scope, when neither XDG variables nor `HOME` say where.
    pub fn find(scope: Scope) -> Result<Self> {
        let state_override = dir_from_env("KRAFT_STATE_DIR")?;
        let runtime_override = dir_from_env("KRAFT_RUNTIME_DIR")?;
        let overridden = state_override.is_some() || runtime_override.is_some();
        let (state, runtime) = match scope {
            Scope::System => (PathBuf::from(SYSTEM_STATE), PathBuf::from("/run/kraft")),
            Scope::User => {
                let state = match dir_from_env("XDG_STATE_HOME")? {
                    Some(dir) => dir,
                    None => home("XDG_STATE_HOME")?.join(".local/state"),
                };
                (state.join("kraft"), user_runtime_dir()?.join("kraft"))
            }
        };
        Ok(Self {
            scope,
            state: state_override.unwrap_or(state),
            runtime: runtime_override.unwrap_or(runtime),
            overridden,
        })
    }

    /// The directories of the person who called us by sudo, and that person's name. They are the usual ones: sudo keeps no
    /// variables that say otherwise.
    pub fn of_sudoer() -> Option<(String, Self)> {
        let uid = std::env::var("SUDO_UID").ok()?.parse().ok().filter(|uid| *uid != 0)?;
        let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok()??;
        let (state, runtime) = (user.dir.join(".local/state/kraft"), format!("/run/user/{uid}/kraft").into());
        Some((user.name, Self { scope: Scope::User, state, runtime, overridden: false }))
    }

    /// What a process started on our behalf needs in its environment to find the same directories. A user's depend on
    /// variables that the user manager need not have from the shell.
    pub fn environment(&self) -> Vec<(String, PathBuf)> {
        match self.scope {
            Scope::System if !self.overridden => Vec::new(),
            Scope::System | Scope::User => {
                vec![("KRAFT_STATE_DIR".into(), self.state.clone()), ("KRAFT_RUNTIME_DIR".into(), self.runtime.clone())]
            }
        }
    }
}

/// The directories of machine files, the one that goes before the others first. `KRAFT_CONFIG_DIR` replaces them all.
///
/// # Errors
/// In the user scope, when neither XDG variables nor `HOME` say where.
pub fn machine_files(scope: Scope) -> Result<Vec<PathBuf>> {
    const BELOW: &str = "machines";
    if let Some(dir) = dir_from_env("KRAFT_CONFIG_DIR")? {
        return Ok(vec![dir.join(BELOW)]);
    }
    let dirs = match scope {
        Scope::System => ["/etc/kraft", "/run/kraft.d", "/usr/lib/kraft"].map(PathBuf::from),
        Scope::User => {
            let own = match dir_from_env("XDG_CONFIG_HOME")? {
                Some(dir) => dir,
                None => home("XDG_CONFIG_HOME")?.join(".config"),
            };
            [own.join("kraft"), PathBuf::from("/etc/kraft/user"), PathBuf::from("/usr/lib/kraft/user")]
        }
    };
    Ok(dirs.map(|dir| dir.join(BELOW)).to_vec())
}

/// Whether machine files are looked for elsewhere than usual.
pub fn has_own_machine_files() -> bool {
    dir_from_env("KRAFT_CONFIG_DIR").is_ok_and(|dir| dir.is_some())
}

/// `$XDG_RUNTIME_DIR`, or `/run/user/UID` where that exists.
///
/// # Errors
/// When there is neither: this account has no login session and does not linger.
pub fn user_runtime_dir() -> Result<PathBuf> {
    if let Some(dir) = dir_from_env("XDG_RUNTIME_DIR")? {
        return Ok(dir);
    }
    let dir = PathBuf::from(format!("/run/user/{}", rustix::process::geteuid().as_raw()));
    if dir.is_dir() {
        return Ok(dir);
    }
    Err(Error::new("XDG_RUNTIME_DIR is not set and this account has no user manager")
        .with_hint("`loginctl enable-linger` starts one that outlives the login"))
}

/// Where the system's service manager tells journald of a unit's `LogExtraFields=`.
pub fn log_fields_of_unit(unit: &str) -> PathBuf {
    PathBuf::from(format!("/run/systemd/units/log-extra-fields:{unit}"))
}

/// Where a service manager has its generators put units.
pub fn generated_units(scope: Scope) -> Option<PathBuf> {
    let runtime = match scope {
        Scope::System => PathBuf::from("/run"),
        Scope::User => user_runtime_dir().ok()?,
    };
    Some(runtime.join("systemd/generator"))
}

/// The program that is running, as a path that outlives an upgrade of the file behind it.
///
/// # Errors
/// When /proc cannot be read.
pub fn own_executable() -> Result<PathBuf> {
    let path = std::env::current_exe().context("cannot find the kraft executable")?;
    let text = path.as_os_str().to_string_lossy();
    // A replaced file is shown as deleted; the new one stands under the old name.
    Ok(text.strip_suffix(" (deleted)").map(PathBuf::from).unwrap_or(path))
}

/// The path of a program: as given if it has a slash, else the first executable of that name in `PATH`.
pub fn find_program(name: &Path) -> Option<PathBuf> {
    if name.components().count() > 1 {
        return is_executable(name).then(|| name.to_path_buf());
    }
    let path = std::env::var_os("PATH")
        .unwrap_or_else(|| OsString::from("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| is_executable(file))
}

/// The name by which this program was called.
pub fn invoked_as() -> Option<PathBuf> {
    std::env::args_os().next().map(PathBuf::from)
}

/// The words that this program was started with, after its own name.
pub fn arguments() -> impl Iterator<Item = OsString> {
    std::env::args_os().skip(1)
}

/// Makes a path absolute against the working directory, without touching symbolic links.
///
/// # Errors
/// When the working directory is gone.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot tell where {} is", path.display()))
}

/// The value of an ordinary variable of the caller's environment.
pub fn environment_variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// All ordinary variables of the caller's environment that are text.
pub fn environment_variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

/// The home directory, in place of a variable that is not set.
fn home(unset: &str) -> Result<PathBuf> {
    dir_from_env("HOME")?.ok_or_else(|| Error::new(format!("neither {unset} nor HOME is set")))
}

fn dir_from_env(name: &str) -> Result<Option<PathBuf>> {
    match std::env::var_os(name) {
        None => Ok(None),
        Some(value) if value.is_empty() => Ok(None),
        Some(value) => {
            let dir = PathBuf::from(value);
            if dir.is_absolute() {
                Ok(Some(dir))
            } else {
                Err(Error::new(format!("{name} is not an absolute path: {}", dir.display())))
            }
        }
    }
}

/// This process's descriptors as paths.
pub const OWN_FDS: &str = "/proc/self/fd";

/// A file in a directory that this process holds open, by a path that stays short: a socket's is at most 107 bytes. It
/// is good for others, too, as long as the directory is held.
pub fn inside(dir: &std::fs::File, name: impl AsRef<Path>) -> PathBuf {
    PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), dir.as_raw_fd())).join(name)
}

/// What the kernel knows of this network namespace's sockets.
pub const SOCKETS: &str = "/proc/self/net";

/// What the kernel knows of every process.
pub const PROCESSES: &str = "/proc";

/// The control groups that this process is in.
pub const OWN_CGROUPS: &str = "/proc/self/cgroup";

/// Where control groups of version 2 are mounted: alone, or beside version 1.
pub const CGROUP_ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// The host's network interfaces.
pub const INTERFACES: &str = "/sys/class/net";

/// The numbers of the processors that this host has.
pub const PROCESSORS: &str = "/sys/devices/system/cpu/online";

/// The kernel's switches for networks.
pub const NET_SWITCHES: &str = "/proc/sys/net";

/// The files that credentials for registries are in, the one that goes before the others first.
pub fn registry_auth_files() -> Vec<PathBuf> {
    if let Some(file) = std::env::var_os("REGISTRY_AUTH_FILE").filter(|file| !file.is_empty()) {
        return vec![PathBuf::from(file)];
    }
    let home = dir_from_env("HOME").ok().flatten();
    let below = |dir: &str| home.as_ref().map(|home| home.join(dir));
    let set = |name| std::env::var_os(name).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let docker = set("DOCKER_CONFIG").or_else(|| below(".docker")).map(|dir| dir.join("config.json"));
    let podman = [user_runtime_dir().ok(), set("XDG_CONFIG_HOME").or_else(|| below(".config"))];
    let podman = podman.into_iter().flatten().map(|dir| dir.join("containers/auth.json"));
    docker.into_iter().chain(podman).collect()
}

/// Where certificates of authorities are that vouch for one registry, as docker and podman have them.
pub fn registry_certificates(registry: &str) -> Vec<PathBuf> {
    let own = dir_from_env("HOME").ok().flatten().map(|home| home.join(".config/containers/certs.d"));
    let all = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
    own.into_iter().chain(all).map(|dir| dir.join(registry)).collect()
}

/// Files that tell which registries stand for which.
#[derive(Debug)]
pub struct RegistriesFiles {
    /// The one that is read first.
    pub first: PathBuf,
    /// Directories of more.
    pub directories: Vec<PathBuf>,
}

/// The files that tell which registries stand for which, as podman and skopeo have them.
pub fn registries_files() -> RegistriesFiles {
    let home = dir_from_env("HOME").ok().flatten().map(|home| home.join(".config/containers"));
    let own = home.as_ref().map(|home| home.join("registries.conf"));
    let directories = home.map(|home| home.join("registries.conf.d"));
    let all = Some(PathBuf::from("/etc/containers/registries.conf.d")).into_iter().chain(directories.clone());
    let said = std::env::var_os("CONTAINERS_REGISTRIES_CONF").filter(|file| !file.is_empty()).map(PathBuf::from);
    match (said, own.filter(|own| own.exists())) {
        (Some(said), _) => RegistriesFiles { first: said, directories: all.collect() },
        (None, Some(own)) => RegistriesFiles { first: own, directories: directories.into_iter().collect() },
        (None, None) => {
            let first = PathBuf::from("/etc/containers/registries.conf");
            RegistriesFiles { first, directories: all.collect() }
        }
    }
}

/// The caller's whole environment, for programs of his that find their settings in it.
pub fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os()
}

/// Where ld.so finds libraries by their names: ldconfig(8).
pub const LIBRARY_CACHE: &str = "/etc/ld.so.cache";

/// Where every ld.so looks at last.
pub const LIBRARIES: [&str; 2] = ["/lib", "/usr/lib"];

/// The same for musl's.
pub const MUSL_LIBRARIES: [&str; 3] = ["/lib", "/usr/local/lib", "/usr/lib"];

/// What /lib and the like are in on most systems, under the same name.
pub const USR: &str = "/usr";
