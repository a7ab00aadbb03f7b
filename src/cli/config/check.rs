//! `kraft config check`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::app::App;
use crate::cli::{Outcome, output, written};
use crate::config::{self, Dirs};

/// Show all that is wrong in machine files, by line and column
///
/// The files are read with what they extend and their drop-ins, and may be anywhere. A template is checked as its
/// instance 1. Whether kernels, networks and the like are there is not looked at.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Machine files
    #[arg(value_name = "FILE", required = true, value_hint = clap::ValueHint::FilePath)]
    files: Vec<PathBuf>,
}

pub(crate) fn check(app: &App, args: &CheckArgs) -> Outcome {
    let dirs = Dirs::find(app.scope).map_err(|error| vec![error])?;
    let check = |path: &PathBuf| config::check(path, &dirs).and_then(|file| written::wanted(&file));
    let flaws: Vec<_> = args.files.iter().filter_map(|path| check(path).err()).flatten().collect();
    for flaw in &flaws {
        output::line(flaw).map_err(|error| vec![error])?;
        if let Some(hint) = flaw.hint() {
            output::line(format!("  {hint}")).map_err(|error| vec![error])?;
        }
    }
    Ok(if flaws.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
