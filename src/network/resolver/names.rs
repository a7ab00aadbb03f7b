//! A machine's names and addresses as a file, in the form of hosts(5).

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;

use super::Place;
use crate::error::{Context as _, Result};
use crate::machine::{IpConfig, MachineId, MachineName, Record};

/// Makes the directories. The server's own user reads them.
pub(super) fn make(place: &Place) -> Result<()> {
    let cannot = || format!("cannot make {}", place.hosts().display());
    DirBuilder::new().recursive(true).mode(0o755).create(place.hosts()).with_context(cannot)
}

/// Writes a machine's file, whole: under its name there is the old one or the new one.
pub(super) fn write(place: &Place, record: &Record, ips: &[&IpConfig]) -> Result<()> {
    make(place)?;
    let name = record.spec.name.as_str();
    // The server passes over what begins with a dot, and no machine's name does.
    let staged = place.hosts().join(format!(".{name}"));
    let file = place.hosts().join(name);
    std::fs::write(&staged, text(record, ips))
        .and_then(|()| std::fs::rename(&staged, &file))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// Removes it, unless it is a later machine's of the same name.
pub(super) fn remove(place: &Place, name: &MachineName, id: MachineId) -> Result<()> {
    let file = place.hosts().join(name);
    let removed = match std::fs::read_to_string(&file) {
        Ok(text) if owner(&text) == Some((name.clone(), id)) => std::fs::remove_file(&file),
        Ok(_) => Ok(()),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result.with_context(|| format!("cannot remove {}", file.display())),
    }
}

/// The machines that have a name.
pub(super) fn owners(place: &Place) -> Vec<(MachineName, MachineId)> {
    let Ok(entries) = std::fs::read_dir(place.hosts()) else { return Vec::new() };
    entries.flatten().filter_map(|entry| owner(&std::fs::read_to_string(entry.path()).ok()?)).collect()
}

/// Whether no machine has a name.
pub(super) fn is_empty(place: &Place) -> bool {
    let Ok(entries) = std::fs::read_dir(place.hosts()) else { return true };
    !entries.flatten().any(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
}

fn mark(record: &Record) -> String {
    format!("# {} {}\n", record.spec.name, record.id)
}

/// Whose file has this text, by its mark.
fn owner(text: &str) -> Option<(MachineName, MachineId)> {
    let (name, id) = text.lines().next()?.strip_prefix("# ")?.split_once(' ')?;
    Some((name.parse().ok()?, id.parse().ok()?))
}

/// What each of its interfaces there is called.
fn text(record: &Record, ips: &[&IpConfig]) -> String {
    std::iter::once(mark(record)).chain(ips.iter().flat_map(|ip| lines(record, ip))).collect()
}

fn lines(record: &Record, ip: &IpConfig) -> Vec<String> {
    let mut names = vec![record.spec.name.as_host()];
    for other in ip.host.iter().chain(&ip.aliases) {
        if !names.contains(other) {
            names.push(other.clone());
        }
    }
    if let Some(domain) = &ip.domain {
        let full: Vec<String> = names.iter().map(|name| format!("{name}.{domain}")).collect();
        names.extend(full);
    }
    ip.addresses().map(|address| format!("{address} {}\n", names.join(" "))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Manager, SCHEMA, Spec};

    fn record(id: u8) -> Record {
        Record {
            schema: SCHEMA,
            id: MachineId::from_bytes([id; 16]),
            created: jiff::Timestamp::UNIX_EPOCH,
            manager: Manager::Local,
            stale: false,
            spec: Spec::example("web"),
        }
    }

    fn take(place: &Place, id: u8) {
        remove(place, &record(id).spec.name, record(id).id).unwrap();
    }

    fn ip() -> IpConfig {
        IpConfig {
            ipv4: Some("10.88.0.2/24".parse().unwrap()),
            ipv6: Some("fd00:88::2/64".parse().unwrap()),
            host: Some("www".into()),
            domain: Some("lan".into()),
            ..IpConfig::default()
        }
    }

    #[test]
    fn a_machine_has_its_name_its_host_name_and_both_in_its_domain() {
        let lines: Vec<String> = text(&record(1), &[&ip()]).lines().map(str::to_owned).collect();
        assert_eq!(
            lines[1..],
            ["10.88.0.2 web www web.lan www.lan".to_owned(), "fd00:88::2 web www web.lan www.lan".to_owned()]
        );
        let bare = IpConfig { host: Some("web".into()), domain: None, ipv6: None, ..ip() };
        assert_eq!(text(&record(1), &[&bare]).lines().skip(1).collect::<Vec<_>>(), ["10.88.0.2 web"]);
        let aliased = IpConfig { aliases: vec!["db".into(), "web".into()], ..bare.clone() };
        assert_eq!(text(&record(1), &[&aliased]).lines().skip(1).collect::<Vec<_>>(), ["10.88.0.2 web db"]);
        // One that is there twice is found at either address.
        let other = IpConfig { ipv4: Some("10.88.0.3/24".parse().unwrap()), ..bare.clone() };
        let both = text(&record(1), &[&bare, &other]);
        assert_eq!(both.lines().skip(1).collect::<Vec<_>>(), ["10.88.0.2 web", "10.88.0.3 web"]);
    }

    #[test]
    fn a_later_machine_of_the_name_keeps_it() {
        let dir = std::env::temp_dir().join(format!("kraft-names-{}", std::process::id()));
        let place = Place { dir: dir.clone() };
        assert!(is_empty(&place));
        write(&place, &record(1), &[&ip()]).unwrap();
        write(&place, &record(2), &[&ip()]).unwrap();
        take(&place, 1);
        assert!(!is_empty(&place));
        assert_eq!(owners(&place), [(record(2).spec.name, record(2).id)]);
        take(&place, 2);
        take(&place, 2);
        assert!(is_empty(&place));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
