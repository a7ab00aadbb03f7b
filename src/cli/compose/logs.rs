//! `kraft compose logs`: the consoles of the project's machines.

use clap::Args;

use super::{ComposeArgs, Services};
use crate::cli::Outcome;
use crate::cli::app::App;
use crate::cli::logs::{self, LineArgs, Prefix, Printer};
use crate::cli::output::{self, Form};
use crate::machine::MachineName;

/// Show what the project's guests wrote on their consoles
#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    #[command(flatten)]
    services: Services,

    /// Go on with what comes, across restarts, until Ctrl-C or the removal of all machines
    #[arg(short, long)]
    follow: bool,

    #[command(flatten)]
    lines: LineArgs,

    /// Do not put the machines' names in front of the lines
    #[arg(long)]
    no_prefix: bool,
}

pub(super) fn logs(app: &App, args: &ComposeArgs, verb: &LogsArgs) -> Outcome {
    let members = args.known()?.members(app, &verb.services.services)?;
    let names: Vec<MachineName> = members.into_iter().map(|member| member.name).collect();
    let query = verb.lines.query(verb.follow);
    let prefix = if verb.no_prefix { Prefix::None } else { Prefix::Names };
    let printer = Printer::new(&names, prefix, verb.lines.timestamps, Form::Text);
    output::done(logs::several(app, &names, &query, &printer))
}
