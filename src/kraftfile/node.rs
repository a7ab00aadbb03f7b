//! A value in a YAML file that knows where it is: what is wrong with it is told with its line and its key.

use std::fmt;
use std::path::Path;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_norway::Value;

use super::interpolate::{Variables, interpolate};
use crate::error::{Error, Result};

/// One file.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    /// For messages.
    pub(super) path: &'a Path,
    pub(super) variables: Variables<'a>,
}

/// A step on the way to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// A value and the way to it.
#[derive(Clone)]
pub(super) struct Node<'a> {
    source: Source<'a>,
    value: &'a Value,
    way: Vec<Step>,
}

/// Reads a file's YAML.
///
/// # Errors
/// With the line.
pub(super) fn parse(text: &str, path: &Path) -> Result<Value> {
    // The time that the YAML crate takes is as the square of this.
    if let Some(line) = too_deep(text) {
        let why = format!("more than {DEEPEST} brackets are open");
        return Err(Error::new(format!("{}:{line}:1: {why}", path.display())));
    }
    let read = serde_norway::from_str(text).and_then(|mut value: Value| value.apply_merge().map(|()| value));
    read.map_err(|error| {
        let said = error.to_string();
        let what = said.split(" at line ").next().unwrap_or(&said).replace('\n', " ");
        // What is wrong with all of it is nowhere in particular.
        let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
        // Of a key that is there twice, the map's place is known.
        let twice = what.split_once("duplicate entry with key \"").and_then(|(_, key)| second(text, line, key));
        let (line, column) = twice.unwrap_or((line, column));
        Error::new(format!("{}:{line}:{column}: {what}", path.display()))
    })
}

/// Far more than anybody writes.
const DEEPEST: usize = 1000;

/// The line on which too many brackets are open, whatever they stand in.
fn too_deep(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    for (index, line) in text.lines().enumerate() {
        for byte in line.bytes() {
            match byte {
                b'[' | b'{' => open += 1,
                b']' | b'}' => open = open.saturating_sub(1),
                _ => {}
            }
            if open > DEEPEST {
                return Some(index + 1);
            }
        }
    }
    None
}

/// Where a key stands for the second time in a map that begins on a line, if each key has a line of its own.
fn second(text: &str, begin: usize, key: &str) -> Option<(usize, usize)> {
    let key = key.strip_suffix('"')?;
    let column = |line: &str| {
        let rest = line.trim_start_matches(' ');
        let is_it = rest.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(':'));
        is_it.then_some(line.len() - rest.len() + 1)
    };
    let mut found =
        text.lines().enumerate().skip(begin - 1).filter_map(|(index, line)| Some((index + 1, column(line)?)));
    let (_, first) = found.next()?;
    found.find(|(_, column)| *column == first)
}

impl<'a> Node<'a> {
    pub(super) fn root(source: Source<'a>, value: &'a Value) -> Self {
        Self { source, value, way: Vec::new() }
    }

    /// What is wrong here.
    pub(super) fn flaw(&self, why: Error) -> Error {
        let (line, column) = locate(self.source.text, &self.way).unwrap_or((1, 1));
        let place = format!("{}:{line}:{column}", self.source.path.display());
        let key = self.key();
        let error = if key.is_empty() { why } else { why.context(key) };
        error.context(place)
    }

    /// `targets[1].plat`.
    fn key(&self) -> String {
        let mut key = String::new();
        for step in &self.way {
            match step {
                Step::Key(name) if key.is_empty() => key.push_str(name),
                Step::Key(name) => key.push_str(&format!(".{name}")),
                Step::Index(index) => key.push_str(&format!("[{index}]")),
            }
        }
        key.escape_debug().to_string()
    }

    fn child(&self, value: &'a Value, step: Step) -> Self {
        let way = self.way.iter().cloned().chain([step]).collect();
        Self { source: self.source, value, way }
    }

    pub(super) fn is_null(&self) -> bool {
        self.value.is_null()
    }

    pub(super) fn is_map(&self) -> bool {
        self.value.is_mapping()
    }

    pub(super) fn is_list(&self) -> bool {
        self.value.is_sequence()
    }

    /// A word, with its variables' values in it. A number is the word that it is written as.
    pub(super) fn text(&self) -> Result<String> {
        match self.value {
            Value::String(text) => {
                let text = interpolate(text, self.source.variables).map_err(|error| self.flaw(error))?;
                if text.contains('\0') { Err(self.flaw(Error::new("it holds a NUL"))) } else { Ok(text) }
            }
            Value::Number(number) => Ok(number.to_string()),
            Value::Bool(value) => Ok(value.to_string()),
            _ => Err(self.unexpected("a text")),
        }
    }

    /// A word that is not empty.
    pub(super) fn word(&self) -> Result<String> {
        let text = self.text()?;
        if text.is_empty() { Err(self.flaw(Error::new("it is empty"))) } else { Ok(text) }
    }

    pub(super) fn items(&self) -> Result<Vec<Self>> {
        let Value::Sequence(items) = self.value else { return Err(self.unexpected("a list")) };
        Ok(items.iter().enumerate().map(|(index, item)| self.child(item, Step::Index(index))).collect())
    }

    /// The keys of a map with their values, in their order.
    pub(super) fn entries(&self) -> Result<Vec<(String, Self)>> {
        let Value::Mapping(map) = self.value else { return Err(self.unexpected("a map")) };
        map.iter()
            .map(|(key, value)| {
                let key = match key {
                    Value::String(key) => key.clone(),
                    Value::Number(key) => key.to_string(),
                    Value::Bool(key) => key.to_string(),
                    _ => return Err(self.flaw(Error::new("a key is not a text"))),
                };
                let node = self.child(value, Step::Key(key.clone()));
                Ok((key, node))
            })
            .collect()
    }

    /// What stands under a key, unless it is nothing.
    pub(super) fn get(&self, key: &str) -> Option<Self> {
        let value = self.value.as_mapping()?.get(key)?;
        Some(self.child(value, Step::Key(key.to_owned()))).filter(|node| !node.is_null())
    }

    pub(super) fn unexpected(&self, wanted: &str) -> Error {
        let found = match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a truth value",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a map",
            Value::Tagged(_) => "something with a tag",
        };
        self.flaw(Error::new(format!("it is {found}, and has to be {wanted}")))
    }
}

/// The line and the column of what a way leads to: of the key, where the last step is one. The values of the YAML crate do
/// not know it, but its errors do: so the file is read once more by who fails there.
fn locate(text: &str, way: &[Step]) -> Option<(usize, usize)> {
    let error = Walk(way).deserialize(serde_norway::Deserializer::from_str(text)).err()?;
    error.location().map(|at| (at.line(), at.column()))
}

/// Fails where the way ends.
struct Walk<'a>(&'a [Step]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the end of the way")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Step::Key(wanted), rest)) = self.0.split_first() else { return Err(A::Error::custom("here")) };
        while let Some(is_it) = map.next_key_seed(Key { wanted, is_last: rest.is_empty() })? {
            if is_it {
                return map.next_value_seed(Walk(rest));
            }
            map.next_value::<IgnoredAny>()?;
        }
        Err(A::Error::custom("not there"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some((Step::Index(wanted), rest)) = self.0.split_first() else { return Err(A::Error::custom("here")) };
        for _ in 0..*wanted {
            items.next_element::<IgnoredAny>()?;
        }
        items.next_element_seed(Walk(rest)).map(|_| ())
    }
}

/// Whether this is the key; fails if it is and the way ends here.
struct Key<'a> {
    wanted: &'a str,
    is_last: bool,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<bool, E> {
        match key == self.wanted {
            true if self.is_last => Err(E::custom("here")),
            is_it => Ok(is_it),
        }
    }
}
