//! `kraft compose config`: the file as kraft understands it.

use clap::Args;

use super::ComposeArgs;
use crate::cli::{Outcome, output};

/// Check the file, and print it with its variables in place
///
/// Several files are shown as the one that they come to. What would be passed over is told.
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// Print nothing: only say what is wrong
    #[arg(short, long, conflicts_with = "services")]
    quiet: bool,

    /// Print the names of the services only, in the order in which they are started
    #[arg(long)]
    services: bool,
}

pub(super) fn config(args: &ComposeArgs, verb: &ConfigArgs) -> Outcome {
    let loaded = args.load(&[])?;
    let text = if verb.services {
        Ok(loaded.project.levels().concat().iter().map(|name| format!("{name}\n")).collect())
    } else if verb.quiet {
        Ok(String::new())
    } else {
        loaded.to_text()
    };
    output::done(text.and_then(|text| output::write(&text)))
}
