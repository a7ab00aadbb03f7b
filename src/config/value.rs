//! A TOML value as a setting's type, and back; `attached.rs` has what is a list of tables.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use toml::de::DeValue;
use toml::{Spanned, Value};

use super::parse::in_order;
use super::specifier::Specifiers;
use crate::error::Error;
use crate::machine::limits::{Cap, Count, CpuQuota, CpuSet, DeviceRate, Weight};
use crate::machine::{
    Accel, Arch, Bytes, Compression, Dialect, HealthAction, MachineType, Machined, Platform, Probe, Ready,
    RestartPolicy, Sandbox, parse_duration,
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

pub(super) fn expected(value: &Written<'_>, what: &str) -> Flaw {
    let article = if value.get_ref().type_str().starts_with(['a', 'i']) { "an" } else { "a" };
    flaw(value, Error::new(format!("expected {what}, found {article} {}", value.get_ref().type_str())))
}

pub(super) fn text(value: &Written<'_>, around: &Around<'_>, what: &str) -> Read<String> {
    let text = value.get_ref().as_str().ok_or_else(|| expected(value, what))?;
    around.specifiers.resolve(text).map_err(|error| flaw(value, error))
}

pub(super) fn parsed<T: FromStr<Err = Error>>(value: &Written<'_>, around: &Around<'_>, what: &str) -> Read<T> {
    text(value, around, what)?.parse().map_err(|error| flaw(value, error))
}

fn integer(value: &Written<'_>, what: &str) -> Read<Option<u64>> {
    let Some(integer) = value.get_ref().as_integer() else { return Ok(None) };
    let number = u64::from_str_radix(integer.as_str(), integer.radix());
    number.map(Some).map_err(|_| flaw(value, Error::new(format!("expected {what}, found {integer}"))))
}

pub(super) fn list<T>(value: &Written<'_>, what: &str, mut read: impl FnMut(&Written<'_>) -> Read<T>) -> Read<Vec<T>> {
    let list = value.get_ref().as_array().ok_or_else(|| expected(value, what))?;
    list.iter().map(&mut read).collect()
}

pub(super) fn some_list<T>(list: &[T], write: impl Fn(&T) -> Value) -> Option<Value> {
    (!list.is_empty()).then(|| Value::Array(list.iter().map(write).collect()))
}

pub(super) fn escaped(text: &str) -> Value {
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
    Sandbox, "a text, such as \"strict\"";
    Platform, "a text, such as \"qemu\"";
    RestartPolicy, "a text, such as \"on-failure:3\"";
    Cap<Bytes>, "a text, such as \"512Mi\"";
    Cap<Count>, "a text, such as \"64\"";
    CpuSet, "a text, such as \"0-1,3\"";
    Weight, "a text, such as \"200\"";
    HealthAction, "a text, such as \"restart\"";
    Machined, "a text, such as \"no\"";
    Probe, "a text, such as \"http:80/health\"";
}

impl Setting for Cap<CpuQuota> {
    /// A per cent sign is one here.
    fn read(value: &Written<'_>, _: &Around<'_>) -> Read<Self> {
        let typed = value.get_ref().as_str().ok_or_else(|| expected(value, "a text, such as \"150%\""))?;
        typed.parse().map_err(|error| flaw(value, error))
    }

    fn write(&self) -> Option<Value> {
        Some(Value::String(self.to_string()))
    }
}

impl Setting for Ready {
    fn read(value: &Written<'_>, around: &Around<'_>) -> Read<Self> {
        parsed(value, around, "a text, such as \"http:80/\"")
    }

    fn write(&self) -> Option<Value> {
        Some(escaped(&self.to_string()))
    }
}

macro_rules! lists {
    ($($type:ty, $what:literal;)+) => { $(
        impl Setting for Vec<$type> {
            fn read(value: &Written<'_>, around: &Around<'_>) -> Read<Self> {
                list(value, concat!("a list of texts, such as [", $what, "]"), |value| {
                    parsed(value, around, concat!("a text, such as ", $what))
                })
            }

            fn write(&self) -> Option<Value> {
                some_list(self, |one| escaped(&one.to_string()))
            }
        }
    )+ };
}

lists! {
    DeviceRate<Bytes>, "\"/dev/sda:10M\"";
    DeviceRate<Count>, "\"/dev/sda:100\"";
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
pub(super) fn plain(path: &Path) -> PathBuf {
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
