//! `kraft compose ls`: the projects that there are.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;

use super::labels::{FILES, PROJECT};
use crate::cli::Outcome;
use crate::cli::app::App;
use crate::cli::output::{self, Format};
use crate::error::Result;
use crate::machine::MachineService as _;

/// List the projects that there are machines of
#[derive(Debug, Args)]
pub(super) struct LsArgs {
    /// Show names only
    #[arg(short, long)]
    quiet: bool,

    /// Accepted for those who are used to it: all projects are always shown
    #[arg(short, long, hide = true)]
    all: bool,

    /// The form of the output
    #[arg(short, long, value_name = "FORM", value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// One project as JSON shows it. Stable: fields are added, never changed.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    /// How many machines are in which state.
    states: BTreeMap<String, usize>,
    files: Vec<String>,
}

pub(super) fn ls(app: &App, verb: &LsArgs) -> Outcome {
    output::done(list(app, verb))
}

fn list(app: &App, verb: &LsArgs) -> Result<()> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for view in app.everything().list()? {
        let Some(record) = &view.record else { continue };
        let Some(name) = record.spec.labels.get(PROJECT) else { continue };
        let row = rows.entry(name.clone()).or_insert_with(|| Row {
            name: name.clone(),
            states: BTreeMap::new(),
            files: Vec::new(),
        });
        *row.states.entry(view.state.to_string()).or_default() += 1;
        for file in record.spec.labels.get(FILES).iter().flat_map(|files| files.split(',')) {
            if !row.files.iter().any(|known| known == file) {
                row.files.push(file.to_owned());
            }
        }
    }
    let rows: Vec<Row> = rows.into_values().collect();
    if verb.quiet {
        return output::write(&rows.iter().map(|row| format!("{}\n", row.name)).collect::<String>());
    }
    if verb.output != Format::Table {
        return output::value(verb.output, &rows);
    }
    let mut table = output::table(["NAME", "STATUS", "FILES"]);
    for row in &rows {
        let states: Vec<String> = row.states.iter().map(|(state, count)| format!("{state} ({count})")).collect();
        table.add_row([row.name.clone(), states.join(", "), row.files.join(", ")]);
    }
    output::write(&output::rows(table))
}
