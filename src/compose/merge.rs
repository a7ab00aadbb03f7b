//! Several compose files as one: what a later one says counts, by the rules of the compose specification. Pure.
//!
//! Mappings are merged key by key, lists are joined, but a command or a probe is replaced as a whole; a volume replaces
//! the one at the same place.

use super::node::{Key, Node, Value};

/// Keys of a service whose list is a short form of a mapping.
const MAPPINGS: [&str; 6] = ["environment", "labels", "depends_on", "networks", "annotations", "sysctls"];
/// Keys whose list is one value.
const WHOLE: [&str; 4] = ["command", "entrypoint", "test", "config"];

/// Takes what another file says later.
pub fn merge(base: &mut Node, later: Node) {
    merge_at(base, later, "");
}

fn merge_at(base: &mut Node, mut later: Node, key: &str) {
    if MAPPINGS.contains(&key) {
        as_mapping(base);
        as_mapping(&mut later);
    }
    let place = later.place;
    match (&mut base.value, later.value) {
        (Value::Map(ours), Value::Map(theirs)) => {
            for (key, node) in theirs {
                match ours.iter_mut().find(|(known, _)| known.text == key.text) {
                    Some((_, known)) => merge_at(known, node, &key.text),
                    None => ours.push((key, node)),
                }
            }
        }
        (Value::List(ours), Value::List(theirs)) if !WHOLE.contains(&key) => {
            for node in theirs {
                ours.retain(|known| known.value != node.value && !same_target(key, known, &node));
                ours.push(node);
            }
        }
        (_, value) => *base = Node { place, value },
    }
}

/// `- A=B` as `A: B`, `- a` as `a:`.
fn as_mapping(node: &mut Node) {
    let Value::List(list) = &node.value else { return };
    let entry = |node: &Node| match &node.value {
        Value::Scalar { text, .. } => {
            let (key, value) = match text.split_once('=') {
                Some((key, value)) => (key, Value::Scalar { text: value.to_owned(), plain: false }),
                None => (text.as_str(), Value::Scalar { text: String::new(), plain: true }),
            };
            let key = Key { place: node.place.clone(), text: key.to_owned() };
            Some((key, Node { place: node.place.clone(), value }))
        }
        Value::List(_) | Value::Map(_) => None,
    };
    // What is no such list stays, and is refused where it is read.
    if let Some(entries) = list.iter().map(entry).collect::<Option<Vec<_>>>() {
        let mut unique: Vec<(Key, Node)> = Vec::new();
        for (key, node) in entries {
            unique.retain(|(known, _)| known.text != key.text);
            unique.push((key, node));
        }
        node.value = Value::Map(unique);
    }
}

fn same_target(key: &str, one: &Node, two: &Node) -> bool {
    fn target(node: &Node) -> Option<&str> {
        match &node.value {
            Value::Scalar { text, .. } => text.split(':').nth(1),
            _ => match &node.get("target")?.value {
                Value::Scalar { text, .. } => Some(text),
                Value::List(_) | Value::Map(_) => None,
            },
        }
    }
    key == "volumes" && target(one).is_some() && target(one) == target(two)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::node::parse;
    use super::*;

    fn plain(node: &Node) -> String {
        match &node.value {
            Value::Scalar { text, .. } => text.clone(),
            Value::List(list) => format!("[{}]", list.iter().map(plain).collect::<Vec<_>>().join(", ")),
            Value::Map(entries) => {
                let entries: Vec<String> =
                    entries.iter().map(|(key, node)| format!("{}: {}", key.text, plain(node))).collect();
                format!("{{{}}}", entries.join(", "))
            }
        }
    }

    #[test]
    fn later_files_count() {
        for (one, two, merged) in [
            ("a: 1\nb: 2", "b: 3\nc: 4", "{a: 1, b: 3, c: 4}"),
            ("ports: [1, 2]", "ports: [2, 3]", "{ports: [1, 2, 3]}"),
            ("command: [a, b]", "command: [c]", "{command: [c]}"),
            ("environment: [A=1, B=2]", "environment: {B: 3}", "{environment: {A: 1, B: 3}}"),
            ("depends_on: [a]", "depends_on: {b: {condition: c}}", "{depends_on: {a: , b: {condition: c}}}"),
            ("volumes: [a:/x, b:/y]", "volumes: [c:/x]", "{volumes: [b:/y, c:/x]}"),
            ("image: a", "image: [b]", "{image: [b]}"),
        ] {
            let mut base = parse(one, Path::new("1")).unwrap();
            merge(&mut base, parse(two, Path::new("2")).unwrap());
            assert_eq!(plain(&base), merged, "{one} + {two}");
        }
    }
}
