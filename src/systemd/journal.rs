//! The journal's console lines: the arguments for `journalctl`, and what one line of its JSON holds. Pure.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::unit;
use crate::error::{Error, Result};
use crate::machine::{LogLine, LogQuery, Record};
use crate::paths::Scope;

/// What a unit's processes write on their standard streams.
const STDOUT: &str = "_TRANSPORT=stdout";

/// Which of the lines that a query asks for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part<'a> {
    /// All of them.
    All,
    /// The last so many, newest first. Older versions of journalctl take `--lines` with `--since` for the first so many,
    /// but not in this order.
    Last(u64),
    /// Those behind the line that has this cursor.
    Behind(&'a str),
}

/// Whether `journalctl` waits for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AtEnd {
    /// It ends.
    Stop,
    /// It waits.
    Follow,
}

/// A line, and its place in the journal.
#[derive(Debug)]
pub(super) struct Entry {
    /// The line.
    pub(super) line: LogLine,
    /// For [`Part::Behind`].
    pub(super) cursor: String,
}

/// The arguments for the console lines of this very machine. An earlier one of that name has another id; where systemd
/// does not mark lines with it (the user manager), the time of creation tells them apart.
pub(super) fn arguments(record: &Record, scope: Scope, query: &LogQuery, part: Part<'_>, at_end: AtEnd) -> Vec<String> {
    let service = unit::service_name(&record.spec.name);
    let mut arguments: Vec<String> =
        ["--output=json", "--output-fields=MESSAGE", "--all", "--quiet", "--no-pager"].map(str::to_owned).into();
    if at_end == AtEnd::Follow {
        arguments.push("--follow".into());
    }
    match part {
        // Following shows the last ten otherwise.
        Part::All => arguments.push("--lines=all".into()),
        Part::Last(lines) => arguments.extend(["--reverse".to_owned(), format!("--lines={lines}")]),
        Part::Behind(cursor) => arguments.extend(["--lines=all".to_owned(), format!("--after-cursor={cursor}")]),
    }
    let (since, until) = match scope {
        Scope::System => (query.since, query.until),
        Scope::User => (
            Some(query.since.map_or(record.created, |since| since.max(record.created))),
            // What ends before it begins is an error to journalctl; here it is nothing.
            query.until.map(|until| until.max(record.created)),
        ),
    };
    if !matches!(part, Part::Behind(_)) {
        arguments.extend(since.map(|at| format!("--since=@{}", seconds(at))));
    }
    arguments.extend(until.map(|at| format!("--until=@{}", seconds(at))));
    // The console is what the runner's standard output gets; its own words come by the native protocol.
    arguments.push(STDOUT.into());
    match scope {
        Scope::System => {
            arguments.push(format!("_SYSTEMD_UNIT={service}"));
            arguments.push(format!("KRAFT_ID={}", record.id));
        }
        Scope::User => {
            // journald finds the user's unit by looking at the process. One that is gone by then has no unit, and is
            // known by what the unit has it call itself.
            let uid = format!("_UID={}", rustix::process::geteuid().as_raw());
            arguments.extend([format!("_SYSTEMD_USER_UNIT={service}"), uid.clone(), "+".into()]);
            arguments.extend([
                STDOUT.into(),
                format!("SYSLOG_IDENTIFIER={}", unit::identifier(&record.spec.name)),
                uid,
            ]);
        }
    }
    arguments
}

fn seconds(at: Timestamp) -> String {
    let microseconds = at.as_microsecond().max(0);
    format!("{}.{:06}", microseconds / 1_000_000, microseconds % 1_000_000)
}

/// Reads one line of `journalctl --output=json`.
///
/// # Errors
/// When it is not one.
pub(super) fn parse(line: &str) -> Result<Entry> {
    #[derive(Deserialize)]
    struct Fields {
        #[serde(rename = "__CURSOR", default)]
        cursor: String,
        #[serde(rename = "__REALTIME_TIMESTAMP")]
        at: String,
        #[serde(rename = "MESSAGE", default)]
        message: Value,
    }
    let bad = |why: String| Error::new(format!("cannot read a line of the journal: {why}"));
    let entry: Fields = serde_json::from_str(line).map_err(|e| bad(e.to_string()))?;
    let microseconds: i64 = entry.at.parse().map_err(|_| bad(format!("no time: {}", entry.at.escape_debug())))?;
    let at = Timestamp::from_microsecond(microseconds).map_err(|e| bad(e.to_string()))?;
    let text = message(entry.message).ok_or_else(|| bad("its text has no known form".into()))?;
    Ok(Entry { line: LogLine { at, text }, cursor: entry.cursor })
}

/// A field is a string; bytes as numbers if it is not printable; null if it is too long; a list if it is there twice.
fn message(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.into_bytes()),
        Value::Null => Some(Vec::new()),
        Value::Array(items) => {
            let bytes: Option<Vec<u8>> =
                items.iter().map(|item| item.as_u64().and_then(|byte| u8::try_from(byte).ok())).collect();
            bytes.or_else(|| items.into_iter().next_back().and_then(message))
        }
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(message: &str) -> Vec<u8> {
        parse(&format!(r#"{{"__REALTIME_TIMESTAMP":"1700000000000001","__CURSOR":"s=1","MESSAGE":{message}}}"#))
            .unwrap()
            .line
            .text
    }

    #[test]
    fn every_form_of_a_message() {
        assert_eq!(text(r#""hello""#), b"hello");
        assert_eq!(text("null"), b"");
        assert_eq!(text("[27,91,49,109,255]"), b"\x1b[1m\xff");
        assert_eq!(text(r#"["first","second"]"#), b"second");
        assert_eq!(text(r#"["first",[27,65]]"#), b"\x1bA");
        assert_eq!(parse(r#"{"__REALTIME_TIMESTAMP":"5"}"#).unwrap().line.at.as_microsecond(), 5);
        for bad in ["", "{}", r#"{"__REALTIME_TIMESTAMP":"x"}"#, r#"{"__REALTIME_TIMESTAMP":"1","MESSAGE":{}}"#] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_keep_their_microseconds() {
        assert_eq!(seconds(Timestamp::from_microsecond(1_700_000_000_000_001).unwrap()), "1700000000.000001");
    }
}
