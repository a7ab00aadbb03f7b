//! Where a program starts: a loader is told by a variable.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use super::loader::Loader;
use super::plan::DIRECTORY;
use crate::error::{Error, Result};

impl Loader {
    /// The environment of a program that starts in this directory of the guest's.
    ///
    /// # Errors
    /// When it is no absolute path, when the environment says another, or when the loader cannot start programs there.
    pub fn start_in(&self, cwd: &str, env: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
        let bad = |why: &str| Error::new(format!("bad working directory '{}': {why}", cwd.escape_debug()));
        let mut env = env.clone();
        if !Path::new(cwd).is_absolute() {
            return Err(bad("it is not an absolute path"));
        }
        if Path::new(cwd).components().any(|part| part == Component::ParentDir) {
            return Err(bad("it leads up by '..'"));
        }
        if cwd.contains('\0') {
            return Err(bad("it holds a NUL"));
        }
        if env.get(DIRECTORY).is_some_and(|other| other != cwd) {
            return Err(bad(&format!("the environment has another {DIRECTORY}, by which the loader is told of it")));
        }
        // Where a loader starts a program of its own accord.
        if Path::new(cwd) == Path::new("/") && !self.directory {
            return Ok(env);
        }
        if !self.directory {
            let by = self.path.display();
            return Err(bad(&format!("loader {by} starts every program in the root (no APPELFLOADER_VFSEXEC_ENVPWD)")));
        }
        env.insert(DIRECTORY.to_owned(), cwd.to_owned());
        Ok(env)
    }
}
