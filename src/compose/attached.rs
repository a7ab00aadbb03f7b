//! What a service is attached to: ports, volumes, networks, secrets, each in its short form and its long one. Pure.

use std::net::IpAddr;
use std::path::PathBuf;

use super::model::{Link, SecretUse, Share, ShareSource};
use super::read::{At, Notes, Unread};
use crate::error::Error;
use crate::machine::{MountRequest, NetworkRequest, Port, ShareDriver};

pub(super) fn ports(at: &At<'_>, notes: &mut Notes) -> Vec<Port> {
    let items = at.items(notes);
    items.iter().filter_map(|item| port(item, notes)).flatten().collect()
}

fn port(at: &At<'_>, notes: &mut Notes) -> Option<Vec<Port>> {
    let no_host =
        || Error::new("it names no port of the host's").with_hint("kraft chooses none: write \"HOST-PORT:PORT\"");
    if !at.is_map() {
        let text = at.text(notes)?;
        if !text.contains(':') {
            at.flaw(notes, no_host());
            return None;
        }
        return at.read(notes, Port::parse);
    }
    let ignored =
        [("mode", Unread::Ignored("there is one host")), ("name", Unread::Silent), ("app_protocol", Unread::Silent)];
    at.check_keys(notes, &["target", "published", "host_ip", "protocol"], &ignored);
    let mut part = |key: &str| at.get(key).and_then(|at| at.text(notes));
    let (target, published) = (part("target"), part("published"));
    let (host_ip, protocol) = (part("host_ip"), part("protocol").unwrap_or("tcp"));
    let Some(target) = target else {
        at.flaw(notes, Error::new("a port has no target"));
        return None;
    };
    let Some(published) = published else {
        at.flaw(notes, no_host());
        return None;
    };
    let ip = host_ip.map(|ip| if ip.contains(':') { format!("[{ip}]:") } else { format!("{ip}:") }).unwrap_or_default();
    let text = format!("{ip}{published}:{target}/{protocol}");
    Port::parse(&text).map_err(|error| at.flaw(notes, error)).ok()
}

pub(super) fn shares(at: &At<'_>, notes: &mut Notes) -> Vec<Share> {
    let mut shares: Vec<Share> = Vec::new();
    for item in at.items(notes) {
        let Some(share) = share(&item, notes) else { continue };
        if shares.iter().any(|other| other.target == share.target) {
            let why = format!("there is another volume at {}", share.target);
            item.flaw(notes, Error::new(why));
        }
        shares.push(share);
    }
    shares
}

fn share(at: &At<'_>, notes: &mut Notes) -> Option<Share> {
    if at.is_map() { long_share(at, notes) } else { short_share(at, notes) }
}

fn short_share(at: &At<'_>, notes: &mut Notes) -> Option<Share> {
    let text = at.text(notes)?;
    let bad = |why: String| Error::new(format!("bad volume '{}': {why}", text.escape_debug()));
    let fields: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match fields[..] {
        [_] => {
            let error = bad("a volume without a name is kept by nobody".into());
            at.flaw(notes, error.with_hint("expected SOURCE:TARGET[:OPTIONS]"));
            return None;
        }
        [source, target] => (source, target, ""),
        [source, target, options] => (source, target, options),
        _ => {
            at.flaw(notes, bad("it has too many colons".into()).with_hint("the long form has source and target apart"));
            return None;
        }
    };
    let (mut read_only, mut driver) = (false, None);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            // What docker does with SELinux and with caches is no guest's affair.
            "rw" | "z" | "Z" | "cached" | "delegated" | "consistent" => {}
            word => match word.parse::<ShareDriver>() {
                Ok(known) => driver = Some(known),
                Err(_) => {
                    let why = format!("unknown option '{}': known are ro, rw, 9p, virtiofs", word.escape_debug());
                    at.flaw(notes, bad(why));
                }
            },
        }
    }
    let target = MountRequest::target(target).map_err(|error| at.flaw(notes, error)).ok()?;
    let source = if source.starts_with(['/', '.', '~']) {
        ShareSource::Path(source.into(), true)
    } else {
        let (name, below) = source.split_once('/').unwrap_or((source, ""));
        ShareSource::Volume(name.to_owned(), below.into())
    };
    Some(Share { place: at.node.place.clone(), source, target, read_only, driver })
}

fn long_share(at: &At<'_>, notes: &mut Notes) -> Option<Share> {
    let known = ["type", "source", "target", "read_only", "bind", "volume", "x-kraft"];
    at.check_keys(notes, &known, &[("consistency", Unread::Silent)]);
    let mut part = |key: &str| at.get(key).and_then(|at| at.text(notes));
    let (kind, source, target) = (part("type"), part("source"), part("target"));
    let read_only = at.get("read_only").and_then(|at| at.boolean(notes)).unwrap_or(false);
    let (Some(source), Some(target)) = (source, target) else {
        at.flaw(notes, Error::new("a volume has a source and a target"));
        return None;
    };
    let target = MountRequest::target(target).map_err(|error| at.flaw(notes, error)).ok()?;
    let source = match kind {
        Some("bind") => {
            let bind = at.get("bind");
            let known = ["create_host_path"];
            let silent = [("propagation", Unread::Silent), ("selinux", Unread::Silent), ("recursive", Unread::Silent)];
            if let Some(bind) = &bind {
                bind.check_keys(notes, &known, &silent);
            }
            let make = bind.and_then(|bind| bind.get("create_host_path")).and_then(|at| at.boolean(notes));
            ShareSource::Path(source.into(), make.unwrap_or(true))
        }
        Some("volume") | None => {
            let volume = at.get("volume");
            if let Some(volume) = &volume {
                volume.check_keys(notes, &["subpath"], &[("nocopy", Unread::Silent), ("labels", Unread::Silent)]);
            }
            let below = volume.and_then(|volume| volume.get("subpath")).and_then(|at| at.text(notes));
            ShareSource::Volume(source.to_owned(), below.unwrap_or_default().into())
        }
        Some(other) => {
            let other = other.escape_debug();
            at.flaw(notes, Error::new(format!("a volume of type '{other}' is not supported: known are bind, volume")));
            return None;
        }
    };
    let driver = at.get("x-kraft").and_then(|own| own.get("driver")).and_then(|at| at.parsed(notes));
    Some(Share { place: at.node.place.clone(), source, target, read_only, driver })
}

/// `networks` and `network_mode`; `None` is the project's own network.
pub(super) fn links(service: &At<'_>, notes: &mut Notes) -> Option<Vec<Link>> {
    let mac = service.get("mac_address").and_then(|at| at.parsed(notes));
    let mut links = match (service.get("networks"), service.get("network_mode")) {
        (Some(_), Some(mode)) => {
            mode.flaw(notes, Error::new("network_mode and networks exclude each other"));
            return None;
        }
        (None, Some(mode)) => match mode.text(notes)? {
            // Ports are forwarded by the VMM, as without any network of `kraft net`.
            "none" | "bridge" => Some(Vec::new()),
            other => {
                let why = format!("'{}' is not supported: known are none, bridge", other.escape_debug());
                mode.flaw(notes, Error::new(why));
                None
            }
        },
        (None, None) => None,
        (Some(at), None) => Some(if at.is_list() { short_links(&at, notes) } else { long_links(&at, notes) }),
    };
    match (&mut links, mac) {
        (Some(links), Some(mac)) if links.len() == 1 => links[0].mac = links[0].mac.or(Some(mac)),
        (_, Some(_)) => {
            let at = service.get("mac_address").unwrap_or(service.clone());
            at.flaw(notes, Error::new("a mac_address is that of a service on one network; write it there"));
        }
        (_, None) => {}
    }
    links
}

fn link(at: &At<'_>, network: &str) -> Link {
    let place = at.node.place.clone();
    Link { place, network: network.to_owned(), addresses: Vec::new(), mac: None, aliases: Vec::new() }
}

fn short_links(at: &At<'_>, notes: &mut Notes) -> Vec<Link> {
    let items = at.items(notes);
    items.iter().filter_map(|item| item.text(notes).map(|name| link(item, name))).collect()
}

fn long_links(at: &At<'_>, notes: &mut Notes) -> Vec<Link> {
    let mut links = Vec::new();
    for (key, at) in at.entries(notes) {
        let mut link = link(&at, &key.text);
        if !at.node.is_null() {
            let unread = [
                ("priority", Unread::Ignored("networks are in the order of the file")),
                ("gw_priority", Unread::Ignored("the first network has the default route")),
                ("interface_name", Unread::Ignored("a guest names its interfaces itself")),
                ("link_local_ips", Unread::Refused("a guest has the addresses of its network")),
                ("driver_opts", Unread::Refused("networks have no such options")),
            ];
            at.check_keys(notes, &["aliases", "ipv4_address", "ipv6_address", "mac_address"], &unread);
            for key in ["ipv4_address", "ipv6_address"] {
                let Some(at) = at.get(key) else { continue };
                let address = at.read(notes, |text| {
                    let ip: Option<IpAddr> = text.parse().ok();
                    let ip = ip.filter(|ip| ip.is_ipv4() == (key == "ipv4_address"));
                    ip.ok_or_else(|| Error::new(format!("'{}' is no such address", text.escape_debug())))
                });
                link.addresses.extend(address);
            }
            link.mac = at.get("mac_address").and_then(|at| at.parsed(notes));
            if let Some(aliases) = at.get("aliases") {
                for alias in aliases.items(notes) {
                    link.aliases.extend(alias.read(notes, NetworkRequest::host_name));
                }
            }
        }
        links.push(link);
    }
    links
}

pub(super) fn dns(at: &At<'_>, notes: &mut Notes) -> Vec<IpAddr> {
    let mut servers = Vec::new();
    for text in at.texts(notes) {
        match text.parse() {
            Ok(ip) => servers.push(ip),
            Err(_) => at.flaw(notes, Error::new(format!("'{}' is not an IP address", text.escape_debug()))),
        }
    }
    if servers.len() > 2 {
        at.flaw(notes, Error::new("a guest has at most two name servers"));
    }
    servers
}

pub(super) fn secrets(at: &At<'_>, notes: &mut Notes) -> Vec<SecretUse> {
    let mut secrets = Vec::new();
    for item in at.items(notes) {
        let place = item.node.place.clone();
        if !item.is_map() {
            if let Some(name) = item.text(notes) {
                secrets.push(SecretUse { place, source: name.to_owned(), target: name.to_owned() });
            }
            continue;
        }
        let who = Unread::Ignored("a guest has no users");
        item.check_keys(notes, &["source", "target"], &[("uid", who), ("gid", who), ("mode", who)]);
        let Some(source) = item.get("source").and_then(|at| at.text(notes)) else {
            item.flaw(notes, Error::new("a secret has no source"));
            continue;
        };
        let target = item.get("target").and_then(|at| at.text(notes)).unwrap_or(source);
        // docker has them at a path, kraft by a name.
        let target = PathBuf::from(target);
        let target = target.file_name().map_or(source.into(), |name| name.to_string_lossy());
        secrets.push(SecretUse { place, source: source.to_owned(), target: target.into_owned() });
    }
    secrets
}
