//! `kraft volume`: named volumes, one small verb each.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;

use super::app::App;
use super::output::{self, Format};
use super::{Outcome, complete, names};
use crate::error::{Error, Kind, Result};
use crate::machine::{MachineName, ShareDriver, VolumeName};
use crate::volume::{Users, Volumes};

/// Manage named volumes
///
/// A named volume is a directory that kraft keeps for guests: --volume NAME:DIR shows it to one. It outlives the machines
/// that use it, and several may use it at once.
#[derive(Debug, Args)]
pub(crate) struct VolumeArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Create(CreateArgs),
    #[command(alias = "list", after_help = "`kraft volume list` is the same.")]
    Ls(LsArgs),
    #[command(alias = "get", after_help = "`kraft volume get` is the same.")]
    Inspect(InspectArgs),
    #[command(alias = "remove", after_help = "`kraft volume remove` is the same.")]
    Rm(RmArgs),
    Prune(PruneArgs),
}

/// Make a volume, empty, and print its name
#[derive(Debug, Args)]
struct CreateArgs {
    /// The volume's name: a-z 0-9 _ . -; made up if not given
    #[arg(value_name = "NAME")]
    name: Option<VolumeName>,

    /// How it gets into a guest if a machine does not say
    #[arg(short, long, value_name = "9p|virtiofs", default_value = "9p", add = complete::words(ShareDriver::ALL))]
    driver: ShareDriver,
}

/// List volumes
#[derive(Debug, Args)]
struct LsArgs {
    /// Show names only
    #[arg(short, long)]
    quiet: bool,

    /// The form of the output
    #[arg(short, long, value_name = "FORM", value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Show all that is known of volumes, and which machines use them
#[derive(Debug, Args)]
struct InspectArgs {
    /// Volumes, by name
    #[arg(value_name = "VOLUME", required = true, add = complete::volumes())]
    volumes: Vec<VolumeName>,

    /// The form of the output
    #[arg(short, long, value_name = "FORM", value_enum, default_value_t = Format::Json)]
    output: Format,
}

/// Remove volumes that no machine uses, with all their files
#[derive(Debug, Args)]
struct RmArgs {
    /// Volumes, by name
    #[arg(value_name = "VOLUME", required = true, add = complete::volumes())]
    volumes: Vec<VolumeName>,

    /// A volume that is not there is no error
    #[arg(short, long)]
    force: bool,
}

/// Remove all volumes that no machine uses, with all their files, and print their names
#[derive(Debug, Args)]
struct PruneArgs {}

/// One volume as JSON shows it. Stable: fields are added, never changed.
#[derive(Debug, Serialize)]
struct Row {
    name: VolumeName,
    driver: Option<ShareDriver>,
    source: PathBuf,
    created: Option<Timestamp>,
    machines: Vec<MachineName>,
    problem: Option<String>,
}

pub(crate) fn volume(app: &App, args: VolumeArgs) -> Outcome {
    let volumes = Volumes::new(app.store.paths());
    match args.verb {
        Verb::Create(args) => output::done(create(&volumes, args)),
        Verb::Ls(args) => output::done(ls(app, &volumes, &args)),
        Verb::Inspect(args) => inspect(app, &volumes, &args),
        Verb::Rm(args) => rm(app, &volumes, &args),
        Verb::Prune(PruneArgs {}) => prune(app, &volumes),
    }
}

fn create(volumes: &Volumes, args: CreateArgs) -> Result<()> {
    let name = match args.name {
        Some(name) => name,
        None => names::made_up()?.as_str().parse()?,
    };
    output::line(volumes.create(&name, args.driver)?.name)
}

fn row(users: &Users, volumes: &Volumes, name: &VolumeName) -> Result<Row> {
    let read = volumes.read(name);
    let machines = users.of(name);
    let source = volumes.data(name);
    match read {
        Ok(volume) => {
            let (driver, created) = (Some(volume.driver), Some(volume.created));
            Ok(Row { name: volume.name, driver, source, created, machines, problem: None })
        }
        Err(error) if error.kind() == Kind::NotFound => Err(error),
        Err(error) => {
            let problem = Some(error.to_string());
            Ok(Row { name: name.clone(), driver: None, source, created: None, machines, problem })
        }
    }
}

fn ls(app: &App, volumes: &Volumes, args: &LsArgs) -> Result<()> {
    let names = volumes.names()?;
    if args.quiet {
        return output::write(&names.iter().map(|name| format!("{name}\n")).collect::<String>());
    }
    // One that was removed since its name was read is not there.
    let users = Users::find(&app.store)?;
    let rows: Vec<Row> = names.iter().filter_map(|name| row(&users, volumes, name).ok()).collect();
    if args.output != Format::Table {
        return output::value(args.output, &rows);
    }
    let mut table = output::table(["NAME", "DRIVER", "SOURCE", "USED BY"]);
    for row in rows {
        let users: Vec<&str> = row.machines.iter().map(MachineName::as_str).collect();
        let driver = row.driver.map_or("?", ShareDriver::as_str);
        table.add_row([row.name.as_str(), driver, &row.source.to_string_lossy(), &users.join(", ")]);
    }
    output::write(&output::rows(table))
}

fn inspect(app: &App, volumes: &Volumes, args: &InspectArgs) -> Outcome {
    let (mut rows, mut errors): (Vec<Row>, Vec<Error>) = (Vec::new(), Vec::new());
    let users = Users::find(&app.store).map_err(|error| vec![error])?;
    for name in &args.volumes {
        match row(&users, volumes, name) {
            Ok(row) => rows.push(row),
            Err(error) => errors.push(error.with_kind(Kind::Failed)),
        }
    }
    errors.extend(output::value(args.output, &rows).err());
    if errors.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(errors) }
}

fn rm(app: &App, volumes: &Volumes, args: &RmArgs) -> Outcome {
    volumes.sweep_leftovers();
    let mut errors = Vec::new();
    for name in &args.volumes {
        match volumes.remove(name, &app.store) {
            Err(error) if args.force && error.kind() == Kind::NotFound => {}
            Err(error) => errors.push(error.with_kind(Kind::Failed)),
            Ok(()) => errors.extend(output::line(name).err()),
        }
    }
    if errors.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(errors) }
}

fn prune(app: &App, volumes: &Volumes) -> Outcome {
    volumes.sweep_leftovers();
    let mut errors = Vec::new();
    let users = Users::find(&app.store).map_err(|error| vec![error])?;
    for name in volumes.names().map_err(|error| vec![error])? {
        if !users.of(&name).is_empty() {
            continue;
        }
        match volumes.remove(&name, &app.store) {
            // In use by now, or removed by somebody else.
            Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => {}
            result => errors.extend(result.and_then(|()| output::line(&name)).err()),
        }
    }
    if errors.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(errors) }
}
