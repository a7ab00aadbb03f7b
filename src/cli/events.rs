//! `kraft events`.

use clap::Args;
use jiff::Timestamp;

use super::Outcome;
use super::app::App;
use super::complete;
use super::logs::moment;
use super::output::{self, Form, Reader};
use crate::error::{Error, Result};
use crate::lifecycle::{EventLine, EventLog};
use crate::machine::{MachineName, Selector};

/// Show what happens to machines, as it happens
///
/// With --since also what happened before, at most back to when the host was started.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Only these machines, by name or by four or more first digits of an id
    #[arg(value_name = "MACHINE", add = complete::machines())]
    machines: Vec<Selector>,

    /// First what happened since this moment: a time such as 2026-11-21T08:00:00Z, or how long ago, such as 10min
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,

    /// Only what happened up to this moment, then end
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,

    /// The form of the output: text, or one JSON object a line
    #[arg(short, long, value_name = "FORM", value_enum, default_value_t = Form::Text)]
    output: Form,
}

pub(crate) fn events(app: &App, args: &EventsArgs) -> Outcome {
    output::done(show(app, args))
}

fn show(app: &App, args: &EventsArgs) -> Result<()> {
    // A machine that was removed still has its events: what cannot be resolved is taken for a name.
    let only: Vec<MachineName> = args
        .machines
        .iter()
        .map(|selector| app.store.resolve(selector).or_else(|error| selector.as_name().ok_or(error)))
        .collect::<Result<_>>()?;
    let follow = args.until.is_none();
    let since = args.since.or_else(|| args.until.map(|_| Timestamp::UNIX_EPOCH));
    for event in EventLog::of(&app.store).read(since, follow)? {
        let event = event?;
        // A clock that was set back has earlier events behind later ones.
        if args.until.is_some_and(|until| event.time > until) {
            continue;
        }
        if only.is_empty() || only.contains(&event.name) {
            let line = match args.output {
                Form::Text => sentence(&event),
                Form::Json => serde_json::to_string(&event).map_err(|e| Error::new(e.to_string()))?,
            };
            if output::offer(&format!("{line}\n"))? == Reader::Gone {
                break;
            }
        }
    }
    Ok(())
}

fn sentence(event: &EventLine) -> String {
    let exit = event.exit.as_ref().map_or_else(String::new, |exit| format!(" {exit}"));
    let health = event.health.map_or_else(String::new, |health| format!(" {health}"));
    format!("{:.6} {} {} ({}){exit}{health}", event.time, event.name, event.event.as_str(), event.manager)
}
