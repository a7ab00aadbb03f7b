//! `kraft logs`.

use std::sync::mpsc;
use std::thread;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::Outcome;
use super::app::App;
use super::complete;
use super::output::{self, Form, Reader};
use crate::error::{Error, Result};
use crate::machine::{LogLine, LogQuery, MachineName, Selector, parse_duration};

/// Which lines of a console are shown, and how.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct LineArgs {
    /// Only the last N lines
    #[arg(short = 'n', long, value_name = "N")]
    tail: Option<u64>,

    /// Only from this moment on: a time such as 2026-11-21T08:00:00Z, or how long ago, such as 10min
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,

    /// Only up to this moment
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,

    /// Show when each line was written
    #[arg(short, long)]
    pub(super) timestamps: bool,
}

impl LineArgs {
    pub(super) fn query(self, follow: bool) -> LogQuery {
        LogQuery { follow, tail: self.tail, since: self.since, until: self.until }
    }
}

/// Show what guests wrote on their consoles
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Machines, by name or by four or more first digits of an id
    #[arg(value_name = "MACHINE", required = true, add = complete::machines())]
    machines: Vec<Selector>,

    /// Go on with what comes, across restarts, until Ctrl-C or the machine's removal
    #[arg(short, long)]
    follow: bool,

    #[command(flatten)]
    lines: LineArgs,

    /// With several machines, do not put their names in front of the lines
    #[arg(long)]
    no_prefix: bool,

    /// The form of the output: text, or one JSON object a line
    #[arg(short, long, value_name = "FORM", value_enum, default_value_t = Form::Text)]
    output: Form,
}

#[derive(Serialize)]
struct Line<'a> {
    time: Timestamp,
    machine: &'a MachineName,
    message: String,
}

/// Reads a moment: RFC 3339, a local date and time, or a time that lies back so far.
pub(crate) fn moment(text: &str) -> Result<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    if let Ok(local) = text.replace(' ', "T").parse::<jiff::civil::DateTime>() {
        return local
            .to_zoned(TimeZone::system())
            .map(|zoned| zoned.timestamp())
            .map_err(|e| Error::new(e.to_string()));
    }
    let back = text.strip_prefix('-').unwrap_or(text);
    let back = back.strip_suffix(" ago").unwrap_or(back);
    parse_duration(back).ok().and_then(|back| Timestamp::now().checked_sub(back).ok()).ok_or_else(|| {
        Error::new(format!(
            "bad time '{}': expected one such as 2026-11-21T08:00:00Z, or how long ago, such as 10min",
            text.escape_debug()
        ))
    })
}

pub(crate) fn logs(app: &App, args: &LogsArgs) -> Outcome {
    let query = args.lines.query(args.follow);
    let mut names = Vec::new();
    for selector in &args.machines {
        names.push(app.resolve(selector).map_err(|error| vec![error])?);
    }
    let prefix = if names.len() > 1 && !args.no_prefix { Prefix::Names } else { Prefix::None };
    let printer = Printer::new(&names, prefix, args.lines.timestamps, args.output);
    let result = match &names[..] {
        [name] => app.service_of(name).and_then(|service| service.logs(name, &query)).and_then(|lines| {
            for line in lines {
                if printer.print(name, &line?)? == Reader::Gone {
                    break;
                }
            }
            Ok(())
        }),
        names => several(app, names, &query, &printer),
    };
    output::done(result)
}

/// Lines of several machines: as they come when following, else in the order of time.
pub(super) fn several(app: &App, names: &[MachineName], query: &LogQuery, printer: &Printer) -> Result<()> {
    let (send, lines) = mpsc::sync_channel(1024);
    for name in names {
        let (send, app, name, query) = (send.clone(), app.clone(), name.clone(), query.clone());
        thread::spawn(move || {
            let read = app.service_of(&name).and_then(|service| service.logs(&name, &query));
            match read {
                Ok(lines) => {
                    for line in lines {
                        if send.send((name.clone(), line)).is_err() {
                            return;
                        }
                    }
                }
                Err(error) => drop(send.send((name, Err(error)))),
            }
        });
    }
    drop(send);
    if query.follow {
        for (name, line) in lines {
            if printer.print(&name, &line?)? == Reader::Gone {
                break;
            }
        }
        return Ok(());
    }
    let mut all = Vec::new();
    for (name, line) in lines {
        all.push((name, line?));
    }
    all.sort_by_key(|(_, line)| line.at);
    for (name, line) in &all {
        if printer.print(name, line)? == Reader::Gone {
            break;
        }
    }
    Ok(())
}

/// What stands in front of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefix {
    /// Whose they are.
    Names,
    /// Nothing.
    None,
}

/// How lines are shown.
pub(super) struct Printer {
    /// Put the name in front, this wide.
    width: Option<usize>,
    timestamps: bool,
    form: Form,
}

impl Printer {
    /// For lines of these machines.
    pub(super) fn new(names: &[MachineName], prefix: Prefix, timestamps: bool, form: Form) -> Self {
        let width = match prefix {
            Prefix::Names => Some(names.iter().map(|name| name.as_str().len()).max().unwrap_or(0)),
            Prefix::None => None,
        };
        Self { width, timestamps, form }
    }

    pub(super) fn print(&self, name: &MachineName, line: &LogLine) -> Result<Reader> {
        let text = String::from_utf8_lossy(&line.text);
        if self.form == Form::Json {
            let line = Line { time: line.at, machine: name, message: text.into_owned() };
            let line = serde_json::to_string(&line).map_err(|e| Error::new(e.to_string()))?;
            return output::offer(&format!("{line}\n"));
        }
        let prefix = self.width.map_or_else(String::new, |width| format!("{name:width$} | "));
        let stamp = if self.timestamps { format!("{:.6} ", line.at) } else { String::new() };
        output::offer(&format!("{prefix}{stamp}{text}\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        assert_eq!(moment("1970-01-01T00:00:01Z").unwrap().as_second(), 1);
        let hour_ago = moment("1h").unwrap();
        let off = Timestamp::now().duration_since(hour_ago).as_secs() - 3600;
        assert!((0..5).contains(&off), "{off}");
        assert!(moment("2026-11-21 08:00:00").is_ok());
        for bad in ["", "yesterday", "99", "x"] {
            assert_eq!(moment(bad).is_ok(), bad == "99", "{bad}");
        }
    }
}
