//! What the server says of itself, line by line: what is everyday stays out of the journal.

use std::io::{PipeReader, Read as _};
use std::os::fd::{AsFd, BorrowedFd};

use crate::error::{Context as _, Result};

/// How everyday lines begin.
const EVERYDAY: &[&str] = &[
    "started, version",
    "compile time options",
    "read ",
    "inotify: ",
    "reading ",
    "using nameserver",
    "using only locally-known",
    "ignoring nameserver",
    "exiting on receipt",
    "cleared cache",
    "warning: no upstream servers configured",
    "warning: interface ",
];

/// The server's standard error.
#[derive(Debug)]
pub(super) struct Lines {
    pipe: PipeReader,
    partial: Vec<u8>,
    /// The last line that was no everyday one.
    pub(super) complaint: Option<String>,
}

impl Lines {
    pub(super) fn new(pipe: PipeReader) -> Result<Self> {
        rustix::io::ioctl_fionbio(&pipe, true).context("cannot listen to the server")?;
        Ok(Self { pipe, partial: Vec::new(), complaint: None })
    }

    /// Takes in what there is. Returns lines to pass on; a line that is said again and again is passed on once.
    pub(super) fn read(&mut self) -> Vec<String> {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = self.pipe.read(&mut chunk) {
            self.partial.extend_from_slice(&chunk[..count]);
        }
        let mut lines = Vec::new();
        while let Some(end) = self.partial.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            let line = bare(String::from_utf8_lossy(&line).trim_end()).to_owned();
            if !line.is_empty() && !EVERYDAY.iter().any(|everyday| line.starts_with(everyday)) {
                self.complaint = Some(line.clone());
                lines.push(line);
            }
        }
        lines
    }
}

impl AsFd for Lines {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

/// A line without `dnsmasq[PID]: ` in front.
fn bare(line: &str) -> &str {
    match line.split_once(": ") {
        Some((program, rest)) if program.starts_with("dnsmasq") => rest,
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn only_what_is_out_of_the_ordinary_is_passed_on() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut lines = Lines::new(reader).unwrap();
        writer
            .write_all(
                b"dnsmasq[7]: started, version 2.90\n\ndnsmasq: failed to create listening socket for 10.88.0.1: ",
            )
            .unwrap();
        assert_eq!(lines.read(), Vec::<String>::new());
        writer.write_all(b"Address already in use\n").unwrap();
        assert_eq!(lines.read(), ["failed to create listening socket for 10.88.0.1: Address already in use"]);
        assert!(lines.complaint.unwrap().starts_with("failed"));
    }
}
