//! What a machine is attached to, each a text as the command line has it, or a table: ports, volumes, networks,
//! secrets.

use std::net::IpAddr;
use std::path::Path;

use toml::Value;
use toml::de::DeValue;

use super::parse::in_order;
use super::value::{Around, Read, Setting, Written, escaped, expected, flaw, list, parsed, plain, some_list, text};
use crate::error::Error;
use crate::machine::{MountRequest, MountSource, NetworkRequest, Port, SecretRequest};

impl Setting for Vec<Port> {
    fn read(value: &Written<'_>, around: &Around<'_>) -> Read<Self> {
        let read = |value: &Written<'_>| {
            let typed = text(value, around, "a text, such as \"8080:80\"")?;
            Port::parse(&typed).map_err(|error| flaw(value, error))
        };
        Ok(list(value, "a list of texts, such as [\"8080:80\"]", read)?.concat())
    }

    fn write(&self) -> Option<Value> {
        some_list(self, |port| Value::String(port.to_string()))
    }
}

impl Setting for Vec<SecretRequest> {
    fn read(value: &Written<'_>, around: &Around<'_>) -> Read<Self> {
        list(value, "a list of texts, such as [\"db=db.cred\"]", |value| {
            let mut request: SecretRequest = parsed(value, around, "a text, such as \"db=db.cred\"")?;
            if let Some(source) = &mut request.source {
                *source = plain(&around.base.join(&*source));
            }
            Ok(request)
        })
    }

    fn write(&self) -> Option<Value> {
        some_list(self, |request| escaped(&request.to_string()))
    }
}

impl Setting for Vec<MountRequest> {
    fn read(value: &Written<'_>, around: &Around<'_>) -> Read<Self> {
        list(value, "a list of texts, such as [\"html:/www:ro\"]", |value| {
            let mut request = match value.get_ref() {
                DeValue::Table(_) => mount_of_table(value, around)?,
                _ => parsed(value, around, "a text, such as \"html:/www:ro\"")?,
            };
            if let MountSource::Path(path) = &mut request.source {
                *path = plain(&around.base.join(&*path));
            }
            Ok(request)
        })
    }

    fn write(&self) -> Option<Value> {
        some_list(self, |request| {
            let text = request.to_string();
            // A path with a colon has no short form.
            if text.parse::<MountRequest>().is_ok_and(|read| read == *request) {
                return escaped(&text);
            }
            let mut table = toml::Table::new();
            let source = match &request.source {
                MountSource::Path(path) => path.to_string_lossy().into_owned(),
                MountSource::Volume(name, below) => Path::new(name.as_str()).join(below).to_string_lossy().into_owned(),
            };
            table.insert("source".into(), escaped(&source));
            table.insert("target".into(), escaped(&request.target));
            if request.read_only {
                table.insert("read-only".into(), Value::Boolean(true));
            }
            if let Some(driver) = request.driver {
                table.insert("driver".into(), Value::String(driver.to_string()));
            }
            Value::Table(table)
        })
    }
}

fn mount_of_table(value: &Written<'_>, around: &Around<'_>) -> Read<MountRequest> {
    let mut fields = Fields::of(value, "volume", &["source", "target", "read-only", "driver"])?;
    let source = fields.need("source", |value| text(value, around, "a text, a path or a volume"))?;
    let target = fields.need("target", |value| text(value, around, "a text, a path in the guest"))?;
    let bad = |error| flaw(value, error);
    Ok(MountRequest {
        source: source.parse().map_err(bad)?,
        target: MountRequest::target(&target).map_err(bad)?,
        read_only: fields.take("read-only", |value| bool::read(value, around))?.unwrap_or(false),
        driver: fields.take("driver", |value| parsed(value, around, "a text, such as \"9p\""))?,
    })
}

impl Setting for Vec<NetworkRequest> {
    fn read(value: &Written<'_>, around: &Around<'_>) -> Read<Self> {
        list(value, "a list of texts, such as [\"front\"]", |value| match value.get_ref() {
            DeValue::Table(_) => network_of_table(value, around),
            _ => parsed(value, around, "a text, such as \"front\""),
        })
    }

    fn write(&self) -> Option<Value> {
        some_list(self, |request| {
            let bare = NetworkRequest { name: request.name.clone(), bridge: request.bridge, ..Default::default() };
            if bare == *request {
                return escaped(&format!("{}{}", if request.bridge { "bridge:" } else { "" }, request.name));
            }
            let mut table = toml::Table::new();
            table.insert(if request.bridge { "bridge" } else { "name" }.into(), escaped(&request.name));
            let several = |texts: Vec<String>| match <[String; 1]>::try_from(texts) {
                Ok([one]) => Some(Value::String(one)),
                Err(texts) => some_list(&texts, |text| Value::String(text.clone())),
            };
            let ip = |(ip, prefix): &(IpAddr, Option<u8>)| match prefix {
                Some(prefix) => format!("{ip}/{prefix}"),
                None => ip.to_string(),
            };
            let texts = |ips: &[IpAddr]| ips.iter().map(ToString::to_string).collect();
            let parts = [
                ("ip", several(request.addresses.iter().map(ip).collect())),
                ("mac", request.mac.map(|mac| Value::String(mac.to_string()))),
                ("gateway", several(texts(&request.gateways))),
                ("dns", several(texts(&request.dns))),
                ("host", request.host.as_deref().map(escaped)),
                ("domain", request.domain.as_deref().map(escaped)),
                ("aliases", some_list(&request.aliases, |alias| escaped(alias))),
            ];
            table.extend(parts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
            Value::Table(table)
        })
    }
}

fn network_of_table(value: &Written<'_>, around: &Around<'_>) -> Read<NetworkRequest> {
    let known = ["name", "bridge", "ip", "mac", "gateway", "dns", "host", "domain", "aliases"];
    let mut fields = Fields::of(value, "network", &known)?;
    let bridge = fields.take("bridge", |value| text(value, around, "a text, a bridge's name"))?;
    let named = match &bridge {
        Some(bridge) => format!("bridge:{bridge}"),
        None => fields.need("name", |value| text(value, around, "a text, a network's name"))?,
    };
    let mut request: NetworkRequest = named.parse().map_err(|error| flaw(value, error))?;
    let several = |what: &'static str| {
        move |value: &Written<'_>| match value.get_ref() {
            DeValue::Array(_) => list(value, what, |value| text(value, around, what)),
            _ => Ok(vec![text(value, around, what)?]),
        }
    };
    let bad = |error| flaw(value, error);
    for ip in fields.take("ip", several("a text, an IP address"))?.unwrap_or_default() {
        request.addresses.push(NetworkRequest::address(&ip).map_err(bad)?);
    }
    for (key, most, into) in [("gateway", 2, &mut request.gateways), ("dns", 2, &mut request.dns)] {
        for ip in fields.take(key, several("a text, an IP address"))?.unwrap_or_default() {
            into.push(
                ip.parse().map_err(|_| bad(Error::new(format!("'{}' is not an IP address", ip.escape_debug()))))?,
            );
        }
        if into.len() > most {
            return Err(bad(Error::new(format!("a network has at most {most} values for {key}"))));
        }
    }
    let same = |ips: &[IpAddr]| matches!(ips, [one, two] if one.is_ipv4() == two.is_ipv4());
    let addresses: Vec<IpAddr> = request.addresses.iter().map(|(ip, _)| *ip).collect();
    if same(&addresses) || addresses.len() > 2 || same(&request.gateways) {
        return Err(bad(Error::new("a network has at most one address and one gateway of a family")));
    }
    request.mac = fields.take("mac", |value| parsed(value, around, "a text, a MAC address"))?;
    let name = |value: &Written<'_>| {
        let typed = text(value, around, "a text, a name")?;
        NetworkRequest::host_name(&typed).map_err(|error| flaw(value, error))
    };
    request.host = fields.take("host", name)?;
    request.domain = fields.take("domain", name)?;
    let names = |value: &Written<'_>| list(value, "a list of names", name);
    request.aliases = fields.take("aliases", names)?.unwrap_or_default();
    Ok(request)
}

/// The fields of a table whose keys are known.
struct Fields<'a> {
    of: &'a Written<'a>,
    what: &'static str,
}

impl<'a> Fields<'a> {
    fn of(value: &'a Written<'a>, what: &'static str, known: &[&str]) -> Read<Self> {
        let table = value.get_ref().as_table().ok_or_else(|| expected(value, "a table"))?;
        match in_order(table).into_iter().find(|(key, _)| !known.contains(&key.get_ref().as_ref())) {
            Some((key, _)) => {
                let unknown = key.get_ref().escape_debug();
                let why = format!("unknown key '{unknown}' of a {what}: known are {}", known.join(", "));
                Err(flaw(key, Error::new(why)))
            }
            None => Ok(Self { of: value, what }),
        }
    }

    fn take<T>(&mut self, key: &str, read: impl FnOnce(&Written<'_>) -> Read<T>) -> Read<Option<T>> {
        self.of.get_ref().get(key).map(read).transpose()
    }

    fn need<T>(&mut self, key: &str, read: impl FnOnce(&Written<'_>) -> Read<T>) -> Read<T> {
        let what = self.what;
        self.take(key, read)?.ok_or_else(|| flaw(self.of, Error::new(format!("a {what} has no {key}"))))
    }
}
