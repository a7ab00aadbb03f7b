//! What the runner tries of its guest: until the machine is ready, and then whether it is well. One connection at a time,
//! which never blocks, and a deadline for the runner's own poll loop.
//!
//! ```text
//!            begin          it did what it was to do            no health probe
//! Asleep ------------> Waiting ------------------------> Watching ------------> Done
//!                        |  ^ back-off                    |  ^ interval
//!                        v  |                             v  |
//!                       Attempt                          Attempt
//! ```
//!
//! [`Readiness`] and [`Watch`] decide, in time, and do no I/O; an [`Attempt`] is one connection.

mod attempt;
mod head;
mod readiness;
mod watch;

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use crate::error::{Error, Result};
use crate::machine::{Probe, Ready, Spec, Way};
use crate::platform::Connection;

use attempt::Attempt;
pub(super) use readiness::Readiness;
pub(super) use watch::Change;
use watch::Watch;

/// Where a probe goes, and what it does there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    probe: Probe,
    way: Way,
}

impl Target {
    fn new(spec: &Spec, probe: &Probe) -> Result<Self> {
        let none = || Error::new(format!("the host cannot reach {}", probe.name()));
        Ok(Self { probe: probe.clone(), way: spec.way_to(probe.port()).ok_or_else(none)? })
    }
}

/// What came of looking.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The machine is ready.
    Ready,
    /// It is not, for this reason, which is another than before.
    NotYet(String),
    /// It never will be: it took too long.
    Never(String),
    /// A health probe is over.
    Probed(Option<Change>),
}

/// All that is tried of one guest.
#[derive(Debug)]
pub(super) struct Prober {
    stage: Stage,
    readiness: Readiness,
    watch: Option<Watch>,
    attempt: Option<Attempt>,
    paused: bool,
    line_matched: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The guest does not run yet.
    Asleep,
    Waiting,
    Watching,
    Done,
}

impl Prober {
    /// `limit` is the longest that the machine may take until it is ready.
    ///
    /// # Errors
    /// When there is no way to the guest.
    pub(super) fn new(spec: &Spec, limit: Option<Duration>) -> Result<Self> {
        let target = match &spec.ready {
            Ready::Guest | Ready::Console(_) => None,
            Ready::Probe(probe) => Some(Target::new(spec, probe)?),
        };
        let watch = match &spec.health {
            None => None,
            Some(health) => Some(Watch::new(health, Target::new(spec, &health.probe)?)),
        };
        Ok(Self {
            stage: Stage::Asleep,
            readiness: Readiness::new(&spec.ready, target, limit),
            watch,
            attempt: None,
            paused: false,
            line_matched: false,
        })
    }

    /// The guest runs. Returns whether the machine is ready by that.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        if self.stage != Stage::Asleep {
            return false;
        }
        self.stage = Stage::Waiting;
        self.readiness.begin(now);
        let ready = self.readiness.is_guest() || self.line_matched;
        if ready {
            self.ready(now);
        }
        ready
    }

    fn ready(&mut self, now: Instant) {
        self.stage = match &mut self.watch {
            Some(watch) => {
                watch.begin(now);
                Stage::Watching
            }
            None => Stage::Done,
        };
    }

    /// Whether the guest runs, ready or not.
    pub(super) fn has_begun(&self) -> bool {
        self.stage != Stage::Asleep
    }

    /// What the guest has yet to do, and why it did not so far.
    pub(super) fn waits_for(&self) -> Option<&Readiness> {
        (self.stage == Stage::Waiting).then_some(&self.readiness)
    }

    /// What its health probes said so far.
    pub(super) fn watch(&self) -> Option<&Watch> {
        self.watch.as_ref().filter(|_| self.stage == Stage::Watching)
    }

    /// The line of the console was there that makes the machine ready.
    pub(super) fn line_matched(&mut self) {
        self.line_matched = true;
    }

    /// The guest stands still: it is not tried.
    pub(super) fn pause(&mut self) {
        self.paused = true;
        self.attempt = None;
    }

    /// It goes on, and has time to come to itself.
    pub(super) fn resume(&mut self, now: Instant) {
        if std::mem::take(&mut self.paused)
            && let Some(watch) = &mut self.watch
        {
            watch.postpone(now);
        }
    }

    /// What to poll for.
    pub(super) fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        self.attempt.as_ref().map(Attempt::interest)
    }

    /// When to look again at the latest.
    pub(super) fn next(&self) -> Option<Instant> {
        let due = match &self.attempt {
            Some(attempt) => Some(attempt.deadline()),
            None if self.paused => None,
            None => self.due(),
        };
        let give_up = (self.stage == Stage::Waiting).then(|| self.readiness.give_up()).flatten();
        due.into_iter().chain(give_up).min()
    }

    /// When the next attempt is due, if there is none.
    fn due(&self) -> Option<Instant> {
        match self.stage {
            Stage::Waiting => self.readiness.due(),
            Stage::Watching => self.watch.as_ref().map(Watch::due),
            Stage::Asleep | Stage::Done => None,
        }
    }

    /// Does what can be done now. To be called until there are no news.
    pub(super) fn advance(&mut self, now: Instant) -> Option<News> {
        if self.stage == Stage::Waiting && self.line_matched {
            self.ready(now);
            return Some(News::Ready);
        }
        let due = !self.paused && self.due().is_some_and(|due| now >= due);
        let outcome = match &mut self.attempt {
            Some(attempt) => attempt.advance(now),
            None if due => self.attempt(now),
            None => None,
        };
        if let Some(outcome) = outcome {
            self.attempt = None;
            return self.tried(outcome, now);
        }
        match self.readiness.give_up() {
            Some(at) if self.stage == Stage::Waiting && now >= at => Some(News::Never(self.readiness.complaint())),
            _ => None,
        }
    }

    /// Begins an attempt; its outcome, if it has one at once.
    fn attempt(&mut self, now: Instant) -> Option<std::result::Result<(), String>> {
        let (target, limit) = match (self.stage, &self.watch) {
            (Stage::Waiting, _) => (self.readiness.target()?, self.readiness.attempt_limit()),
            (Stage::Watching, Some(watch)) => (watch.target(), watch.timeout()),
            _ => return None,
        };
        match Attempt::begin(target, now, limit) {
            Ok(attempt) => self.attempt.insert(attempt).advance(now),
            Err(why) => Some(Err(why)),
        }
    }

    fn tried(&mut self, outcome: std::result::Result<(), String>, now: Instant) -> Option<News> {
        match (self.stage, &mut self.watch, outcome) {
            (Stage::Waiting, _, Ok(())) => {
                self.ready(now);
                Some(News::Ready)
            }
            (Stage::Waiting, _, Err(why)) => self.readiness.failed(why, now).map(News::NotYet),
            (Stage::Watching, Some(watch), outcome) => Some(News::Probed(watch.tried(outcome, now))),
            _ => None,
        }
    }

    /// Whether the VMM is to be asked for the guest's connections, which only it knows.
    pub(super) fn asks(&mut self) -> bool {
        self.attempt.as_mut().is_some_and(Attempt::asks)
    }

    /// What the VMM said of them.
    pub(super) fn answer(&mut self, connections: &[Connection]) {
        if let Some(attempt) = &mut self.attempt {
            attempt.answer(connections);
        }
    }
}
