//! A whole file: its services, networks, volumes and secrets, and that each names only what is there. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::model::{Condition, File, Network, Secret, Service, ShareSource, Volume};
use super::node::Node;
use super::read::{At, Notes, Unread};
use super::service;
use crate::error::Error;
use crate::machine::ShareDriver;

const UNREAD: &[(&str, Unread)] = &[
    ("version", Unread::Silent),
    ("configs", Unread::Refused("a volume or a secret brings files into a guest")),
    ("models", Unread::Refused("kraft compose runs machines alone")),
];

/// Reads a file's tree, variables and all put in place.
pub fn read(root: &Node, notes: &mut Notes) -> File {
    let at = At::new(root, "");
    if !at.is_map() {
        at.flaw(notes, Error::new(format!("expected a mapping, found {}", root.kind())));
        return File::default();
    }
    at.check_keys(notes, &["name", "services", "networks", "volumes", "secrets", "x-kraft"], UNREAD);
    let mut file = File {
        name: at.get("name").and_then(|at| at.text(notes).map(str::to_owned)),
        services: Vec::new(),
        networks: section(&at, "networks", notes, network),
        volumes: section(&at, "volumes", notes, volume),
        secrets: section(&at, "secrets", notes, secret),
        enable: at.get("x-kraft").is_some_and(|at| enable(&at, notes)),
    };
    match at.get("services") {
        Some(services) => {
            for (key, at) in services.entries(notes) {
                if !is_name(&key.text) {
                    let error = Error::new(format!("'{}' is no name of a service", key.text.escape_debug()));
                    notes.flaw(&key.place, "services", error);
                    continue;
                }
                file.services.extend(service::read(&key.text, &at, notes));
            }
        }
        None => at.flaw(notes, Error::new("it has no services")),
    }
    // What could not be read is missing for that reason alone.
    if notes.flaws.is_empty() {
        cross_check(&file, notes);
    }
    file
}

/// `x-kraft: enable`, or `x-kraft: {enable: true}`.
fn enable(at: &At<'_>, notes: &mut Notes) -> bool {
    if at.is_map() {
        at.check_keys(notes, &["enable"], &[]);
        return at.get("enable").and_then(|at| at.boolean(notes)).unwrap_or(false);
    }
    match at.text(notes) {
        Some("enable") => true,
        Some(other) => {
            at.flaw(notes, Error::new(format!("unknown word '{}': known is enable", other.escape_debug())));
            false
        }
        None => false,
    }
}

fn section<T>(
    file: &At<'_>,
    key: &str,
    notes: &mut Notes,
    read: impl Fn(&At<'_>, &mut Notes) -> T,
) -> BTreeMap<String, T> {
    let Some(at) = file.get(key) else { return BTreeMap::new() };
    let mut all = BTreeMap::new();
    for (name, at) in at.entries(notes) {
        if is_name(&name.text) {
            all.insert(name.text.clone(), read(&at, notes));
        } else {
            notes.flaw(&name.place, key, Error::new(format!("'{}' is no name", name.text.escape_debug())));
        }
    }
    all
}

/// What services, networks, volumes and secrets are called.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// `external: true`, and the old form with a name below it.
fn external(at: &At<'_>, notes: &mut Notes) -> (bool, Option<String>) {
    let name = at.get("name").and_then(|at| at.text(notes).map(str::to_owned));
    match at.get("external") {
        None => (false, name),
        Some(external) if external.is_map() => {
            external.check_keys(notes, &["name"], &[]);
            let below = external.get("name").and_then(|at| at.text(notes).map(str::to_owned));
            (true, below.or(name))
        }
        Some(external) => (external.boolean(notes).unwrap_or(false), name),
    }
}

fn network(at: &At<'_>, notes: &mut Notes) -> Network {
    if at.node.is_null() {
        return Network::default();
    }
    let unread = [
        ("attachable", Unread::Silent),
        ("driver_opts", Unread::Refused("networks have no such options")),
        ("enable_ipv4", Unread::Refused("networks have IPv4")),
    ];
    let known = ["name", "external", "driver", "internal", "enable_ipv6", "ipam", "labels"];
    at.check_keys(notes, &known, &unread);
    if let Some(driver) = at.get("driver")
        && let Some(word) = driver.text(notes)
        && !matches!(word, "bridge" | "default")
    {
        driver.flaw(notes, Error::new(format!("unknown driver '{}': known is bridge", word.escape_debug())));
    }
    let (external, name) = external(at, notes);
    let mut network = Network {
        name,
        external,
        internal: at.get("internal").and_then(|at| at.boolean(notes)).unwrap_or(false),
        labels: at.get("labels").map(|at| service::labels(&at, notes)).unwrap_or_default(),
        ..Network::default()
    };
    if let Some(ipam) = at.get("ipam") {
        ipam.check_keys(
            notes,
            &["config"],
            &[("driver", Unread::Silent), ("options", Unread::Ignored("there are none"))],
        );
        for config in ipam.get("config").map(|at| at.items(notes)).unwrap_or_default() {
            subnet(&mut network, &config, notes);
        }
    }
    let wants_ipv6 = at.get("enable_ipv6").filter(|at| at.boolean(notes) == Some(true));
    if let Some(at) = wants_ipv6
        && network.ipv6.is_none()
    {
        at.flaw(
            notes,
            Error::new("kraft chooses no IPv6 subnet").with_hint("`ipam: {config: [{subnet: ...}]}` says which"),
        );
    }
    network
}

fn subnet(network: &mut Network, at: &At<'_>, notes: &mut Notes) {
    let unread = [
        ("ip_range", Unread::Refused("a network's addresses are those of its subnet")),
        ("aux_addresses", Unread::Refused("a network's addresses are those of its subnet")),
    ];
    at.check_keys(notes, &["subnet", "gateway"], &unread);
    let Some(given) = at.get("subnet") else {
        at.flaw(notes, Error::new("it has no subnet"));
        return;
    };
    let no_subnet = |text: &str| Error::new(format!("'{}' is not ADDRESS/PREFIX", text.escape_debug()));
    let Some(net) = given.read(notes, |text| text.parse::<IpNet>().map_err(|_| no_subnet(text))) else { return };
    let gateway = at.get("gateway").map(|at| {
        at.read(notes, |text| {
            let ip = text.parse::<IpAddr>().ok().filter(|ip| net.contains(ip));
            ip.ok_or_else(|| Error::new(format!("'{}' is no address in {net}", text.escape_debug())))
        })
    });
    let gateway = match gateway {
        Some(None) => return,
        Some(Some(ip)) => Some(ip),
        None => net.hosts().next(),
    };
    match (net, gateway) {
        (IpNet::V4(net), Some(IpAddr::V4(ip))) if network.ipv4.is_none() => {
            network.ipv4 = Ipv4Net::new(ip, net.prefix_len()).ok();
        }
        (IpNet::V6(net), Some(IpAddr::V6(ip))) if network.ipv6.is_none() => {
            network.ipv6 = Ipv6Net::new(ip, net.prefix_len()).ok();
        }
        _ => at.flaw(notes, Error::new("a network has at most one subnet of a family")),
    }
}

fn volume(at: &At<'_>, notes: &mut Notes) -> Volume {
    if at.node.is_null() {
        return Volume::default();
    }
    let refused = ("driver_opts", Unread::Refused("volumes have no such options"));
    at.check_keys(notes, &["name", "external", "driver", "labels"], &[refused]);
    let (external, name) = external(at, notes);
    let driver = at.get("driver").and_then(|at| {
        at.read(notes, |word| match word {
            "local" | "default" => Ok(None),
            // As upstream calls it.
            "9pfs" => Ok(Some(ShareDriver::NineP)),
            word => word.parse().map(Some),
        })
    });
    let labels = at.get("labels").map(|at| service::labels(&at, notes)).unwrap_or_default();
    Volume { name, external, driver: driver.flatten(), labels }
}

fn secret(at: &At<'_>, notes: &mut Notes) -> Secret {
    let refused = Unread::Refused("a secret is a file, or one that systemd has");
    at.check_keys(notes, &["file", "external", "name"], &[("environment", refused), ("labels", Unread::Silent)]);
    let (external, name) = external(at, notes);
    let file = at.get("file").and_then(|at| at.text(notes)).map(Into::into);
    if file.is_none() && !external && at.get("environment").is_none() {
        at.flaw(notes, Error::new("it has no file").with_hint("`external: true` is one that systemd has"));
    }
    Secret { file, name }
}

/// Every name is one that is there.
fn cross_check(file: &File, notes: &mut Notes) {
    let known = |service: &str| file.services.iter().find(|known| known.name == service);
    for service in &file.services {
        let key = |of: &str| format!("services.{}.{of}", service.name);
        for link in service.networks.iter().flatten() {
            if link.network != "default" && !file.networks.contains_key(&link.network) {
                let why = format!("there is no network '{}' in the file", link.network.escape_debug());
                notes.flaw(&link.place, &key("networks"), Error::new(why));
            }
        }
        for share in &service.volumes {
            if let ShareSource::Volume(name, _) = &share.source
                && !file.volumes.contains_key(name)
            {
                let error = Error::new(format!("there is no volume '{}' in the file", name.escape_debug()));
                let hint = format!("a directory is './{}'; `volumes: {{{}: }}` names a volume", name, name);
                notes.flaw(&share.place, &key("volumes"), error.with_hint(hint));
            }
        }
        for secret in &service.secrets {
            if !file.secrets.contains_key(&secret.source) {
                let why = format!("there is no secret '{}' in the file", secret.source.escape_debug());
                notes.flaw(&secret.place, &key("secrets"), Error::new(why));
            }
        }
        for dependency in &service.depends_on {
            let place = &dependency.place;
            let name = dependency.service.escape_debug();
            match known(&dependency.service) {
                None => {
                    let why = format!("there is no service '{name}' in the file");
                    if dependency.required {
                        notes.flaw(place, &key("depends_on"), Error::new(why));
                    } else {
                        notes.warn(place, &key("depends_on"), &why);
                    }
                }
                Some(other) if other.name == service.name => {
                    notes.flaw(place, &key("depends_on"), Error::new("a service cannot depend on itself"));
                }
                Some(other) if dependency.condition == Condition::Healthy && !can_be_healthy(other) => {
                    let why = format!("{name} has no probe, so it is never known to be healthy");
                    let hint = format!("`x-kraft: {{health: \"tcp:PORT\"}}` in {name} is one");
                    notes.flaw(place, &key("depends_on"), Error::new(why).with_hint(hint));
                }
                Some(_) => {}
            }
        }
    }
    if let Some((service, around)) = super::order::cycle(&file.services) {
        let why = format!("services depend on each other in a circle: {}", around.join(" -> "));
        notes.flaw(&service.place, &format!("services.{}.depends_on", service.name), Error::new(why));
    }
}

fn can_be_healthy(service: &Service) -> bool {
    service.health.is_some() || service.own.ready.as_ref().is_some_and(|ready| !ready.is_guest())
}
