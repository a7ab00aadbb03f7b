//! `kraft compose logs`, and the consoles that `up` shows.

use std::sync::mpsc;
use std::thread;

use clap::Args;
use jiff::Timestamp;
use nix::sys::signal::Signal;

use super::{ComposeArgs, Services};
use crate::cli::app::App;
use crate::cli::logs::{self, LineArgs, Prefix, Printer};
use crate::cli::output::{self, Form, Reader};
use crate::cli::{Outcome, follow};
use crate::error::Result;
use crate::machine::{LogLine, LogQuery, MachineName};

/// Show what the project's guests wrote on their consoles
#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    #[command(flatten)]
    services: Services,

    /// Go on with what comes, across restarts, until Ctrl-C or the removal of all machines
    #[arg(short, long)]
    follow: bool,

    #[command(flatten)]
    lines: LineArgs,

    /// Do not put the machines' names in front of the lines
    #[arg(long)]
    no_prefix: bool,
}

pub(super) fn logs(app: &App, args: &ComposeArgs, verb: &LogsArgs) -> Outcome {
    let members = args.known()?.members(app, &verb.services.services)?;
    let names: Vec<MachineName> = members.into_iter().map(|member| member.name).collect();
    let query = verb.lines.query(verb.follow);
    let prefix = if verb.no_prefix { Prefix::None } else { Prefix::Names };
    let printer = Printer::new(&names, prefix, verb.lines.timestamps, Form::Text);
    output::done(logs::several(app, &names, &query, &printer))
}

/// What there is to say while consoles are shown.
enum Word {
    Line(MachineName, LogLine),
    /// A machine is down for good.
    Ended,
    Signal(Signal),
}

/// Shows what machines write until all of them are down, or a person had enough: then it is that signal's number.
pub(super) fn follow_until_end(app: &App, names: &[MachineName], since: Timestamp) -> Result<Option<u8>> {
    let signals = follow::block_interrupts()?;
    let (say, words) = mpsc::channel();
    let heard = say.clone();
    thread::spawn(move || {
        if let Ok(signal) = signals.wait() {
            let _ = heard.send(Word::Signal(signal));
        }
    });
    for name in names {
        let (app, name, say) = (app.clone(), name.clone(), say.clone());
        let (watcher, watched, ended) = (app.clone(), name.clone(), say.clone());
        thread::spawn(move || {
            if let Ok(service) = watcher.service_of(&watched)
                && let Err(error) = follow::until_end(service.as_ref(), &watched)
            {
                log::warn!("{error}");
            }
            let _ = ended.send(Word::Ended);
        });
        thread::spawn(move || {
            let query = LogQuery { follow: true, since: Some(since), ..LogQuery::default() };
            let Ok(lines) = app.service_of(&name).and_then(|service| service.logs(&name, &query)) else { return };
            for line in lines {
                let Ok(line) = line else { return };
                if say.send(Word::Line(name.clone(), line)).is_err() {
                    return;
                }
            }
        });
    }
    let printer = Printer::new(names, Prefix::Names, false, Form::Text);
    let mut shown: Vec<usize> = names.iter().map(|_| 0).collect();
    let mut left = names.len();
    while left > 0 {
        match words.recv() {
            Ok(Word::Line(name, line)) => {
                if printer.print(&name, &line)? == Reader::Gone {
                    return Ok(Some(13));
                }
                if let Some(at) = names.iter().position(|known| *known == name) {
                    shown[at] += 1;
                }
            }
            Ok(Word::Ended) => left -= 1,
            Ok(Word::Signal(signal)) => return Ok(u8::try_from(signal as i32).ok()),
            Err(_) => break,
        }
    }
    // What the followers have not said yet is read from the logs as they are now.
    for (name, shown) in names.iter().zip(shown) {
        let query = LogQuery { since: Some(since), ..LogQuery::default() };
        for line in app.service_of(name)?.logs(name, &query)?.skip(shown) {
            printer.print(name, &line?)?;
        }
    }
    Ok(None)
}
