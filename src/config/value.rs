//! A TOML value as a setting's type, and back.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use toml::de::DeValue;
use toml::{Spanned, Value};

use super::parse::in_order;
use super::specifier::Specifiers;
use crate::error::Error;
use crate::machine::{
    Accel, Arch, Bytes, Compression, Dialect, MachineType, MountRequest, MountSource, NetworkRequest, Platform, Port,
    RestartPolicy, parse_duration,
};

/// What is wrong, and where in the text.
#[derive(Debug)]
pub(super) struct Flaw {
    pub(super) span: Range<usize>,
    pub(super) error: Error,
}

/// What a value depends on besides itself.
#[derive(Debug)]
pub(super) struct Around<'a> {
    /// What relative paths are relative to.
    pub(super) base: &'a Path,
    pub(super) specifiers: &'a Specifiers,
}

pub(super) type Written<'i> = Spanned<DeValue<'i>>;
pub(super) type Read<T> = Result<T, Flaw>;

/// A type that a setting can have.
pub(super) trait Setting: Sized {
    /// What a value says.
    fn read(value: &Written<'_>, around: &Around<'_>) -> Read<Self>;

    /// The value that says this; nothing if nothing need be said.
    fn write(&self) -> Option<Value>;

    /// Takes what another file says later.
    fn overlay(&mut self, later: Self) {
        *self = later;
    }
}

pub(super) fn flaw<T>(value: &Spanned<T>, error: Error) -> Flaw {
    Flaw { span: value.span(), error }
}

fn expected(value: &Written<'_>, what: &str) -> Flaw {
    let article = if value.get_ref().type_str().starts_with(['a', 'i']) { "an" } else { "a" };
    flaw(value, Error::new(format!("expected {what}, found {article} {}", value.get_ref().type_str())))
}

fn text(value: &Written<'_>, around: &Around<'_>, what: &str) -> Read<String> {
    let text = value.get_ref().as_str().ok_or_else(|| expected(value, what))?;
    around.specifiers.resolve(text).map_err(|error| flaw(value, error))
}

fn parsed<T: FromStr<Err = Error>>(value: &Written<'_>, around: &Around<'_>, what: &str) -> Read<T> {
    text(value, around, what)?.parse().map_err(|error| flaw(value, error))
}

fn integer(value: &Written<'_>, what: &str) -> Read<Option<u64>> {
    let Some(integer) = value.get_ref().as_integer() else { return Ok(None) };
    let number = u64::from_str_radix(integer.as_str(), integer.radix());
    number.map(Some).map_err(|_| flaw(value, Error::new(format!("expected {what}, found {integer}"))))
}

fn list<T>(value: &Written<'_>, what: &str, mut read: impl FnMut(&Written<'_>) -> Read<T>) -> Read<Vec<T>> {
    let list = value.get_ref().as_array().ok_or_else(|| expected(value, what))?;
    list.iter().map(&mut read).collect()
}

fn some_list<T>(list: &[T], write: impl Fn(&T) -> Value) -> Option<Value> {
    (!list.is_empty()).then(|| Value::Array(list.iter().map(write).collect()))
}

fn escaped(text: &str) -> Value {
    Value::String(Specifiers::escape(text))
}

macro_rules! words {
    ($($type:ty, $what:literal;)+) => { $(
        impl Setting for $type {
            fn read(value: &Written<'_>, around: &Around<'_>) -> Read<Self> {
                parsed(value, around, $what)
            }

            fn write(&self) -> Option<Value> {
                Some(Value::String(self.to_string()))
            }
        }
    )+ };
}

words! {
    Accel, "a text, such as \"kvm\"";
    Arch, "a text, such as \"x86_64\"";
    Compression, "a text, such as \"zstd\"";
    Dialect, "a text, such as \"linux\"";
    MachineType, "a text, such as \"q35\"";
    Platform, "a text, such as \"qemu\"";
    RestartPolicy, "a text, such as \"on-failure:3\"";
}

impl Setting for String {
    fn read(value: &Written<'_>, around: &Around<'_>) -> Read<Self> {
        text(value, around, "a text")
    }

    fn write(&self) -> Option<Value> {
        Some(escaped(self))
    }
}

impl Setting for bool {
    fn read(value: &Written<'_>, _: &Around<'_>) -> Read<Self> {
        value.get_ref().as_bool().ok_or_else(|| expected(value, "true or false"))
    }

    fn write(&self) -> Option<Value> {
        Some(Value::Boolean(*self))
    }
}

impl Setting for u32 {
    fn read(value: &Written<'_>, _: &Around<'_>) -> Read<Self> {
        let number = integer(value, "a number")?.ok_or_else(|| expected(value, "a number"))?;
        Self::try_from(number).map_err(|_| flaw(value, Error::new(format!("{number} is too large"))))
    }

    fn write(&self) -> Option<Value> {
        Some(Value::Integer(i64::from(*self)))
    }
}

impl Setting for Bytes {
    fn read(value: &Written<'_>, around: &Around<'_>) -> Read<Self> {
        let what = "a text, such as \"64Mi\", or a number of bytes";
        integer(value, what)?.map_or_else(|| parsed(value, around, what), |bytes| Ok(Self(bytes)))
    }

    fn write(&self) -> Option<Value> {
        Some(Value::String(self.to_string()))
    }
}

impl Setting for Duration {
    fn read(value: &Written<'_>, around: &Around<'_>) -> Read<Self> {
        let what = "a text, such as \"10s\", or a number of seconds";
        let typed = match (integer(value, what)?, value.get_ref().as_float()) {
            (Some(seconds), _) => seconds.to_string(),
            (None, Some(seconds)) => seconds.as_str().to_owned(),
            (None, None) => text(value, around, what)?,
        };
        parse_duration(&typed).map_err(|error| flaw(value, error))
    }

    fn write(&self) -> Option<Value> {
        Some(Value::String(match self.as_micros() {
            micros if micros % 1_000_000 == 0 => format!("{}s", micros / 1_000_000),
            micros if micros % 1000 == 0 => format!("{}ms", micros / 1000),
            micros => format!("{micros}us"),
        }))
    }
}

impl Setting for PathBuf {
    fn read(value: &Written<'_>, around: &Around<'_>) -> Read<Self> {
        let path = text(value, around, "a text, a path")?;
        if path.is_empty() || path.contains('\0') {
            return Err(flaw(value, Error::new(format!("bad path '{}'", path.escape_debug()))));
        }
        Ok(plain(&around.base.join(path)))
    }

    fn write(&self) -> Option<Value> {
        Some(escaped(&self.to_string_lossy()))
    }
}

/// A path without `.`, as a person would write it.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|component| *component != std::path::Component::CurDir).collect()
}

impl Setting for Vec<String> {
    fn read(value: &Written<'_>, around: &Around<'_>) -> Read<Self> {
        list(value, "a list of texts", |value| text(value, around, "a text"))
    }

    fn write(&self) -> Option<Value> {
        some_list(self, |text| escaped(text))
    }
}

/// A text for each key. Later files add to it and replace single keys.
impl Setting for BTreeMap<String, String> {
    fn read(value: &Written<'_>, around: &Around<'_>) -> Read<Self> {
        let table = value.get_ref().as_table().ok_or_else(|| expected(value, "a table"))?;
        let entries = in_order(table).into_iter();
        let resolve = |text: &str| around.specifiers.resolve(text);
        entries.map(|(key, value)| Ok((key.get_ref().to_string(), scalar(value, resolve)?))).collect()
    }

    fn write(&self) -> Option<Value> {
        let write = |(key, text): (&String, &String)| (key.clone(), escaped(text));
        (!self.is_empty()).then(|| Value::Table(self.iter().map(write).collect()))
    }

    fn overlay(&mut self, later: Self) {
        self.extend(later);
    }
}

/// What can stand for a text in a table of texts.
fn scalar(value: &Written<'_>, resolve: impl Fn(&str) -> crate::error::Result<String>) -> Read<String> {
    match value.get_ref() {
        DeValue::String(text) => resolve(text).map_err(|error| flaw(value, error)),
        DeValue::Integer(number) => Ok(number.to_string()),
        DeValue::Float(number) => Ok(number.to_string()),
        DeValue::Boolean(yes) => Ok(if *yes { "yes" } else { "no" }.to_owned()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => Err(expected(value, "a text")),
    }
}

/// Directives of a unit file's section, each as often as it is given. systemd resolves the specifiers in them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directives(pub BTreeMap<String, Vec<String>>);

impl Directives {
    /// Every line there is.
    pub fn lines(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|(key, values)| values.iter().map(move |value| (key.as_str(), value.as_str())))
    }
}

impl Setting for Directives {
    fn read(value: &Written<'_>, _: &Around<'_>) -> Read<Self> {
        let table = value.get_ref().as_table().ok_or_else(|| expected(value, "a table"))?;
        let mut directives = BTreeMap::new();
        for (key, value) in in_order(table) {
            let name = key.get_ref();
            if !name.starts_with(|c: char| c.is_ascii_uppercase()) || !name.chars().all(|c| c.is_ascii_alphanumeric()) {
                let why = format!("'{}' is no directive of a unit: those begin with a capital", name.escape_debug());
                let hint = "settings of the machine stand above the first [table]";
                return Err(flaw(key, Error::new(why).with_hint(hint)));
            }
            let one = |value: &Written<'_>| {
                let text = scalar(value, |text| Ok(text.to_owned()))?;
                if text.contains(['\n', '\0']) {
                    return Err(flaw(value, Error::new(format!("bad {name}: it holds a newline or a NUL"))));
                }
                Ok(text)
            };
            let values = match value.get_ref() {
                DeValue::Array(_) => list(value, "a list of texts", one)?,
                _ => vec![one(value)?],
            };
            directives.insert(name.to_string(), values);
        }
        Ok(Self(directives))
    }

    fn write(&self) -> Option<Value> {
        let write = |(key, values): (&String, &Vec<String>)| {
            let value = match values.as_slice() {
                [one] => Value::String(one.clone()),
                several => Value::Array(several.iter().cloned().map(Value::String).collect()),
            };
            (key.clone(), value)
        };
        (!self.0.is_empty()).then(|| Value::Table(self.0.iter().map(write).collect()))
    }

    fn overlay(&mut self, later: Self) {
        self.0.extend(later.0);
    }
}

/// What systemctl enable reads in a unit file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Install {
    /// The units that want it: it is started with them.
    pub wanted_by: Vec<String>,
    /// The units that require it.
    pub required_by: Vec<String>,
    /// The units that uphold it: it is started whenever it is found stopped while they are active.
    pub upheld_by: Vec<String>,
    /// Other names of its unit.
    pub alias: Vec<String>,
}

impl Setting for Install {
    fn read(value: &Written<'_>, around: &Around<'_>) -> Read<Self> {
        let table = value.get_ref().as_table().ok_or_else(|| expected(value, "a table"))?;
        let mut install = Self::default();
        for (key, value) in in_order(table) {
            let place = match key.get_ref().as_ref() {
                "wanted-by" | "WantedBy" => &mut install.wanted_by,
                "required-by" | "RequiredBy" => &mut install.required_by,
                "upheld-by" | "UpheldBy" => &mut install.upheld_by,
                "alias" | "Alias" => &mut install.alias,
                other => {
                    let known = "known are wanted-by, required-by, upheld-by, alias";
                    let why = format!("unknown key '{}' in [install]: {known}", other.escape_debug());
                    return Err(flaw(key, Error::new(why)));
                }
            };
            *place = match value.get_ref() {
                DeValue::String(_) => text(value, around, "a text")?.split_whitespace().map(str::to_owned).collect(),
                _ => Setting::read(value, around)?,
            };
        }
        Ok(install)
    }

    fn write(&self) -> Option<Value> {
        let parts = [
            ("wanted-by", &self.wanted_by),
            ("required-by", &self.required_by),
            ("upheld-by", &self.upheld_by),
            ("alias", &self.alias),
        ];
        let parts = parts.into_iter().filter_map(|(key, units)| Some((key.to_owned(), units.write()?)));
        let table: toml::Table = parts.collect();
        (!table.is_empty()).then_some(Value::Table(table))
    }

    fn overlay(&mut self, later: Self) {
        let Self { wanted_by, required_by, upheld_by, alias } = later;
        for (ours, theirs) in [
            (&mut self.wanted_by, wanted_by),
            (&mut self.required_by, required_by),
            (&mut self.upheld_by, upheld_by),
            (&mut self.alias, alias),
        ] {
            if !theirs.is_empty() {
                *ours = theirs;
            }
        }
    }
}

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
            ];
            table.extend(parts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
            Value::Table(table)
        })
    }
}

fn network_of_table(value: &Written<'_>, around: &Around<'_>) -> Read<NetworkRequest> {
    let known = ["name", "bridge", "ip", "mac", "gateway", "dns", "host", "domain"];
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
