//! `kraft pkg`: one file a verb of its own. Without a verb it is `build`, as upstream has it.

mod build;

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
}

pub(crate) fn pkg(app: &App, args: PkgArgs) -> Outcome {
    match (args.verb, args.build) {
        (Some(Verb::Build(args)), _) | (None, Some(args)) => build::build(app, &args),
        (None, None) => {
            let nothing = Error::new("nothing to do");
            Err(vec![nothing.with_hint("`kraft pkg --help` tells what can be done; a kernel is packed by -k KERNEL")])
        }
    }
}
