//! `kraft net`: one file a verb of its own.

mod create;
mod inspect;
mod ls;
mod prune;
pub(super) mod rm;
mod serve;
mod up;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::app::App;
use super::{Outcome, complete, output};
use crate::error::{Error, Result};
use crate::machine::NetworkName;
use crate::network::Networks;

/// Manage the networks that machines are on
#[derive(Debug, Args)]
#[command(disable_help_subcommand = true)]
pub(crate) struct NetArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    #[command(alias = "add")]
    Create(create::CreateArgs),
    #[command(alias = "list")]
    Ls(ls::LsArgs),
    Inspect(inspect::InspectArgs),
    Up(up::UpArgs),
    #[command(alias = "stop")]
    Down(up::DownArgs),
    #[command(aliases = ["remove", "delete", "del"])]
    Rm(rm::RmArgs),
    Prune(prune::PruneArgs),
    #[command(hide = true)]
    Serve(serve::ServeArgs),
}

pub(crate) fn net(app: &App, args: &NetArgs) -> Outcome {
    match &args.verb {
        Verb::Create(args) => create::create(app, args),
        Verb::Ls(args) => ls::ls(app, args),
        Verb::Inspect(args) => inspect::inspect(app, args),
        Verb::Up(args) => up::up(app, args),
        Verb::Down(args) => up::down(app, args),
        Verb::Rm(args) => rm::rm(app, args),
        Verb::Prune(args) => prune::prune(app, args),
        Verb::Serve(args) => serve::serve(app, args),
    }
}

/// The networks that a verb is for.
#[derive(Debug, Args)]
struct Targets {
    /// Networks, by name
    #[arg(value_name = "NETWORK", required = true, add = complete::networks())]
    networks: Vec<NetworkName>,
}

impl Targets {
    /// Does `act` to each, once; prints the name of each that worked, collects the errors.
    fn each(&self, app: &App, act: impl Fn(&Networks, &NetworkName) -> Result<()>) -> Outcome {
        let networks = Networks::new(app.store.paths());
        let mut seen = std::collections::BTreeSet::new();
        let names = self.networks.iter().filter(|name| seen.insert(*name));
        let errors: Vec<Error> =
            names.filter_map(|name| act(&networks, name).and_then(|()| output::line(name)).err()).collect();
        if errors.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(errors) }
    }
}
