//! A machine's names and addresses as a file, in the form of hosts(5).

use std::fs::DirBuilder;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt as _;

use super::Place;
use crate::error::{Context as _, Result};
use crate::machine::{IpConfig, Record};

/// Makes the directories. The server's own user reads them.
pub(super) fn make(place: &Place) -> Result<()> {
    let cannot = || format!("cannot make {}", place.hosts().display());
    DirBuilder::new().recursive(true).mode(0o755).create(place.hosts()).with_context(cannot)
}

/// Writes a machine's file, whole: under its name there is the old one or the new one.
pub(super) fn write(place: &Place, record: &Record, ip: &IpConfig) -> Result<()> {
    make(place)?;
    let name = record.spec.name.as_str();
    // The server passes over what begins with a dot, and no machine's name does.
    let staged = place.hosts().join(format!(".{name}"));
    let file = place.hosts().join(name);
    std::fs::write(&staged, text(record, ip))
        .and_then(|()| std::fs::rename(&staged, &file))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// Removes it, unless it is a later machine's of the same name.
pub(super) fn remove(place: &Place, record: &Record) -> Result<()> {
    let file = place.hosts().join(record.spec.name.as_str());
    let removed = match std::fs::read_to_string(&file) {
        Ok(text) if text.starts_with(&mark(record)) => std::fs::remove_file(&file),
        Ok(_) => Ok(()),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result.with_context(|| format!("cannot remove {}", file.display())),
    }
}

/// Whether no machine has a name.
pub(super) fn is_empty(place: &Place) -> bool {
    let Ok(entries) = std::fs::read_dir(place.hosts()) else { return true };
    !entries.flatten().any(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
}

fn mark(record: &Record) -> String {
    format!("# {} {}\n", record.spec.name, record.id)
}

fn text(record: &Record, ip: &IpConfig) -> String {
    let mut names = vec![record.spec.name.to_string()];
    names.extend(ip.host.clone().filter(|host| *host != names[0]));
    if let Some(domain) = &ip.domain {
        let full: Vec<String> = names.iter().map(|name| format!("{name}.{domain}")).collect();
        names.extend(full);
    }
    let addresses = [ip.ipv4.map(|net| IpAddr::V4(net.addr())), ip.ipv6.map(|net| IpAddr::V6(net.addr()))];
    let lines = addresses.into_iter().flatten().map(|address| format!("{address} {}\n", names.join(" ")));
    std::iter::once(mark(record)).chain(lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{MachineId, Manager, SCHEMA, Spec};

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
        let lines: Vec<String> = text(&record(1), &ip()).lines().map(str::to_owned).collect();
        assert_eq!(
            lines[1..],
            ["10.88.0.2 web www web.lan www.lan".to_owned(), "fd00:88::2 web www web.lan www.lan".to_owned()]
        );
        let bare = IpConfig { host: Some("web".into()), domain: None, ipv6: None, ..ip() };
        assert_eq!(text(&record(1), &bare).lines().skip(1).collect::<Vec<_>>(), ["10.88.0.2 web"]);
    }

    #[test]
    fn a_later_machine_of_the_name_keeps_it() {
        let dir = std::env::temp_dir().join(format!("kraft-names-{}", std::process::id()));
        let place = Place { dir: dir.clone() };
        assert!(is_empty(&place));
        write(&place, &record(1), &ip()).unwrap();
        write(&place, &record(2), &ip()).unwrap();
        remove(&place, &record(1)).unwrap();
        assert!(!is_empty(&place));
        remove(&place, &record(2)).unwrap();
        remove(&place, &record(2)).unwrap();
        assert!(is_empty(&place));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
