//! A machine's units as the text of unit files. Pure.

use std::path::Path;

use super::definition::Definition;
use super::{resolver, unit};
use crate::error::Result;
use crate::machine::Record;
use crate::paths::Paths;

/// Lines that a machine's file adds to its service, as they stand there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extra {
    /// Keys and values for `[Unit]`.
    pub unit: Vec<(String, String)>,
    /// Keys and values for `[Service]`.
    pub own: Vec<(String, String)>,
}

/// The names and the texts of a machine's units: its service, its slice, and what its networks need.
///
/// # Errors
/// When the machine cannot have units.
pub fn unit_texts(record: &Record, extra: &Extra, executable: &Path, paths: &Paths) -> Result<Vec<(String, String)>> {
    let (anchor, service) = unit::units(record, executable, paths)?;
    let resolvers = resolver::units(record, executable, paths)?;
    let text = |unit: &Definition| (unit.name.clone(), unit.to_file());
    let mut texts: Vec<_> = [&service, &anchor].into_iter().chain(&resolvers).map(text).collect();
    let lines =
        |lines: &[(String, String)]| lines.iter().map(|(key, value)| format!("{key}={value}\n")).collect::<String>();
    let (_, service) = &mut texts[0];
    // `[Unit]` comes first, and ends with the empty line in front of the other section.
    if let Some(at) = service.find("\n[Service]") {
        service.insert_str(at, &lines(&extra.unit));
    }
    service.push_str(&lines(&extra.own));
    Ok(texts)
}
