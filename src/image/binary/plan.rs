//! What a machine is made of that runs a program: the loader is its kernel, the program and its libraries its root file
//! system, and the program's path the first of the application's arguments.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::loader::{Loader, Taken};
use super::program::{Linkage, Program};
use crate::error::{Context as _, Error, Kind, Result};

/// The variable that says where a program starts: the loader goes there.
pub const DIRECTORY: &str = "PWD";
/// The variable that says where ld.so looks for libraries before all else.
pub const LIBRARY_PATH: &str = "LD_LIBRARY_PATH";
/// The variable that says what `$ORIGIN` is where nothing else can tell: ld.so(8).
const ORIGIN: &str = "LD_ORIGIN_PATH";

/// What is asked for.
#[derive(Debug)]
pub struct Asked<'a> {
    /// What to run.
    pub program: &'a Program,
    /// Its arguments.
    pub args: &'a [String],
    /// Its environment.
    pub env: &'a BTreeMap<String, String>,
    /// The directory in the guest that it starts in; the root if `None`.
    pub cwd: Option<&'a str>,
    /// What is to run it.
    pub loader: &'a Loader,
    /// The root file system that it is in; the program and its libraries if `None`.
    pub rootfs: Option<&'a Path>,
}

/// What a machine is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What the root file system is made of: the program, or what it is in already.
    pub rootfs: Option<PathBuf>,
    /// A directory of the host's that is the root by 9P as it is.
    pub share: Option<PathBuf>,
    /// The application's arguments, the program's path first if the loader wants it.
    pub app_args: Vec<String>,
    /// The environment.
    pub env: BTreeMap<String, String>,
}

impl Asked<'_> {
    /// What a machine is made of that does what is asked.
    ///
    /// # Errors
    /// When the loader cannot run the program, or the program is not in the root file system.
    pub fn plan(&self) -> Result<Plan> {
        let Self { program, loader, .. } = self;
        let (shown, by) = (program.path.display(), loader.path.display());
        if program.arch != loader.arch {
            let why = format!("program {shown} is for {}, its loader {by} for {}", program.arch, loader.arch);
            return Err(Error::new(why).with_hint("`--elfloader` names another one"));
        }
        if loader.taken == Taken::Whole {
            self.check_whole()?;
        }
        let name = match self.rootfs {
            None => program.path.clone(),
            Some(rootfs) => self.name_in(rootfs)?,
        };
        let name = name
            .into_os_string()
            .into_string()
            .map_err(|_| Error::new(format!("cannot tell a loader of program {shown}: its name is not UTF-8")))?;
        let (rootfs, share) = match (loader.taken, self.rootfs) {
            (_, None) => (Some(program.path.clone()), None),
            (Taken::Archive | Taken::Whole, Some(rootfs)) => (Some(rootfs.to_path_buf()), None),
            (Taken::Share, Some(rootfs)) => (None, Some(rootfs.to_path_buf())),
        };
        let args = loader.named.then_some(name).into_iter().chain(self.args.iter().cloned());
        Ok(Plan { rootfs, share, app_args: args.collect(), env: self.environment()? })
    }

    /// A loader that has the program alone.
    fn check_whole(&self) -> Result<()> {
        let (shown, by) = (self.program.path.display(), self.loader.path.display());
        let hint = "link it by -static-pie, or take a loader that has a file system";
        match (&self.program.linkage, self.rootfs) {
            (Linkage::Static, None) => Ok(()),
            (Linkage::Dynamic { .. }, _) => {
                let why =
                    format!("program {shown} has an interpreter and libraries, and its loader {by} no file system");
                Err(Error::new(why).with_hint(hint))
            }
            (Linkage::Static, Some(rootfs)) => {
                let why = format!("cannot give rootfs {} to loader {by}: it has no file system", rootfs.display());
                Err(Error::new(why).with_hint("leave --rootfs out"))
            }
        }
    }

    /// The program's name in a root file system that it is to be in already.
    fn name_in(&self, rootfs: &Path) -> Result<PathBuf> {
        let (program, shown) = (&self.program.path, rootfs.display());
        if rootfs.symlink_metadata().is_err() {
            return Err(Error::of(Kind::NotFound, format!("rootfs not found: {shown}")));
        }
        if !rootfs.is_dir() {
            let why =
                format!("cannot tell whether program {} is in rootfs {shown}: it is no directory", program.display());
            return Err(Error::new(why).with_hint(format!(
                "unpack it; or `kraft run {} --rootfs {shown} -- PATH` with the program's path in it",
                self.loader.path.display()
            )));
        }
        let whole = |path: &Path| path.canonicalize().with_context(|| format!("cannot read {}", path.display()));
        let (inside, root) = (whole(program)?, whole(rootfs)?);
        match inside.strip_prefix(&root) {
            Ok(below) => Ok(Path::new("/").join(below)),
            Err(_) => {
                let why = format!("program {} is not in rootfs {shown}", program.display());
                Err(Error::new(why).with_hint("copy it there; without --rootfs its libraries are collected"))
            }
        }
    }

    fn environment(&self) -> Result<BTreeMap<String, String>> {
        let mut env = match self.cwd {
            Some(cwd) => self.loader.start_in(cwd, self.env)?,
            None => self.env.clone(),
        };
        if self.rootfs.is_none() && self.program.looks_around_itself() && !env.contains_key(ORIGIN) {
            // As the kernel would, which knows the program without links. A loader may have no /proc to ask.
            let real = self.program.path.canonicalize();
            let real = real.with_context(|| format!("cannot read {}", self.program.path.display()))?;
            if let Some(directory) = real.parent().and_then(Path::to_str) {
                env.insert(ORIGIN.to_owned(), directory.to_owned());
            }
        }
        Ok(env)
    }
}
