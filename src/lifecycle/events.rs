//! What happened to machines: one line of JSON each in `RUNTIME/events.jsonl`, appended whole by whoever did it or saw
//! it, whichever manager it was. The file is turned over at a mebibyte, so at most two are kept, until the host goes
//! down.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Seek as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde::{Deserialize, Serialize};

use super::notes;
use crate::error::{Context as _, Result};
use crate::machine::{Exit, HealthState, MachineId, MachineName, Manager, Record};
use crate::store::Store;

const FILE: &str = "events.jsonl";
const OLD: &str = "events.jsonl.1";
const FULL: u64 = 1 << 20;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// A machine was created.
    Create,
    /// Its guest runs.
    Start,
    /// Its guest was paused.
    Pause,
    /// Its guest goes on.
    Unpause,
    /// It was asked to stop.
    Stop,
    /// Its guest ended.
    Die,
    /// Its health is another.
    Health,
    /// It was changed.
    Update,
    /// It was removed.
    Remove,
}

impl EventKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Unpause => "unpause",
            Self::Stop => "stop",
            Self::Die => "die",
            Self::Health => "health",
            Self::Update => "update",
            Self::Remove => "remove",
        }
    }
}

/// One thing that happened to one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLine {
    /// When.
    pub time: Timestamp,
    /// What.
    pub event: EventKind,
    /// To whom.
    pub name: MachineName,
    /// Its id.
    pub id: MachineId,
    /// Who keeps it alive.
    pub manager: Manager,
    /// How it ended, with `die`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// How it is, with `health`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthState>,
}

/// The log of one scope.
#[derive(Debug, Clone)]
pub struct EventLog {
    dir: PathBuf,
    /// Of a confined runner: all that it can write to.
    notes: Option<Arc<File>>,
}

impl EventLog {
    /// The log beside the store's runtime files.
    pub fn of(store: &Store) -> Self {
        Self { dir: store.paths().runtime.clone(), notes: store.notes() }
    }

    /// Adds a line. What happened happened: a log that cannot be written is worth a warning, not a failure.
    pub fn append(&self, event: EventKind, record: &Record, exit: Option<&Exit>) {
        self.append_line(event, record, exit, None);
    }

    /// Adds that a machine's health is another; as [`append`](Self::append).
    pub fn append_health(&self, record: &Record, health: HealthState) {
        self.append_line(EventKind::Health, record, None, Some(health));
    }

    fn append_line(&self, event: EventKind, record: &Record, exit: Option<&Exit>, health: Option<HealthState>) {
        let line = EventLine {
            time: Timestamp::now(),
            event,
            name: record.spec.name.clone(),
            id: record.id,
            manager: record.manager,
            exit: exit.cloned(),
            health,
        };
        let logged = match &self.notes {
            Some(notes) => notes::note(notes, &line),
            None => self.write_line(&line),
        };
        if let Err(error) = logged {
            log::warn!("cannot log that {} did {}: {error}", line.name, event.as_str());
        }
    }

    /// Adds a line to the log of all.
    pub(super) fn write_line(&self, line: &EventLine) -> Result<()> {
        let mut text = serde_json::to_vec(line).context("cannot write an event")?;
        text.push(b'\n');
        std::fs::create_dir_all(&self.dir).with_context(|| format!("cannot make {}", self.dir.display()))?;
        let path = self.dir.join(FILE);
        let cannot = || format!("cannot write {}", path.display());
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path).with_context(cannot)?;
        if file.metadata().with_context(cannot)?.len() >= FULL {
            let full = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno).with_context(cannot)?;
            // Of several that find it full, the first turns it over.
            if File::open(&path).is_ok_and(|current| is_same(&current, &full)) {
                std::fs::rename(&path, self.dir.join(OLD)).with_context(cannot)?;
            }
            file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path).with_context(cannot)?;
        }
        // One write of one line: appends of several processes do not mix.
        file.write_all(&text).with_context(cannot)
    }

    /// The events since a moment (`None`: from now on), then those to come if `follow`.
    ///
    /// # Errors
    /// When the log cannot be read or watched.
    pub fn read(&self, since: Option<Timestamp>, follow: bool) -> Result<Events> {
        std::fs::create_dir_all(&self.dir).with_context(|| format!("cannot make {}", self.dir.display()))?;
        let inotify = if follow {
            let inotify =
                Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).context("cannot watch for events")?;
            let interesting = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
            let notes = notes::dir(&self.dir);
            std::fs::create_dir_all(&notes).with_context(|| format!("cannot make {}", notes.display()))?;
            for dir in [&self.dir, &notes] {
                inotify.add_watch(dir, interesting).context("cannot watch for events")?;
            }
            Some(inotify)
        } else {
            None
        };
        let mut events =
            Events { dir: self.dir.clone(), current: None, inotify, since, backlog: Vec::new(), seen: HashSet::new() };
        if since.is_some() {
            // The current one first: should it be turned over meanwhile, it is at hand and not passed over.
            events.reopen();
            let old = File::open(self.dir.join(OLD)).ok();
            let turned_over =
                matches!((&old, &events.current), (Some(old), Some(current)) if is_same(old, current.get_ref()));
            if let (Some(old), false) = (old, turned_over) {
                events.read_lines(&mut BufReader::new(old))?;
            }
        } else {
            // What is noted by now happened before.
            events.read_notes();
            events.backlog.clear();
            events.reopen();
            if let Some(current) = &mut events.current {
                current.seek(std::io::SeekFrom::End(0)).context("cannot read the events")?;
            }
        }
        Ok(events)
    }
}

fn is_same(one: &File, other: &File) -> bool {
    let inode = |file: &File| file.metadata().map(|file| (file.dev(), file.ino())).ok();
    inode(one).is_some() && inode(one) == inode(other)
}

/// Events, oldest first.
#[derive(Debug)]
pub struct Events {
    dir: PathBuf,
    current: Option<BufReader<File>>,
    inotify: Option<Inotify>,
    since: Option<Timestamp>,
    backlog: Vec<EventLine>,
    /// What a runner notes itself is in the log, too, once it ended.
    seen: HashSet<(Timestamp, MachineId, &'static str)>,
}

impl Events {
    fn reopen(&mut self) {
        self.current = File::open(self.dir.join(FILE)).ok().map(BufReader::new);
    }

    /// Reads whole lines; what is not understood is passed over, as it is a newer kraft's.
    fn read_lines(&mut self, from: &mut BufReader<File>) -> Result<()> {
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).context("cannot read the events")? > 0 {
            if let Ok(event) = serde_json::from_slice::<EventLine>(&line)
                && self.since.is_none_or(|since| event.time >= since)
                && self.seen.insert((event.time, event.id, event.event.as_str()))
            {
                self.backlog.push(event);
            }
            line.clear();
        }
        Ok(())
    }

    /// Takes in what confined runners noted since. Before the log itself, so that what goes from here to there meanwhile
    /// is seen.
    fn read_notes(&mut self) {
        for event in notes::all(&self.dir) {
            let key = (event.time, event.id, event.event.as_str());
            if self.since.is_none_or(|since| event.time >= since) && self.seen.insert(key) {
                self.backlog.push(event);
            }
        }
    }

    fn read_all(&mut self) -> Result<()> {
        self.read_notes();
        self.read_current()?;
        self.backlog.sort_by_key(|event| event.time);
        Ok(())
    }

    fn read_current(&mut self) -> Result<()> {
        let Some(mut current) = self.current.take() else {
            self.reopen();
            let Some(mut current) = self.current.take() else { return Ok(()) };
            self.read_lines(&mut current)?;
            self.current = Some(current);
            return Ok(());
        };
        self.read_lines(&mut current)?;
        if File::open(self.dir.join(FILE)).is_ok_and(|now| is_same(&now, current.get_ref())) {
            self.current = Some(current);
            Ok(())
        } else {
            // Turned over: the rest of the old one was read above.
            self.reopen();
            match self.current.take() {
                Some(mut fresh) => {
                    self.read_lines(&mut fresh)?;
                    self.current = Some(fresh);
                    Ok(())
                }
                None => Ok(()),
            }
        }
    }
}

impl Events {
    /// The events that are there now. Never waits.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn pending(&mut self) -> Result<Vec<EventLine>> {
        if let Some(inotify) = &self.inotify {
            match inotify.read_events() {
                Ok(_) | Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => {}
                Err(errno) => return Err(errno).context("cannot watch for events"),
            }
        }
        self.read_all()?;
        Ok(std::mem::take(&mut self.backlog))
    }

    /// Readable when events may be there; `None` unless following.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }
}

impl Iterator for Events {
    type Item = Result<EventLine>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if !self.backlog.is_empty() {
                return Some(Ok(self.backlog.remove(0)));
            }
            if let Err(error) = self.read_all() {
                return Some(Err(error));
            }
            if self.backlog.is_empty() {
                match &self.inotify {
                    None => return None,
                    Some(inotify) => {
                        let mut fds = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
                        if let Err(errno) = poll(&mut fds, PollTimeout::NONE)
                            && errno != nix::errno::Errno::EINTR
                        {
                            return Some(Err(errno).context("cannot watch for events"));
                        }
                        // Drained before the log is read, so that what comes after wakes us again.
                        let _ = inotify.read_events();
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_when_the_log_is_turned_over() {
        const WRITERS: u128 = 8;
        // Together they fill the log once and half again.
        const LINES: u128 = 900;
        let dir = std::env::temp_dir().join(format!("kraft-events-{}", std::process::id()));
        let log = EventLog { dir: dir.clone(), notes: None };
        let line = |number: u128| EventLine {
            time: Timestamp::now(),
            event: EventKind::Start,
            name: "a-machine-with-a-name-that-is-as-long-as-it-may-be".parse().unwrap(),
            id: MachineId::from_bytes(number.to_be_bytes()),
            manager: Manager::Local,
            exit: None,
            health: None,
        };
        let count = || log.read(Some(Timestamp::UNIX_EPOCH), false).unwrap().count();
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let log = &log;
                    scope.spawn(move || (0..LINES).for_each(|n| log.write_line(&line(writer * LINES + n)).unwrap()))
                })
                .collect();
            let mut seen = 0;
            while !writers.iter().all(|writer| writer.is_finished()) {
                let now = count();
                assert!(now >= seen, "{now} events after {seen}");
                seen = now;
            }
        });
        assert!(dir.join(OLD).exists(), "it was never turned over");
        let ids: std::collections::BTreeSet<_> =
            log.read(Some(Timestamp::UNIX_EPOCH), false).unwrap().map(|event| event.unwrap().id.to_string()).collect();
        assert_eq!((ids.len(), count()), ((WRITERS * LINES) as usize, (WRITERS * LINES) as usize));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
