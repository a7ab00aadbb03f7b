//! `logs`: the machine's console lines as `journalctl` has them.
//!
//! Following goes on over restarts and ends when the machine is removed: its record's directory is watched beside the
//! lines. journald tells followers of new lines up to a quarter of a second late, so a second `journalctl` without
//! following then reads what is left behind the last line seen.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::journal::{self, AtEnd, Entry, Part};
use super::service::SystemdService;
use crate::error::{Context as _, Error, Result};
use crate::machine::{LogLine, LogQuery, Logs, MachineName, Record};
use crate::paths::{self, Scope};
use crate::process;

impl SystemdService {
    pub(super) fn machine_logs(&self, name: &MachineName, query: &LogQuery) -> Result<Logs> {
        let Some(record) = self.ours(name)? else { return self.inner.logs(name, query) };
        let cannot = || format!("cannot show the log of {name}");
        let program = paths::find_program(Path::new("journalctl"))
            .ok_or_else(|| Error::new("there is no journalctl").context(cannot()))?;
        // Watched before the machine is looked at again, so that no removal is missed.
        let there = self.store.directory(name).exists();
        let removal = if query.follow && there { Some(watch_directory(&self.store.directory(name))?) } else { None };
        self.ours(name)?;
        let journal = Journal { program, record, scope: self.scope, query: query.clone() };
        Lines::begin(journal, removal).map(|lines| Box::new(lines) as Logs).map_err(|e| e.context(cannot()))
    }
}

fn watch_directory(dir: &Path) -> Result<Inotify> {
    let cannot = || format!("cannot watch {}", dir.display());
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).with_context(cannot)?;
    inotify.add_watch(dir, AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_DELETE_SELF).with_context(cannot)?;
    Ok(inotify)
}

/// What is read, and by which program.
struct Journal {
    program: PathBuf,
    record: Record,
    scope: Scope,
    query: LogQuery,
}

impl Journal {
    fn read(&self, part: Part<'_>, at_end: AtEnd) -> Result<Reader> {
        let mut command = process::command(&self.program);
        command.args(journal::arguments(&self.record, self.scope, &self.query, part, at_end));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // The kernel ends it with the thread that asks for the log, if that does not end it itself.
        process::die_with_parent(&mut command);
        let mut child = command.spawn().with_context(|| format!("cannot run {}", self.program.display()))?;
        let stdout = child.stdout.take().ok_or_else(|| Error::new("journalctl has no output"))?;
        Ok(Reader { child, stdout: File::from(OwnedFd::from(stdout)), buffer: Vec::new() })
    }
}

/// A `journalctl` that ends with this.
struct Reader {
    child: Child,
    stdout: File,
    buffer: Vec<u8>,
}

impl Reader {
    /// The next line that is here already.
    fn line(&mut self) -> Option<Result<Entry>> {
        let end = self.buffer.iter().position(|&byte| byte == b'\n')?;
        let line: Vec<u8> = self.buffer.drain(..=end).collect();
        Some(journal::parse(&String::from_utf8_lossy(&line)))
    }

    /// Waits for more; `false` when there is no more.
    fn fill(&mut self) -> Result<bool> {
        let mut chunk = [0; 16 * 1024];
        let count = self.stdout.read(&mut chunk).context("cannot read from journalctl")?;
        self.buffer.extend_from_slice(&chunk[..count]);
        if count > 0 {
            return Ok(true);
        }
        let status = self.child.wait().context("cannot wait for journalctl")?;
        if status.success() {
            return Ok(false);
        }
        let mut said = String::new();
        if let Some(stderr) = self.child.stderr.take() {
            let _ = BufReader::new(stderr).read_line(&mut said);
        }
        Err(Error::new(format!("journalctl failed ({status}): {}", said.trim_end())))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Lines {
    journal: Journal,
    /// The last lines that were asked for, newest first.
    last: Vec<LogLine>,
    /// The place of the newest line seen.
    cursor: Option<String>,
    /// What comes after those; nothing when all has been read.
    reader: Option<Reader>,
    /// There while the log is followed.
    removal: Option<Inotify>,
}

impl Lines {
    fn begin(journal: Journal, removal: Option<Inotify>) -> Result<Self> {
        let at_end = if removal.is_some() { AtEnd::Follow } else { AtEnd::Stop };
        let mut lines = Self { journal, last: Vec::new(), cursor: None, reader: None, removal };
        if let Some(tail) = lines.journal.query.tail {
            lines.read_last(tail)?;
            if at_end == AtEnd::Stop {
                return Ok(lines);
            }
        }
        lines.reader = Some(lines.rest(at_end)?);
        Ok(lines)
    }

    /// Reads the last so many lines. One at least is looked at, as it says where the rest begins.
    fn read_last(&mut self, tail: u64) -> Result<()> {
        let mut reader = self.journal.read(Part::Last(tail.max(1)), AtEnd::Stop)?;
        loop {
            while let Some(entry) = reader.line() {
                let entry = entry?;
                self.cursor.get_or_insert(entry.cursor);
                if tail > 0 {
                    self.last.push(entry.line);
                }
            }
            if !reader.fill()? {
                return Ok(());
            }
        }
    }

    /// What is behind the newest line seen.
    fn rest(&self, at_end: AtEnd) -> Result<Reader> {
        self.journal.read(self.cursor.as_deref().map_or(Part::All, Part::Behind), at_end)
    }

    fn advance(&mut self) -> Result<Option<LogLine>> {
        loop {
            let Some(reader) = &mut self.reader else { return Ok(None) };
            if let Some(entry) = reader.line() {
                let entry = entry?;
                self.cursor = Some(entry.cursor);
                return Ok(Some(entry.line));
            }
            if let Some(removal) = &self.removal
                && is_removed(removal, &reader.stdout)?
            {
                self.removal = None;
                self.reader = Some(self.rest(AtEnd::Stop)?);
            } else if !reader.fill()? {
                return Ok(None);
            }
        }
    }
}

/// Waits until there is output to read, or else the machine is removed.
fn is_removed(removal: &Inotify, output: &File) -> Result<bool> {
    loop {
        let mut fds = [PollFd::new(output.as_fd(), PollFlags::POLLIN), PollFd::new(removal.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("cannot wait for journalctl"),
            Ok(_) => return Ok(!fds[0].any().unwrap_or(false)),
        }
    }
}

impl Iterator for Lines {
    type Item = Result<LogLine>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(line) = self.last.pop() {
            return Some(Ok(line));
        }
        let item = self.advance().transpose();
        if !matches!(item, Some(Ok(_))) {
            self.reader = None;
        }
        item
    }
}
