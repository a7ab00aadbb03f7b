//! What this host has of what kraft needs, and the cure for what it lacks.
//!
//! [`checks`] looks and changes nothing; [`text`] and [`json`] show. A check *fails* when machines cannot be run by
//! systemd here, and *warns* when something does less than it could.

mod exposure;
mod network;
mod orphans;

use std::fmt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::Outcome;
use super::app::App;
use super::output::{self, Form};

use crate::error::{Context as _, IntoError as _, Result};
use crate::machine::Arch;
use crate::paths::{self, Paths, Scope, find_program};
use crate::platform::qemu::{
    self,
    kvm::{self, Kvm},
};

/// Show what works on this host, and the cure for what does not
///
/// Ends with 0 if machines can be run by systemd, else with 125.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The form of the output
    #[arg(short, long, value_name = "FORM", value_enum, default_value_t = Form::Text)]
    output: Form,

    /// Remove what is left of machines and networks that are gone: taps, bridges, rules, published ports, names, runtime
    /// files
    #[arg(long)]
    fix: bool,
}

pub(crate) fn doctor(app: &App, args: &DoctorArgs) -> Outcome {
    if args.fix {
        return orphans::fix(app);
    }
    let mut checks = checks(app.store.paths(), |_| app.systemd().manager_version());
    checks.extend(exposure::exposures(app));
    checks.extend(orphans::orphans(app));
    let shown = match args.output {
        Form::Text => output::write(&text(&checks).iter().map(|line| format!("{line}\n")).collect::<String>()),
        Form::Json => json(&checks).and_then(output::line),
    };
    shown.map_err(|error| vec![error])?;
    Ok(std::process::ExitCode::from(if passes(&checks) { 0 } else { 125 }))
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Something does less than it could.
    Warn,
    /// Machines cannot be run by systemd.
    Fail,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        })
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at, in a word or two.
    pub name: &'static str,
    /// How it came out.
    pub status: Status,
    /// What was found.
    pub found: String,
    /// What to do about it; there unless the status is [`Status::Ok`].
    pub cure: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, found: found.into(), cure: None }
    }

    fn warn(name: &'static str, found: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { name, status: Status::Warn, found: found.into(), cure: Some(cure.into()) }
    }

    fn fail(name: &'static str, found: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { name, status: Status::Fail, found: found.into(), cure: Some(cure.into()) }
    }
}

/// Looks at everything that counts in this scope. `manager_version` asks the scope's systemd over its bus.
pub fn checks(paths: &Paths, manager_version: impl FnOnce(Scope) -> Result<String>) -> Vec<Check> {
    let scope = paths.scope;
    let mut checks = vec![init()];
    let bus = bus(scope);
    let reachable = bus.status == Status::Ok;
    checks.push(bus);
    if reachable {
        checks.push(manager(manager_version(scope)));
    }
    match scope {
        Scope::System => {}
        Scope::User => checks.push(linger()),
    }
    checks.push(kvm(kvm::probe()));
    checks.push(qemu());
    checks.extend(qboot());
    checks.push(network::tun());
    checks.push(network::vhost_net());
    checks.push(network::nft());
    checks.push(network::dnsmasq());
    checks.push(network::forwarding());
    checks.push(cgroups(scope));
    checks.push(journal());
    checks.push(directory("state directory", &paths.state));
    checks.push(directory("runtime directory", &paths.runtime));
    checks
}

/// Whether machines can be run by systemd: nothing failed.
pub fn passes(checks: &[Check]) -> bool {
    checks.iter().all(|check| match check.status {
        Status::Ok | Status::Warn => true,
        Status::Fail => false,
    })
}

/// A line for each check, and one more with the cure where there is one.
pub fn text(checks: &[Check]) -> Vec<String> {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for check in checks {
        lines.push(format!("{:<4}  {:<width$}  {}", check.status, check.name, check.found));
        if let Some(cure) = &check.cure {
            lines.push(format!("{:<4}  {:<width$}  cure: {cure}", "", ""));
        }
    }
    lines
}

/// The checks as a JSON array of objects.
///
/// # Errors
/// Never for any reason that is known.
pub fn json(checks: &[Check]) -> Result<String> {
    serde_json::to_string_pretty(checks).context("cannot write JSON")
}

fn init() -> Check {
    if Path::new(paths::SYSTEMD_BOOTED).is_dir() {
        return Check::ok("init", "systemd is PID 1");
    }
    let name = std::fs::read_to_string(paths::INIT_NAME).unwrap_or_default();
    let name = match name.trim() {
        "" => "something else",
        name => name,
    };
    Check::fail(
        "init",
        format!("PID 1 is {name}, not systemd"),
        "boot this host (or container) with systemd; without it, machines run only as long as their local runner",
    )
}

fn bus(scope: Scope) -> Check {
    let (name, socket, cure) = match scope {
        Scope::System => (
            "system bus",
            Ok(Path::new(paths::SYSTEM_BUS).to_path_buf()),
            "install dbus or dbus-broker and `systemctl start dbus.socket`",
        ),
        Scope::User => (
            "user bus",
            paths::user_runtime_dir().map(|dir| dir.join("bus")),
            "install dbus-user-session, then `loginctl enable-linger`, or log in again",
        ),
    };
    let connected = socket.and_then(|socket| {
        let shown = socket.display();
        UnixStream::connect(&socket)
            .map(|_| format!("{shown} answers"))
            .with_context(|| format!("cannot connect to {shown}"))
    });
    match connected {
        Ok(found) => Check::ok(name, found),
        Err(error) => Check::fail(name, error.to_string(), cure),
    }
}

fn manager(version: Result<String>) -> Check {
    match version {
        Ok(version) => Check::ok("systemd", version),
        Err(error) => Check::fail(
            "systemd",
            error.to_string(),
            "look at `systemctl status` (with `--user` for your own): the manager does not answer on its bus",
        ),
    }
}

fn linger() -> Check {
    match super::linger::linger() {
        None => Check::warn("linger", "this account has no name", "use an account of the user database"),
        Some((user, true)) => Check::ok("linger", format!("the manager of {user} runs without a login")),
        Some((user, false)) => {
            Check::warn("linger", "your machines end when you log out", format!("`loginctl enable-linger {user}`"))
        }
    }
}

fn kvm(kvm: Kvm) -> Check {
    match kvm {
        Kvm::Usable => Check::ok("KVM", "a guest ran"),
        Kvm::Unusable(reason) => {
            let cure = if reason.contains("permission") {
                "`usermod -aG kvm USER`, then log in again; until then, QEMU translates, which is slower"
            } else {
                "enable virtualization in the firmware, or nested virtualization on the host of this host; \
                 until then, QEMU translates, which is slower"
            };
            Check::warn("KVM", reason, cure)
        }
    }
}

fn qemu() -> Check {
    let found: Vec<(Arch, String)> =
        Arch::ALL.iter().filter_map(|&arch| Some((arch, qemu::find(arch)?.path.display().to_string()))).collect();
    let paths = found.iter().map(|(_, path)| path.as_str()).collect::<Vec<_>>().join(", ");
    let cure = "install QEMU: `apt install qemu-system-x86` (or qemu-system-arm), `dnf install qemu-kvm`";
    if found.is_empty() {
        Check::fail("QEMU", "none found", cure)
    } else if Arch::host().is_none_or(|host| found.iter().any(|(arch, _)| *arch == host)) {
        Check::ok("QEMU", paths)
    } else {
        Check::warn("QEMU", format!("none for this host's architecture, only {paths}"), cure)
    }
}

/// The firmware matters where there are microvms.
fn qboot() -> Option<Check> {
    match Arch::host()? {
        Arch::X86_64 => Some(match paths::QBOOT.iter().find(|file| Path::new(file).is_file()) {
            Some(file) => Check::ok("qboot", *file),
            None => Check::warn(
                "qboot",
                "no qboot.rom: microvms start some 30 ms later",
                "install the newest QEMU package of your distribution (qemu-system-data or seabios has the file)",
            ),
        }),
        Arch::Arm64 => None,
    }
}

fn cgroups(scope: Scope) -> Check {
    let root = Path::new(paths::CGROUPS);
    let Ok(of_root) = std::fs::read_to_string(root.join("cgroup.controllers")) else {
        return Check::warn(
            "cgroups",
            "not the unified hierarchy (version 2)",
            "boot with systemd.unified_cgroup_hierarchy=1; until then, limits may not hold",
        );
    };
    match scope {
        Scope::System => {
            judge_controllers(&of_root, "enable them in the kernel (see cgroup_disable= on its command line)")
        }
        Scope::User => {
            let uid = rustix::process::geteuid().as_raw();
            let own = root.join(format!("user.slice/user-{uid}.slice/user@{uid}.service/cgroup.controllers"));
            let delegated = std::fs::read_to_string(own).unwrap_or_default();
            judge_controllers(&delegated, "`systemctl edit user@.service`: [Service] Delegate=cpu memory pids")
        }
    }
}

fn judge_controllers(controllers: &str, cure: &str) -> Check {
    let there: Vec<&str> = controllers.split_whitespace().collect();
    let missing: Vec<&str> = ["cpu", "memory", "pids"].into_iter().filter(|wanted| !there.contains(wanted)).collect();
    if missing.is_empty() {
        Check::ok("cgroups", format!("version 2 with {}", there.join(", ")))
    } else {
        Check::warn("cgroups", format!("version 2 without {}: such limits do not hold", missing.join(", ")), cure)
    }
}

fn journal() -> Check {
    if find_program(Path::new("journalctl")).is_none() {
        return Check::fail("journal", "no journalctl in PATH", "install systemd's own package of it");
    }
    if Path::new(paths::JOURNAL).is_dir() {
        Check::ok("journal", "survives a reboot")
    } else {
        Check::warn(
            "journal",
            "logs are gone after a reboot",
            format!("`mkdir -p {}`, then `systemctl restart systemd-journald`", paths::JOURNAL),
        )
    }
}

/// A directory counts as writable if it, or what it would be made in, is.
fn directory(name: &'static str, dir: &Path) -> Check {
    let there = dir.ancestors().find(|dir| dir.exists()).unwrap_or(dir);
    if !there.is_dir() {
        return Check::fail(name, format!("{} is not a directory", there.display()), "move that file out of the way");
    }
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    match rustix::fs::accessat(rustix::fs::CWD, there, access, rustix::fs::AtFlags::EACCESS) {
        Ok(()) if there == dir => Check::ok(name, dir.display().to_string()),
        Ok(()) => Check::ok(name, format!("{} can be made", dir.display())),
        Err(errno) => Check::fail(
            name,
            format!("cannot write to {}: {}", there.display(), errno.into_error()),
            format!("make {} writable for this account, or set KRAFT_STATE_DIR and KRAFT_RUNTIME_DIR", there.display()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn whatever_is_wrong_has_a_cure() {
        for scope in [Scope::System, Scope::User] {
            let paths = Paths {
                scope,
                state: concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml/state").into(),
                runtime: std::env::temp_dir(),
                overridden: true,
            };
            let checks = checks(&paths, |_| Err(Error::new("no answer")));
            for check in &checks {
                assert_eq!(check.status == Status::Ok, check.cure.is_none(), "{check:?}");
                assert!(!check.found.is_empty(), "{check:?}");
            }
            let state = checks.iter().find(|check| check.name == "state directory").unwrap();
            let runtime = checks.iter().find(|check| check.name == "runtime directory").unwrap();
            assert_eq!((state.status, runtime.status), (Status::Fail, Status::Ok));
            assert!(!passes(&checks));
        }
    }

    #[test]
    fn controllers_that_are_missing_are_named() {
        assert_eq!(judge_controllers("cpuset cpu io memory pids\n", "c").status, Status::Ok);
        let check = judge_controllers("memory pids", "c");
        assert_eq!(
            (check.status, check.found.as_str()),
            (Status::Warn, "version 2 without cpu: such limits do not hold")
        );
    }

    #[test]
    fn shows_lines_and_json() {
        let checks = [Check::ok("init", "systemd is PID 1"), Check::warn("KVM", "missing", "buy one")];
        assert_eq!(text(&checks), ["ok    init  systemd is PID 1", "warn  KVM   missing", "            cure: buy one"]);
        assert!(passes(&checks));
        let read: serde_json::Value = serde_json::from_str(&json(&checks).unwrap()).unwrap();
        assert_eq!(read[1]["status"], "warn");
        assert_eq!(read[0]["cure"], serde_json::Value::Null);
    }

    #[test]
    fn a_lack_of_permission_has_a_cure_of_its_own() {
        let check = kvm(Kvm::Unusable("no permission to open it".into()));
        assert!(check.cure.unwrap().contains("usermod"));
        assert_eq!(kvm(Kvm::Usable).status, Status::Ok);
    }
}
