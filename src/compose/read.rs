//! How values are read out of a tree: by type, with everything that is wrong kept, each with its place and key. Pure.

use std::str::FromStr;

use super::node::{Key, Node, Place, Value};
use crate::error::Error;

/// What is wrong, and what is passed over, of all that was read.
#[derive(Debug, Default)]
pub struct Notes {
    /// What is wrong.
    pub flaws: Vec<Error>,
    /// What is passed over, and harmless.
    pub warnings: Vec<String>,
}

impl Notes {
    /// Something is wrong with a value of this key.
    pub(super) fn flaw(&mut self, place: &Place, key: &str, error: Error) {
        let error = if key.is_empty() { error } else { error.context(key) };
        self.flaws.push(place.error(error));
    }

    /// Something is passed over.
    pub(super) fn warn(&mut self, place: &Place, key: &str, what: &str) {
        self.warnings.push(format!("{place}: {key}: {what}"));
    }
}

/// A value and the keys that lead to it, as messages name them.
#[derive(Debug, Clone)]
pub(super) struct At<'a> {
    pub(super) node: &'a Node,
    pub(super) key: String,
}

/// What becomes of a key that is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is an error, for this reason.
    Refused(&'static str),
    /// It is told, for this reason.
    Ignored(&'static str),
    /// It says nothing that matters here.
    Silent,
}

impl<'a> At<'a> {
    pub(super) fn new(node: &'a Node, key: impl Into<String>) -> Self {
        Self { node, key: key.into() }
    }

    pub(super) fn flaw(&self, notes: &mut Notes, error: Error) {
        notes.flaw(&self.node.place, &self.key, error);
    }

    /// What is wrong here, with the place and the key.
    pub(super) fn error(&self, error: Error) -> Error {
        self.node.place.error(error.context(self.key.clone()))
    }

    fn expected(&self, notes: &mut Notes, what: &str) {
        self.flaw(notes, Error::new(format!("expected {what}, found {}", self.node.kind())));
    }

    /// The value of a key, if one is given.
    pub(super) fn get(&self, key: &str) -> Option<Self> {
        self.node.get(key).filter(|node| !node.is_null()).map(|node| self.below(key, node))
    }

    /// The entries of a mapping; nothing at all is an empty one.
    pub(super) fn entries(&self, notes: &mut Notes) -> Vec<(&'a Key, At<'a>)> {
        match &self.node.value {
            Value::Map(entries) => entries.iter().map(|(key, node)| (key, self.below(&key.text, node))).collect(),
            _ if self.node.is_null() => Vec::new(),
            _ => {
                self.expected(notes, "a mapping");
                Vec::new()
            }
        }
    }

    fn below(&self, key: &str, node: &'a Node) -> Self {
        At { node, key: if self.key.is_empty() { key.to_owned() } else { format!("{}.{key}", self.key) } }
    }

    /// The items of a list.
    pub(super) fn items(&self, notes: &mut Notes) -> Vec<Self> {
        match &self.node.value {
            Value::List(list) => {
                let item = |(index, node)| At { node, key: format!("{}[{index}]", self.key) };
                list.iter().enumerate().map(item).collect()
            }
            _ if self.node.is_null() => Vec::new(),
            _ => {
                self.expected(notes, "a list");
                Vec::new()
            }
        }
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.node.value, Value::Map(_))
    }

    /// A text; a number is one, too.
    pub(super) fn text(&self, notes: &mut Notes) -> Option<&'a str> {
        match &self.node.value {
            Value::Scalar { text, .. } => Some(text),
            Value::List(_) | Value::Map(_) => {
                self.expected(notes, "a text");
                None
            }
        }
    }

    /// Something that is written as a text.
    pub(super) fn parsed<T: FromStr<Err = Error>>(&self, notes: &mut Notes) -> Option<T> {
        let text = self.text(notes)?;
        text.parse().map_err(|error| self.flaw(notes, error)).ok()
    }

    /// What a function makes of a text.
    pub(super) fn read<T>(&self, notes: &mut Notes, read: impl FnOnce(&str) -> Result<T, Error>) -> Option<T> {
        let text = self.text(notes)?;
        read(text).map_err(|error| self.flaw(notes, error)).ok()
    }

    pub(super) fn boolean(&self, notes: &mut Notes) -> Option<bool> {
        match self.text(notes)? {
            "true" | "True" | "TRUE" | "yes" | "on" => Some(true),
            "false" | "False" | "FALSE" | "no" | "off" => Some(false),
            other => {
                let why = format!("expected true or false, found '{}'", other.escape_debug());
                self.flaw(notes, Error::new(why));
                None
            }
        }
    }

    pub(super) fn number(&self, notes: &mut Notes) -> Option<u32> {
        self.read(notes, |text| {
            text.parse().map_err(|_| Error::new(format!("expected a number, found '{}'", text.escape_debug())))
        })
    }

    /// A list of texts, or a single one.
    pub(super) fn texts(&self, notes: &mut Notes) -> Vec<String> {
        if matches!(self.node.value, Value::Scalar { .. }) && !self.node.is_null() {
            return self.text(notes).map(str::to_owned).into_iter().collect();
        }
        self.items(notes).iter().filter_map(|item| item.text(notes).map(str::to_owned)).collect()
    }

    /// `A: B`, or a list of `A=B`. No value is `None`.
    pub(super) fn assignments(&self, notes: &mut Notes) -> Vec<(String, Option<String>, At<'a>)> {
        if self.is_list() {
            let split = |item: Self, notes: &mut Notes| {
                let text = item.text(notes)?;
                let (key, value) = match text.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (text.to_owned(), None),
                };
                Some((key, value, item))
            };
            return self.items(notes).into_iter().filter_map(|item| split(item, notes)).collect();
        }
        let value = |(key, at): (&Key, Self), notes: &mut Notes| {
            if at.node.is_null() {
                return Some((key.text.clone(), None, at));
            }
            let text = at.text(notes)?.to_owned();
            Some((key.text.clone(), Some(text), at))
        };
        self.entries(notes).into_iter().filter_map(|entry| value(entry, notes)).collect()
    }

    /// Looks at every key: those that are read are in `known`, of the others `unread` says what becomes of them, and the
    /// rest is unknown. What begins with `x-` is somebody else's.
    pub(super) fn check_keys(&self, notes: &mut Notes, known: &[&str], unread: &[(&str, Unread)]) {
        for (key, at) in self.entries(notes) {
            let name = key.text.as_str();
            if known.contains(&name) || name.starts_with("x-") {
                continue;
            }
            let place = &key.place;
            match unread.iter().find(|(other, _)| *other == name) {
                Some((_, Unread::Silent)) => {}
                Some((_, Unread::Ignored(why))) => notes.warn(place, &at.key, &format!("ignored: {why}")),
                Some((_, Unread::Refused(why))) => {
                    notes.flaw(place, &at.key, Error::new(format!("not supported: {why}")));
                }
                None => {
                    let error = Error::new("there is no such key");
                    let error = match near(name, known) {
                        Some(near) => error.with_hint(format!("'{near}' may be meant")),
                        None => error,
                    };
                    notes.flaw(place, &at.key, error);
                }
            }
        }
    }
}

/// The known word that a person may have meant: one letter off.
fn near<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let like = word.replace('-', "_").to_lowercase();
    let close = |other: &str| {
        let (a, b): (Vec<char>, Vec<char>) = (like.chars().collect(), other.chars().collect());
        let same = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
        let tail = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
        a.len().abs_diff(b.len()) <= 1 && same + tail + 1 >= a.len().max(b.len())
    };
    known.iter().copied().find(|other| close(other) || format!("{like}s") == **other)
}

/// A command as a shell splits it into words: quotes and backslashes, no variables.
pub(super) fn words(text: &str) -> Result<Vec<String>, Error> {
    let bad = |why: &str| Error::new(format!("bad command '{}': {why}", text.escape_debug()));
    let (mut words, mut word, mut chars) = (Vec::new(), None::<String>, text.chars());
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' => {
                let into = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => into.push(c),
                        None => return Err(bad("a quote is not closed")),
                    }
                }
            }
            '"' => {
                let into = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            Some(c @ ('"' | '\\' | '$' | '`')) => into.push(c),
                            Some(c) => into.extend(['\\', c]),
                            None => return Err(bad("a quote is not closed")),
                        },
                        Some(c) => into.push(c),
                        None => return Err(bad("a quote is not closed")),
                    }
                }
            }
            '\\' => match chars.next() {
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err(bad("it ends in a backslash")),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_split_as_a_shell_does() {
        for (text, split) in [
            ("a  b", vec!["a", "b"]),
            ("'a b' \"c \\\" d\" e\\ f", vec!["a b", "c \" d", "e f"]),
            ("a'b'c \"\"", vec!["abc", ""]),
            ("", vec![]),
        ] {
            assert_eq!(words(text).unwrap(), split, "{text}");
        }
        assert!(words("'a").is_err() && words("\"a").is_err() && words("a\\").is_err());
    }

    #[test]
    fn near_words_are_found() {
        let known = ["image", "ports", "volumes", "depends_on"];
        assert_eq!(near("imge", &known), Some("image"));
        assert_eq!(near("port", &known), Some("ports"));
        assert_eq!(near("depends-on", &known), Some("depends_on"));
        assert_eq!(near("something", &known), None);
    }
}
