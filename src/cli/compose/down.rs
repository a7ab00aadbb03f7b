//! `kraft compose down`: the project's machines, and what they have in common, are removed.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use clap::builder::ValueParser;

use super::{ComposeArgs, labels, shared, staged};
use crate::cli::Outcome;
use crate::cli::app::App;
use crate::error::{Error, Kind};
use crate::machine::{StopMode, parse_duration};

/// Stop and remove the project's machines and networks
///
/// Machines go before those that they depend on. Volumes stay unless --volumes is given.
#[derive(Debug, Args)]
pub(super) struct DownArgs {
    /// Remove the project's volumes, too, with all their files
    #[arg(short, long)]
    volumes: bool,

    /// Remove machines of the project, too, that its file has no service for
    #[arg(long)]
    remove_orphans: bool,

    /// How long a guest may take to shut down, instead of its own time-out
    #[arg(short, long, value_name = "TIME", value_parser = ValueParser::new(parse_duration))]
    timeout: Option<Duration>,
}

pub(super) fn down(app: &App, args: &ComposeArgs, verb: &DownArgs) -> Outcome {
    let one = |error| vec![error];
    let known = args.known()?;
    let mut members = match known.members(app, &[]) {
        // A project without machines may have networks.
        Err(flaws) if flaws.iter().all(|flaw| flaw.kind() == Kind::NoSuchMachine) => Vec::new(),
        members => members?,
    };
    if let Some(services) = known.services.as_ref().filter(|_| !verb.remove_orphans) {
        let (ours, orphans): (Vec<_>, Vec<_>) =
            members.into_iter().partition(|member| services.contains(&member.service));
        members = ours;
        if !orphans.is_empty() {
            let names: Vec<&str> = orphans.iter().map(|member| member.name.as_str()).collect();
            log::warn!(
                "machines that the file has no service for: {} (--remove-orphans removes them)",
                names.join(", ")
            );
        }
    }
    app.store.sweep_leftovers();
    let mut errors: Vec<Error> = staged::remove(app, members, StopMode::Graceful(verb.timeout));
    if labels::members(app, &known.name).map_err(one)?.is_empty() {
        errors.extend(shared::remove_networks(app, &known.name));
        // Its slice may be left by machines that were removed one by one.
        let systemd = app.systemd();
        if systemd.is_reachable() {
            errors.extend(systemd.release_project(&known.name).err());
        }
        if verb.volumes {
            errors.extend(shared::remove_volumes(app, &known.name));
        }
    }
    if errors.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(errors) }
}
