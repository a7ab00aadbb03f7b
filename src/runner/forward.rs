//! The console of a machine under systemd that is read on its way to standard output. As long as nobody takes what was
//! read, no more is: the guest waits, this process does not.

use std::io::{PipeReader, Read as _, Stdout};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use nix::poll::PollFlags;

use super::lines::Lines;
use crate::error::{Context as _, Result};

/// What a stream that is said to be writable takes without having one wait.
const PIECE: usize = 4096;

/// The way through here.
#[derive(Debug)]
pub(super) struct Forward {
    reader: Option<PipeReader>,
    writer: Option<OwnedFd>,
    out: Stdout,
    pending: Vec<u8>,
    lines: Lines,
}

impl Forward {
    pub(super) fn new(lines: Lines) -> Result<Self> {
        let (reader, writer) = std::io::pipe().context("cannot make a pipe for the console")?;
        Ok(Self {
            reader: Some(reader),
            writer: Some(writer.into()),
            out: std::io::stdout(),
            pending: Vec::new(),
            lines,
        })
    }

    /// The end that the VMM writes to. There is one.
    pub(super) fn take_writer(&mut self) -> Option<OwnedFd> {
        self.writer.take()
    }

    pub(super) fn matched(&self) -> bool {
        self.lines.matched()
    }

    /// What to poll for, until the VMM has closed its end and all of it is written.
    pub(super) fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        if !self.pending.is_empty() {
            return Some((self.out.as_fd(), PollFlags::POLLOUT));
        }
        self.reader.as_ref().map(|reader| (reader.as_fd(), PollFlags::POLLIN))
    }

    /// Takes one step. To be called when it can.
    pub(super) fn pump(&mut self) -> Result<()> {
        if !self.pending.is_empty() {
            match rustix::io::write(self.out.as_fd(), &self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                // Nobody is left to read it: the guest goes on all the same.
                Err(_) => self.pending.clear(),
            }
            return Ok(());
        }
        let Some(reader) = &mut self.reader else { return Ok(()) };
        let mut buffer = [0; PIECE];
        match reader.read(&mut buffer) {
            Ok(0) => self.reader = None,
            Ok(n) => {
                self.lines.feed(&buffer[..n]);
                self.pending.extend_from_slice(&buffer[..n]);
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e).context("cannot read the console"),
        }
        Ok(())
    }
}
