//! A declared machine's units as files: what the generator writes. Pure.
//!
//! They are the units that the manager is told of other machines, and in addition have the record made that a declared
//! machine has not before it starts for the first time, or that is older than its file.

use std::path::{Path, PathBuf};

use super::definition::{Definition, Section, command, quote_all};
use super::family::Family;
use super::unit::{self, runner, utf8};
use crate::error::Result;
use crate::machine::{MachineName, Record};
use crate::paths::Paths;

/// A unit file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitFile {
    /// The unit's name, which the file has.
    pub name: String,
    /// What stands in it.
    pub text: String,
}

/// A machine as a file declares it.
#[derive(Debug)]
pub struct Declaration<'a> {
    /// What its record will be, as far as its units show it.
    pub record: &'a Record,
    /// The file.
    pub file: &'a Path,
    /// Lines for `[Unit]`, keys and values, specifiers and all.
    pub unit: Vec<(&'a str, &'a str)>,
    /// Lines for `[Service]`.
    pub service: Vec<(&'a str, &'a str)>,
}

/// The units of a machine that has a record, as text: its service, its slice, and those that answer for names on its
/// networks.
///
/// # Errors
/// When the machine cannot have units.
pub fn unit_texts(record: &Record, executable: &Path, paths: &Paths) -> Result<Vec<UnitFile>> {
    let text = |unit: &Definition| UnitFile { name: unit.name.clone(), text: unit.to_file() };
    Ok(Family::of(record, executable, paths)?.all().map(text).collect())
}

/// The files of a declared machine: its service, its slice, and those that answer for names on its networks, which it may
/// share with others.
///
/// # Errors
/// As for the same units without a file.
pub fn unit_files(declared: &Declaration<'_>, executable: &Path, paths: &Paths) -> Result<Vec<UnitFile>> {
    let record = declared.record;
    let mut family = Family::of(record, executable, paths)?;
    let Family { anchor, service, .. } = &mut family;
    let source = utf8(declared.file)?;
    anchor.required("SourcePath", source);
    service.required("SourcePath", source);
    let needed = mounts(record, paths).into_iter().map(utf8).collect::<Result<Vec<_>>>()?;
    service.required("RequiresMountsFor", quote_all(needed));
    // Of its failure systemd is told as of the runner's.
    service.required("NotifyAccess", "exec");
    // As root, whoever the runner is to be.
    let name = record.spec.name.as_str();
    service.first("ExecStartPre", command("+", utf8(executable)?, &runner(paths.scope, &["--declared", name])));
    for (section, lines) in [(Section::Unit, &declared.unit), (Section::Own, &declared.service)] {
        for (key, value) in lines {
            service.line(section, key, value);
        }
    }
    Ok(family.all().map(file).collect())
}

/// The files of a machine whose own file is wrong: a service that fails as soon as it is started and shows why. One that
/// runs by an earlier state of the file goes on, and stops as it would.
///
/// # Errors
/// When a path is not UTF-8.
pub fn stub_files(
    name: &MachineName,
    source: &Path,
    flaws: &[String],
    executable: &Path,
    paths: &Paths,
) -> Result<Vec<UnitFile>> {
    let (executable, source) = (utf8(executable)?, utf8(source)?);
    let flaws: Vec<String> = flaws.iter().map(|flaw| one_line(flaw)).collect();
    let more = match flaws.len() {
        0 | 1 => String::new(),
        several => format!(" (and {} more)", several - 1),
    };
    let first = flaws.first().map_or("", String::as_str);
    let mut service = Definition::new(unit::service_name(name));
    service.required("Description", format!("{first}{more}"));
    service.required("SourcePath", source);
    service.required("Type", "notify");
    service.required("NotifyAccess", "main");
    let said: Vec<&str> = flaws.iter().flat_map(|flaw| ["--broken", flaw]).chain([name.as_str()]).collect();
    service.required("ExecStart", command("", executable, &runner(paths.scope, &said)));
    service.required("ExecStopPost", command("-", executable, &runner(paths.scope, &["--sweep", name.as_str()])));
    service.required("KillMode", "mixed");
    service.required("Slice", unit::slice_name(name, None)?);
    service.required("StartLimitIntervalSec", "0");
    service.required("SyslogIdentifier", unit::identifier(name));
    unit::environment(&mut service, paths)?;
    Ok(vec![file(&service)])
}

fn file(unit: &Definition) -> UnitFile {
    let text = format!(
        "# Made by kraft-generator(8). To change it, edit the file that SourcePath= names.\n{}",
        unit.to_file()
    );
    UnitFile { name: unit.name.clone(), text }
}

/// A text that stands in a line of a unit file and does not reach into the next.
fn one_line(text: &str) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.ends_with('\\') {
        line.push('.');
    }
    line
}

/// What has to be mounted before it starts.
fn mounts<'a>(record: &'a Record, paths: &'a Paths) -> Vec<&'a Path> {
    let spec = &record.spec;
    let shared = spec.volumes.iter().filter(|mount| mount.volume.is_none() && !mount.own).map(|mount| &mount.source);
    let rest = spec.rootfs.iter().chain(shared).map(PathBuf::as_path);
    [paths.state.as_path(), spec.kernel.given()].into_iter().chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Attachment, IpConfig, MachineId, Manager, Spec};
    use crate::paths::Scope;

    fn record() -> Record {
        let network = Attachment { network: "front".into(), foreign: false, mac: None, ip: IpConfig::default() };
        let spec = Spec {
            properties: vec!["Nice=5".into()],
            networks: vec![network],
            rootfs: Some("/srv/a b".into()),
            ..Spec::example("web-1")
        };
        let id = MachineId::from_bytes([7; 16]);
        let created = jiff::Timestamp::UNIX_EPOCH;
        Record { schema: crate::machine::SCHEMA, id, created, manager: Manager::Systemd, stale: false, spec }
    }

    fn paths() -> Paths {
        Paths { scope: Scope::System, state: "/s".into(), runtime: "/r".into(), overridden: false }
    }

    #[test]
    fn a_declared_machine_has_its_record_made_first() {
        let record = record();
        let declared = Declaration {
            record: &record,
            file: Path::new("/etc/web-1.toml"),
            unit: vec![("After", "kraft-%i.service")],
            service: vec![("Environment", "A=%H")],
        };
        let files = unit_files(&declared, Path::new("/usr/bin/kraft"), &paths()).unwrap();
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["kraft-web-1.service", "kraft-web\\x2d1.slice", "kraft:net-front.service"]);
        let lines: Vec<&str> = files[0].text.lines().collect();
        let at = |line: &str| lines.iter().position(|other| *other == line).unwrap_or_else(|| panic!("{line}"));
        assert!(at("[Unit]") < at("After=kraft-%i.service") && at("After=kraft-%i.service") < at("[Service]"));
        assert!(
            at("ExecStartPre=+:/usr/bin/kraft runner --declared web-1")
                < at("ExecStart=:/usr/bin/kraft --system runner web-1")
        );
        at("RequiresMountsFor=/s /kernel \"/srv/a b\"");
        at("SourcePath=/etc/web-1.toml");
        assert!(at("Nice=5") < at("Environment=A=%H"));
    }

    #[test]
    fn a_stub_shows_what_is_wrong() {
        let flaws = ["/m/web.toml:1:2: 100% \"bad\"".to_owned(), "/m/web.toml:2:1: worse".to_owned()];
        let name = "web".parse().unwrap();
        let files = stub_files(&name, Path::new("/m/web.toml"), &flaws, Path::new("/usr/bin/kraft"), &paths()).unwrap();
        let text = &files[0].text;
        assert!(text.contains("Description=/m/web.toml:1:2: 100%% \"bad\" (and 1 more)\n"), "{text}");
        let said = "ExecStart=:/usr/bin/kraft runner --broken \"/m/web.toml:1:2: 100%% \\\"bad\\\"\" --broken";
        assert!(text.contains(said), "{text}");
    }
}
