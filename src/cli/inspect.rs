//! `kraft inspect`. What it says of a kernel instead of machines is in `inspect/kernel.rs`.

mod kernel;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::Outcome;
use super::app::App;
use super::complete;
use super::enable::declared_by;
use super::limits;
use super::output::{self, Format};
use crate::error::Error;
use crate::machine::{Exit, Record, Selector, State, Status, View};
use crate::systemd;

/// Show all that is known of machines, or of a kernel
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Machines, by name or by four or more first digits of an id
    #[arg(value_name = "MACHINE", required_unless_present = "kernel", add = complete::machines())]
    machines: Vec<Selector>,

    /// Show what a kernel is and what it can do, instead of machines
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, conflicts_with = "machines")]
    kernel: Option<PathBuf>,

    /// The form of the output; json if not given, for a kernel text
    #[arg(short, long, value_name = "FORM", value_enum)]
    output: Option<Form>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    Text,
    Json,
    Yaml,
}

/// One machine as JSON shows it. Stable: fields are added, never changed.
#[derive(Debug, Serialize)]
struct Inspection {
    name: String,
    state: State,
    problem: Option<String>,
    unit: Option<String>,
    timer: Option<String>,
    next_start: Option<Timestamp>,
    record: Option<Record>,
    status: Option<Status>,
    exit: Option<Exit>,
    /// What is enforced; what was asked is in the record.
    limits: BTreeMap<&'static str, Vec<String>>,
    paths: Where,
    /// The machine file that declares it.
    file: Option<PathBuf>,
    /// It is started at boot.
    enabled: bool,
}

#[derive(Debug, Serialize)]
struct Where {
    record: PathBuf,
    runtime: PathBuf,
}

pub(crate) fn inspect(app: &App, args: &InspectArgs) -> Outcome {
    let format = match args.output {
        Some(Form::Json) => Some(Format::Json),
        Some(Form::Yaml) => Some(Format::Yaml),
        Some(Form::Text) | None => None,
    };
    if let Some(path) = &args.kernel {
        return output::done(kernel::show(path, format));
    }
    if args.output == Some(Form::Text) {
        return Err(vec![Error::new("there is no text form of machines").with_hint("`kraft ps` shows them to people")]);
    }
    let (mut found, mut errors): (Vec<Inspection>, Vec<Error>) = (Vec::new(), Vec::new());
    for selector in &args.machines {
        let view = app.resolve(selector).and_then(|name| app.service_of(&name)?.get(&name));
        match view {
            Ok(view) => found.push(inspection(app, view)),
            Err(error) => errors.push(error),
        }
    }
    if let Err(error) = output::value(format.unwrap_or(Format::Json), &found) {
        errors.push(error);
    }
    if errors.is_empty() { Ok(std::process::ExitCode::SUCCESS) } else { Err(errors) }
}

fn inspection(app: &App, view: View) -> Inspection {
    let (file, enabled) = declared_by(app, &view.name);
    Inspection {
        state: view.state,
        problem: view.problem.as_ref().map(ToString::to_string),
        unit: view.unit,
        timer: view.record.as_ref().and_then(systemd::timer_name),
        next_start: view.record.as_ref().and_then(|record| app.systemd().next_start(record)),
        paths: Where { record: app.store.directory(&view.name), runtime: app.store.runtime(&view.name) },
        name: view.name.to_string(),
        limits: view.record.as_ref().map(limits::shown).unwrap_or_default(),
        record: view.record,
        status: view.status,
        exit: view.exit,
        file,
        enabled,
    }
}
