//! `logs`: the machine's console lines as `journalctl` has them.
//!
//! Following goes on over restarts and ends when the machine is removed: its record's directory is watched beside the
//! lines, and what journald still has is read out then.

use std::fs::File;
use std::io::{BufRead as _, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::{Child, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::journal;
use super::service::SystemdService;
use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::{LogLine, LogQuery, Logs, MachineName};
use crate::{paths, process};

/// How long the journal may take to hand over the last lines of a removed machine.
const LAST_LINES_MS: u16 = 250;

impl SystemdService {
    pub(super) fn machine_logs(&self, name: &MachineName, query: &LogQuery) -> Result<Logs> {
        let Some(record) = self.ours(name)? else { return self.inner.logs(name, query) };
        let cannot = || format!("cannot show the log of {name}");
        let program = paths::find_program(Path::new("journalctl"))
            .ok_or_else(|| Error::of(Kind::Failed, "there is no journalctl").context(cannot()))?;
        // Watched before the machine is looked at again, so that no removal is missed.
        let removal = if query.follow { Some(watch_directory(&self.store.directory(name))?) } else { None };
        self.store.read(name)?;
        let mut command = process::command(&program);
        command.args(journal::arguments(&record, self.scope, query));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        process::die_with_parent(&mut command);
        let mut child =
            command.spawn().with_context(|| format!("cannot run {}", program.display())).with_context(cannot)?;
        let stdout = child.stdout.take().ok_or_else(|| Error::new("journalctl has no output").context(cannot()))?;
        Ok(Box::new(Lines {
            child,
            stdout: File::from(OwnedFd::from(stdout)),
            buffer: Vec::new(),
            removal,
            stage: Stage::Reading,
        }))
    }
}

fn watch_directory(dir: &Path) -> Result<Inotify> {
    let cannot = || format!("cannot watch {}", dir.display());
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).with_context(cannot)?;
    inotify.add_watch(dir, AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_DELETE_SELF).with_context(cannot)?;
    Ok(inotify)
}

/// The lines of a `journalctl` that ends with this.
struct Lines {
    child: Child,
    stdout: File,
    buffer: Vec<u8>,
    removal: Option<Inotify>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// More may come.
    Reading,
    /// The machine is gone; what is on its way still counts.
    Draining,
    /// No more.
    Ended,
}

impl Lines {
    /// Reads until the buffer holds a line or nothing more comes.
    fn fill(&mut self) -> Result<()> {
        while self.stage != Stage::Ended && !self.buffer.contains(&b'\n') {
            if self.wait()? {
                let mut chunk = [0; 16 * 1024];
                match self.stdout.read(&mut chunk).context("cannot read from journalctl")? {
                    0 => {
                        self.stage = Stage::Ended;
                        return self.ended();
                    }
                    count => self.buffer.extend_from_slice(&chunk[..count]),
                }
            }
        }
        Ok(())
    }

    /// Waits for output; `false` when there is none but something else has changed.
    fn wait(&mut self) -> Result<bool> {
        let Some(removal) = &self.removal else { return Ok(true) };
        let mut fds = vec![PollFd::new(self.stdout.as_fd(), PollFlags::POLLIN)];
        let timeout = match self.stage {
            Stage::Draining => PollTimeout::from(LAST_LINES_MS),
            Stage::Reading | Stage::Ended => {
                fds.push(PollFd::new(removal.as_fd(), PollFlags::POLLIN));
                PollTimeout::NONE
            }
        };
        match poll(&mut fds, timeout) {
            Err(nix::errno::Errno::EINTR) => return Ok(false),
            result => result.context("cannot wait for journalctl")?,
        };
        if fds[0].any().unwrap_or(false) {
            return Ok(true);
        }
        self.stage = match self.stage {
            Stage::Reading => Stage::Draining,
            Stage::Draining | Stage::Ended => Stage::Ended,
        };
        Ok(false)
    }

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

impl Iterator for Lines {
    type Item = Result<LogLine>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = self.fill() {
            self.stage = Stage::Ended;
            return Some(Err(error));
        }
        let end = self.buffer.iter().position(|&byte| byte == b'\n')?;
        let line: Vec<u8> = self.buffer.drain(..=end).collect();
        Some(journal::parse(&String::from_utf8_lossy(&line)))
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
