//! A machine as units: their names, and what is set in them. Pure.
//!
//! ```text
//! kraft.slice
//! └─ kraft-web\x2d1.slice        the anchor; `-` nests in slice names, so the machine's own is escaped
//!    └─ kraft-web-1.service      the machine
//!
//! --slice tenants.slice:
//! tenants.slice
//! └─ tenants-kraft\x2dweb\x2d1.slice
//!    └─ kraft-web-1.service
//! ```

use std::path::Path;
use std::time::Duration;

use super::definition::{Definition, command, quote_all, time};
use super::limits;
use super::property;
use super::{resolver, sandbox, schedule};
use crate::error::{Context as _, Error, Result};
use crate::machine::{MachineName, Record, RestartPolicy};
use crate::paths::{Paths, Scope};

/// How long a machine may take until its guest runs.
const START_LIMIT: Duration = Duration::from_secs(90);
/// What systemd leaves the runner beyond the guest's own stop time-out.
const STOP_MARGIN: Duration = Duration::from_secs(10);
const RESTART_DELAY: Duration = Duration::from_millis(100);
/// The runner that stays silent this long is taken for dead.
const WATCHDOG: Duration = Duration::from_secs(60);
/// The longest unit name that systemd takes.
const LONGEST: usize = 255;

/// The pattern of all machines' services.
pub(super) const SERVICES: &str = "kraft-*.service";

/// The service that runs a machine.
pub fn service_name(name: &MachineName) -> String {
    format!("kraft-{name}.service")
}

/// What a machine calls itself in the journal.
pub(super) fn identifier(name: &MachineName) -> String {
    format!("kraft-{name}")
}

/// The machine that a service runs, if it is one of ours and not a helper's.
pub(super) fn machine_of(service: &str) -> Option<MachineName> {
    service.strip_prefix("kraft-")?.strip_suffix(".service")?.parse().ok()
}

/// The slice that keeps a machine's units loaded.
///
/// # Errors
/// When `parent` is not a slice, or the name gets too long.
pub(super) fn slice_name(name: &MachineName, parent: Option<&str>) -> Result<String> {
    let slice = match parent_prefix(parent)? {
        Some(prefix) => format!("{prefix}{}.slice", escape(&format!("kraft-{name}"))),
        None => format!("kraft-{}.slice", escape(name.as_str())),
    };
    if slice.len() > LONGEST {
        return Err(Error::new(format!("the slice of machine {name} has a name of {} characters", slice.len()))
            .with_hint("a shorter name with fewer '-' fits"));
    }
    Ok(slice)
}

/// Whether a slice is the anchor of a machine of this name, inside whatever slice.
pub(super) fn is_anchor_of(slice: &str, name: &MachineName) -> bool {
    let inside = format!("{}.slice", escape(&format!("kraft-{name}")));
    slice == format!("kraft-{}.slice", escape(name.as_str()))
        || slice.strip_suffix(&inside).is_some_and(|parent| parent.is_empty() || parent.ends_with('-'))
}

/// What the name of a slice inside `parent` begins with; `None` for the usual place.
fn parent_prefix(parent: Option<&str>) -> Result<Option<String>> {
    let Some(typed) = parent else { return Ok(None) };
    let name = typed.strip_suffix(".slice").unwrap_or(typed);
    let bad = |why: &str| Err(Error::new(format!("bad slice '{}': {why}", typed.escape_debug())));
    if name == "-" {
        return Ok(Some(String::new()));
    }
    if name == "kraft" {
        return Ok(None);
    }
    if name.is_empty() || name.starts_with('-') || name.ends_with('-') || name.contains("--") {
        return bad("'-' separates the names of the slices around it");
    }
    if let Some(c) = name.chars().find(|&c| !(c.is_ascii_alphanumeric() || ":_.-\\@".contains(c))) {
        return bad(&format!("'{}' is not one of a-z A-Z 0-9 : _ . - \\ @", c.escape_debug()));
    }
    Ok(Some(format!("{name}-")))
}

/// Checks a slice as a person typed it.
///
/// # Errors
/// When it is none.
pub fn check_slice(typed: &str) -> Result<()> {
    parent_prefix(Some(typed)).map(drop)
}

pub(super) fn escape(name: &str) -> String {
    // No slice is an instance of a template.
    name.replace('-', "\\x2d").replace('@', "\\x40")
}

/// Where a unit is on the bus.
pub(super) fn object_path(unit: &str) -> String {
    let mut path = format!("{UNITS}/");
    for (i, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (i > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

/// Below this are the units on the bus.
pub(super) const UNITS: &str = "/org/freedesktop/systemd1/unit";

/// The name of the unit at a place on the bus.
pub(super) fn unit_at(path: &str) -> Option<String> {
    let label = path.strip_prefix(UNITS)?.strip_prefix('/')?;
    let mut bytes = Vec::new();
    let mut rest = label.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'_' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// The longest that a start of this machine may take by its unit.
pub(super) fn start_limit(record: &Record) -> Duration {
    let given = record.spec.properties.iter().rev().find_map(|typed| property::time_of(typed, "TimeoutStartUSec"));
    given.unwrap_or_else(|| own_start_limit(record))
}

/// The same where nobody set it: a runner that gives its guest a time to be ready has the first word.
fn own_start_limit(record: &Record) -> Duration {
    START_LIMIT.saturating_add(record.spec.ready_limit(record.manager).unwrap_or_default())
}

/// The longest that systemd itself waits before it starts this machine's runner again, as far as the record tells.
pub(super) fn restart_delay(record: &Record) -> Duration {
    let given = |name| record.spec.properties.iter().rev().find_map(|typed| property::time_of(typed, name));
    let [delay, longest] = ["RestartUSec", "RestartMaxDelayUSec"].map(|name| given(name).unwrap_or(RESTART_DELAY));
    delay.max(longest)
}

/// The anchor of a machine and its service.
///
/// # Errors
/// When the slice is not possible, or a path is not UTF-8, which D-Bus asks for.
pub(super) fn units(record: &Record, executable: &Path, paths: &Paths) -> Result<(Definition, Definition)> {
    let name = &record.spec.name;
    let service = service(record, executable, paths)?;
    let mut anchor = Definition::new(slice_name(name, record.spec.slice.as_deref())?);
    anchor.required("Description", format!("Unikernel {name}"));
    // The reference that keeps the stopped service loaded, and what takes it down with the slice.
    let timer = schedule::timer_name(record);
    let all: Vec<&str> = std::iter::once(&*service.name).chain(timer.as_deref()).collect();
    anchor.required("PropagatesStopTo", all.join(" "));
    if let Some(timer) = timer {
        anchor.required("Wants", timer);
    }
    Ok((anchor, service))
}

fn service(record: &Record, executable: &Path, paths: &Paths) -> Result<Definition> {
    let name = &record.spec.name;
    let program = executable;
    let executable = utf8(executable)?;
    let kernel = record.spec.source_name();
    let mut unit = Definition::new(service_name(name));
    unit.required("Description", format!("{name} (unikernel, {kernel})"));
    unit.required("Type", "notify");
    let mut main = runner(paths.scope, &[name.as_str()]);
    if sandbox::is_split(record, paths) {
        unit.required("NotifyAccess", "exec");
        unit.required("ExecStartPre", command("", executable, &runner(paths.scope, &["--prepare", name.as_str()])));
        // A runner that is not root's finds the system's directories all the same.
        main.insert(0, "--system");
    } else {
        unit.required("NotifyAccess", "main");
    }
    unit.required("ExecStart", command("", executable, &main));
    unit.required("ExecStopPost", command("", executable, &runner(paths.scope, &["--sweep", name.as_str()])));
    unit.required("KillMode", "mixed");
    unit.required("Slice", slice_name(name, record.spec.slice.as_deref())?);
    unit.required("TimeoutStartSec", time(own_start_limit(record)));
    unit.required("TimeoutStopSec", time(record.spec.stop_timeout() + STOP_MARGIN));
    if let Some(longest) = record.spec.runtime_max() {
        // The runner stops the guest after that; this is for one that does not.
        unit.required("RuntimeMaxSec", time(longest + record.spec.stop_timeout() + STOP_MARGIN));
    }
    unit.required("Restart", restart(record.spec.unit_restart()));
    unit.required("RestartSec", time(RESTART_DELAY));
    // How often a machine may be restarted is its own policy, and a start on request is never refused.
    unit.required("StartLimitIntervalSec", "0");
    unit.optional("WatchdogSec", time(WATCHDOG));
    unit.required("StandardInput", "null");
    unit.required("StandardOutput", "journal");
    unit.required("StandardError", "journal");
    unit.optional("SyslogIdentifier", identifier(name));
    // The user manager takes these and does nothing.
    unit.optional("LogExtraFields", log_fields(record));
    // A console is not to be dropped.
    unit.optional("LogRateLimitIntervalSec", "0");
    unit.optional("LogRateLimitBurst", "0");
    // A VMM that the kernel killed takes its runner along, so that the sweep is told `oom-kill`. With `stop` the runner
    // would see a SIGTERM at the same time, and could take it for a request.
    unit.optional("OOMPolicy", "kill");
    unit.optional("NoNewPrivileges", "yes");
    sandbox::confine(&mut unit, record, program, paths)?;
    let resolvers = resolver::names(record);
    if !resolvers.is_empty() {
        unit.required("Wants", quote_all(&resolvers));
        unit.required("After", quote_all(&resolvers));
    }
    environment(&mut unit, paths)?;
    for secret in &record.spec.secrets {
        let key = if secret.encrypted { "LoadCredentialEncrypted" } else { "LoadCredential" };
        unit.required(key, format!("{}:{}", secret.name, utf8(&secret.source)?));
    }
    if record.spec.auto_remove {
        // Nobody is to look at it after its end: a failure is forgotten with it.
        unit.required("CollectMode", "inactive-or-failed");
    }
    limits::set(&mut unit, &record.spec);
    for typed in &record.spec.properties {
        unit.typed(typed);
    }
    Ok(unit)
}

/// Sets what a process of ours needs to find the directories that this one has.
pub(super) fn environment(unit: &mut Definition, paths: &Paths) -> Result<()> {
    let variables = paths.environment();
    if variables.is_empty() {
        return Ok(());
    }
    let assignments = variables.iter().map(|(key, path)| utf8(path).map(|path| format!("{key}={path}")));
    unit.required("Environment", quote_all(assignments.collect::<Result<Vec<_>>>()?));
    Ok(())
}

/// The runner's arguments. Root may have a user manager, too: then the scope is not the one that its uid stands for.
pub(super) fn runner<'a>(scope: Scope, arguments: &[&'a str]) -> Vec<&'a str> {
    let scope: &[&str] = match scope {
        Scope::System => &[],
        Scope::User => &["--user"],
    };
    [scope, &["runner"], arguments].concat()
}

fn restart(policy: RestartPolicy) -> &'static str {
    match policy {
        RestartPolicy::No => "no",
        // How many is counted by the runner, which forbids the next one.
        RestartPolicy::OnFailure(_) => "on-failure",
        RestartPolicy::Always => "always",
    }
}

fn log_fields(record: &Record) -> String {
    quote_all([
        format!("KRAFT_MACHINE={}", record.spec.name),
        format!("KRAFT_ID={}", record.id),
        format!("KRAFT_PLATFORM={}", record.spec.platform),
    ])
}

pub(super) fn utf8(path: &Path) -> Result<&str> {
    path.to_str()
        .ok_or_else(|| Error::new("not UTF-8, which D-Bus asks for"))
        .with_context(|| format!("cannot name {} in a unit", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Kernel, KernelKind, MachineId, Manager, Spec};
    use crate::systemd::manager::NewUnit;
    use zbus::Variant;

    fn name(text: &str) -> MachineName {
        text.parse().unwrap()
    }

    fn record(properties: &[&str]) -> Record {
        let spec = Spec {
            app_args: vec!["$HOME".into()],
            restart: RestartPolicy::OnFailure(Some(3)),
            properties: properties.iter().map(|&typed| typed.to_owned()).collect(),
            kernel: Kernel::new("/srv/web.elf", KernelKind::Unikraft),
            ..Spec::example("web-1")
        };
        Record {
            schema: crate::machine::SCHEMA,
            id: MachineId::from_bytes([7; 16]),
            created: jiff::Timestamp::UNIX_EPOCH,
            manager: Manager::Systemd,
            stale: false,
            spec,
        }
    }

    fn paths(overridden: bool) -> Paths {
        Paths { scope: Scope::System, state: "/s".into(), runtime: "/r".into(), overridden }
    }

    fn made(record: &Record, executable: &str, paths: &Paths) -> (NewUnit, NewUnit) {
        let (anchor, service) = units(record, Path::new(executable), paths).unwrap();
        (anchor.to_unit().unwrap(), service.to_unit().unwrap())
    }

    fn value<'a>(unit: &'a NewUnit, name: &str) -> Option<&'a Variant<'static>> {
        unit.properties.iter().rev().find(|property| property.name == name).map(|property| &property.value)
    }

    #[test]
    fn the_service_runs_the_runner_and_nothing_is_expanded() {
        let (anchor, service) = made(&record(&[]), "/opt/$x/kraft", &paths(false));
        assert_eq!((anchor.name.as_str(), service.name.as_str()), ("kraft-web\\x2d1.slice", "kraft-web-1.service"));
        assert_eq!(value(&anchor, "PropagatesStopTo"), Some(&vec!["kraft-web-1.service".to_owned()].into()));
        let argv = ["/opt/$$x/kraft", "--system", "runner", "web-1"].map(str::to_owned).to_vec();
        let command = vec![("/opt/$x/kraft".to_owned(), argv, false)];
        assert_eq!(value(&service, "ExecStart"), Some(&command.into()));
        assert_eq!(value(&service, "Description"), Some(&"web-1 (unikernel, web.elf)".to_owned().into()));
        assert_eq!(value(&service, "Restart"), Some(&"on-failure".into()));
        assert_eq!(value(&service, "TimeoutStopUSec"), Some(&20_000_000u64.into()));
        assert_eq!(value(&service, "Environment"), None);
        let (_, service) = made(&record(&[]), "/kraft", &paths(true));
        let environment = vec!["KRAFT_STATE_DIR=/s".to_owned(), "KRAFT_RUNTIME_DIR=/r".to_owned()];
        assert_eq!(value(&service, "Environment"), Some(&environment.into()));
    }

    #[test]
    fn a_user_s_runner_finds_the_directories_of_the_shell() {
        let paths = Paths { scope: Scope::User, ..paths(false) };
        let (_, service) = made(&record(&[]), "/kraft", &paths);
        let argv = ["/kraft", "--user", "runner", "web-1"].map(str::to_owned).to_vec();
        assert_eq!(value(&service, "ExecStart"), Some(&vec![("/kraft".to_owned(), argv, false)].into()));
        let environment = vec!["KRAFT_STATE_DIR=/s".to_owned(), "KRAFT_RUNTIME_DIR=/r".to_owned()];
        assert_eq!(value(&service, "Environment"), Some(&environment.into()));
    }

    #[test]
    fn what_a_person_sets_comes_last_and_is_never_optional() {
        let record = record(&["TimeoutStartSec=5min", "OOMPolicy=continue"]);
        let (_, service) = made(&record, "/kraft", &paths(false));
        assert_eq!(value(&service, "OOMPolicy"), Some(&"continue".to_owned().into()));
        assert_eq!(service.properties.last().unwrap().origin, property::Origin::User("OOMPolicy".into()));
        assert_eq!(start_limit(&record), Duration::from_secs(300));
    }

    #[test]
    fn the_delay_of_a_restart() {
        assert_eq!(restart_delay(&record(&[])), RESTART_DELAY);
        assert_eq!(restart_delay(&record(&["RestartSec=7"])), Duration::from_secs(7));
        assert_eq!(restart_delay(&record(&["RestartSec=7", "RestartMaxDelaySec=1min"])), Duration::from_secs(60));
    }

    #[test]
    fn names_of_units() {
        assert_eq!(service_name(&name("web-1")), "kraft-web-1.service");
        assert_eq!(slice_name(&name("web-1"), None).unwrap(), "kraft-web\\x2d1.slice");
        assert_eq!(slice_name(&name("web"), Some("kraft.slice")).unwrap(), "kraft-web.slice");
        assert_eq!(slice_name(&name("web-1"), Some("tenants")).unwrap(), "tenants-kraft\\x2dweb\\x2d1.slice");
        assert_eq!(slice_name(&name("web"), Some("a-b.slice")).unwrap(), "a-b-kraft\\x2dweb.slice");
        assert_eq!(slice_name(&name("web"), Some("-.slice")).unwrap(), "kraft\\x2dweb.slice");
        for bad in ["", ".slice", "a/b", "-a", "a-", "a--b", "a b", "é"] {
            assert!(slice_name(&name("web"), Some(bad)).is_err(), "{bad}");
        }
        let long = format!("a{}", "-".repeat(63));
        assert!(slice_name(&name(&long), None).is_err());
    }

    #[test]
    fn machines_of_units() {
        assert_eq!(machine_of("kraft-web-1.service"), Some(name("web-1")));
        for other in ["kraft-web:proxy.service", "kraft.service", "kraft-web.slice", "ssh.service", "kraft-.service"] {
            assert_eq!(machine_of(other), None, "{other}");
        }
    }

    #[test]
    fn places_on_the_bus() {
        let path = object_path("kraft-web-1.service");
        assert_eq!(path, "/org/freedesktop/systemd1/unit/kraft_2dweb_2d1_2eservice");
        assert_eq!(unit_at(&path).unwrap(), "kraft-web-1.service");
        assert_eq!(unit_at(&object_path("1a.service")).unwrap(), "1a.service");
        assert_eq!(unit_at("/other"), None);
    }
}
