//! `kraft net ls`.

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::Outcome;
use crate::cli::app::App;
use crate::cli::output::{self, Format};
use crate::error::{Error, Result};
use crate::machine::{MachineId, MachineName, NetworkName};
use crate::network::{self, Networks, State};

/// List networks
///
/// Only those of `kraft net create` are shown: other bridges of the host are none of kraft's.
#[derive(Debug, Args)]
pub(super) struct LsArgs {
    /// Show names only
    #[arg(short, long)]
    quiet: bool,

    /// Show more columns
    #[arg(short, long)]
    long: bool,

    /// The form of the output
    #[arg(short, long, value_name = "FORM", value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// One network as JSON shows it. Stable: fields are added, never changed.
#[derive(Debug, Serialize)]
struct Row {
    name: NetworkName,
    id: Option<MachineId>,
    state: Option<State>,
    driver: &'static str,
    network: Option<String>,
    ipv6: Option<String>,
    internal: bool,
    bridge: Option<String>,
    created: Option<Timestamp>,
    machines: Vec<MachineName>,
    problem: Option<String>,
}

pub(super) fn ls(app: &App, args: &LsArgs) -> Outcome {
    output::done(list(app, args))
}

fn list(app: &App, args: &LsArgs) -> Result<()> {
    let networks = Networks::new(app.store.paths());
    let names = networks.names()?;
    if args.quiet {
        return output::write(&names.iter().map(|name| format!("{name}\n")).collect::<String>());
    }
    let rows: Vec<Row> = names.into_iter().map(|name| row(app, &networks, name)).collect::<Result<_>>()?;
    match args.output {
        Format::Table => output::write(&table(&rows, args.long)),
        format => output::value(format, &rows),
    }
}

fn row(app: &App, networks: &Networks, name: NetworkName) -> Result<Row> {
    let mut machines: Vec<MachineName> =
        network::members(&app.store, &name)?.into_iter().map(|member| member.machine).collect();
    machines.dedup();
    let network = networks.read(&name);
    let live = network.clone().and_then(|network| network::live(networks, &network));
    let problem = network.as_ref().err().or(live.as_ref().err()).map(Error::to_string);
    let network = network.ok();
    Ok(Row {
        id: network.as_ref().map(|network| network.id),
        state: live.ok().map(|live| live.state),
        driver: "bridge",
        network: network.as_ref().and_then(|network| network.ipv4).map(|net| net.to_string()),
        ipv6: network.as_ref().and_then(|network| network.ipv6).map(|net| net.to_string()),
        internal: network.as_ref().is_some_and(|network| network.internal),
        created: network.as_ref().map(|network| network.created),
        bridge: network.map(|network| network.bridge),
        name,
        machines,
        problem,
    })
}

fn table(rows: &[Row], long: bool) -> String {
    let mut header = vec!["NAME", "NETWORK", "DRIVER", "STATUS", "MACHINES"];
    if long {
        header = vec!["NETWORK ID", "NAME", "NETWORK", "DRIVER", "BRIDGE", "STATUS", "CREATED", "MACHINES"];
    }
    let mut table = output::table(header);
    let now = Timestamp::now();
    for row in rows {
        let subnets: Vec<&str> = row.network.iter().chain(&row.ipv6).map(String::as_str).collect();
        let status = match row.state {
            Some(State::Up) => "up",
            Some(State::Down) => "down",
            None => "unknown",
        };
        let machines = row.machines.len().to_string();
        let mut cells = vec![row.name.to_string(), subnets.join(", "), row.driver.into(), status.into(), machines];
        if long {
            cells.insert(0, row.id.map_or_else(String::new, MachineId::short));
            cells.insert(4, row.bridge.clone().unwrap_or_default());
            cells.insert(6, row.created.map_or_else(String::new, |created| output::ago(created, now)));
        }
        table.add_row(cells);
    }
    output::rows(table)
}
