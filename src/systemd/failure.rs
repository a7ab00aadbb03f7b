//! What the manager refuses, in words, and which refusals we can do something about.

use crate::error::{Error, Kind};

/// A call that was not carried out.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    /// What may be done about it.
    pub(super) cause: Cause,
    /// The same for a person.
    pub(super) error: Error,
}

/// The refusals that callers tell apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// The unit is not loaded, and there is no file for it.
    NoSuchUnit,
    /// A unit of that name is loaded or has a file.
    UnitExists,
    /// There is no such job, any more.
    NoSuchJob,
    /// It would have taken the place of another job, and was not to.
    JobExists,
    /// The manager does not know this property, or does not let it be set now.
    Property(String),
    /// The manager went away under the call; it may have been carried out.
    NoReply,
    /// A deadline passed.
    Timeout,
    /// Anything else.
    Other,
}

impl Failure {
    /// The connection broke.
    pub(super) fn gone(why: &str) -> Self {
        let error = Error::new(format!("the connection to the bus is lost: {}", phrase(why)));
        Self { cause: Cause::NoReply, error }
    }

    /// Puts what we were doing in front.
    pub(super) fn context(mut self, phrase: impl Into<String>) -> Self {
        self.error = self.error.context(phrase);
        self
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { cause: Cause::Other, error }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

/// A D-Bus error as ours, by its name and its text.
pub(super) fn translate(name: &str, text: &str) -> Failure {
    let plain = |cause| Failure { cause, error: Error::new(phrase(text)) };
    match name {
        "org.freedesktop.systemd1.NoSuchUnit" => plain(Cause::NoSuchUnit),
        "org.freedesktop.systemd1.NoSuchJob" => plain(Cause::NoSuchJob),
        "org.freedesktop.systemd1.TransactionIsDestructive" => plain(Cause::JobExists),
        "org.freedesktop.systemd1.UnitExists" => {
            let mut failure = plain(Cause::UnitExists);
            failure.error = failure.error.with_kind(Kind::Conflict);
            failure
        }
        "org.freedesktop.DBus.Error.PropertyReadOnly" => match refused_property(text) {
            Some(property) => Failure {
                error: Error::new(format!("unknown unit property {property}")),
                cause: Cause::Property(property),
            },
            None => plain(Cause::Other),
        },
        "org.freedesktop.DBus.Error.AccessDenied"
        | "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"
        | "org.freedesktop.DBus.Error.AuthFailed" => Failure {
            cause: Cause::Other,
            error: Error::new(phrase(text))
                .with_hint("machines of the system need root; without it, `kraft` shows and runs your own"),
        },
        "org.freedesktop.DBus.Error.NoReply"
        | "org.freedesktop.DBus.Error.Disconnected"
        | "org.freedesktop.DBus.Error.NameHasNoOwner"
        | "org.freedesktop.DBus.Error.ServiceUnknown"
        | "org.freedesktop.DBus.Error.Spawn.ChildExited" => Failure {
            cause: Cause::NoReply,
            error: Error::new("the service manager went away").with_hint("try again: it may have re-executed itself"),
        },
        "System.Error.ENXIO" => Failure {
            cause: Cause::Other,
            error: Error::new("the service manager wants a unit property in another form").with_hint(
                "`systemd-run --property KEY=VALUE` shows whether this systemd takes it; if so, please report a bug",
            ),
        },
        _ => plain(Cause::Other),
    }
}

/// The name in "Cannot set property X, or unknown property."
fn refused_property(text: &str) -> Option<String> {
    let rest = text.strip_prefix("Cannot set property ")?;
    let name: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
    (!name.is_empty()).then_some(name)
}

/// A foreign sentence as a phrase: no capital at the start of an ordinary word, no full stop.
fn phrase(text: &str) -> String {
    let text = text.trim().trim_end_matches('.');
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => first.to_lowercase().chain(chars).collect(),
        (None, _) => "the service manager gave no reason".to_owned(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_in_words() {
        let failure = translate(
            "org.freedesktop.DBus.Error.PropertyReadOnly",
            "Cannot set property FooUSec, or unknown property.",
        );
        assert_eq!(failure.cause, Cause::Property("FooUSec".into()));
        assert_eq!(failure.error.to_string(), "unknown unit property FooUSec");
        let failure = translate("org.freedesktop.systemd1.NoSuchUnit", "Unit kraft-web.service not found.");
        assert_eq!(failure.error.to_string(), "unit kraft-web.service not found");
        assert_eq!(translate("org.freedesktop.DBus.Error.NoReply", "").cause, Cause::NoReply);
        assert!(translate("org.freedesktop.DBus.Error.AccessDenied", "Permission denied").error.hint().is_some());
    }
}
