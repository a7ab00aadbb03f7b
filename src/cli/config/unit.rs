//! `kraft config unit`.

use std::path::Path;

use clap::Args;

use crate::cli::app::App;
use crate::cli::{Outcome, complete, output};
use crate::config::{self, Flaws};
use crate::error::{Error, Kind, Result};
use crate::generator;
use crate::machine::{MachineName, Manager, Record};
use crate::paths;
use crate::systemd::{self, UnitFile};

/// Print the units that a machine is to systemd
///
/// Those of a machine that a file declares, as the generator makes them, else those of one that was created: its service,
/// its slice, and what its networks need.
#[derive(Debug, Args)]
pub(crate) struct UnitArgs {
    /// The machine, by its name
    #[arg(value_name = "NAME", add = complete::machines())]
    name: MachineName,
}

pub(crate) fn unit(app: &App, args: &UnitArgs) -> Outcome {
    let executable = paths::own_executable().map_err(|error| vec![error])?;
    let units = match declared(app, &args.name, &executable) {
        // No file declares it.
        Err(flaws) if flaws.iter().all(|flaw| flaw.kind() == Kind::NotFound) => match recorded(app, &args.name) {
            Err(error) if error.kind() == Kind::NoSuchMachine => return Err(flaws),
            record => record
                .and_then(|record| systemd::unit_texts(&record, &executable, app.store.paths()))
                .map_err(|error| vec![error])?,
        },
        units => units?,
    };
    let texts: Vec<String> = units.iter().map(|unit| format!("# {}\n{}", unit.name, unit.text)).collect();
    output::done(output::write(&texts.join("\n")))
}

fn recorded(app: &App, name: &MachineName) -> Result<Record> {
    let record = app.store.read(name)?;
    match record.manager {
        Manager::Systemd => Ok(record),
        Manager::Local => Err(Error::of(Kind::Conflict, format!("{name} has no unit: systemd does not run it"))
            .with_hint("`kraft run --systemd` makes machines that it runs")),
    }
}

/// The units of a machine that a file declares, as the generator makes them.
fn declared(app: &App, name: &MachineName, executable: &Path) -> Result<Vec<UnitFile>, Flaws> {
    let dirs = app.every_dir().map_err(|error| vec![error])?;
    let file = config::load(&dirs, name)?;
    generator::units_of(&file, executable, app.store.paths())
}
