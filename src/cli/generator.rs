//! `kraft-generator`: what the service manager runs at boot and at each reload. The same program by another name.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use super::Outcome;
use crate::config::Dirs;
use crate::error::{Error, Result};
use crate::generator::{self, Generator};
use crate::logging;
use crate::paths::{self, Paths};

/// What it is installed as.
const NAME: &str = "kraft-generator";

/// Turn machine files into units; see systemd.generator(7)
#[derive(Debug, Parser)]
#[command(name = NAME, version)]
struct GeneratorArgs {
    /// Where units go
    normal: PathBuf,

    /// Where units go that take the place of the administrator's; not used
    early: Option<PathBuf>,

    /// Where units go that give way to all others; not used
    late: Option<PathBuf>,
}

/// The path that we were called by, if it is the generator's.
pub(super) fn invoked() -> Option<PathBuf> {
    paths::invoked_as().filter(|path| path.file_name().is_some_and(|name| name == NAME))
}

/// Runs the generator. What is wrong in a machine's file is its unit's to say, and said here, too; that is a failure,
/// which is no trouble for the units of the others.
pub(super) fn main(invoked_as: &Path) -> Outcome {
    let args = match GeneratorArgs::try_parse() {
        Ok(args) => args,
        Err(usage) => return super::show_usage(&usage),
    };
    logging::to_stderr(log::LevelFilter::Warn);
    let flaws = generate(&args.normal, invoked_as).map_err(|error| vec![error])?;
    if flaws.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(flaws) }
}

fn generate(into: &Path, invoked_as: &Path) -> Result<Vec<Error>> {
    let scope = generator::scope(invoked_as);
    let (paths, dirs) = (Paths::find(scope)?, Dirs::find(scope)?);
    // Most hosts have no machine files, and none has to be made to have a look.
    if dirs.paths().iter().all(|dir| !dir.is_dir()) {
        return Ok(Vec::new());
    }
    let executable = executable(&paths::own_executable()?)?;
    Generator { dirs: &dirs, paths: &paths, executable: &executable }.run(into)
}

/// The program that the units are to run: the one that the generator's name is a link to. Where it is a copy, that would
/// be a generator again.
fn executable(own: &Path) -> Result<PathBuf> {
    if own.file_name().is_none_or(|name| name != NAME) {
        return Ok(own.to_path_buf());
    }
    let places = paths::KRAFT.map(PathBuf::from);
    places.into_iter().find(|place| place.is_file()).ok_or_else(|| {
        Error::new(format!("cannot find kraft: {} is not a link to it", own.display()))
            .with_hint(format!("make it a link to {}", paths::KRAFT[0]))
    })
}
