//! How results are shown: lines, tables, JSON, YAML; and in what words times and sizes are told.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use comfy_table::{ContentArrangement, Row, Table, presets};
use jiff::Timestamp;
use serde::Serialize;

use super::Outcome;
use crate::error::{Error, IntoError as _, Result};

/// The form of what comes line by line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Form {
    /// For people.
    Text,
    /// JSON, typed and stable.
    Json,
}

/// The form of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Columns for people.
    Table,
    /// JSON, typed and stable.
    Json,
    /// YAML of the same.
    Yaml,
}

/// Whether anybody still reads standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// As far as we know.
    There,
    /// It has had enough: `kraft logs -f web | head`.
    Gone,
}

/// Writes text to standard output, for verbs that do as much whether it is read or not.
pub(crate) fn write(text: &str) -> Result<()> {
    offer(text).map(drop)
}

/// Writes text to standard output, for verbs that end when nobody reads it any more.
pub(crate) fn offer(text: &str) -> Result<Reader> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Reader::There),
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(e) => Err(e.into_error().context("cannot write to standard output")),
    }
}

/// Writes one line.
pub(crate) fn line(text: impl std::fmt::Display) -> Result<()> {
    write(&format!("{text}\n"))
}

/// Says something on the side, to people only.
pub(crate) fn note(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// A table as all listings have it: columns with two spaces between them, never cut.
pub(crate) fn table(header: impl Into<Row>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
    table
}

/// Its lines.
pub(crate) fn rows(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Writes a value as JSON or YAML.
pub(crate) fn value(format: Format, value: &impl Serialize) -> Result<()> {
    match format {
        Format::Json | Format::Table => {
            let text = serde_json::to_string_pretty(value).map_err(|e| Error::new(e.to_string()))?;
            line(text)
        }
        Format::Yaml => write(&serde_norway::to_string(value).map_err(|e| Error::new(e.to_string()))?),
    }
}

/// A verb that did what it was asked.
pub(crate) fn done(result: Result<()>) -> Outcome {
    result.map(|()| ExitCode::SUCCESS).map_err(|error| vec![error])
}

/// Whether to use colour on standard output.
pub(crate) fn colour() -> bool {
    let set = |name| crate::paths::environment_variable(name).is_some_and(|value| !value.is_empty());
    !set("NO_COLOR") && std::io::stdout().is_terminal()
}

/// How long ago, in one unit: `4 seconds ago`.
pub(crate) fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs();
    if seconds < 1 {
        return "just now".into();
    }
    let (count, unit) = [(86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")]
        .into_iter()
        .find(|(length, _)| seconds >= *length)
        .map_or((seconds, "second"), |(length, unit)| (seconds / length, unit));
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

/// At most so many characters, an ellipsis for the rest.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::ToSpan as _;

    #[test]
    fn times_for_people() {
        let then = Timestamp::UNIX_EPOCH;
        for (span, text) in [
            (0.seconds(), "just now"),
            (1.second(), "1 second ago"),
            (59.seconds(), "59 seconds ago"),
            (60.seconds(), "1 minute ago"),
            (7200.seconds(), "2 hours ago"),
            (200.hours(), "8 days ago"),
        ] {
            assert_eq!(ago(then, then + span), text);
        }
    }

    #[test]
    fn shortening_counts_characters() {
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("äöüß", 3), "äö…");
    }
}
