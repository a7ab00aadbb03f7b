//! What the VMM writes about itself: logged as it comes, the last line kept to explain an end.

use std::io::{PipeReader, Read as _};
use std::os::fd::{AsFd, BorrowedFd};

/// What the VMM writes about itself: logged, the last line kept.
#[derive(Debug)]
pub(super) struct Complaints {
    reader: Option<PipeReader>,
    pending: Vec<u8>,
    last: Option<String>,
}

impl Complaints {
    pub(super) fn new(reader: PipeReader) -> Self {
        Self { reader: Some(reader), pending: Vec::new(), last: None }
    }

    /// The end to poll, until the VMM has closed its.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.reader.as_ref().map(AsFd::as_fd)
    }

    /// The last line.
    pub(super) fn last(&self) -> Option<&str> {
        self.last.as_deref()
    }

    pub(super) fn read(&mut self) {
        let Some(reader) = &mut self.reader else { return };
        let mut buffer = [0; 4096];
        match reader.read(&mut buffer) {
            Ok(0) => {
                self.reader = None;
                self.pending.push(b'\n');
            }
            Ok(n) => self.pending.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => self.reader = None,
        }
        while let Some(end) = self.pending.iter().position(|&b| b == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim();
            if !line.is_empty() {
                log::warn!("{line}");
                self.last = Some(bare(line).to_owned());
            }
        }
    }

    pub(super) fn drain(&mut self) {
        while self.reader.is_some() {
            self.read();
        }
    }
}

/// A complaint without the program's name in front.
fn bare(line: &str) -> &str {
    match line.split_once(": ") {
        Some((program, rest)) if program.starts_with("qemu-system-") => rest,
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_do_not_name_themselves() {
        assert_eq!(bare("qemu-system-x86_64: bad"), "bad");
        assert_eq!(bare("could not: x"), "could not: x");
    }
}
