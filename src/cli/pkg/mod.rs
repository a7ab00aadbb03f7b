//! `kraft pkg`: one file a verb of its own. Without a verb it is `build`, as upstream has it.

mod build;
mod info;
mod login;
mod logout;
mod ls;
pub(super) mod progress;
mod prune;
mod pull;
mod push;
mod rm;
mod select;
mod shown;

use clap::{Args, Subcommand};

use super::Outcome;
use super::app::App;
use crate::error::Error;

/// Make and manage images
#[derive(Debug, Args)]
#[command(disable_help_subcommand = true, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct PkgArgs {
    #[command(subcommand)]
    verb: Option<Verb>,

    #[command(flatten)]
    build: Option<build::BuildArgs>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Build(build::BuildArgs),
    #[command(alias = "pl")]
    Pull(pull::PullArgs),
    #[command(alias = "ph")]
    Push(push::PushArgs),
    #[command(alias = "list")]
    Ls(ls::LsArgs),
    #[command(aliases = ["inspect", "show", "get"])]
    Info(info::InfoArgs),
    #[command(aliases = ["remove", "delete", "del"])]
    Rm(rm::RmArgs),
    Prune(prune::PruneArgs),
    Login(login::LoginArgs),
    Logout(logout::LogoutArgs),
}

pub(crate) fn pkg(app: &App, args: PkgArgs) -> Outcome {
    match (args.verb, args.build) {
        (Some(Verb::Build(args)), _) | (None, Some(args)) => build::build(app, &args),
        (Some(Verb::Pull(args)), _) => pull::pull(app, &args),
        (Some(Verb::Push(args)), _) => push::push(app, &args),
        (Some(Verb::Ls(args)), _) => ls::ls(app, &args),
        (Some(Verb::Info(args)), _) => info::info(app, &args),
        (Some(Verb::Rm(args)), _) => rm::rm(app, &args),
        (Some(Verb::Prune(args)), _) => prune::prune(app, &args),
        (Some(Verb::Login(args)), _) => login::login(&args),
        (Some(Verb::Logout(args)), _) => logout::logout(&args),
        (None, None) => {
            let nothing = Error::new("nothing to do");
            Err(vec![nothing.with_hint("`kraft pkg --help` tells what can be done; a kernel is packed by -k KERNEL")])
        }
    }
}
