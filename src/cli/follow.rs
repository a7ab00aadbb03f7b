//! Watching a machine until it ends, with or without its console.

use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use nix::sys::signal::{SigSet, Signal};

use super::app::App;
use super::output;
use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::{Exit, LogQuery, MachineName, MachineService, Manager};

/// How following came to its end.
#[derive(Debug)]
pub(crate) enum End {
    /// The machine ended.
    Ended(Option<Exit>),
    /// The machine was removed.
    Gone,
    /// The person went away.
    Detached,
}

/// Waits until the machine is down for good.
pub(crate) fn until_end(service: &dyn MachineService, name: &MachineName) -> Result<End> {
    for view in service.watch(Some(std::slice::from_ref(name)))? {
        let view = view?;
        match view.problem {
            Some(error) if error.kind() == Kind::NoSuchMachine => return Ok(End::Gone),
            Some(error) => return Err(error),
            None if !view.state.is_live() => return Ok(End::Ended(view.exit)),
            None => {}
        }
    }
    Err(Error::new(format!("cannot follow {name} any more")))
}

/// Waits until the machine ends or Ctrl-C comes.
pub(crate) fn quietly(app: &App, manager: Manager, name: &MachineName) -> Result<End> {
    heard(&words(app, manager, name)?, name)
}

/// Shows the console until the machine ends or Ctrl-C comes.
pub(crate) fn console(app: &App, manager: Manager, name: &MachineName) -> Result<End> {
    let words = words(app, manager, name)?;
    let lines = app.service(manager).logs(name, &LogQuery { follow: true, ..LogQuery::default() })?;
    // How many lines the follower has shown; none once it is told to show no more. Held while a line is shown, so that
    // each is shown by one side, and whole.
    let shown = Arc::new(Mutex::new(Some(0)));
    let counted = Arc::clone(&shown);
    thread::spawn(move || {
        for line in lines {
            let (Ok(line), Ok(mut counted)) = (line, counted.lock()) else { break };
            let Some(count) = counted.as_mut() else { break };
            if show(&line.text).is_err() {
                break;
            }
            *count += 1;
        }
    });
    let end = heard(&words, name)?;
    let shown = shown.lock().ok().and_then(|mut shown| shown.take()).unwrap_or_default();
    if matches!(end, End::Ended(_)) {
        // What the follower has not shown yet is read from the log as it is now.
        for line in app.service(manager).logs(name, &LogQuery::default())?.skip(shown) {
            show(&line?.text)?;
        }
    }
    Ok(end)
}

/// Where it is said how following ends: by the machine, or by a signal.
fn words(app: &App, manager: Manager, name: &MachineName) -> Result<mpsc::Receiver<Result<End>>> {
    let interrupts = block_interrupts()?;
    let (say, words) = mpsc::channel();
    spawn(&say, move || interrupts.wait().context("cannot wait for signals").map(|_| End::Detached));
    let (watcher, watched) = (app.clone(), name.clone());
    spawn(&say, move || until_end(watcher.service(manager).as_ref(), &watched));
    Ok(words)
}

/// What a person ends following by. Called before any thread starts, so that only the one that waits for them gets them.
pub(super) fn block_interrupts() -> Result<SigSet> {
    let interrupts: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    interrupts.thread_block().context("cannot block signals")?;
    Ok(interrupts)
}

fn heard(words: &mpsc::Receiver<Result<End>>, name: &MachineName) -> Result<End> {
    words.recv().map_err(|_| Error::new(format!("cannot follow {name} any more")))?
}

fn spawn(say: &mpsc::Sender<Result<End>>, work: impl FnOnce() -> Result<End> + Send + 'static) {
    let say = say.clone();
    thread::spawn(move || {
        // Nobody listens any more once the other word was heard.
        let _ = say.send(work());
    });
}

fn show(text: &[u8]) -> Result<()> {
    output::line(String::from_utf8_lossy(text))
}
