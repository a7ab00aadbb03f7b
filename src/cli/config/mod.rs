//! `kraft config`: one file a verb of its own.

mod check;
mod show;
mod unit;

use clap::{Args, Subcommand};

use super::Outcome;
use super::app::App;

/// Look at machine files
#[derive(Debug, Args)]
#[command(disable_help_subcommand = true)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Check(check::CheckArgs),
    Show(show::ShowArgs),
    Unit(unit::UnitArgs),
}

pub(crate) fn config(app: &App, args: &ConfigArgs) -> Outcome {
    match &args.verb {
        Verb::Check(args) => check::check(app, args),
        Verb::Show(args) => show::show(app, args),
        Verb::Unit(args) => unit::unit(app, args),
    }
}
