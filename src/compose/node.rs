//! A YAML text as a tree in which everything knows where it stands, so that every error can say so. Pure.
//!
//! What a scalar is, is decided where it is read: a port may be a number or a text. Aliases are followed and `<<` is
//! merged. A text that would be a bomb, deep or wide, is refused.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use crate::error::{Error, Result};

/// The deepest nesting: a compose file needs about ten.
const DEEPEST: usize = 64;
/// The most nodes of a file, those behind aliases counted each time.
const MOST: usize = 100_000;
/// The longest file.
pub(super) const LONGEST: usize = 4 << 20;
/// The most bytes of text in it, those behind aliases counted each time.
const MOST_TEXT: usize = 16 << 20;

/// A line of a file; lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: Arc<Path>,
    /// The line.
    pub line: usize,
}

impl Place {
    /// What is wrong here, as an error: `FILE:LINE: why`.
    pub fn error(&self, error: Error) -> Error {
        error.context(self.to_string())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)
    }
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub value: Value,
    /// What becomes of what an earlier file says here.
    pub over: Over,
}

/// What becomes of what an earlier file, or a service that is extended, says in the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Over {
    /// It is merged with this.
    #[default]
    Merged,
    /// `!override`: this alone counts.
    Replaced,
    /// `!reset`: it is gone, and so is this.
    Reset,
}

/// What stands in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text, a number, a truth value, or nothing.
    Scalar {
        /// As it is written, without quotes.
        text: String,
        /// It stood without quotes, so that it may be something else than a text.
        plain: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file, each key once.
    Map(Vec<(Key, Node)>),
}

/// A mapping's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Where it stands.
    pub place: Place,
    /// The key.
    pub text: String,
    /// It came through `<<`, and whoever says it himself goes before that.
    pub merged: bool,
}

impl Node {
    /// What stands here, to be merged with what is said earlier.
    pub fn new(place: Place, value: Value) -> Self {
        Self { place, value, over: Over::Merged }
    }

    /// Nothing is said: `key:` without a value.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// Whether two say the same, wherever they stand.
    pub fn says_the_same(&self, other: &Self) -> bool {
        match (&self.value, &other.value) {
            (Value::Scalar { text, .. }, Value::Scalar { text: other_text, .. }) => {
                text == other_text && self.is_null() == other.is_null()
            }
            (Value::List(ours), Value::List(theirs)) => {
                ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(one, two)| one.says_the_same(two))
            }
            (Value::Map(ours), Value::Map(theirs)) => {
                let is_there =
                    |(key, node): &(Key, Self)| other.get(&key.text).is_some_and(|it| node.says_the_same(it));
                ours.len() == theirs.len() && ours.iter().all(is_there)
            }
            (Value::Scalar { .. } | Value::List(_) | Value::Map(_), _) => false,
        }
    }

    /// The entries of a mapping, to be changed.
    pub(super) fn entries_mut(&mut self) -> Option<&mut Vec<(Key, Self)>> {
        match &mut self.value {
            Value::Map(entries) => Some(entries),
            Value::Scalar { .. } | Value::List(_) => None,
        }
    }

    /// The entry of a mapping, to be changed.
    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Self> {
        self.entries_mut()?.iter_mut().find(|(known, _)| known.text == key).map(|(_, node)| node)
    }

    /// Takes the entry out of a mapping.
    pub(super) fn take(&mut self, key: &str) -> Option<Self> {
        let entries = self.entries_mut()?;
        let at = entries.iter().position(|(known, _)| known.text == key)?;
        Some(entries.remove(at).1)
    }

    /// How much of it there is.
    pub(super) fn size(&self) -> Size {
        match &self.value {
            Value::Scalar { text, .. } => Size { values: 1, bytes: text.len() },
            Value::List(list) => list.iter().map(Self::size).fold(Size { values: 1, bytes: 0 }, Size::plus),
            Value::Map(entries) => {
                let one = |(key, node): &(Key, Self)| node.size().plus(Size { values: 0, bytes: key.text.len() });
                entries.iter().map(one).fold(Size { values: 1, bytes: 0 }, Size::plus)
            }
        }
    }

    /// The entry of a mapping.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|(known, _)| known.text == key).map(|(_, node)| node)
    }

    /// The entries of a mapping; none of anything else.
    pub fn entries(&self) -> &[(Key, Self)] {
        match &self.value {
            Value::Map(entries) => entries,
            Value::Scalar { .. } | Value::List(_) => &[],
        }
    }

    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            _ if self.is_null() => "nothing",
            Value::Scalar { .. } => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// How much there is in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Size {
    values: usize,
    bytes: usize,
}

impl Size {
    pub(super) fn plus(self, other: Self) -> Self {
        let values = self.values.saturating_add(other.values);
        Self { values, bytes: self.bytes.saturating_add(other.bytes) }
    }

    /// That it is not a bomb.
    ///
    /// # Errors
    /// How much too much there is.
    pub(super) fn check(self) -> Result<()> {
        if self.values > MOST {
            return Err(Error::new(format!("it has more than {MOST} values, aliases followed")));
        }
        if self.bytes > MOST_TEXT {
            return Err(Error::new(format!("it has more than {} MiB of text, aliases followed", MOST_TEXT >> 20)));
        }
        Ok(())
    }
}

/// Reads a file's text. `path` is for places. A text in which nothing stands is an empty mapping.
///
/// # Errors
/// The line of what is no YAML, or too much of it.
pub fn parse(text: &str, path: &Path) -> Result<Node> {
    let path: Arc<Path> = path.into();
    if text.len() > LONGEST {
        let error = Error::new(format!("it has more than {} MiB", LONGEST >> 20));
        return Err(Place { path, line: 1 }.error(error));
    }
    let mut builder = Builder { path, open: Vec::new(), anchors: HashMap::new(), size: Size::default(), root: None };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let why = Error::new(error.info().to_owned());
            builder.place(error.marker().line()).error(why)
        })?;
        let line = span.start.line();
        builder.take(event, line)?;
    }
    let start = builder.place(1);
    Ok(builder.root.unwrap_or(Node::new(start, Value::Map(Vec::new()))))
}

/// A list or a mapping that is not closed yet.
struct Open {
    node: Node,
    key: Option<Key>,
    anchor: usize,
}

struct Builder {
    path: Arc<Path>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    size: Size,
    root: Option<Node>,
}

impl Builder {
    fn place(&self, line: usize) -> Place {
        Place { path: self.path.clone(), line: line.max(1) }
    }

    fn take(&mut self, event: Event<'_>, line: usize) -> Result<()> {
        let place = self.place(line);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(place.error(Error::new("a second document begins here: a compose file has one")))
            }
            Event::DocumentStart(_) => Ok(()),
            Event::Scalar(text, style, anchor, tag) => {
                let over = over(tag.as_deref(), &place)?;
                let plain = style == ScalarStyle::Plain && !is_text(tag.as_deref());
                let node = Node { place, value: Value::Scalar { text: text.into_owned(), plain }, over };
                self.counted(&node, node.size())?;
                self.closed(node, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                let over = over(tag.as_deref(), &place)?;
                self.opened(Node { place, value: Value::List(Vec::new()), over }, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                let over = over(tag.as_deref(), &place)?;
                self.opened(Node { place, value: Value::Map(Vec::new()), over }, anchor)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => {
                    let (node, anchor) = (open.node, open.anchor);
                    self.closed(node, anchor)
                }
                None => Err(place.error(Error::new("something ends that never began"))),
            },
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err(place.error(Error::new("an alias of something that is not complete yet")));
                };
                if self.open.len() + depth(node) > DEEPEST {
                    return Err(too_deep(&place));
                }
                let node = node.clone();
                self.counted(&node, node.size())?;
                self.closed(node, 0)
            }
        }
    }

    fn opened(&mut self, node: Node, anchor: usize) -> Result<()> {
        if self.open.len() >= DEEPEST {
            return Err(too_deep(&node.place));
        }
        self.counted(&node, node.size())?;
        self.open.push(Open { node, key: None, anchor });
        Ok(())
    }

    fn counted(&mut self, node: &Node, size: Size) -> Result<()> {
        self.size = self.size.plus(size);
        self.size.check().map_err(|error| node.place.error(error))
    }

    /// A node is complete: it belongs to what is open around it.
    fn closed(&mut self, node: Node, anchor: usize) -> Result<()> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(around) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut around.node.value {
            Value::List(list) => list.push(node),
            Value::Scalar { .. } => {}
            Value::Map(entries) => match around.key.take() {
                None => {
                    let Value::Scalar { text, .. } = node.value else {
                        return Err(node.place.error(Error::new("a key that is no text")));
                    };
                    around.key = Some(Key { place: node.place, text, merged: false });
                }
                Some(key) if key.text == "<<" => merge_in(entries, node)?,
                Some(key) => match entries.iter_mut().find(|(known, _)| known.text == key.text) {
                    // What `<<` brought is replaced by what stands here itself.
                    Some(known) if known.0.merged => *known = (key, node),
                    Some(_) => {
                        let why = format!("the key '{}' is here for the second time", key.text.escape_debug());
                        return Err(key.place.error(Error::new(why)));
                    }
                    None => entries.push((key, node)),
                },
            },
        }
        Ok(())
    }
}

/// A tag that says a plain scalar is a text.
fn is_text(tag: Option<&Tag>) -> bool {
    tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str")
}

/// What a tag says of how this is merged. One that would change what a value means otherwise is not passed over.
fn over(tag: Option<&Tag>, place: &Place) -> Result<Over> {
    let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema()) else { return Ok(Over::Merged) };
    match (tag.handle.as_str(), tag.suffix.as_str()) {
        ("!", "reset") => Ok(Over::Reset),
        ("!", "override") => Ok(Over::Replaced),
        (handle, suffix) => {
            let name = format!("{handle}{suffix}");
            let why = format!("the tag {} is not supported: known are !reset, !override", name.escape_debug());
            Err(place.error(Error::new(why)))
        }
    }
}

fn too_deep(place: &Place) -> Error {
    place.error(Error::new(format!("it is nested more than {DEEPEST} levels deep")))
}

fn depth(node: &Node) -> usize {
    1 + match &node.value {
        Value::Scalar { .. } => 0,
        Value::List(list) => list.iter().map(depth).max().unwrap_or(0),
        Value::Map(entries) => entries.iter().map(|(_, node)| depth(node)).max().unwrap_or(0),
    }
}

/// `<<`: the entries of a mapping, or of several, where there are none of that name.
fn merge_in(entries: &mut Vec<(Key, Node)>, node: Node) -> Result<()> {
    let place = node.place.clone();
    match node.value {
        Value::Map(theirs) => {
            for (key, value) in theirs {
                if !entries.iter().any(|(known, _)| known.text == key.text) {
                    entries.push((Key { merged: true, ..key }, value));
                }
            }
            Ok(())
        }
        Value::List(list) => list.into_iter().try_for_each(|node| match node.value {
            Value::Map(_) => merge_in(entries, node),
            Value::Scalar { .. } | Value::List(_) => Err(node.place.error(Error::new("<< merges mappings"))),
        }),
        Value::Scalar { .. } => Err(place.error(Error::new("<< merges mappings"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Node> {
        parse(text, Path::new("c.yaml"))
    }

    fn text_at<'a>(node: &'a Node, path: &[&str]) -> &'a str {
        match &path.iter().fold(node, |node, key| node.get(key).unwrap()).value {
            Value::Scalar { text, .. } => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn places_are_those_of_the_file() {
        let node = read("# hello\nservices:\n  web:\n    image: a\n    ports: [80, \"81\"]\n").unwrap();
        let web = node.get("services").unwrap().get("web").unwrap();
        assert_eq!(web.get("ports").unwrap().place.line, 5);
        assert_eq!(web.entries()[1].0.place.to_string(), "c.yaml:5");
        assert!(read("").unwrap().entries().is_empty());
        assert!(read("a:\n").unwrap().get("a").unwrap().is_null());
        assert!(!read("a: ''\n").unwrap().get("a").unwrap().is_null());
    }

    #[test]
    fn aliases_and_merges() {
        let node = read("x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\nz: *x\nw:\n  b: 4\n  <<: [*x]\n").unwrap();
        assert_eq!((text_at(&node, &["y", "a"]), text_at(&node, &["y", "b"])), ("1", "3"));
        assert_eq!((text_at(&node, &["z", "b"]), text_at(&node, &["w", "b"])), ("2", "4"));
        // A key that came through `<<` stands where it is written.
        assert_eq!(node.get("y").unwrap().entries()[0].0.place.line, 1);
        assert!(read("a: &x {k: 1}\nb:\n  <<: *x\n  k: 2\n  k: 3\n").is_err());
    }

    #[test]
    fn what_is_wrong_has_its_line() {
        for (text, why) in [
            ("a: 1\nb: [\n", "c.yaml:"),
            ("a: 1\na: 2\n", "c.yaml:2: the key 'a' is here for the second time"),
            ("a: 1\n---\nb: 1\n", "c.yaml:2: a second document"),
            ("a:\n  <<: 1\n", "c.yaml:2: << merges mappings"),
            ("[1]: 2\n", "a key that is no text"),
            ("a: *b\n", "c.yaml:1: "),
            ("a: !x 1\n", "c.yaml:1: the tag !x is not supported: known are !reset, !override"),
        ] {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(read(&"[".repeat(100)).unwrap_err().to_string().contains("levels deep"));
    }

    #[test]
    fn a_bomb_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..10 {
            let all = vec![format!("*a{}", n - 1); 10].join(", ");
            text.push_str(&format!("a{n}: &a{n} [{all}]\n"));
        }
        assert!(read(&text).unwrap_err().to_string().contains("more than 100000 values"));
        // One long text is as good.
        let text = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 50_000].join(", "));
        assert!(read(&text).unwrap_err().to_string().contains("more than 16 MiB of text"));
    }
}
