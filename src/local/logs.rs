//! Reading console logs that a runner wrote: see `runner/console.rs` for their form.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::error::{Context as _, Result};
use crate::machine::{LogLine, LogQuery};

/// Lines of the old log and the current one, then those to come.
pub(super) struct ConsoleLog {
    path: PathBuf,
    current: Option<BufReader<File>>,
    partial: Vec<u8>,
    query: LogQuery,
    queue: VecDeque<LogLine>,
    inotify: Option<Inotify>,
}

impl ConsoleLog {
    pub(super) fn open(path: &Path, query: &LogQuery) -> Result<Self> {
        let inotify = match (query.follow, path.parent()) {
            (true, Some(dir)) => {
                let inotify = Inotify::init(InitFlags::IN_CLOEXEC).context("cannot follow a log")?;
                let interesting = AddWatchFlags::IN_MODIFY
                    | AddWatchFlags::IN_CREATE
                    | AddWatchFlags::IN_MOVED_FROM
                    | AddWatchFlags::IN_MOVE_SELF
                    | AddWatchFlags::IN_DELETE_SELF;
                inotify.add_watch(dir, interesting).with_context(|| format!("cannot follow {}", path.display()))?;
                Some(inotify)
            }
            _ => None,
        };
        let mut log = Self {
            path: path.to_path_buf(),
            current: None,
            partial: Vec::new(),
            query: query.clone(),
            queue: VecDeque::new(),
            inotify,
        };
        let mut old = path.as_os_str().to_owned();
        old.push(".1");
        if let Ok(old) = File::open(old) {
            log.current = Some(BufReader::new(old));
            log.read_lines()?;
        }
        log.current = File::open(path).ok().map(BufReader::new);
        log.read_lines()?;
        if let Some(tail) = query.tail {
            let surplus = log.queue.len().saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX));
            log.queue.drain(..surplus);
        }
        Ok(log)
    }

    fn read_lines(&mut self) -> Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        loop {
            let n = current.read_until(b'\n', &mut self.partial).context("cannot read the log")?;
            if n == 0 || !self.partial.ends_with(b"\n") {
                return Ok(());
            }
            let line = std::mem::take(&mut self.partial);
            if let Some(line) = parse(&line)
                && self.query.since.is_none_or(|since| line.at >= since)
                && self.query.until.is_none_or(|until| line.at <= until)
            {
                self.queue.push_back(line);
                // Without following, a tail never needs more than its own length in memory.
                if let (Some(tail), false) = (self.query.tail, self.query.follow)
                    && self.queue.len() as u64 > tail
                {
                    self.queue.pop_front();
                }
            }
        }
    }

    /// Goes on with the file that took the place of the one that was read. Returns false once the machine is gone.
    fn follow_turnover(&mut self) -> Result<bool> {
        let fresh = match File::open(&self.path) {
            Ok(fresh) => fresh,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Ok(self.path.parent().is_some_and(Path::exists));
            }
            Err(e) => return Err(e).context("cannot read the log"),
        };
        let same = match &self.current {
            Some(current) => {
                let (now, then) = (fresh.metadata(), current.get_ref().metadata());
                matches!((now, then), (Ok(now), Ok(then)) if now.ino() == then.ino())
            }
            None => false,
        };
        if !same {
            self.partial.clear();
            self.current = Some(BufReader::new(fresh));
            self.read_lines()?;
        }
        Ok(true)
    }
}

fn parse(line: &[u8]) -> Option<LogLine> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let space = line.iter().position(|&b| b == b' ')?;
    let at: Timestamp = std::str::from_utf8(&line[..space]).ok()?.parse().ok()?;
    Some(LogLine { at, text: line[space + 1..].to_vec() })
}

impl Iterator for ConsoleLog {
    type Item = Result<LogLine>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(line) = self.queue.pop_front() {
                return Some(Ok(line));
            }
            let inotify = self.inotify.as_ref()?;
            match inotify.read_events() {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Some(Err(errno).context("cannot follow the log")),
            }
            match self.read_lines().and_then(|()| self.follow_turnover()) {
                Ok(true) => {}
                Ok(false) if self.queue.is_empty() => return None,
                Ok(false) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let line = parse(b"1970-01-01T00:00:00.000000Z two words\n").unwrap();
        assert_eq!((line.at, &*line.text), (Timestamp::UNIX_EPOCH, &b"two words"[..]));
        assert_eq!(parse(b"1970-01-01T00:00:00.000000Z \n").unwrap().text, b"");
        assert!(parse(b"garbage\n").is_none());
    }
}
