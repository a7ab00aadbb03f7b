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
    /// Whose consoles are shown, and how many lines of each were.
    names: Vec<MachineName>,
    shown: Vec<usize>,
    since: Timestamp,
    printer: Printer,
}

impl Attended {
    /// Shows what these machines write from this moment on. From here on the first interrupt is a word, and the next one
    /// ends kraft as it always does.
    ///
    /// # Errors
    /// When signals cannot be blocked.
    pub(super) fn begin(app: &App, names: Vec<MachineName>, since: Timestamp) -> Result<Self> {
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
        names.iter().for_each(|name| listen(app, name, since, &say));
        let printer = Printer::new(&names, Prefix::Names, false, Form::Text);
        Ok(Self { say, words, shown: vec![0; names.len()], names, since, printer })
    }

    /// Does something that a person may have enough of before it is done.
    ///
    /// # Errors
    /// When nobody can be shown anything.
    pub(super) fn until_done(&mut self, act: impl FnOnce() -> Vec<Error> + Send + 'static) -> Result<Came> {
        let say = self.say.clone();
        thread::spawn(move || {
            let _ = say.send(Word::Done(act()));
        });
        loop {
            match self.words.recv() {
                Ok(Word::Done(errors)) => return Ok(Came::Done(errors)),
                Ok(Word::Signal(signal)) => return Ok(Came::Signal(number(signal))),
                Ok(Word::Line(name, line)) if self.show(&name, &line)? == Reader::Gone => {
                    return Ok(Came::Signal(number(Signal::SIGPIPE)));
                }
                Ok(Word::Line(..) | Word::Ended) => {}
                Err(_) => return Ok(Came::Done(vec![Error::new("starting came to no end")])),
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

    /// Goes on until all machines are down, or a person had enough: then it is that signal's number.
    ///
    /// # Errors
    /// When a log cannot be read, or nobody can be shown anything.
    pub(super) fn until_all_ended(mut self, app: &App) -> Result<Option<u8>> {
        for name in &self.names {
            let (app, name, say) = (app.clone(), name.clone(), self.say.clone());
            thread::spawn(move || {
                match app.service_of(&name).and_then(|service| follow::until_end(service.as_ref(), &name)) {
                    Err(error) if error.kind() != Kind::NoSuchMachine => log::warn!("{error}"),
                    Ok(_) | Err(_) => {}
                }
                let _ = say.send(Word::Ended);
            });
        }
        let mut left = self.names.len();
        while left > 0 {
            match self.words.recv() {
                Ok(Word::Line(name, line)) => {
                    if self.show(&name, &line)? == Reader::Gone {
                        return Ok(Some(number(Signal::SIGPIPE)));
                    }
                }
                Ok(Word::Ended) => left -= 1,
                Ok(Word::Signal(signal)) => return Ok(Some(number(signal))),
                Ok(Word::Done(_)) => {}
                Err(_) => break,
            }
        }
        // What the followers have not said yet is read from the logs as they are now.
        for (name, shown) in self.names.iter().zip(self.shown) {
            let query = LogQuery { since: Some(self.since), ..LogQuery::default() };
            let service = match app.service_of(name) {
                // Somebody removed it, and its console with it.
                Err(error) if error.kind() == Kind::NoSuchMachine => continue,
                service => service?,
            };
            for line in service.logs(name, &query)?.skip(shown) {
                self.printer.print(name, &line?)?;
            }
        }
        Ok(None)
    }

    fn show(&mut self, name: &MachineName, line: &LogLine) -> Result<Reader> {
        if let Some(at) = self.names.iter().position(|known| known == name) {
            self.shown[at] += 1;
        }
        self.printer.print(name, line)
    }
}

/// Has a machine's console heard.
fn listen(app: &App, name: &MachineName, since: Timestamp, say: &mpsc::Sender<Word>) {
    let (app, name, say) = (app.clone(), name.clone(), say.clone());
    thread::spawn(move || {
        let query = LogQuery { follow: true, since: Some(since), ..LogQuery::default() };
        let lines = app.service_of(&name).and_then(|service| service.logs(&name, &query));
        for line in lines.into_iter().flatten().map_while(Result::ok) {
            if say.send(Word::Line(name.clone(), line)).is_err() {
                return;
            }
        }
    });
}

fn number(signal: Signal) -> u8 {
    u8::try_from(signal as i32).unwrap_or_default()
}
