//! `kraft top`: the samples of `kraft stats`, sorted and searched. What is shown is in `list`, how in `screen`.

mod list;
mod screen;
mod terminal;

use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use clap::builder::ValueParser;
use nix::poll::PollFlags;
use ratatui::crossterm::event::{self, Event};

use super::Outcome;
use super::app::App;
use super::samples::Sampler;
use super::stats::interval;
use super::tick::{Came, Clock};
use crate::error::{Context as _, Error, Result};
use crate::machine::View;
use crate::signals::Signals;

use list::{List, Next};
use terminal::Screen;

/// Watch what machines take, sorted
///
/// Keys: the arrows left and right choose the column to sort by, r turns the order round, up and down move the mark,
/// / filters by name (Enter keeps the filter, Escape removes it), a shows also machines that do not run, q quits.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Also machines that do not run
    #[arg(short, long)]
    all: bool,

    /// The time between two looks, over which processor time is counted
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = ValueParser::new(interval))]
    interval: Duration,
}

pub(crate) fn top(app: &App, args: &TopArgs) -> Outcome {
    watch(app, args).map_err(|error| vec![error])
}

fn watch(app: &App, args: &TopArgs) -> Result<ExitCode> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(
            Error::new("kraft top needs a terminal").with_hint("`kraft stats --no-stream` prints the same once")
        );
    }
    let mut sampler = Sampler::new(app);
    let mut list = List::new(args.all);
    let look = |sampler: &mut Sampler, all: bool| sampler.look(|view: &View| all || view.state.is_live());
    // What is wrong from the start is told on an ordinary screen.
    list.renew(look(&mut sampler, list.all)?);
    let clock = Clock::new(args.interval)?;
    // Blocked first, so that none ends the process while the screen is not as it was.
    let signals = Signals::block()?;
    let mut screen = Screen::enter()?;
    loop {
        screen.draw(&mut list)?;
        let input = std::io::stdin();
        match clock.wait(&[(signals.as_fd(), PollFlags::POLLIN), (input.as_fd(), PollFlags::POLLIN)])? {
            Came::On(0) => {
                if let Some(signal) = signals.take()? {
                    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "signals are small")]
                    return Ok(ExitCode::from(128 + signal as i32 as u8));
                }
            }
            Came::Tick => list.renew(look(&mut sampler, list.all)?),
            // A signal may be that the window has another size, which comes as an event.
            Came::On(_) | Came::Signal => {
                while event::poll(Duration::ZERO).context("cannot read the terminal")? {
                    let Event::Key(key) = event::read().context("cannot read the terminal")? else { continue };
                    match list.press(key) {
                        Next::Stay => {}
                        Next::Look => list.renew(look(&mut sampler, list.all)?),
                        Next::Quit => return Ok(ExitCode::SUCCESS),
                    }
                }
            }
        }
    }
}
