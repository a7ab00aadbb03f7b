//! Where a guest's console goes. Under the local manager it is cut into lines, each with its time, in a file that is
//! turned over.
//!
//! A line is `2026-11-21T08:00:00.123456Z text`. What comes without a line's end waits for it; standard output, where it
//! is shown too, gets every byte at once.

use std::fs::{File, OpenOptions};
use std::io::{PipeReader, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use nix::poll::PollFlags;

use super::ConsoleMode;
use super::forward::Forward;
use super::lines::Lines;
use crate::error::{Context as _, Result};

/// A log of this size is turned over; one old one is kept.
const FULL: u64 = 10 << 20;
/// A line without end is cut here, as the journal does.
const LONGEST: usize = 48 << 10;

/// Where the guest's console goes.
#[derive(Debug)]
pub(super) enum Console {
    /// To whoever reads our standard output.
    Inherit,
    /// There as well, but read on its way.
    Forward(Box<Forward>),
    /// Through here, into the log.
    Pump(Box<Pump>),
}

impl Console {
    /// `lines` are those that somebody looks for.
    pub(super) fn open(log: &Path, mode: ConsoleMode, lines: Option<Lines>) -> Result<Self> {
        let show = match mode {
            ConsoleMode::Inherit => {
                return Ok(match lines {
                    None => Self::Inherit,
                    Some(lines) => Self::Forward(Box::new(Forward::new(lines)?)),
                });
            }
            ConsoleMode::Log => false,
            ConsoleMode::LogAndShow => true,
        };
        let (reader, writer) = std::io::pipe().context("cannot make a pipe for the console")?;
        let sink = Sink::open(log)?;
        Ok(Self::Pump(Box::new(Pump {
            reader: Some(reader),
            writer: Some(writer.into()),
            sink,
            show,
            pending: Vec::new(),
            lines,
        })))
    }

    /// The end that the VMM writes to; none if that is our standard output.
    pub(super) fn take_writer(&mut self) -> Option<OwnedFd> {
        match self {
            Self::Inherit => None,
            Self::Forward(forward) => forward.take_writer(),
            Self::Pump(pump) => pump.writer.take(),
        }
    }

    /// What to poll for, until there is nothing more to come.
    pub(super) fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match self {
            Self::Inherit => None,
            Self::Forward(forward) => forward.interest(),
            Self::Pump(pump) => pump.reader.as_ref().map(|reader| (reader.as_fd(), PollFlags::POLLIN)),
        }
    }

    /// Moves what is there. To be called when it can.
    pub(super) fn pump(&mut self) {
        let moved = match self {
            Self::Inherit => Ok(()),
            Self::Forward(forward) => forward.pump(),
            Self::Pump(pump) => pump.pump(),
        };
        // The guest is worth more than its log.
        if let Err(error) = moved {
            log::error!("{error}");
        }
    }

    /// The line was there that is looked for.
    pub(super) fn matched(&self) -> bool {
        match self {
            Self::Inherit => false,
            Self::Forward(forward) => forward.matched(),
            Self::Pump(pump) => pump.lines.as_ref().is_some_and(Lines::matched),
        }
    }
}

/// The console on its way into the log.
#[derive(Debug)]
pub(super) struct Pump {
    reader: Option<PipeReader>,
    writer: Option<OwnedFd>,
    sink: Sink,
    show: bool,
    pending: Vec<u8>,
    lines: Option<Lines>,
}

impl Pump {
    fn pump(&mut self) -> Result<()> {
        let Some(reader) = &mut self.reader else { return Ok(()) };
        let mut buffer = [0; 16 << 10];
        match reader.read(&mut buffer) {
            Ok(0) => {
                self.reader = None;
                self.end()
            }
            Ok(n) => self.take(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => Ok(()),
            Err(e) => Err(e).context("cannot read the console"),
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(lines) = &mut self.lines {
            lines.feed(bytes);
        }
        if self.show {
            // A terminal that is gone does not end the guest.
            let mut out = std::io::stdout().lock();
            if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
                self.show = false;
            }
        }
        self.pending.extend_from_slice(bytes);
        let now = Timestamp::now();
        let mut block = Vec::new();
        let mut rest = 0;
        while let Some(length) = line_length(&self.pending[rest..]) {
            stamp(&mut block, now, &self.pending[rest..rest + length]);
            rest += length;
        }
        self.pending.drain(..rest);
        self.sink.write(&block)
    }

    /// Writes the line that never ended.
    fn end(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut block = Vec::new();
        stamp(&mut block, Timestamp::now(), &std::mem::take(&mut self.pending));
        self.sink.write(&block)
    }
}

/// The length of the first line, its end included.
fn line_length(bytes: &[u8]) -> Option<usize> {
    let window = &bytes[..bytes.len().min(LONGEST)];
    window.iter().position(|&b| b == b'\n').map(|end| end + 1).or((window.len() == LONGEST).then_some(LONGEST))
}

fn stamp(block: &mut Vec<u8>, now: Timestamp, line: &[u8]) {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    block.extend_from_slice(format!("{now:.6} ").as_bytes());
    block.extend_from_slice(text);
    block.push(b'\n');
}

/// The file, turned over when it is full.
#[derive(Debug)]
struct Sink {
    path: PathBuf,
    file: File,
    size: u64,
}

impl Sink {
    fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let size = file.metadata().map_or(0, |m| m.len());
        Ok(Self { path: path.to_path_buf(), file, size })
    }

    fn write(&mut self, block: &[u8]) -> Result<()> {
        if self.size + block.len() as u64 > FULL && self.size > 0 {
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            std::fs::rename(&self.path, old).with_context(|| format!("cannot turn over {}", self.path.display()))?;
            *self = Self::open(&self.path)?;
        }
        self.file.write_all(block).with_context(|| format!("cannot write {}", self.path.display()))?;
        self.size += block.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_and_stamped() {
        assert_eq!(line_length(b"ab\ncd"), Some(3));
        assert_eq!(line_length(b"ab"), None);
        assert_eq!(line_length(&[b'x'; LONGEST + 5]), Some(LONGEST));
        let mut block = Vec::new();
        stamp(&mut block, Timestamp::UNIX_EPOCH, b"hello\r\n");
        assert_eq!(block, b"1970-01-01T00:00:00.000000Z hello\n");
    }
}
