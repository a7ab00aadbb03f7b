//! Where something stands in a file, and what is wrong there.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::error::Error;

/// A place in a machine file; lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: Arc<Path>,
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Place {
    /// Where a file begins.
    pub(super) fn start(path: &Path) -> Self {
        Self { path: path.into(), line: 1, column: 1 }
    }

    /// Where these bytes of the file's text begin.
    pub(super) fn of(path: &Arc<Path>, text: &str, span: Range<usize>) -> Self {
        let before = &text.as_bytes()[..span.start.min(text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let begin = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        // A span may end inside of a character where the text is no TOML.
        let column = String::from_utf8_lossy(&before[begin..]).chars().count() + 1;
        Self { path: path.clone(), line, column }
    }

    /// What is wrong here, as an error.
    #[must_use]
    pub fn error(&self, error: Error) -> Error {
        error.context(self.to_string())
    }
}

/// As compilers write it: `FILE:LINE:COLUMN`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

/// Everything that is wrong in a machine's files, each with its place; never empty.
pub type Flaws = Vec<Error>;
