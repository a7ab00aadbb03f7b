//! The catalog explains every kind of line that kraft writes to the journal, and nothing else.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kraft::logging::message;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

#[test]
fn every_kind_of_line_is_explained() {
    let catalog = std::fs::read_to_string(root().join("contrib/packaging/kraft.catalog")).unwrap();
    let explained: Vec<&str> = catalog.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
    let unique: BTreeSet<&str> = explained.iter().copied().collect();
    assert_eq!(explained.len(), unique.len(), "an id is explained twice");
    assert_eq!(unique, message::ALL.iter().copied().collect(), "the catalog and src/logging/message.rs differ");
    for id in unique {
        assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{id}");
    }
    let mut lines = catalog.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(id) = line.strip_prefix("-- ") else { continue };
        assert!(lines.next().is_some_and(|line| line.starts_with("Subject: ")), "{id} has no subject");
        let head: Vec<&str> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        assert!(head.contains(&"Defined-By: kraft"), "{id} is defined by nobody");
        assert!(head.iter().any(|line| line.starts_with("Documentation: man:")), "{id} is documented nowhere");
        assert!(lines.next().is_some_and(|line| !line.is_empty()), "{id} is not explained");
    }
}

#[test]
fn every_kind_of_line_is_written_by_somebody() {
    let own = root().join("src/logging/message.rs");
    let names = std::fs::read_to_string(&own).unwrap();
    let names =
        names.lines().filter_map(|line| line.strip_prefix("pub const ")?.split_once(": &str = \"")).map(|n| n.0);
    let others: Vec<String> = sources(&root().join("src"))
        .into_iter()
        .filter(|path| *path != own)
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    for name in names {
        let used = format!("message::{name}");
        assert!(others.iter().any(|text| text.contains(&used)), "nobody writes {name}");
    }
}
