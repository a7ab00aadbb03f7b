//! Several compose files as one, and a service over the one that it extends: what is said later counts, by the rules of
//! the compose specification. Pure.
//!
//! Mappings are merged key by key, lists are joined, but a command or a probe is replaced as a whole; a volume replaces
//! the one at the same place. `!override` replaces, `!reset` removes.

use super::node::{Key, Node, Over, Value};

/// Keys of a service whose list is a short form of a mapping.
const MAPPINGS: [&str; 6] = ["environment", "labels", "depends_on", "networks", "annotations", "sysctls"];
/// Keys whose text is a short form of a list.
const LISTS: [&str; 3] = ["env_file", "dns", "profiles"];
/// Keys whose list is one value.
const WHOLE: [&str; 4] = ["command", "entrypoint", "test", "config"];

/// Takes what is said later.
pub fn merge(base: &mut Node, later: Node) {
    merge_at(base, later, "");
}

/// Takes out what `!reset` is said of, once there is nothing earlier any more.
pub fn without_resets(node: &mut Node) {
    node.over = Over::Merged;
    match &mut node.value {
        Value::Scalar { .. } => {}
        Value::List(list) => {
            list.retain(|node| node.over != Over::Reset);
            list.iter_mut().for_each(without_resets);
        }
        Value::Map(entries) => {
            entries.retain(|(_, node)| node.over != Over::Reset);
            entries.iter_mut().for_each(|(_, node)| without_resets(node));
        }
    }
}

fn merge_at(base: &mut Node, mut later: Node, key: &str) {
    if later.over == Over::Replaced || base.over == Over::Reset {
        *base = later;
        return;
    }
    if MAPPINGS.contains(&key) {
        as_mapping(base);
        as_mapping(&mut later);
    }
    if LISTS.contains(&key) {
        as_list(base);
        as_list(&mut later);
    }
    let says_nothing = later.is_null();
    let (place, over) = (later.place, later.over);
    match (&mut base.value, later.value) {
        (Value::Map(ours), Value::Map(theirs)) => {
            for (key, node) in theirs {
                let known = ours.iter().position(|(known, _)| known.text == key.text);
                match known {
                    Some(at) if node.over == Over::Reset => drop(ours.remove(at)),
                    Some(at) => merge_at(&mut ours[at].1, node, &key.text),
                    None => ours.push((key, node)),
                }
            }
        }
        (Value::List(ours), Value::List(theirs)) if !WHOLE.contains(&key) => {
            for node in theirs {
                ours.retain(|known| !known.says_the_same(&node) && !same_target(key, known, &node));
                ours.push(node);
            }
        }
        (Value::Map(_) | Value::List(_), Value::Scalar { .. }) if says_nothing => {}
        (_, value) => *base = Node { place, value, over },
    }
}

/// `a` as `[a]`.
fn as_list(node: &mut Node) {
    if matches!(node.value, Value::Scalar { .. }) && !node.is_null() {
        let place = node.place.clone();
        let item = std::mem::replace(node, Node::new(place, Value::List(Vec::new())));
        node.value = Value::List(vec![item]);
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
            let key = Key { place: node.place.clone(), text: key.to_owned(), merged: false };
            Some((key, Node::new(node.place.clone(), value)))
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

/// Whether two items of a list are at the same place in the guest.
fn same_target(key: &str, one: &Node, two: &Node) -> bool {
    fn text<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
        match &node.get(key)?.value {
            Value::Scalar { text, .. } => Some(text),
            Value::List(_) | Value::Map(_) => None,
        }
    }
    let target: fn(&Node) -> Option<&str> = match key {
        "volumes" => |node| match &node.value {
            Value::Scalar { text, .. } => text.split(':').nth(1),
            _ => text(node, "target"),
        },
        "secrets" => |node| match &node.value {
            Value::Scalar { text, .. } => Some(text),
            _ => text(node, "target").or_else(|| text(node, "source")),
        },
        _ => return false,
    };
    target(one).is_some() && target(one) == target(two)
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
            ("ports: [{target: 1}]", "\nports: [{target: 1}, {target: 2}]", "{ports: [{target: 1}, {target: 2}]}"),
            ("env_file: a", "env_file: [b, a]", "{env_file: [b, a]}"),
            ("dns: 1.1.1.1", "dns: 8.8.8.8", "{dns: [1.1.1.1, 8.8.8.8]}"),
            ("networks: {a: {aliases: [x]}}", "networks: [a, b]", "{networks: {a: {aliases: [x]}, b: }}"),
            ("a: [1]\nb: {c: 1}\nd: 1", "a:\nb:\nd:", "{a: [1], b: {c: 1}, d: }"),
            ("secrets: [a, b]", "secrets: [{source: c, target: a}]", "{secrets: [b, {source: c, target: a}]}"),
            ("a: {b: 1, c: 2}\nd: [1]", "a: {b: !reset null}\nd: !override [2]", "{a: {c: 2}, d: [2]}"),
            ("a: 1", "b: !reset 1\nc: {d: !reset null, e: 1}\nf: !override [1]", "{a: 1, c: {e: 1}, f: [1]}"),
        ] {
            let mut base = parse(one, Path::new("1")).unwrap();
            merge(&mut base, parse(two, Path::new("2")).unwrap());
            without_resets(&mut base);
            assert_eq!(plain(&base), merged, "{one} + {two}");
        }
    }
}
