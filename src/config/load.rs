//! Which files a machine has, and what they say together.
//!
//! ```text
//! what `extends` names, with all that belongs to that
//! NAME.toml, or PREFIX@.toml for PREFIX@INSTANCE
//! PREFIX@.toml.d/*.toml, NAME.toml.d/*.toml
//! ```
//!
//! What is said later counts: lists and single values are replaced, tables are merged key by key. A kernel takes the place
//! of an image, and an image that of a kernel.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::dirs::Dirs;
use super::image::two_things;
use super::keys::{Settings, meant};
use super::parse::{self, Written};
use super::place::{Flaws, Place};
use super::specifier::Specifiers;
use super::value::Around;
use crate::error::{Error, IntoError as _, Kind};
use crate::machine::MachineName;
use crate::paths;

/// The longest chain of `extends`.
const DEEPEST: usize = 16;
/// More than any file has.
const LARGEST: u64 = 1 << 20;
/// The key that names another machine file to begin with.
const EXTENDS: &str = "extends";

/// A machine as its files declare it.
#[derive(Debug, Clone)]
pub struct MachineFile {
    /// The machine's name, which the file has it by.
    pub name: MachineName,
    /// The files that it was read from, in the order in which they count.
    pub files: Vec<PathBuf>,
    /// What they say.
    pub settings: Settings,
    places: BTreeMap<String, Place>,
}

impl MachineFile {
    /// The machine's own file.
    pub fn path(&self) -> &Path {
        self.places.get("").map_or(Path::new(""), |place| &place.path)
    }

    /// Where a key was set last, else where the machine's own file begins.
    pub fn place(&self, key: &str) -> Place {
        let place = self.places.get(key).or_else(|| self.places.get(""));
        place.cloned().unwrap_or_else(|| Place::start(self.path()))
    }

    /// What is wrong with the value of a key, as an error with its place.
    pub fn flaw(&self, key: &str, error: Error) -> Error {
        self.place(key).error(error)
    }
}

/// Reads the files of a machine.
///
/// # Errors
/// Everything that is wrong in them; [`Kind::NotFound`] alone if there are none.
pub fn load(dirs: &Dirs, name: &MachineName) -> Result<MachineFile, Flaws> {
    Files::new(dirs, name.clone()).load(file_named(dirs, name.as_str()), Whole::Machine)
}

/// Reads a file, wherever it is, as that of the machine it is named for; what it extends may be beside it. A template is
/// read as its instance 1, and need not be whole.
///
/// # Errors
/// Everything that is wrong in it and what belongs to it.
pub fn check(path: &Path, dirs: &Dirs) -> Result<MachineFile, Flaws> {
    let (name, whole) = name_of(path).map_err(|error| vec![error])?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Files::new(&dirs.clone().after(dir), name).load(Some(path.to_path_buf()), whole)
}

/// The machines that there are files of, sorted; and what is wrong with the names of others. Templates are none.
pub fn names(dirs: &Dirs) -> (Vec<MachineName>, Flaws) {
    let (mut names, mut flaws) = (Vec::new(), Vec::new());
    for file in dirs.files() {
        match name_of(&file) {
            Ok((name, Whole::Machine)) => names.push(name),
            Ok((_, Whole::Template)) => {}
            Err(error) => flaws.push(error),
        }
    }
    names.sort();
    names.dedup();
    names.retain(|name| dirs.file(&format!("{name}.toml")).is_some());
    (names, flaws)
}

/// Whether all has to be there that a machine needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whole {
    Machine,
    Template,
}

fn name_of(path: &Path) -> Result<(MachineName, Whole), Error> {
    let bad = |why: String| Error::new(format!("{}: {why}", path.display()));
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".toml"));
    let name = name.ok_or_else(|| bad("a machine file is named NAME.toml".into()))?;
    let (name, whole) = match name.strip_suffix('@') {
        Some(template) => (format!("{template}@1"), Whole::Template),
        None => (name.to_owned(), Whole::Machine),
    };
    Ok((name.parse().map_err(|error: Error| bad(error.to_string()))?, whole))
}

/// The file that declares a machine, whatever is in it.
pub fn own_file(dirs: &Dirs, name: &MachineName) -> Option<PathBuf> {
    file_named(dirs, name.as_str())
}

/// The file of this machine or template, or of the template that it is an instance of.
fn file_named(dirs: &Dirs, name: &str) -> Option<PathBuf> {
    let own = format!("{name}.toml");
    dirs.file(&own).or_else(|| dirs.file(&template_of(name)?))
}

fn template_of(name: &str) -> Option<String> {
    let (prefix, instance) = name.split_once('@')?;
    (!instance.is_empty()).then(|| format!("{prefix}@.toml"))
}

/// What is being read.
struct Files<'a> {
    dirs: &'a Dirs,
    name: MachineName,
    specifiers: Specifiers,
    files: Vec<PathBuf>,
    settings: Settings,
    places: BTreeMap<String, Place>,
    flaws: Flaws,
}

impl<'a> Files<'a> {
    fn new(dirs: &'a Dirs, name: MachineName) -> Self {
        Self {
            dirs,
            specifiers: Specifiers::of(&name),
            name,
            files: Vec::new(),
            settings: Settings::default(),
            places: BTreeMap::new(),
            flaws: Vec::new(),
        }
    }

    fn load(mut self, own: Option<PathBuf>, whole: Whole) -> Result<MachineFile, Flaws> {
        let name = self.name.to_string();
        let Some(own) = own else {
            let dirs: Vec<String> = self.dirs.paths().iter().map(|dir| dir.display().to_string()).collect();
            let why = format!("no machine file of {name}: there is no {name}.toml in {}", dirs.join(", "));
            return Err(vec![Error::of(Kind::NotFound, why)]);
        };
        let start = Place::start(&own);
        self.places.insert(String::new(), start.clone());
        let called = if whole == Whole::Template { format!("{}@", name.trim_end_matches("@1")) } else { name };
        self.add_machine(&called, own, &mut Vec::new());
        if self.flaws.is_empty() && whole == Whole::Machine && self.settings.runs().is_none() {
            let error = Error::new("it has no kernel")
                .with_hint("`kernel = \"PATH\"` names the kernel to run, `image = \"NAME\"` an image that has one");
            self.flaws.push(start.error(error));
        }
        if !self.flaws.is_empty() {
            return Err(self.flaws);
        }
        Ok(MachineFile { name: self.name, files: self.files, settings: self.settings, places: self.places })
    }

    /// Takes a machine's file with what it extends and its drop-ins. `below` are the files that extend it.
    fn add_machine(&mut self, name: &str, own: PathBuf, below: &mut Vec<PathBuf>) {
        let Some(text) = self.read(&own) else { return };
        let written = match parse::parse(&text, &own) {
            Ok(written) => written,
            Err(flaws) => return self.flaws.extend(flaws),
        };
        if let Some((key, value)) = written.table.get_key_value(EXTENDS) {
            let place = written.place(value.span());
            below.push(own.clone());
            match value.get_ref().as_str() {
                Some(base) => self.add_base(base, &place, below),
                None => {
                    self.flaws.push(written.place(key.span()).error(Error::new("expected a text, a machine's name")))
                }
            }
            below.pop();
        }
        self.add(&own, &written, true);
        let template = template_of(name);
        for file in template.into_iter().chain([format!("{name}.toml")]) {
            for drop_in in self.dirs.drop_ins(&format!("{file}.d")) {
                let Some(text) = self.read(&drop_in) else { continue };
                match parse::parse(&text, &drop_in) {
                    Ok(written) => self.add(&drop_in, &written, false),
                    Err(flaws) => self.flaws.extend(flaws),
                }
            }
        }
    }

    fn add_base(&mut self, base: &str, place: &Place, below: &mut Vec<PathBuf>) {
        let shown = base.escape_debug();
        let mut bad = |why: String| self.flaws.push(place.error(Error::new(format!("cannot extend {shown}: {why}"))));
        let called = base.strip_suffix('@').unwrap_or(base);
        if let Err(error) = called.parse::<MachineName>() {
            return bad(error.to_string());
        }
        let Some(file) = file_named(self.dirs, base) else {
            return bad(format!("there is no {shown}.toml"));
        };
        if below.contains(&file) {
            return bad("it extends this one, too".into());
        }
        if below.len() >= DEEPEST {
            return bad(format!("it is the {DEEPEST}th in a row"));
        }
        self.add_machine(base, file, below);
    }

    fn read(&mut self, path: &Path) -> Option<String> {
        let error = match text_of(path) {
            Ok(text) => return Some(text),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Error::of(Kind::NotFound, format!("no such file: {}", path.display()))
            }
            Err(e) => e.into_error().context(format!("cannot read {}", path.display())),
        };
        self.flaws.push(error);
        None
    }

    fn add(&mut self, path: &Path, written: &Written<'_>, may_extend: bool) {
        let base = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let base = match paths::absolute(base) {
            Ok(base) => base,
            Err(error) => return self.flaws.push(error),
        };
        let around = Around { base: &base, specifiers: &self.specifiers };
        let mut settings = Settings::default();
        for (key, value) in written.entries() {
            let name = key.get_ref();
            if name == EXTENDS && may_extend {
                continue;
            }
            match settings.read(name, value, &around) {
                Ok(true) => {
                    self.places.insert(name.to_string(), written.place(value.span()));
                    if let Some(table) = value.get_ref().as_table() {
                        let below = parse::in_order(table).into_iter();
                        let places = below.map(|(key, value)| (format!("{name}.{}", key.get_ref()), value.span()));
                        self.places.extend(places.map(|(key, span)| (key, written.place(span))));
                    }
                }
                Ok(false) => self.flaws.push(written.place(key.span()).error(unknown(name))),
                Err(flaw) => self.flaws.push(written.place(flaw.span).error(flaw.error.context(name.to_string()))),
            }
        }
        if settings.kernel.is_some() && settings.image.is_some() {
            let place = |key: &str| self.places.get(key).cloned().unwrap_or_else(|| Place::start(path));
            self.flaws.push(two_things(&place("kernel"), &place("image")));
        }
        self.settings.give_way(&settings);
        self.settings.merge(settings);
        self.files.push(path.to_path_buf());
    }
}

/// A file's text. The boot waits for it: it is not to wait for anybody itself, nor to read without an end.
fn text_of(path: &Path) -> std::io::Result<String> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    file.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST { Err(std::io::Error::other("it is larger than 1Mi")) } else { Ok(text) }
}

fn unknown(key: &str) -> Error {
    if key == EXTENDS {
        return Error::new("a drop-in cannot extend another machine file");
    }
    let why = format!("unknown key '{}'", key.escape_debug());
    if key == "name" {
        return Error::new(why).with_hint("the file is named for the machine: NAME.toml");
    }
    match meant(key) {
        Some(meant) => Error::new(format!("{why}: did you mean {meant}?")),
        None => Error::new(format!("{why}: known are {EXTENDS}, {}", Settings::KEYS.join(", "))),
    }
}

#[cfg(test)]
mod tests;
