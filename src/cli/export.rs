//! `kraft export`: a machine as the file that declares it.

use clap::Args;

use super::app::App;
use super::{Outcome, complete, output, written};
use crate::error::Result;
use crate::machine::Selector;

/// Print a machine as a machine file
///
/// The file asks for the machine as it is, with the addresses that it has. Saved as NAME.toml it can be changed, declared or
/// applied elsewhere.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The machine, by its name or the beginning of its id
    #[arg(value_name = "MACHINE", add = complete::machines())]
    machine: Selector,
}

pub(crate) fn export(app: &App, args: &ExportArgs) -> Outcome {
    output::done(print(app, &args.machine))
}

fn print(app: &App, machine: &Selector) -> Result<()> {
    let mut spec = app.store.read(&app.resolve(machine)?)?.spec;
    spec.labels.remove(written::APPLIED);
    output::write(&written::settings_of(&spec).to_text())
}
