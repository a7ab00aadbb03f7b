//! The files of a project, and those that they name: what they extend, what they include.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::extends::{self, Home};
use super::interpolate::{Variables, dotenv, interpolate};
use super::merge::{merge, without_resets};
use super::node::{LONGEST, Node, Size, Value, parse};
use super::read::{At, Notes};
use super::relocate;
use crate::error::{Context as _, Error, IntoError as _, Kind, Result};

/// The most files that are included.
const MOST: usize = 256;
/// What one file takes over of those that it includes.
const SECTIONS: [&str; 4] = ["services", "networks", "volumes", "secrets"];
/// The name of standard input among files.
pub(super) const STDIN: &str = "-";

/// Reads files and what they name.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// Variables that are not set.
    pub(super) warnings: Vec<String>,
    included: usize,
    size: Size,
}

impl Sources {
    /// A file's tree with its variables in place, every service over what it extends, and with what it includes.
    /// `within` are the files that lead to it.
    ///
    /// # Errors
    /// Everything that is wrong, each with its place.
    pub(super) fn whole(
        &mut self,
        root: Node,
        path: &Path,
        dir: &Path,
        variables: &Variables,
        within: &mut Vec<PathBuf>,
    ) -> Result<Node, Vec<Error>> {
        let mut home = Home { root, path: path.to_owned(), dir: dir.to_owned() };
        interpolate(&mut home.root, variables, &mut self.warnings)?;
        self.extended(&mut home, variables)?;
        // Of all that is read there is not too much.
        self.size = self.size.plus(home.root.size());
        self.size.check().map_err(|error| vec![home.root.place.error(error)])?;
        let include = home.root.take("include").filter(|include| !include.is_null());
        if let Some(include) = include {
            within.push(std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()));
            self.include(&mut home, &include, variables, within)?;
            within.pop();
        }
        Ok(home.root)
    }

    fn extended(&mut self, home: &mut Home, variables: &Variables) -> Result<(), Vec<Error>> {
        let mut known: BTreeMap<PathBuf, Rc<Home>> = BTreeMap::new();
        let warnings = &mut self.warnings;
        extends::extend(home, &mut |path, at| {
            if let Some(home) = known.get(path) {
                return Ok(Rc::clone(home));
            }
            let mut root = parsed(path).map_err(|error| vec![at.error(error)])?;
            interpolate(&mut root, variables, warnings)?;
            let dir = path.parent().unwrap_or(path).to_owned();
            let home = Rc::new(Home { root, path: path.to_owned(), dir });
            known.insert(path.to_owned(), Rc::clone(&home));
            Ok(home)
        })
    }

    fn include(
        &mut self,
        home: &mut Home,
        include: &Node,
        variables: &Variables,
        within: &mut Vec<PathBuf>,
    ) -> Result<(), Vec<Error>> {
        let mut notes = Notes::default();
        let at = At::new(include, "include");
        let mut flaws = Vec::new();
        for item in at.items(&mut notes) {
            match self.included(home, &item, variables, within).map(|theirs| take_over(&mut home.root, theirs)) {
                Ok(clashes) => flaws.extend(clashes),
                Err(more) => flaws.extend(more),
            }
        }
        flaws.extend(notes.flaws);
        if flaws.is_empty() { Ok(()) } else { Err(flaws) }
    }

    /// What one item of `include` comes to, paths relative to the directory of who includes it.
    fn included(
        &mut self,
        home: &Home,
        item: &At<'_>,
        variables: &Variables,
        within: &mut Vec<PathBuf>,
    ) -> Result<Node, Vec<Error>> {
        let mut notes = Notes::default();
        let texts = |key: &str, notes: &mut Notes| item.get(key).map(|at| at.texts(notes)).unwrap_or_default();
        let (paths, env_files, dir) = if item.is_map() {
            item.check_keys(&mut notes, &["path", "project_directory", "env_file"], &[]);
            let dir = item.get("project_directory").and_then(|at| at.text(&mut notes));
            (texts("path", &mut notes), texts("env_file", &mut notes), dir)
        } else {
            (item.text(&mut notes).map(str::to_owned).into_iter().collect(), Vec::new(), None)
        };
        if !notes.flaws.is_empty() {
            return Err(notes.flaws);
        }
        let under = |path: &str| home.dir.join(path).components().collect::<PathBuf>();
        let paths: Vec<PathBuf> = paths.iter().map(|path| under(path)).collect();
        let Some(first) = paths.first() else { return Err(vec![item.error(Error::new("it names no file"))]) };
        let dir = dir.map_or_else(|| first.parent().unwrap_or(first).to_owned(), under);
        let env_files: Vec<PathBuf> = env_files.iter().map(|path| under(path)).collect();
        let variables = with_files(variables.clone(), &dir, &env_files).map_err(|error| vec![item.error(error)])?;
        let mut whole: Option<Node> = None;
        for path in &paths {
            self.included += 1;
            if self.included > MOST {
                return Err(vec![item.error(Error::new(format!("more than {MOST} files are included")))]);
            }
            let root = parsed(path).map_err(|error| vec![item.error(error)])?;
            let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
            if within.contains(&real) {
                let why = format!("{} includes itself", path.display());
                return Err(vec![item.error(Error::new(why))]);
            }
            let root = self.whole(root, path, &dir, &variables, within)?;
            match &mut whole {
                Some(whole) => merge(whole, root),
                None => whole = Some(root),
            }
        }
        let Some(mut whole) = whole else { return Err(vec![item.error(Error::new("it names no file"))]) };
        without_resets(&mut whole);
        if dir != home.dir {
            relocate::file(&mut whole, &dir);
        }
        Ok(whole)
    }
}

/// What is included is as if it stood here. A name that is here, too, and something else, is an error.
fn take_over(ours: &mut Node, mut theirs: Node) -> Vec<Error> {
    let mut flaws = Vec::new();
    for section in SECTIONS {
        let Some(Value::Map(entries)) = theirs.take(section).map(|node| node.value) else { continue };
        if ours.get(section).is_none_or(Node::is_null) {
            ours.take(section);
            let (place, empty) = (ours.place.clone(), Node::new(ours.place.clone(), Value::Map(Vec::new())));
            let key = super::node::Key { place, text: section.to_owned(), merged: false };
            ours.entries_mut().into_iter().for_each(|all| all.push((key.clone(), empty.clone())));
        }
        // What is no mapping there is told when it is read.
        let Some(known) = ours.get_mut(section).and_then(Node::entries_mut) else { continue };
        for (key, node) in entries {
            match known.iter().find(|(other, _)| other.text == key.text) {
                Some((_, other)) if other.says_the_same(&node) => {}
                Some((other, _)) => {
                    let error = Error::new(format!("it is included, and another one is at {}", other.place));
                    flaws.push(key.place.error(error.context(format!("{section}.{}", key.text))));
                }
                None => known.push((key, node)),
            }
        }
    }
    // What is not known is told when all of it is read.
    let passed_over = |key: &str| key == "name" || key == "version" || key.starts_with("x-");
    if let (Value::Map(entries), Some(all)) = (theirs.value, ours.entries_mut()) {
        all.extend(entries.into_iter().filter(|(key, _)| !passed_over(&key.text)));
    }
    flaws
}

/// Variables, and behind them those of files: of these, else of `.env` in the directory.
///
/// # Errors
/// When a file is not there, or is none.
pub(super) fn with_files(mut variables: Variables, dir: &Path, files: &[PathBuf]) -> Result<Variables> {
    let usual = dir.join(".env");
    let files = match files {
        [] if usual.is_file() => vec![usual],
        files => files.to_vec(),
    };
    for path in &files {
        let text = read_file(path).with_context(|| "cannot have variables")?;
        for (key, value) in dotenv(&text, path, &variables)? {
            variables.values.entry(key).or_insert(value);
        }
    }
    Ok(variables)
}

/// A file as a tree.
pub(super) fn parsed(path: &Path) -> Result<Node> {
    read_file(path).and_then(|text| parse(&text, path))
}

/// A file's text, or that of standard input. One that is too long is not read to its end.
pub(super) fn read_file(path: &Path) -> Result<String> {
    let cannot = || format!("cannot read {}", path.display());
    let mut bytes = Vec::new();
    let most = LONGEST as u64 + 1;
    let read = if path.as_os_str() == STDIN {
        std::io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        match std::fs::File::open(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::of(Kind::NotFound, format!("no such file: {}", path.display())));
            }
            file => file.with_context(cannot)?.take(most).read_to_end(&mut bytes),
        }
    };
    read.map_err(|error| error.into_error().context(cannot()))?;
    String::from_utf8(bytes).map_err(|_| Error::new(format!("{}: it is not UTF-8", path.display())))
}

#[cfg(test)]
mod tests;
