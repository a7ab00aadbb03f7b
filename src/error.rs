//! The one error type: what we were doing, on what, then why.
//!
//! An [`Error`] is a chain of short lower-case phrases without a full stop. `main` alone prints it, joined by `: `,
//! with the [`hint`](Error::hint) on a line of its own. Its [`Kind`] decides the exit code.

use std::fmt;

/// The result of everything that can fail in kraft.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of failure it is; decides the exit code and what callers may do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// kraft itself failed, or was asked for something that cannot be (exit code 125).
    Failed,
    /// No machine of that name or id (exit code 125).
    NoSuchMachine,
    /// The name is taken, or the machine's state forbids what was asked (exit code 125).
    Conflict,
    /// A newer kraft wrote it, so that it is not ours to judge or to remove (exit code 125).
    Newer,
    /// A deadline passed (exit code 125).
    Timeout,
    /// What was given as a kernel is a program for Linux (exit code 125).
    Program,
    /// The VMM cannot be run (exit code 126).
    CannotRun,
    /// A kernel or another input file was not found (exit code 127).
    NotFound,
}

/// A failure: phrases from the outermost to the cause, a kind, perhaps a cure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
    phrases: Vec<String>,
    hint: Option<String>,
}

impl Error {
    /// A failure of kind [`Kind::Failed`].
    pub fn new(phrase: impl Into<String>) -> Self {
        Self::of(Kind::Failed, phrase)
    }

    /// A failure of a given kind.
    pub fn of(kind: Kind, phrase: impl Into<String>) -> Self {
        Self { kind, phrases: vec![phrase.into()], hint: None }
    }

    /// Puts what we were doing in front of the cause.
    #[must_use]
    pub fn context(mut self, phrase: impl Into<String>) -> Self {
        self.phrases.insert(0, phrase.into());
        self
    }

    /// Adds the cure, shown on a line of its own. The first one given stays.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert(hint.into());
        self
    }

    /// Changes the kind.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The cure, if we know it.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The exit code that a command which ends by this error has: 125, 126 or 127.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Failed | Kind::NoSuchMachine | Kind::Conflict | Kind::Newer | Kind::Timeout | Kind::Program => 125,
            Kind::CannotRun => 126,
            Kind::NotFound => 127,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.phrases.join(": "))
    }
}

impl std::error::Error for Error {}

/// Puts what we were doing in front of a foreign error.
pub trait Context<T> {
    /// Adds a fixed phrase.
    fn context(self, phrase: impl Into<String>) -> Result<T>;
    /// Adds a phrase that is made only on failure.
    fn with_context<S: Into<String>>(self, phrase: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: IntoError> Context<T> for std::result::Result<T, E> {
    fn context(self, phrase: impl Into<String>) -> Result<T> {
        self.map_err(|e| e.into_error().context(phrase))
    }

    fn with_context<S: Into<String>>(self, phrase: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| e.into_error().context(phrase()))
    }
}

const FULL: &str = "free some space on that file system, then try again";

/// Foreign errors that become ours.
pub trait IntoError {
    /// The error as ours, its own text as the cause.
    fn into_error(self) -> Error;
}

impl IntoError for Error {
    fn into_error(self) -> Error {
        self
    }
}

impl IntoError for std::io::Error {
    fn into_error(self) -> Error {
        // std appends "(os error N)", which says nothing to a person.
        let text = self.to_string();
        let text = text.split(" (os error").next().unwrap_or(&text).to_owned();
        let hint = match self.raw_os_error() {
            Some(libc) if libc == nix::errno::Errno::EACCES as i32 || libc == nix::errno::Errno::EPERM as i32 => {
                Some("machines of the system need root; without it, `kraft` shows and runs your own")
            }
            _ if self.kind() == std::io::ErrorKind::StorageFull => Some(FULL),
            _ => None,
        };
        let error = Error::new(text);
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

impl IntoError for nix::errno::Errno {
    fn into_error(self) -> Error {
        std::io::Error::from_raw_os_error(self as i32).into_error()
    }
}

impl IntoError for rustix::io::Errno {
    fn into_error(self) -> Error {
        std::io::Error::from_raw_os_error(self.raw_os_error()).into_error()
    }
}

impl IntoError for serde_json::Error {
    fn into_error(self) -> Error {
        Error::new(self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_from_the_outside_in() {
        let e = Error::new("no such file").context("cannot read /x").context("cannot start web");
        assert_eq!(e.to_string(), "cannot start web: cannot read /x: no such file");
        assert_eq!(e.exit_code(), 125);
    }

    #[test]
    fn os_errors_lose_their_number() {
        let e = std::io::Error::from_raw_os_error(2).into_error();
        assert_eq!(e.to_string(), "No such file or directory");
    }
}
