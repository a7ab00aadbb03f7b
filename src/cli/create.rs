//! `kraft create`.

use clap::Args;

use super::app::App;
use super::spec_args::SpecArgs;
use super::{Outcome, output};
use crate::error::Result;

/// Create a machine without starting it
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    spec: SpecArgs,

    /// Do not print the name
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) fn create(app: &App, args: CreateArgs) -> Outcome {
    output::done(create_one(app, args.spec).and_then(|name| if args.quiet { Ok(()) } else { output::line(name) }))
}

/// Creates the machine and returns its name.
fn create_one(app: &App, args: SpecArgs) -> Result<crate::machine::MachineName> {
    let manager = args.manager();
    let boot = args.boot();
    let new = args.into_record(app)?;
    let name = app.service(manager).create(new.record).map(|view| view.name)?;
    new.held.keep();
    boot.settle(app, &name)?;
    Ok(name)
}
