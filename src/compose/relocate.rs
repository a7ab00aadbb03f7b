//! What a file of another directory says of files, as the project's own file would say it. Pure.

use std::path::Path;

use super::node::{Node, Value};

/// Has relative paths of a service be relative to this directory, whatever the project's is. An image, a volume's source
/// and a loader are paths only if they begin by a dot: else they are names.
pub(super) fn service(service: &mut Node, dir: &Path) {
    if let Some(image) = service.get_mut("image") {
        dotted(image, dir);
    }
    if let Some(files) = service.get_mut("env_file") {
        each(files, |file| match file.get_mut("path") {
            Some(path) => plain(path, dir),
            None => plain(file, dir),
        });
    }
    if let Some(volumes) = service.get_mut("volumes") {
        each(volumes, |volume| match volume.get_mut("source") {
            Some(source) => dotted(source, dir),
            None => dotted(volume, dir),
        });
    }
    if let Some(own) = service.get_mut("x-kraft") {
        own.get_mut("rootfs").into_iter().for_each(|rootfs| plain(rootfs, dir));
        own.get_mut("elfloader").into_iter().for_each(|loader| dotted(loader, dir));
    }
}

/// The same for the top level of a file.
pub(super) fn file(root: &mut Node, dir: &Path) {
    if let Some(services) = root.get_mut("services").and_then(Node::entries_mut) {
        services.iter_mut().for_each(|(_, one)| service(one, dir));
    }
    if let Some(secrets) = root.get_mut("secrets").and_then(Node::entries_mut) {
        let files = secrets.iter_mut().filter_map(|(_, secret)| secret.get_mut("file"));
        files.for_each(|file| plain(file, dir));
    }
}

/// A list's items, or the one that stands for a list.
fn each(node: &mut Node, act: impl Fn(&mut Node)) {
    match &mut node.value {
        Value::List(list) => list.iter_mut().for_each(act),
        Value::Scalar { .. } | Value::Map(_) => act(node),
    }
}

fn dotted(node: &mut Node, dir: &Path) {
    if matches!(&node.value, Value::Scalar { text, .. } if text.starts_with('.')) {
        plain(node, dir);
    }
}

fn plain(node: &mut Node, dir: &Path) {
    if let Value::Scalar { text, plain } = &mut node.value
        && !text.is_empty()
        && !text.starts_with(['/', '~'])
    {
        // A colon behind it is a volume's, which stays where it is.
        let path = dir.join(text.as_str()).components().collect::<std::path::PathBuf>();
        // What is not UTF-8 cannot be written here: it stays what it was, and is not found.
        if let Some(path) = path.to_str() {
            (*text, *plain) = (path.to_owned(), false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::node::parse;
    use super::*;

    #[test]
    fn paths_and_names_are_told_apart() {
        let text = "services:\n  web:\n    image: ./k\n    env_file: [a, {path: ../b}, /c]\n    volumes: [./x:/x:ro, data:/d, \
                    {type: bind, source: ../y, target: /y}]\n    x-kraft: {rootfs: r, elfloader: e}\n  db: {image: k, env_file: v}\n\
                    secrets: {key: {file: k}}\n";
        let mut root = parse(text, Path::new("c")).unwrap();
        file(&mut root, Path::new("/in"));
        let expected = "services:\n  web:\n    image: /in/k\n    env_file: [/in/a, {path: /in/../b}, /c]\n    volumes: [/in/x:/x:ro, data:/d, \
                        {type: bind, source: /in/../y, target: /y}]\n    x-kraft: {rootfs: /in/r, elfloader: e}\n  \
                        db: {image: k, env_file: /in/v}\nsecrets: {key: {file: /in/k}}\n";
        assert!(root.says_the_same(&parse(expected, Path::new("c")).unwrap()), "{root:?}");
    }
}
