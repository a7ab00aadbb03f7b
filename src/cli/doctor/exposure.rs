//! How far each machine's unit confines it, by systemd's own measure: 0 is safe, 10 is not confined at all.

use std::path::Path;

use super::Check;
use crate::cli::app::App;
use crate::machine::{Manager, Record, Sandbox};
use crate::paths::{Scope, find_program};
use crate::process;

/// One check for each machine that has a unit which is to confine it.
pub(super) fn exposures(app: &App) -> Vec<Check> {
    if app.scope == Scope::User {
        return Vec::new();
    }
    let Some(program) = find_program(Path::new("systemd-analyze")) else { return Vec::new() };
    let records = app.store.names().unwrap_or_default().into_iter().filter_map(|name| app.store.read(&name).ok());
    let ours = records.filter(|record| record.manager == Manager::Systemd && record.spec.sandbox != Sandbox::Off);
    let ours: Vec<Record> = ours.collect();
    if ours.is_empty() {
        return Vec::new();
    }
    let mut command = process::command(&program);
    command.args(["security", "--no-pager"]).args(ours.iter().map(unit));
    // A machine that was removed meanwhile makes it fail, and has no score.
    let Ok(output) = command.output() else { return Vec::new() };
    let text = String::from_utf8_lossy(&output.stdout);
    let scored = ours.iter().filter_map(|record| Some((record, score(&text, &unit(record))?)));
    scored.map(|(record, score)| check(record, score)).collect()
}

fn unit(record: &Record) -> String {
    format!("kraft-{}.service", record.spec.name)
}

fn check(record: &Record, score: f64) -> Check {
    let (name, profile) = (&record.spec.name, record.spec.sandbox);
    let text = format!("{name}: exposure {score} of 10 ({profile})");
    match profile {
        Sandbox::Strict if score > WANTED => {
            let cure = format!("look at what is set by `--property`: `systemd-analyze security kraft-{name}`");
            Check::warn("sandbox", text, cure)
        }
        Sandbox::Strict | Sandbox::Compatible | Sandbox::Off => Check::ok("sandbox", text),
    }
}

/// The most that the strict profile has.
const WANTED: f64 = 2.0;

/// The number in a unit's line of `systemd-analyze security`.
fn score(text: &str, unit: &str) -> Option<f64> {
    let behind = |line: &str| line.split_once(&format!(" {unit}: "))?.1.split(' ').next()?.parse().ok();
    text.lines().find_map(behind)
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_unit_has_its_line() {
        let text = "  NAME  DESCRIPTION\n\n→ Overall exposure level for kraft-a.service: 9.2 UNSAFE 😨\n\
                    → Overall exposure level for kraft-web.service: 0.2 SAFE 😀\n";
        assert_eq!(super::score(text, "kraft-web.service"), Some(0.2));
        assert_eq!(super::score(text, "kraft-b.service"), None);
    }
}
