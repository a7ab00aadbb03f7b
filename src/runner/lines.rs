//! Looking for a line in a stream of bytes.

use regex_lite::Regex;

use crate::error::{Error, Result};
use crate::machine::Ready;

/// Of a longer line, only the beginning is looked at.
const LONGEST: usize = 4096;

/// Looks at each line until one matches.
#[derive(Debug)]
pub(super) struct Lines {
    pattern: Regex,
    line: Vec<u8>,
    matched: bool,
}

impl Lines {
    /// What makes a machine ready, if that is a line.
    ///
    /// # Errors
    /// When the pattern is none.
    pub(super) fn of(ready: &Ready) -> Result<Option<Self>> {
        let Ready::Console(pattern) = ready else { return Ok(None) };
        let bad = |error| Error::new(format!("bad pattern '{}': {error}", pattern.escape_debug()));
        let pattern = Regex::new(pattern).map_err(bad)?;
        Ok(Some(Self { pattern, line: Vec::new(), matched: false }))
    }

    /// One line matched.
    pub(super) fn matched(&self) -> bool {
        self.matched
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            if self.matched {
                return;
            }
            let room = LONGEST - self.line.len();
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if text.len() < piece.len() {
                let line = std::mem::take(&mut self.line);
                let line = line.strip_suffix(b"\r").unwrap_or(&line);
                self.matched = self.pattern.is_match(&String::from_utf8_lossy(line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(pattern: &str) -> Lines {
        Lines::of(&Ready::Console(pattern.into())).unwrap().unwrap()
    }

    #[test]
    fn whole_lines_match() {
        let mut up = lines("^up [0-9]+$");
        for (bytes, matched) in [("not up 7\nup", false), (" 7", false), ("\r", false), ("\n", true), ("down\n", true)]
        {
            up.feed(bytes.as_bytes());
            assert_eq!(up.matched(), matched, "{bytes:?}");
        }
        let mut long = lines("x{8}y");
        long.feed(&vec![b'x'; LONGEST + 100]);
        long.feed(b"y\nxxxxxxxx");
        assert!(!long.matched() && long.line.len() <= LONGEST);
        long.feed(b"\xffxxxxxxxxy\n");
        assert!(long.matched());
        assert!(Lines::of(&Ready::Guest).unwrap().is_none());
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_they_come(text in "[ab\n\r]{0,40}", cut in 0usize..40) {
            let (mut whole, mut parts) = (lines("^ab$"), lines("^ab$"));
            whole.feed(text.as_bytes());
            let cut = cut.min(text.len());
            parts.feed(&text.as_bytes()[..cut]);
            parts.feed(&text.as_bytes()[cut..]);
            prop_assert_eq!(whole.matched(), parts.matched());
            let expected = text.split_inclusive('\n').any(|line| matches!(line, "ab\n" | "ab\r\n"));
            prop_assert_eq!(whole.matched(), expected);
        }
    }
}
