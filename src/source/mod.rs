//! What the argument of `kraft run` and `kraft create` names. [`look`] goes through what it may be in one fixed order, and
//! remembers what it tried; it runs nothing, asks nobody and changes nothing.
//!
//! ```text
//! none                 the working directory, as a project
//! a path that exists   kernel    a file that is a kernel
//!                      binary    a program for Linux, on an ELF loader
//!                      project   a directory with a Kraftfile, and if it has none, with what a build left there
//! anything else        oci       an image: a reference, or oci:DIR, oci-archive:FILE, docker-archive:FILE
//! ```
//!
//! The first that it is, it is: a path that exists is never an image, unless `--as oci` says so.

mod binary;
mod image;
mod project;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{Error, Kind, Result};
use crate::image::kernel;
use crate::image::oci::resolve::Resolved;
use crate::kraftfile::{self, Variables};
use crate::machine::{Arch, ImageOrigin, MountRequest, Platform};

/// What an argument may be taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum As {
    /// A kernel's file.
    Kernel,
    /// A program for Linux.
    Binary,
    /// A directory.
    Project,
    /// An image.
    Oci,
}

impl As {
    /// All of them, in the order in which they are tried.
    pub const ALL: &'static [Self] = &[Self::Kernel, Self::Binary, Self::Project, Self::Oci];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Binary => "binary",
            Self::Project => "project",
            Self::Oci => "oci",
        }
    }
}

impl fmt::Display for As {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for As {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|kind| kind.as_str()).collect();
            Error::new(format!("unknown kind '{}': known are {}", text.escape_debug(), known.join(", ")))
        })
    }
}

/// What is asked for besides the argument.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// What it is to be taken for.
    pub forced: Option<As>,
    /// Which of a project's targets, by its name or as `PLAT/ARCH`.
    pub target: Option<&'a str>,
    /// Another Kraftfile than the directory's.
    pub kraftfile: Option<&'a Path>,
    /// The platform that is to run it.
    pub platform: Platform,
    /// The guest's architecture; the host's is preferred if `None`.
    pub arch: Option<Arch>,
    /// What `${VAR}` in a Kraftfile means.
    pub variables: Variables<'a>,
    /// Where images are.
    pub images: &'a Images<'a>,
}

impl<'a> Asked<'a> {
    /// Nothing but what has to be.
    pub fn new(platform: Platform, arch: Option<Arch>, variables: Variables<'a>, images: &'a Images<'a>) -> Self {
        Self { forced: None, target: None, kraftfile: None, platform, arch, variables, images }
    }
}

/// Has what is in an image of this name as files, for this architecture. Whoever gives it keeps them as long as they are
/// needed.
pub type Images<'a> = dyn Fn(&str, Option<Arch>) -> Result<Resolved> + 'a;

impl fmt::Debug for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").field("forced", &self.forced).field("target", &self.target).finish_non_exhaustive()
    }
}

/// What is to be run, and what comes with it. What the command line says goes before all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub what: As,
    /// The kernel's file.
    pub kernel: PathBuf,
    /// Its architecture, where more is known than the file says.
    pub arch: Option<Arch>,
    /// Arguments for the kernel.
    pub kernel_args: Vec<String>,
    /// The root file system: whatever `--rootfs` takes.
    pub rootfs: Option<PathBuf>,
    /// The application's first arguments, which are there whatever comes behind them.
    pub entrypoint: Vec<String>,
    /// The application's arguments.
    pub command: Vec<String>,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Directories of the host's.
    pub volumes: Vec<MountRequest>,
    /// The image that it is of.
    pub image: Option<ImageOrigin>,
    /// What a person should know of, a line each.
    pub warnings: Vec<String>,
    /// What tells more of it to who asks.
    pub notes: Vec<String>,
}

impl Found {
    /// A kernel with nothing else.
    pub fn new(what: As, kernel: PathBuf) -> Self {
        Self {
            what,
            kernel,
            arch: None,
            kernel_args: Vec::new(),
            rootfs: None,
            entrypoint: Vec::new(),
            command: Vec::new(),
            env: BTreeMap::new(),
            labels: BTreeMap::new(),
            volumes: Vec::new(),
            image: None,
            warnings: Vec::new(),
            notes: Vec::new(),
        }
    }
}

/// Something that the argument may have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// What.
    pub what: As,
    /// Whether it is that.
    pub is_it: bool,
    /// Why, or why not.
    pub why: String,
}

/// What was tried, and what came of it.
#[derive(Debug)]
pub struct Looked {
    /// In order. What comes behind the last was not tried.
    pub tried: Vec<Tried>,
    /// What it is.
    pub found: Result<Found>,
}

/// Finds what an argument names.
pub fn look(argument: Option<&Path>, asked: &Asked<'_>) -> Looked {
    let mut tried = Vec::new();
    let found = try_all(argument, asked, &mut |what, is_it, why: String| tried.push(Tried { what, is_it, why }));
    Looked { tried, found }
}

/// Notes one attempt.
type Note<'a> = &'a mut dyn FnMut(As, bool, String);

fn try_all(argument: Option<&Path>, asked: &Asked<'_>, note: Note<'_>) -> Result<Found> {
    let path = argument.unwrap_or(Path::new("."));
    let found = match (asked.forced, argument) {
        (Some(As::Kernel), Some(path)) => kernel::tell(path).map(|_| {
            note(As::Kernel, true, "--as kernel".into());
            Found::new(As::Kernel, path.to_owned())
        })?,
        (Some(As::Binary), Some(path)) => {
            note(As::Binary, true, "--as binary".into());
            binary::binary(path, asked)?
        }
        (Some(As::Oci), Some(path)) => {
            note(As::Oci, true, "--as oci".into());
            // Before anything is fetched.
            no_project(path, asked)?;
            image::image(reference(path)?, asked)?
        }
        (Some(forced @ (As::Kernel | As::Binary | As::Oci)), None) => {
            return Err(Error::new(format!("--as {forced} needs an argument that names it")));
        }
        (Some(As::Project), _) => project(path, asked, note)?,
        (None, None) => project(path, asked, note).map_err(|error| match has_kraftfile(path, asked) {
            true => error,
            false => error.context("nothing to run").with_hint(WHAT),
        })?,
        (None, Some(path)) => match path.metadata() {
            Ok(metadata) if metadata.is_dir() => {
                let shown = path.display();
                note(As::Kernel, false, format!("{shown} is a directory"));
                note(As::Binary, false, format!("{shown} is a directory"));
                project(path, asked, note).map_err(|error| match has_kraftfile(path, asked) {
                    true => error,
                    false => error.with_hint("`--as oci` takes it for an image's name"),
                })?
            }
            Ok(_) => file(path, asked, note)?,
            Err(error) => elsewhere(path, &error, asked, note)?,
        },
    };
    if found.what == As::Project { Ok(found) } else { no_project(path, asked).map(|()| found) }
}

/// What there is to say instead.
const WHAT: &str = "`kraft run WHAT` names it: a kernel, a program for Linux, a project's directory or an image";

fn has_kraftfile(dir: &Path, asked: &Asked<'_>) -> bool {
    asked.kraftfile.is_some() || kraftfile::find(dir).is_some()
}

/// Refuses what is for projects alone.
fn no_project(path: &Path, asked: &Asked<'_>) -> Result<()> {
    let option = [("--target", asked.target.is_some()), ("--kraftfile", asked.kraftfile.is_some())];
    match option.iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(Error::new(format!("{option} goes with a project, and {} is none", path.display()))),
        None => Ok(()),
    }
}

/// A path that is no directory's.
fn file(path: &Path, asked: &Asked<'_>, note: Note<'_>) -> Result<Found> {
    match kernel::tell(path) {
        Ok(info) => {
            note(As::Kernel, true, format!("{} is one, for {}", path.display(), info.arch));
            Ok(Found::new(As::Kernel, path.to_owned()))
        }
        Err(error) if error.kind() == Kind::Program => {
            note(As::Kernel, false, error.to_string());
            note(As::Binary, true, format!("{} is a program for Linux", path.display()));
            binary::binary(path, asked)
        }
        Err(error) => {
            note(As::Kernel, false, error.to_string());
            note(As::Binary, false, format!("{} is no program for Linux", path.display()));
            note(As::Project, false, format!("{} is not a directory", path.display()));
            note(As::Oci, false, format!("{} exists", path.display()));
            Err(error)
        }
    }
}

/// What is no path that exists.
fn elsewhere(path: &Path, error: &std::io::Error, asked: &Asked<'_>, note: Note<'_>) -> Result<Found> {
    let (shown, link) = (path.display(), path.read_link().ok().filter(|_| is_nothing(error)));
    let missing = match &link {
        Some(to) => format!("{shown} is a link to {}, which leads nowhere", to.display()),
        None if is_nothing(error) => format!("{shown} does not exist"),
        None => format!("{shown}: {error}"),
    };
    for what in [As::Kernel, As::Binary, As::Project] {
        note(what, false, missing.clone());
    }
    let text = match reference(path) {
        // What cannot be looked at may be there.
        Ok(text) if !text.starts_with(['/', '.', '~']) && link.is_none() && is_nothing(error) => text,
        _ => {
            note(As::Oci, false, format!("{shown} is a path"));
            if link.is_some() {
                return Err(Error::of(Kind::NotFound, missing));
            }
            // Says what is wrong with the path.
            return kernel::tell(path).map(|_| Found::new(As::Kernel, path.to_owned()));
        }
    };
    note(As::Oci, true, "it is no path that exists".into());
    no_project(path, asked)?;
    image::image(text, asked)
        .map_err(|error| error.context(format!("{} is no file here, and as an image", text.escape_debug())))
}

/// Whether a path is that of nothing: also one below a file, or one that is too long for any.
fn is_nothing(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidFilename, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | InvalidFilename)
}

fn project(dir: &Path, asked: &Asked<'_>, note: Note<'_>) -> Result<Found> {
    let shown = dir.display();
    if !dir.is_dir() {
        note(As::Project, false, format!("{shown} is not a directory"));
        let is_there = dir.symlink_metadata().is_ok();
        let why = if is_there { format!("{shown} is not a directory") } else { format!("no such directory: {shown}") };
        return Err(Error::of(Kind::NotFound, why));
    }
    match asked.kraftfile.map(Path::to_owned).or_else(|| kraftfile::find(dir)) {
        Some(file) => {
            note(As::Project, true, format!("{} is its Kraftfile", file.display()));
            project::of_kraftfile(dir, &file, asked)
        }
        None => match project::of_build(dir, asked)? {
            Some(found) => {
                note(As::Project, true, format!("{} has a build", dir.join(kraftfile::BUILD).display()));
                Ok(found)
            }
            None => {
                let names = kraftfile::NAMES.join(", ");
                let why = format!("{shown} has no Kraftfile ({names}), and no kernel in {}", kraftfile::BUILD);
                note(As::Project, false, why.clone());
                Err(Error::new(why))
            }
        },
    }
}

fn reference(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| Error::new(format!("{} is no image's name: it is not UTF-8", path.display())))
}

#[cfg(test)]
mod tests;
