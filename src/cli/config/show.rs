//! `kraft config show`.

use clap::Args;

use crate::cli::app::App;
use crate::cli::{Outcome, complete, output, written};
use crate::config::{self, Dirs};
use crate::machine::MachineName;

/// Print what the files of a machine say together
///
/// One file that says the same as all of them, with paths made absolute and specifiers resolved; above it, the files, the
/// one that counts most last.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The machine, by its name
    #[arg(value_name = "NAME", add = complete::declared())]
    name: MachineName,
}

pub(crate) fn show(app: &App, args: &ShowArgs) -> Outcome {
    let dirs = Dirs::find(app.scope).map_err(|error| vec![error])?;
    let file = config::load(&dirs, &args.name)?;
    written::wanted(&file)?;
    let files: String = file.files.iter().map(|file| format!("# {}\n", file.display())).collect();
    output::done(output::write(&format!("{files}{}", file.settings.to_text())))
}
