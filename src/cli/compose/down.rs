//! `kraft compose down`: the project's machines, and what they have in common, are removed.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use clap::builder::ValueParser;

use super::{ComposeArgs, labels, shared, staged, turn};
use crate::cli::app::App;
use crate::cli::{Outcome, output};
use crate::error::{Error, Kind, Result};
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

    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn down(app: &App, args: &ComposeArgs, verb: &DownArgs) -> Outcome {
    let one = |error| vec![error];
    let known = args.known()?;
    let _turn = if verb.dry_run { None } else { Some(turn::take(app, &known.name).map_err(one)?) };
    let mut members = match known.members(app, &[]) {
        // A project without machines may have networks.
        Err(flaws) if flaws.iter().all(|flaw| flaw.kind() == Kind::NoSuchMachine) => Vec::new(),
        members => members?,
    };
    let mut stays = false;
    if let Some(services) = known.services.as_ref().filter(|_| !verb.remove_orphans) {
        let (ours, orphans): (Vec<_>, Vec<_>) =
            members.into_iter().partition(|member| services.contains(&member.service));
        members = ours;
        stays = !orphans.is_empty();
        if stays {
            let names: Vec<&str> = orphans.iter().map(|member| member.name.as_str()).collect();
            log::warn!(
                "machines that the file has no service for: {} (--remove-orphans removes them)",
                names.join(", ")
            );
        }
    }
    if verb.dry_run {
        let names = labels::in_levels(members).into_iter().rev().flatten().map(|member| member.name.to_string());
        return output::done(foresee(app, &known.name, verb, names.collect(), stays));
    }
    app.store.sweep_leftovers();
    let mut errors: Vec<Error> = staged::remove(app, members, StopMode::Graceful(verb.timeout));
    errors.extend(labels::unreadable(app, &known.name).map_err(one)?);
    if labels::members(app, &known.name).map_err(one)?.is_empty() {
        for name in shared::networks_of(app, &known.name).map_err(one)? {
            let removed = shared::remove_network(app, &name);
            errors.extend(removed.and_then(|()| output::line(format!("removed network {name}"))).err());
        }
        // Its slice may be left by machines that were removed one by one.
        let systemd = app.systemd();
        if systemd.is_reachable() {
            errors.extend(systemd.release_project(&known.name).err());
        }
        if verb.volumes {
            for name in shared::volumes_of(app, &known.name).map_err(one)? {
                let removed = shared::remove_volume(app, &name);
                errors.extend(removed.and_then(|()| output::line(format!("removed volume {name}"))).err());
            }
        }
    }
    if errors.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(errors) }
}

/// Says what would be removed.
fn foresee(app: &App, project: &str, verb: &DownArgs, machines: Vec<String>, stays: bool) -> Result<()> {
    let mut lines = machines;
    if !stays {
        lines.extend(shared::networks_of(app, project)?.iter().map(|name| format!("network {name}")));
        if verb.volumes {
            lines.extend(shared::volumes_of(app, project)?.iter().map(|name| format!("volume {name}")));
        }
    }
    lines.iter().try_for_each(|line| output::line(format!("removed {line}")))
}
