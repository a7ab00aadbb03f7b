//! `kraft config unit`.

use clap::Args;

use crate::cli::app::App;
use crate::cli::{Outcome, complete, output, written};
use crate::config::{self, Dirs, Flaws};
use crate::error::{Error, Kind, Result};
use crate::machine::{MachineName, Manager, Record};
use crate::paths;
use crate::store::Store;
use crate::systemd::{self, Extra};

/// Print the units that a machine is to systemd
///
/// Those of a machine that was created, else those of one that a file declares: its service, its slice, and what its
/// networks need.
#[derive(Debug, Args)]
pub(crate) struct UnitArgs {
    /// The machine, by its name
    #[arg(value_name = "NAME", add = complete::machines())]
    name: MachineName,
}

pub(crate) fn unit(app: &App, args: &UnitArgs) -> Outcome {
    let (record, extra) = match recorded(app, &args.name) {
        Ok(record) => (record, Extra::default()),
        Err(error) if error.kind() == Kind::NoSuchMachine => declared(app, &args.name)?,
        Err(error) => return Err(vec![error]),
    };
    output::done(print(app, &record, &extra))
}

fn print(app: &App, record: &Record, extra: &Extra) -> Result<()> {
    let units = systemd::unit_texts(record, extra, &paths::own_executable()?, app.store.paths())?;
    let texts: Vec<String> = units.iter().map(|(name, text)| format!("# {name}\n{text}")).collect();
    output::write(&texts.join("\n"))
}

fn recorded(app: &App, name: &MachineName) -> Result<Record> {
    let record = app.store.read(name)?;
    match record.manager {
        Manager::Systemd => Ok(record),
        Manager::Local => Err(Error::of(Kind::Conflict, format!("{name} has no unit: systemd does not run it"))
            .with_hint("`kraft run --systemd` makes machines that it runs")),
    }
}

fn declared(app: &App, name: &MachineName) -> Result<(Record, Extra), Flaws> {
    let dirs = Dirs::find(app.scope).map_err(|error| vec![error])?;
    let file = config::load(&dirs, name)?;
    let spec = written::wanted(&file)?.sketch().map_err(|error| vec![error])?;
    let record = Store::new_record(spec, Manager::Systemd).map_err(|error| vec![error])?;
    let lines = |directives: Option<&config::Directives>| {
        let lines = directives.into_iter().flat_map(config::Directives::lines);
        lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    };
    let extra = Extra { unit: lines(file.settings.unit.as_ref()), own: lines(file.settings.service.as_ref()) };
    Ok((record, extra))
}
