//! `kraft net inspect`.

use clap::Args;
use serde::Serialize;

use super::Targets;
use crate::cli::Outcome;
use crate::cli::app::App;
use crate::cli::output::{self, Format};
use crate::error::{Error, Result};
use crate::machine::NetworkName;
use crate::network::{self, Counters, Member, Network, Networks, State};

/// Show all that is known of networks
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    #[command(flatten)]
    targets: Targets,

    /// The form of the output
    #[arg(short, long, value_name = "FORM", value_enum, default_value_t = Form::Json)]
    output: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    Json,
    Yaml,
}

/// One network as JSON shows it. Stable: fields are added, never changed.
#[derive(Debug, Serialize)]
struct Inspection {
    #[serde(flatten)]
    network: Network,
    state: State,
    driver: &'static str,
    counters: Counters,
    machines: Vec<Member>,
}

pub(super) fn inspect(app: &App, args: &InspectArgs) -> Outcome {
    let networks = Networks::new(app.store.paths());
    let (mut found, mut errors): (Vec<Inspection>, Vec<Error>) = (Vec::new(), Vec::new());
    for name in &args.targets.networks {
        match inspection(app, &networks, name) {
            Ok(inspection) => found.push(inspection),
            Err(error) => errors.push(error),
        }
    }
    let format = match args.output {
        Form::Json => Format::Json,
        Form::Yaml => Format::Yaml,
    };
    errors.extend(output::value(format, &found).err());
    if errors.is_empty() { Ok(std::process::ExitCode::SUCCESS) } else { Err(errors) }
}

fn inspection(app: &App, networks: &Networks, name: &NetworkName) -> Result<Inspection> {
    let network = networks.read(name)?;
    let live = network::live(networks, &network)?;
    let machines = network::members(&app.store, name)?;
    Ok(Inspection { network, state: live.state, driver: "bridge", counters: live.counters, machines })
}
