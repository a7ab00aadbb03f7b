//! `kraft ps`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use comfy_table::{Cell, Color};
use jiff::Timestamp;
use serde::Serialize;

use super::Outcome;
use super::app::App;
use super::elsewhere;
use super::enable::declared_by;
use super::filter::Filter;
use super::limits;
use super::output::{self, Format};
use crate::error::Result;
use crate::machine::{HealthState, MachineName, MachineService as _, Manager, Mount, Port, State, View};
use crate::systemd;

/// List machines
///
/// All machines are shown, whatever their state.
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Show more columns
    #[arg(short, long)]
    long: bool,

    /// Show names only
    #[arg(short, long)]
    quiet: bool,

    /// Accepted for those who are used to it: all machines are always shown
    #[arg(short, long, hide = true)]
    all: bool,

    /// Only machines like this: name=, id=, state=, health=, manager=, plat=, arch=, label=KEY[=VALUE]; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,

    /// The form of the output
    #[arg(short, long, value_name = "FORM", value_enum, default_value_t = Format::Table)]
    output: Format,

    /// Do not shorten what is long
    #[arg(long)]
    no_trunc: bool,

    /// Only machines that systemd runs
    #[arg(long)]
    systemd: bool,
}

/// One machine as JSON shows it. Stable: fields are added, never changed.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    id: Option<String>,
    state: State,
    exit_code: Option<u8>,
    exit_reason: Option<String>,
    health: Option<HealthState>,
    kernel: Option<String>,
    args: Vec<String>,
    created: Option<Timestamp>,
    started: Option<Timestamp>,
    memory: Option<u64>,
    cpus: Option<u32>,
    /// What is enforced, as `run` takes it.
    limits: BTreeMap<&'static str, Vec<String>>,
    ports: Vec<String>,
    networks: Vec<String>,
    ips: Vec<IpAddr>,
    volumes: Vec<String>,
    plat: Option<String>,
    arch: Option<String>,
    manager: Option<Manager>,
    unit: Option<String>,
    timer: Option<String>,
    on_calendar: Vec<String>,
    pid: Option<u32>,
    vmm_pid: Option<u32>,
    restarts: u32,
    labels: BTreeMap<String, String>,
    problem: Option<String>,
    /// The machine file that declares it.
    file: Option<PathBuf>,
    /// It is started at boot.
    enabled: bool,
}

/// The same with what its file says.
fn row(app: &App, view: &View) -> Row {
    let (file, enabled) = declared_by(app, &view.name);
    Row { file, enabled, ..Row::from(view) }
}

impl From<&View> for Row {
    fn from(view: &View) -> Self {
        let record = view.record.as_ref();
        let spec = record.map(|record| &record.spec);
        let live = view.status.as_ref().filter(|_| view.state.is_live());
        // A running machine's last exit is history, not its condition.
        let exit = view.exit.as_ref().filter(|_| !view.state.is_live() && view.state != State::Created);
        Self {
            name: view.name.to_string(),
            id: record.map(|record| record.id.to_string()),
            state: view.state,
            exit_code: exit.map(|exit| exit.code),
            exit_reason: exit.map(|exit| exit.reason.to_string()),
            health: view.health(),
            kernel: spec.map(|spec| spec.source().into_owned()),
            args: spec.map_or_else(Vec::new, |spec| spec.kernel_args.iter().chain(&spec.app_args).cloned().collect()),
            created: record.map(|record| record.created),
            started: live.and_then(|status| status.running_since),
            memory: spec.map(|spec| spec.memory.0),
            cpus: spec.map(|spec| spec.cpus),
            limits: record.map(limits::shown).unwrap_or_default(),
            ports: spec.map_or_else(Vec::new, |spec| spec.ports.iter().map(Port::arrow).collect()),
            networks: spec.map_or_else(Vec::new, |spec| spec.networks.iter().map(|on| on.network.clone()).collect()),
            ips: spec.map_or_else(Vec::new, |spec| spec.networks.iter().flat_map(|on| on.ip.addresses()).collect()),
            volumes: spec.map_or_else(Vec::new, |spec| {
                spec.volumes.iter().filter(|mount| !mount.own).map(Mount::to_string).collect()
            }),
            plat: spec.map(|spec| spec.platform.to_string()),
            arch: spec.map(|spec| spec.arch.to_string()),
            manager: record.map(|record| record.manager),
            unit: view.unit.clone(),
            timer: record.and_then(systemd::timer_name),
            on_calendar: spec.map_or_else(Vec::new, |spec| spec.on_calendar.clone()),
            pid: live.map(|status| status.runner_pid),
            vmm_pid: live.and_then(|status| status.vmm_pid),
            restarts: live.map_or(0, |status| status.restarts),
            labels: spec.map(|spec| spec.labels.clone()).unwrap_or_default(),
            problem: view.problem.as_ref().map(ToString::to_string),
            file: None,
            enabled: false,
        }
    }
}

pub(crate) fn ps(app: &App, args: &PsArgs) -> Outcome {
    output::done(list(app, args))
}

fn list(app: &App, args: &PsArgs) -> Result<()> {
    let mut views = app.everything().list()?;
    views.retain(|view| {
        args.filter.iter().all(|filter| filter.accepts(view))
            && (!args.systemd || view.manager() == Some(Manager::Systemd))
    });
    show(app, views, args)?;
    if args.filter.is_empty() && !args.quiet && args.output == Format::Table {
        elsewhere::note(app);
    }
    Ok(())
}

/// The same for these machines alone.
pub(super) fn list_of(app: &App, names: &[MachineName], long: bool, quiet: bool, output: Format) -> Result<()> {
    let mut views = app.everything().list()?;
    views.retain(|view| names.contains(&view.name));
    let (filter, all, no_trunc, systemd) = (Vec::new(), true, false, false);
    show(app, views, &PsArgs { long, quiet, all, filter, output, no_trunc, systemd })
}

fn show(app: &App, views: Vec<View>, args: &PsArgs) -> Result<()> {
    if args.quiet {
        return output::write(&views.iter().map(|view| format!("{}\n", view.name)).collect::<String>());
    }
    match args.output {
        Format::Table => output::write(&table(app, &views, args)),
        format => output::value(format, &views.iter().map(|view| row(app, view)).collect::<Vec<_>>()),
    }
}

fn table(app: &App, views: &[View], args: &PsArgs) -> String {
    let mut header = vec!["NAME", "KERNEL", "ARGS", "CREATED", "STATUS", "MEM", "PORTS", "PLAT"];
    if args.long {
        header = vec![
            "MACHINE ID",
            "NAME",
            "KERNEL",
            "ARGS",
            "CREATED",
            "STATUS",
            "MEM",
            "CPUS",
            "LIMITS",
            "PORTS",
            "IP",
            "VOLUMES",
            "PID",
            "MANAGER",
            "BOOT",
            "PLAT",
            "ARCH",
        ];
    }
    let mut table = output::table(header);
    let now = Timestamp::now();
    let colour = output::colour();
    for view in views {
        let row = if args.long { row(app, view) } else { Row::from(view) };
        table.add_row(cells(view, row, args, now, colour));
    }
    output::rows(table)
}

fn cells(view: &View, row: Row, args: &PsArgs, now: Timestamp, colour: bool) -> Vec<Cell> {
    let cut = |text: String, most| if args.no_trunc { text } else { output::shortened(&text, most) };
    let kernel = row.kernel.clone().unwrap_or_default();
    let kernel = if args.no_trunc { kernel } else { kernel.rsplit('/').next().unwrap_or_default().to_owned() };
    let status = match (row.exit_code, &row.exit_reason) {
        (Some(code), Some(reason)) if view.state == State::Errored => format!("{} ({code}, {reason})", view.state),
        _ => match row.health {
            Some(HealthState::Starting) => "running (health: starting)".to_owned(),
            Some(health) => format!("running ({health})"),
            None => view.state.to_string(),
        },
    };
    let created = row.created.map_or_else(String::new, |created| output::ago(created, now));
    let memory = view.record.as_ref().map_or_else(String::new, |record| record.spec.memory.to_string());
    let arguments = cut(row.args.join(" "), 32);
    let platform = row.plat.unwrap_or_default();
    let architecture = row.arch.unwrap_or_default();
    if !args.long {
        let plat = if platform.is_empty() { platform } else { format!("{platform}/{architecture}") };
        let texts = vec![row.name, cut(kernel, 24), arguments, created, status, memory, row.ports.join(", "), plat];
        return painted(texts, colour.then_some(4), view.state);
    }
    let id = row.id.unwrap_or_default();
    let texts = vec![
        if args.no_trunc { id } else { id.chars().take(12).collect() },
        row.name,
        cut(kernel, 24),
        arguments,
        created,
        status,
        memory,
        row.cpus.map_or_else(String::new, |cpus| cpus.to_string()),
        cut(limits::line(&row.limits), 32),
        row.ports.join(", "),
        row.ips.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", "),
        cut(row.volumes.join(", "), 32),
        row.pid.map_or_else(String::new, |pid| pid.to_string()),
        row.manager.map_or_else(String::new, |manager| manager.to_string()),
        if row.enabled { "yes".to_owned() } else { String::new() },
        platform,
        architecture,
    ];
    painted(texts, colour.then_some(5), view.state)
}

/// The cells of a row, the state in its colour where colour is wanted.
fn painted(texts: Vec<String>, status: Option<usize>, state: State) -> Vec<Cell> {
    let colour = match state {
        State::Created => Color::Blue,
        State::Running => Color::Green,
        State::Paused | State::Restarting => Color::Yellow,
        State::Failed | State::Errored => Color::Red,
        State::Exited | State::Unknown => Color::DarkGrey,
    };
    let paint = |(index, text)| {
        let cell = Cell::new::<String>(text);
        if Some(index) == status { cell.fg(colour) } else { cell }
    };
    texts.into_iter().enumerate().map(paint).collect()
}
