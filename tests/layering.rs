//! The layers of the design, held by this test: who may use whom, and what stays where.
//!
//! It reads the sources as tokens, so comments, doc comments and strings do not count as code, and leaves out what is
//! only compiled for tests. Each breach is reported as `file:line: what`.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The modules from the bottom up. Within a layer nobody uses anybody else, except where [`ORDERED`] says so.
const LAYERS: [&[&str]; 7] = [
    &["error", "paths", "process", "signals", "undo", "logging"],
    &["machine", "store"],
    &["platform", "network", "volume", "image", "kraftfile", "config", "compose", "usage"],
    &["lifecycle", "declared", "source"],
    &["local", "runner", "systemd"],
    &["oci", "proxy", "generator"],
    &["cli", "main"],
];

/// Layers in which a module may use those named before it.
const ORDERED: [usize; 3] = [0, 1, 6];

/// Modules that use less than their layer may: the highest layer that they use.
const STRICTER: [(&str, usize); 1] = [("systemd", 1)];

/// Paths in code, and where they may stand: a file, or a directory with all in it.
const CONFINED: [(&[&str], &[&str]); 18] = [
    (&["saphyr_parser"], &["compose/"]),
    (&["zbus"], &["systemd/"]),
    (&["zvariant"], &["systemd/"]),
    (&["clap"], &["cli/", "main.rs"]),
    (&["clap_complete"], &["cli/", "main.rs"]),
    (&["clap_mangen"], &["cli/", "main.rs"]),
    (&["comfy_table"], &["cli/", "main.rs"]),
    (&["ratatui"], &["cli/top/"]),
    (&["kvm_ioctls"], &["platform/"]),
    (&["netlink_packet_core"], &["network/"]),
    (&["netlink_packet_route"], &["network/"]),
    (&["netlink_sys"], &["network/"]),
    (&["object"], &["image/"]),
    (&["ureq"], &["image/oci/registry/"]),
    (&["rustls"], &["image/oci/registry/"]),
    (&["indicatif"], &["cli/pkg/"]),
    (&["Command", "new"], &["process.rs"]),
    (&["std", "env"], &["paths.rs", "config.rs", "config/"]),
];

/// Macros, and where they may stand.
const CONFINED_MACROS: [(&str, &[&str]); 4] = [
    ("print", &["cli/", "main.rs"]),
    ("println", &["cli/", "main.rs"]),
    ("eprint", &["cli/", "main.rs"]),
    ("eprintln", &["cli/", "main.rs"]),
];

/// Facts about the compiler's target, not about the environment.
const NOT_CONFINED: [&[&str]; 1] = [&["std", "env", "consts"]];

/// Absolute paths are text that begins with one of these. D-Bus object paths and those of URLs are not among them.
const ROOTS: [&str; 19] = [
    "bin", "boot", "dev", "etc", "home", "lib", "lib64", "media", "mnt", "nix", "opt", "proc", "root", "run", "sbin",
    "sys", "tmp", "usr", "var",
];
const ABSOLUTE_PATHS_IN: &[&str] = &["paths.rs", "config.rs", "config/"];

#[test]
fn the_sources_keep_to_the_layers() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = rust_files(&src);
    assert!(files.len() > 20, "found only {} source files", files.len());
    let breaches: Vec<String> = files
        .iter()
        .filter_map(|file| Some((file, file.strip_prefix(&src).unwrap().to_str()?)))
        .flat_map(|(file, name)| check(name, &std::fs::read_to_string(file).unwrap()))
        .collect();
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Checks one file. `name` is its path below src.
fn check(name: &str, text: &str) -> Vec<String> {
    let is_test = name.ends_with("/tests.rs") || name.split('/').any(|part| part == "tests");
    if is_test || name == "lib.rs" {
        return Vec::new();
    }
    let mut file = File { name, module: module_path(name), breaches: Vec::new() };
    match layer(&file.module[0]) {
        None => file.report(1, &format!("module {} is in no layer: put it into LAYERS", file.module[0])),
        Some(_) => file.walk(text.parse().unwrap()),
    }
    file.breaches
}

/// `machine/spec.rs` is `machine::spec`, `machine/mod.rs` is `machine`.
fn module_path(name: &str) -> Vec<String> {
    let mut parts: Vec<String> = name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if parts.len() > 1 && parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// Why one module may not use another, if so.
fn forbidden(from: &str, to: &str) -> Option<String> {
    if from == to {
        return None;
    }
    // What is no module is an item of lib.rs, which has none, or a macro.
    let (below, above) = (layer(to)?, layer(from)?);
    if let Some((_, highest)) = STRICTER.iter().find(|(module, _)| *module == from)
        && below > *highest
    {
        return Some(format!("{from} uses {to} of layer {below}, but may use layers 0 to {highest} only"));
    }
    if below > above {
        return Some(format!("{from} (layer {above}) uses {to} above it (layer {below})"));
    }
    let position = |module| LAYERS[above].iter().position(|known| *known == module);
    if below == above && !(ORDERED.contains(&above) && position(to) < position(from)) {
        return Some(format!("{from} uses {to} beside it (layer {above})"));
    }
    None
}

fn stands_in(name: &str, places: &[&str]) -> bool {
    places.iter().any(|place| if place.ends_with('/') { name.starts_with(place) } else { name == *place })
}

struct File<'a> {
    name: &'a str,
    module: Vec<String>,
    breaches: Vec<String>,
}

impl File<'_> {
    fn report(&mut self, line: usize, what: &str) {
        self.breaches.push(format!("src/{}:{line}: {what}", self.name));
    }

    /// Goes through tokens: leaves out attributes for documentation and items for tests, follows inline modules.
    fn walk(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            if let Some(attribute) = attribute(&tokens[at..]) {
                let text = attribute.to_string();
                if text == "cfg (test)" || text == "cfg(test)" || text == "test" {
                    at = after_item(&tokens, at + 2);
                    continue;
                }
                if text.starts_with("doc ") {
                    at += 2;
                    continue;
                }
            }
            if let (Some("mod"), Some(name), Some(TokenTree::Group(body))) =
                (ident(&tokens, at).as_deref(), ident(&tokens, at + 1), tokens.get(at + 2))
            {
                self.module.push(name);
                self.walk(body.stream());
                self.module.pop();
                at += 3;
                continue;
            }
            if starts_path(&tokens, at) {
                let line = tokens[at].span().start().line;
                let mut paths = Vec::new();
                let end = read_paths(&tokens, at, &mut Vec::new(), &mut paths);
                for path in &paths {
                    self.check_path(path, line);
                }
                if let [path] = paths.as_slice()
                    && let [name] = path.as_slice()
                    && is_punct(&tokens, end, '!')
                {
                    self.check_macro(name, line);
                }
                // Groups of `use` were read with their path; those of calls are walked.
                at = end;
                continue;
            }
            match &tokens[at] {
                TokenTree::Group(group) => self.walk(group.stream()),
                TokenTree::Literal(literal) => {
                    self.check_literal(&literal.to_string(), literal.span().start().line);
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
            at += 1;
        }
    }

    fn check_path(&mut self, path: &[String], line: usize) {
        let words: Vec<&str> = path.iter().map(String::as_str).collect();
        if let Some(module) = self.module_of(&words)
            && let Some(why) = forbidden(&self.module[0], &module)
        {
            self.report(line, &why);
        }
        if NOT_CONFINED.iter().any(|free| words.starts_with(free)) {
            return;
        }
        for (confined, places) in CONFINED {
            // A crate is named first; `Command::new` may have more in front of it.
            let found = if confined[0] == "Command" { words.ends_with(confined) } else { words.starts_with(confined) };
            if found && !stands_in(self.name, places) {
                self.report(line, &format!("{} belongs in {} only", confined.join("::"), places.join(", ")));
            }
        }
    }

    /// The top-level module that a path leads into.
    fn module_of(&self, words: &[&str]) -> Option<String> {
        let (first, rest) = words.split_first()?;
        match *first {
            "crate" => rest.first().map(|&module| module.to_owned()),
            "super" | "self" => {
                let supers = words.iter().skip_while(|word| **word == "self").take_while(|word| **word == "super");
                let supers = supers.count();
                let next = words.iter().find(|word| !["self", "super"].contains(word));
                (supers == self.module.len()).then(|| next.map(|&module| module.to_owned())).flatten()
            }
            _ => None,
        }
    }

    fn check_macro(&mut self, name: &str, line: usize) {
        for (confined, places) in CONFINED_MACROS {
            if name == confined && !stands_in(self.name, places) {
                self.report(line, &format!("{confined}! belongs in {} only", places.join(", ")));
            }
        }
    }

    fn check_literal(&mut self, literal: &str, line: usize) {
        let text = literal.trim_start_matches(['b', 'c', 'r', '#']);
        let Some(first) = text.strip_prefix("\"/").and_then(|rest| rest.split(['/', '"']).next()) else { return };
        if ROOTS.contains(&first) && !stands_in(self.name, ABSOLUTE_PATHS_IN) {
            self.report(
                line,
                &format!("{literal} is an absolute path: those belong in {}", ABSOLUTE_PATHS_IN.join(", ")),
            );
        }
    }
}

/// The content of an outer attribute that begins here.
fn attribute(tokens: &[TokenTree]) -> Option<TokenStream> {
    match tokens {
        [TokenTree::Punct(hash), TokenTree::Group(group), ..]
            if hash.as_char() == '#' && group.delimiter() == Delimiter::Bracket =>
        {
            Some(group.stream())
        }
        _ => None,
    }
}

/// Where the item ends that begins here, perhaps with more attributes.
fn after_item(tokens: &[TokenTree], mut at: usize) -> usize {
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Punct(punct) if punct.as_char() == ';' => return at + 1,
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return at + 1,
            _ => at += 1,
        }
    }
    at
}

fn ident(tokens: &[TokenTree], at: usize) -> Option<String> {
    match tokens.get(at) {
        Some(TokenTree::Ident(ident)) => Some(ident.to_string()),
        _ => None,
    }
}

fn is_punct(tokens: &[TokenTree], at: usize, wanted: char) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

fn starts_path(tokens: &[TokenTree], at: usize) -> bool {
    // A field or a method is no path.
    let after_dot = at > 0 && is_punct(tokens, at - 1, '.') && !(at > 1 && is_punct(tokens, at - 2, '.'));
    ident(tokens, at).is_some() && !after_dot
}

/// Reads `a::b::{c, d::e}` as the paths `a::b::c` and `a::b::d::e`. Returns where it ends.
fn read_paths(tokens: &[TokenTree], mut at: usize, prefix: &mut Vec<String>, paths: &mut Vec<Vec<String>>) -> usize {
    let depth = prefix.len();
    while let Some(word) = ident(tokens, at) {
        prefix.push(word);
        at += 1;
        if !(is_punct(tokens, at, ':') && is_punct(tokens, at + 1, ':')) {
            break;
        }
        at += 2;
        if let Some(TokenTree::Group(group)) = tokens.get(at)
            && group.delimiter() == Delimiter::Brace
        {
            let inner: Vec<TokenTree> = group.stream().into_iter().collect();
            let mut within = 0;
            while within < inner.len() {
                within = match ident(&inner, within) {
                    Some(_) => read_paths(&inner, within, prefix, paths),
                    None => within + 1,
                };
            }
            prefix.truncate(depth);
            return at + 1;
        }
    }
    paths.push(prefix.clone());
    prefix.truncate(depth);
    at
}

#[cfg(test)]
mod the_test_itself {
    use super::check;

    fn breaches(name: &str, text: &str) -> Vec<String> {
        check(name, text)
    }

    #[test]
    fn finds_edges_that_go_up_or_sideways() {
        for (name, text, at) in [
            ("machine/spec.rs", "\nuse crate::store::Store;", "src/machine/spec.rs:2: machine uses store beside it"),
            ("store/mod.rs", "use crate::{error::Error, cli};", "src/store/mod.rs:1: store (layer 1) uses cli above"),
            ("platform/qemu/mod.rs", "fn f() { crate::network::up() }", "platform uses network beside it"),
            ("platform/qemu/mod.rs", "use super::super::volume;", "platform uses volume beside it"),
            ("platform/mod.rs", "mod a { mod b { use super::super::super::image; } }", "platform uses image beside it"),
            ("systemd/mod.rs", "use crate::lifecycle;", "systemd uses lifecycle of layer 3"),
            ("error.rs", "fn f() { vec![crate::paths::X] }", "error uses paths beside it"),
            ("undone.rs", "", "module undone is in no layer"),
        ] {
            let found = breaches(name, text);
            assert!(found.len() == 1 && found[0].contains(at), "{name}: {text}: {found:?}");
        }
    }

    #[test]
    fn finds_what_stands_in_the_wrong_place() {
        for (name, text) in [
            ("local/mod.rs", "use zbus::Connection;"),
            ("local/mod.rs", "use {log, zbus::Connection};"),
            ("local/mod.rs", "fn f() { std::process::Command::new(p) }"),
            ("local/mod.rs", "fn f() { println!(\"x\") }"),
            ("local/mod.rs", "fn f() { std::env::var(\"X\") }"),
            ("local/mod.rs", "use std::{env, fs};"),
            ("local/mod.rs", "const X: &str = \"/run/kraft\";"),
            ("local/mod.rs", "const X: &CStr = c\"/dev/kvm\";"),
            ("local/mod.rs", "#[serde(default = \"/etc/kraft\")] struct X;"),
        ] {
            let found = breaches(name, text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
        }
    }

    #[test]
    fn lets_the_rest_be() {
        for (name, text) in [
            ("store/mod.rs", "use crate::machine::Spec; use crate::error::Result; use super::error;"),
            ("machine/spec.rs", "use super::state; const A: &str = std::env::consts::ARCH;"),
            ("systemd/bus.rs", "use zbus::Connection; const P: &str = \"/org/freedesktop/systemd1\";"),
            ("process.rs", "fn f() { Command::new(p) }"),
            ("paths.rs", "const P: &str = \"/run/kraft\";"),
            ("local/mod.rs", "/// See [`crate::cli`] and \"/run/x\".\nfn f() {} // println!(\"\")"),
            ("local/mod.rs", "#[cfg(test)]\n#[allow(x)]\nmod tests { use crate::cli; }"),
            ("local/mod.rs", "#[cfg(test)] mod tests;"),
            ("local/mod.rs", "fn f() { x.clap(); \"{a}/run/x\"; \"/\" }"),
            ("local/tests.rs", "use crate::cli;"),
            ("main.rs", "fn main() { println!(\"\") }"),
        ] {
            assert_eq!(breaches(name, text), Vec::<String>::new(), "{text}");
        }
    }
}
