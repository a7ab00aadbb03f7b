//! `kraft compose ps`: the project's machines.

use clap::Args;

use super::{ComposeArgs, Services};
use crate::cli::app::App;
use crate::cli::output::{self, Format};
use crate::cli::{Outcome, ps};

/// List the project's machines
#[derive(Debug, Args)]
pub(super) struct PsArgs {
    #[command(flatten)]
    services: Services,

    /// Show more columns
    #[arg(short, long)]
    long: bool,

    /// Show names only
    #[arg(short, long)]
    quiet: bool,

    /// Accepted for those who are used to it: all machines are always shown
    #[arg(short, long, hide = true)]
    all: bool,

    /// The form of the output
    #[arg(short, long, value_name = "FORM", value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub(super) fn ps(app: &App, args: &ComposeArgs, verb: &PsArgs) -> Outcome {
    let members = args.known()?.members(app, &verb.services.services)?;
    let names: Vec<_> = members.into_iter().map(|member| member.name).collect();
    output::done(ps::list_of(app, &names, verb.long, verb.quiet, verb.output))
}
