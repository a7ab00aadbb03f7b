//! Unit properties as people write them, `KEY=VALUE` as in unit files and for `systemd-run --property`, and as the
//! manager takes them: typed, some under another name (`RuntimeMaxSec=5s` is `RuntimeMaxUSec`, 5000000). Pure.
//!
//! A key that is not in the [table](table::kind_of) goes out as text, so that the manager itself judges. Keys that
//! would take the machine's unit apart are refused here.

mod compound;
mod table;
mod value;

use std::time::Duration;

use zbus::Variant;

use crate::error::{Error, Result};

/// One thing that is set in a unit.
#[derive(Debug, PartialEq)]
pub(super) struct Property {
    /// What the bus calls it.
    pub(super) name: String,
    /// Its value.
    pub(super) value: Variant<'static>,
    /// Who wants it.
    pub(super) origin: Origin,
}

/// Who wants a property set, and so what happens when the manager does not know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// A machine is none without it: an error.
    Required,
    /// Left out.
    Optional,
    /// A person, by this key: an error that names the key.
    User(String),
}

#[cfg(test)]
impl Property {
    /// One that we set ourselves.
    pub(super) fn own(name: &str, value: Variant<'static>, origin: Origin) -> Self {
        Self { name: name.to_owned(), value, origin }
    }
}

/// Keys that belong to the machine, and what to do instead.
const OURS: &[(&str, &str)] = &[
    ("Type", "the runner says itself when the guest runs"),
    ("NotifyAccess", "the runner says itself when the guest runs"),
    ("RemainAfterExit", "a machine that ended is down"),
    ("GuessMainPID", "the runner is the main process"),
    ("PIDFile", "the runner is the main process"),
    ("BusName", "the runner is the main process"),
    ("ExecStart", "a machine's command is its runner"),
    ("ExecStartEx", "a machine's command is its runner"),
    ("ExecStop", "the runner stops the guest when it gets SIGTERM"),
    ("ExecStopEx", "the runner stops the guest when it gets SIGTERM"),
    ("ExecStopPost", "it records how the machine ended"),
    ("ExecStopPostEx", "it records how the machine ended"),
    ("KillMode", "the runner stops the guest when it gets SIGTERM"),
    ("Slice", "`--slice` chooses the slice"),
];

/// Reads one `KEY=VALUE`.
///
/// # Errors
/// When it is not of that form, the key is one of ours, or the value is not one for that key.
pub(super) fn parse(typed: &str) -> Result<Vec<Property>> {
    let bad = |why: String| Error::new(format!("bad unit property '{}': {why}", typed.escape_debug()));
    let Some((key, value)) = typed.split_once('=') else { return Err(bad("expected KEY=VALUE".into())) };
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(bad("a key has letters and digits only".into()));
    }
    if value.contains('\0') {
        return Err(bad("it holds a NUL".into()));
    }
    if let Some((_, why)) = OURS.iter().find(|(ours, _)| *ours == key) {
        let error = bad(format!("{key} cannot be changed"));
        return Err(error.with_hint(*why));
    }
    read(key, value, &Origin::User(key.to_owned()))
}

/// What a key of whatever origin and its value are on the bus: mostly one property, sometimes two.
///
/// # Errors
/// When the value is not one for that key.
pub(super) fn read(key: &str, value: &str, origin: &Origin) -> Result<Vec<Property>> {
    let values = value::convert(key, table::kind_of(key), value).map_err(|why| {
        Error::new(format!("bad unit property '{}={}': {why}", key.escape_debug(), value.escape_debug()))
    })?;
    Ok(values.into_iter().map(|(name, value)| Property { name, value, origin: origin.clone() }).collect())
}

/// Checks properties as typed, before anything is done with them.
///
/// # Errors
/// Names the first one that cannot be.
pub fn check_properties(typed: &[String]) -> Result<()> {
    typed.iter().try_for_each(|typed| parse(typed).map(drop))
}

/// Checks a directive of a unit file that is added to a machine's. One with a specifier is what it says only to systemd.
///
/// # Errors
/// When the key is one of ours, or the value is not one for it.
pub fn check_directive(key: &str, value: &str) -> Result<()> {
    if value.contains('%') && !OURS.iter().any(|(ours, _)| *ours == key) {
        return Ok(());
    }
    parse(&format!("{key}={value}")).map(drop)
}

/// Whether a unit file's `%` begins a specifier in this key's value. In an amount it is a per cent sign.
pub(super) fn is_expanded(key: &str) -> bool {
    use table::Kind;
    !matches!(table::kind_of(key), Kind::Size | Kind::Tasks | Kind::CpuQuota | Kind::Fraction)
}

/// The key of a `KEY=VALUE`.
pub(super) fn key_of(typed: &str) -> &str {
    typed.split_once('=').map_or(typed, |(key, _)| key)
}

/// The time that a typed property sets under the name `name`.
pub(super) fn time_of(typed: &str, name: &str) -> Option<Duration> {
    let property = parse(typed).ok()?.into_iter().find(|property| property.name == name)?;
    match property.value {
        Variant::U64(microseconds) => Some(Duration::from_micros(microseconds)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
