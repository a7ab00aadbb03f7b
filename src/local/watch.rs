//! Following machines: the event log says what happens, the runners' descriptors say when one dies without a word.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{LocalService, stop};
use crate::error::{Context as _, Error, Kind, Result};
use crate::lifecycle::{EventLog, Events};
use crate::machine::{Exit, MachineName, MachineService as _, State, View};
use crate::store::no_such_machine;

/// The views of machines, each time they change.
pub(super) struct Follow {
    service: LocalService,
    only: Option<Vec<MachineName>>,
    events: Events,
    runners: BTreeMap<MachineName, OwnedFd>,
    seen: BTreeMap<MachineName, (State, Option<Exit>)>,
    queue: VecDeque<Result<View>>,
    /// When to give up, for who waits for one thing; with the time that was given, for the error.
    deadline: Option<(Instant, Duration)>,
}

impl Follow {
    pub(super) fn new(service: LocalService, names: Option<&[MachineName]>) -> Result<Self> {
        // Subscribed before the first look, so that nothing falls between.
        let events = EventLog::of(&service.store).read(None, true)?;
        let mut follow = Self {
            service,
            only: names.map(<[_]>::to_vec),
            events,
            runners: BTreeMap::new(),
            seen: BTreeMap::new(),
            queue: VecDeque::new(),
            deadline: None,
        };
        let first = match names {
            Some(names) => names.to_vec(),
            None => follow.service.store.names()?,
        };
        for name in first {
            follow.look(&name);
        }
        Ok(follow)
    }

    /// The same for no longer than this: then it is an error.
    pub(super) fn within(mut self, limit: Duration) -> Self {
        self.deadline = Some((Instant::now() + limit, limit));
        self
    }

    /// Looks at one machine and queues its view if it changed.
    fn look(&mut self, name: &MachineName) {
        match stop::runner(&self.service.store, name) {
            Ok(Some(runner)) => drop(self.runners.insert(name.clone(), runner)),
            _ => drop(self.runners.remove(name)),
        }
        let view = match self.service.get(name) {
            Ok(view) => view,
            Err(error) if error.kind() == Kind::NoSuchMachine => {
                self.runners.remove(name);
                // A machine that was never there is said to be missing once, too.
                let known = self.seen.remove(name).is_some() || self.only.is_some();
                if known {
                    self.queue.push_back(Ok(View::unknown(name.clone(), no_such_machine(name.as_str()))));
                }
                if let Some(only) = &mut self.only {
                    only.retain(|wanted| wanted != name);
                }
                return;
            }
            Err(error) => return self.queue.push_back(Err(error)),
        };
        let now = (view.state, view.exit.clone());
        if self.seen.insert(name.clone(), now.clone()) != Some(now) {
            self.queue.push_back(Ok(view));
        }
    }

    fn wait(&mut self) -> Result<()> {
        let log = self.events.fd();
        let mut fds: Vec<PollFd<'_>> = log.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        fds.extend(self.runners.values().map(|runner| PollFd::new(runner.as_fd(), PollFlags::POLLIN)));
        let timeout = match self.deadline {
            None => PollTimeout::NONE,
            Some((at, _)) => {
                PollTimeout::try_from(at.saturating_duration_since(Instant::now())).unwrap_or(PollTimeout::MAX)
            }
        };
        match (poll(&mut fds, timeout), self.deadline) {
            (Ok(0), Some((_, limit))) => {
                return Err(Error::of(Kind::Timeout, format!("its runner said nothing of it within {limit:?}")));
            }
            (Ok(_) | Err(nix::errno::Errno::EINTR), _) => {}
            (Err(errno), _) => return Err(errno).context("cannot wait for events"),
        }
        let ended: Vec<bool> = fds.iter().skip(1).map(|fd| fd.any() == Some(true)).collect();
        let mut changed: Vec<MachineName> =
            self.runners.keys().zip(ended).filter(|(_, ended)| *ended).map(|(name, _)| name.clone()).collect();
        for event in self.events.pending()? {
            changed.push(event.name);
        }
        changed.sort_unstable();
        changed.dedup();
        for name in changed {
            if self.only.as_ref().is_none_or(|only| only.contains(&name)) {
                self.look(&name);
            }
        }
        Ok(())
    }
}

impl Iterator for Follow {
    type Item = Result<View>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(view) = self.queue.pop_front() {
                return Some(view);
            }
            if self.only.as_ref().is_some_and(Vec::is_empty) {
                return None;
            }
            if let Err(error) = self.wait() {
                return Some(Err(error));
            }
        }
    }
}
