//! `kraft net serve`: what answers for the names of a network's machines. For units and for kraft itself.

use std::process::ExitCode;

use clap::Args;

use crate::cli::Outcome;
use crate::cli::app::App;
use crate::error::{Kind, Result};
use crate::machine::NetworkName;
use crate::network::resolver::{self, End};
use crate::network::{self, Networks};

/// Answer for the names of machines in the foreground; for units and for kraft itself
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// The network
    network: NetworkName,

    /// End with the last machine
    #[arg(long)]
    while_needed: bool,
}

pub(super) fn serve(app: &App, args: &ServeArgs) -> Outcome {
    live(app, args).map(|()| ExitCode::SUCCESS).map_err(|error| vec![error])
}

fn live(app: &App, args: &ServeArgs) -> Result<()> {
    let networks = Networks::new(app.store.paths());
    let network = match networks.read(&args.network) {
        // Removed since: trying again would not help.
        Err(error) if error.kind() == Kind::NoSuchMachine => {
            log::warn!("{error}");
            resolver::tell(&args.network, "there is no such network");
            return Ok(());
        }
        network => network?,
    };
    network::up(&networks, &network.name)?;
    let end = if args.while_needed { End::WithLastMachine } else { End::OnRequest };
    resolver::serve(app.store.paths(), &network, end, || networks.lock_host())
}
