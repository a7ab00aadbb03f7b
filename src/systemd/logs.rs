//! `logs`: the machine's console lines as `journalctl` has them.
//!
//! Following goes on over restarts and ends when the machine is removed: its record's directory is watched beside the
//! lines. journald tells followers of new lines up to a quarter of a second late, so a second `journalctl` without
//! following then reads what is left behind the last line seen.

use std::fs::File;
use std::io::{BufRead as _, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::journal::{self, After};
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
        let removal = if query.follow { Some(watch_directory(&self.store.directory(name))?) } else { None };
        self.store.read(name)?;
        let journal = Journal { program, record, scope: self.scope, query: query.clone() };
        let reader = journal.read(After::Start).map_err(|e| e.context(cannot()))?;
        Ok(Box::new(Lines { journal, reader, removal, buffer: Vec::new(), cursor: None, ended: false }))
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
    fn read(&self, after: After<'_>) -> Result<Reader> {
        let mut command = process::command(&self.program);
        command.args(journal::arguments(&self.record, self.scope, &self.query, after));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // The kernel ends it with the thread that asks for the log, if that does not end it itself.
        process::die_with_parent(&mut command);
        let mut child = command.spawn().with_context(|| format!("cannot run {}", self.program.display()))?;
        let stdout = child.stdout.take().ok_or_else(|| Error::new("journalctl has no output"))?;
        Ok(Reader { child, stdout: File::from(OwnedFd::from(stdout)) })
    }
}

/// A `journalctl` that ends with this.
struct Reader {
    child: Child,
    stdout: File,
}

impl Reader {
    /// journalctl closed its output: an error if it failed.
    fn ended(&mut self) -> Result<()> {
        let status = self.child.wait().context("cannot wait for journalctl")?;
        if status.success() {
            return Ok(());
        }
        let mut said = String::new();
        if let Some(stderr) = self.child.stderr.take() {
            let _ = std::io::BufReader::new(stderr).read_line(&mut said);
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
    reader: Reader,
    /// There while the log is followed.
    removal: Option<Inotify>,
    buffer: Vec<u8>,
    cursor: Option<String>,
    ended: bool,
}

impl Lines {
    /// Reads until the buffer holds a line or nothing more comes.
    fn fill(&mut self) -> Result<()> {
        while !self.ended && !self.buffer.contains(&b'\n') {
            if self.is_removed()? {
                self.removal = None;
                self.journal.query.follow = false;
                self.buffer.clear();
                let after = self.cursor.as_deref().map_or(After::Start, After::Cursor);
                self.reader = self.journal.read(after)?;
            }
            let mut chunk = [0; 16 * 1024];
            match self.reader.stdout.read(&mut chunk).context("cannot read from journalctl")? {
                0 => {
                    self.ended = true;
                    self.reader.ended()?;
                }
                count => self.buffer.extend_from_slice(&chunk[..count]),
            }
        }
        Ok(())
    }

    /// Waits until there is output, or, while the log is followed, the machine is removed.
    fn is_removed(&self) -> Result<bool> {
        let Some(removal) = &self.removal else { return Ok(false) };
        loop {
            let mut fds = [
                PollFd::new(self.reader.stdout.as_fd(), PollFlags::POLLIN),
                PollFd::new(removal.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("cannot wait for journalctl"),
                Ok(_) => return Ok(!fds[0].any().unwrap_or(false)),
            }
        }
    }
}

impl Iterator for Lines {
    type Item = Result<LogLine>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = self.fill() {
            self.ended = true;
            return Some(Err(error));
        }
        let end = self.buffer.iter().position(|&byte| byte == b'\n')?;
        let line: Vec<u8> = self.buffer.drain(..=end).collect();
        Some(journal::parse(&String::from_utf8_lossy(&line)).map(|entry| {
            self.cursor = Some(entry.cursor);
            entry.line
        }))
    }
}
