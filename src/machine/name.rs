//! Names and ids of machines, and how a person points at one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::text::kept_as_text;
use crate::error::Error;

macro_rules! names {
    ($($(#[$meta:meta])* $name:ident, $what:literal, $flaw:path;)+) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self, Error> {
                match $flaw(text) {
                    None => Ok(Self(text.to_owned())),
                    Some(why) => Err(Error::new(format!("bad {} name '{}': {why}", $what, text.escape_debug()))),
                }
            }
        }

        kept_as_text!($name);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<std::path::Path> for $name {
            fn as_ref(&self) -> &std::path::Path {
                self.0.as_ref()
            }
        }
    )+ };
}

names! {
    /// A machine's name: `[a-z0-9][a-z0-9_.-]*`, perhaps with `@` and an instance that is formed like a name; at most 64
    /// characters.
    ///
    /// Such a name is a directory and a part of a unit name without being escaped.
    MachineName, "machine", machine_flaw;
    /// A network's name, formed like a machine's. The bridge behind it may have another one, as an interface's has at
    /// most 15 characters.
    NetworkName, "network", flaw;
    /// A named volume's name, formed like a machine's.
    VolumeName, "volume", flaw;
}

impl MachineName {
    /// What stands before the `@` and behind it, if it is an instance of a template.
    pub fn instance(&self) -> Option<(&str, &str)> {
        self.0.split_once('@')
    }

    /// The name as a host may have it: `web@1` is `web-1` there.
    pub fn as_host(&self) -> String {
        self.0.replace('@', "-")
    }
}

/// The most characters that a name has.
const MOST: usize = 64;

/// What is wrong with a machine's name, if anything.
fn machine_flaw(text: &str) -> Option<String> {
    let Some((template, instance)) = text.split_once('@') else { return flaw(text) };
    let of = |part: &str| flaw(part).map(|why| why.replacen("it is empty", "it has nothing on one side of '@'", 1));
    of(template).or_else(|| of(instance)).or_else(|| too_long(text))
}

fn too_long(text: &str) -> Option<String> {
    (text.len() > MOST).then(|| format!("it has {} characters, at most {MOST} fit", text.len()))
}

/// What is wrong with a name, if anything.
fn flaw(text: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let Some(first) = text.chars().next() else { return Some("it is empty".into()) };
    if !allowed(first) {
        return Some("it has to begin with a-z or 0-9".into());
    }
    if let Some(c) = text.chars().find(|&c| !allowed(c) && !matches!(c, '_' | '.' | '-')) {
        return Some(format!("'{}' is not one of a-z 0-9 _ . -", c.escape_debug()));
    }
    too_long(text)
}

/// A machine's id: 128 random bits, written as 32 hexadecimal digits. Unlike a name it is never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, PartialOrd, Ord)]
#[serde(try_from = "String", into = "String")]
pub struct MachineId(u128);

impl MachineId {
    /// An id from 16 random bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// The id as 16 bytes.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// As many first digits as point at a machine at the least. Fewer would make a short name that is not there, such
    /// as `db` or `fe`, mean some other machine.
    pub const FEWEST: usize = 4;

    /// The first twelve digits, enough for a person.
    pub fn short(self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for MachineId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() == 32
            && text.bytes().all(|b| b.is_ascii_hexdigit())
            && let Ok(number) = u128::from_str_radix(text, 16)
        {
            return Ok(Self(number));
        }
        Err(Error::new(format!("bad machine id '{}': not 32 hexadecimal digits", text.escape_debug())))
    }
}

kept_as_text!(MachineId);

/// How a person points at a machine: its name, or the beginning of its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector(String);

impl Selector {
    /// As it was typed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text as a name, if it could be one.
    pub fn as_name(&self) -> Option<MachineName> {
        self.0.parse().ok()
    }

    /// Whether this is the beginning of that id, and long enough to be meant as one. A name always goes before an id; see `Store::resolve`.
    pub fn matches_id(&self, id: MachineId) -> bool {
        self.0.len() >= MachineId::FEWEST && id.to_string().starts_with(&self.0)
    }
}

impl FromStr for Selector {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        // What could be neither is refused before anything is looked up, so that it never becomes a path.
        text.parse::<MachineName>().map(|_| Self(text.to_owned()))
    }
}

impl From<&MachineName> for Selector {
    fn from(name: &MachineName) -> Self {
        Self(name.as_str().to_owned())
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_are_refused_say_why() {
        for (bad, why) in [
            ("", "empty"),
            ("-a", "begin"),
            (".", "begin"),
            ("..", "begin"),
            ("Web", "begin"),
            ("a/b", "'/'"),
            ("a b", "' '"),
            ("a\n", "\\n"),
            ("aé", "'é'"),
            ("a:b", "':'"),
            ("a@", "side of '@'"),
            ("@b", "side of '@'"),
            ("a@b@c", "'@'"),
            ("a@-b", "begin"),
        ] {
            let error = bad.parse::<MachineName>().expect_err(bad).to_string();
            assert!(error.contains(why), "{bad}: {error}");
        }
        assert!("a@b".parse::<NetworkName>().is_err() && "a@b".parse::<VolumeName>().is_err());
        let instance: MachineName = "web-x@1.a".parse().unwrap();
        assert_eq!((instance.instance(), &*instance.as_host()), (Some(("web-x", "1.a")), "web-x-1.a"));
        assert!(format!("a@{}", "a".repeat(63)).parse::<MachineName>().is_err());
        assert!("a".repeat(65).parse::<MachineName>().is_err());
        assert!("a".repeat(64).parse::<MachineName>().is_ok());
    }

    proptest! {
        #[test]
        fn a_name_is_one_path_component(text in ".{0,70}") {
            if let Ok(name) = text.parse::<MachineName>() {
                let path = std::path::Path::new(name.as_str());
                prop_assert_eq!(path.components().count(), 1);
                prop_assert!(matches!(path.components().next(), Some(std::path::Component::Normal(_))));
            }
        }

        #[test]
        fn ids_survive_text(bytes: [u8; 16]) {
            let id = MachineId::from_bytes(bytes);
            prop_assert_eq!(id.to_string().parse::<MachineId>().unwrap(), id);
        }
    }
}
