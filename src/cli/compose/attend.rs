//! `up` with somebody looking on: machines are started and their consoles shown until all of them are down, or the person
//! had enough.

use std::sync::mpsc;
use std::thread;

use jiff::Timestamp;
use nix::sys::signal::Signal;

use crate::cli::app::App;
use crate::cli::follow;
use crate::cli::logs::{Prefix, Printer};
use crate::cli::output::{Form, Reader};
use crate::error::{Error, Kind, Result};
use crate::machine::{LogLine, LogQuery, MachineName};

/// What there is to say meanwhile.
enum Word {
    /// What was to be done before all else is done.
    Done(Vec<Error>),
    Line(MachineName, LogLine),
    /// A machine is down for good.
    Ended,
    Signal(Signal),
}

/// How it came to its end.
pub(super) enum Came {
    Done(Vec<Error>),
    /// By the number of a signal.
    Signal(u8),
}

/// Somebody who looks on.
pub(super) struct Attended {
    say: mpsc::Sender<Word>,
    words: mpsc::Receiver<Word>,
}

impl Attended {
    /// From here on the first interrupt is a word, and the next one ends kraft as it always does.
    ///
    /// # Errors
    /// When signals cannot be blocked.
    pub(super) fn begin() -> Result<Self> {
        let signals = follow::block_interrupts()?;
        let (say, words) = mpsc::channel();
        let heard = say.clone();
        thread::spawn(move || {
            if let Ok(signal) = signals.wait() {
                let _ = heard.send(Word::Signal(signal));
            }
            let _ = signals.thread_unblock();
            loop {
                thread::park();
            }
        });
        Ok(Self { say, words })
    }

    /// Does something that a person may have enough of before it is done.
    pub(super) fn until_done(&self, act: impl FnOnce() -> Vec<Error> + Send + 'static) -> Came {
        let say = self.say.clone();
        thread::spawn(move || {
            let _ = say.send(Word::Done(act()));
        });
        loop {
            match self.words.recv() {
                Ok(Word::Done(errors)) => return Came::Done(errors),
                Ok(Word::Signal(signal)) => return Came::Signal(number(signal)),
                Ok(Word::Line(..) | Word::Ended) => {}
                Err(_) => return Came::Done(vec![Error::new("starting came to no end")]),
            }
        }
    }

    /// Waits for the end of what a person had enough of.
    pub(super) fn until_given_up(&self) {
        while let Ok(word) = self.words.recv() {
            if matches!(word, Word::Done(_)) {
                return;
            }
        }
    }

    /// Shows what machines write until all of them are down, or a person had enough: then it is that signal's number.
    pub(super) fn follow(&self, app: &App, names: &[MachineName], since: Timestamp) -> Result<Option<u8>> {
        names.iter().for_each(|name| self.watch(app, name, since));
        let printer = Printer::new(names, Prefix::Names, false, Form::Text);
        let mut shown: Vec<usize> = names.iter().map(|_| 0).collect();
        let mut left = names.len();
        while left > 0 {
            match self.words.recv() {
                Ok(Word::Line(name, line)) => {
                    if printer.print(&name, &line)? == Reader::Gone {
                        return Ok(Some(number(Signal::SIGPIPE)));
                    }
                    if let Some(at) = names.iter().position(|known| *known == name) {
                        shown[at] += 1;
                    }
                }
                Ok(Word::Ended) => left -= 1,
                Ok(Word::Signal(signal)) => return Ok(Some(number(signal))),
                Ok(Word::Done(_)) => {}
                Err(_) => break,
            }
        }
        // What the followers have not said yet is read from the logs as they are now.
        for (name, shown) in names.iter().zip(shown) {
            let query = LogQuery { since: Some(since), ..LogQuery::default() };
            let service = match app.service_of(name) {
                // Somebody removed it, and its console with it.
                Err(error) if error.kind() == Kind::NoSuchMachine => continue,
                service => service?,
            };
            for line in service.logs(name, &query)?.skip(shown) {
                printer.print(name, &line?)?;
            }
        }
        Ok(None)
    }

    fn watch(&self, app: &App, name: &MachineName, since: Timestamp) {
        let (follower, followed, say) = (app.clone(), name.clone(), self.say.clone());
        thread::spawn(move || {
            let query = LogQuery { follow: true, since: Some(since), ..LogQuery::default() };
            let lines = follower.service_of(&followed).and_then(|service| service.logs(&followed, &query));
            for line in lines.into_iter().flatten().map_while(Result::ok) {
                if say.send(Word::Line(followed.clone(), line)).is_err() {
                    return;
                }
            }
        });
        let (app, name, say) = (app.clone(), name.clone(), self.say.clone());
        thread::spawn(move || {
            match app.service_of(&name).and_then(|service| follow::until_end(service.as_ref(), &name)) {
                Err(error) if error.kind() != Kind::NoSuchMachine => log::warn!("{error}"),
                Ok(_) | Err(_) => {}
            }
            let _ = say.send(Word::Ended);
        });
    }
}

fn number(signal: Signal) -> u8 {
    u8::try_from(signal as i32).unwrap_or_default()
}
