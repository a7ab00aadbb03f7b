//! The arguments that say what a machine is; `wanted.rs` has what they amount to.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use clap::builder::ValueParser;

use super::app::App;
use super::complete;
use super::enable::Boot;
use super::explain::Explanation;
use super::images::Images;
use super::limit_args::LimitArgs;
use super::output::Format;
use super::probe_args::ProbeArgs;
use super::program;
use super::schedule_args::ScheduleArgs;
use super::secret_args::SecretArgs;
use super::source_args::SourceArgs;
use super::volume_args::VolumeArgs;
use super::wanted::{NewMachine, Wanted};
use crate::error::{Context as _, Error, Result};
use crate::image::oci::pull::Policy;
use crate::machine::{
    Accel, Arch, Bytes, Compression, Dialect, Limits, Mac, MachineName, MachineType, Machined, Manager, NetworkRequest,
    Platform, Port, RestartPolicy, Sandbox, parse_duration,
};
use crate::paths;
use crate::source::{As, Found, Looked};

/// The restart policies, as completion offers them.
pub(crate) const POLICIES: [&str; 3] = ["no", "on-failure", "always"];

/// What a machine is.
#[derive(Debug, Args)]
pub(crate) struct SpecArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// Arguments for the kernel, or for the application of a program or an image; one that begins with '-' is given by
    /// --kernel-arg, or behind --
    #[arg(value_name = "ARGS")]
    arguments: Vec<String>,

    /// Arguments for the application in the guest
    #[arg(value_name = "APP-ARGS", last = true)]
    app_args: Vec<String>,

    /// Run it as a systemd service, kraft-NAME.service
    #[arg(long)]
    pub(crate) systemd: bool,

    /// Have it start at boot, too, as `kraft enable` does
    #[arg(long, requires = "systemd", conflicts_with = "rm")]
    enable: bool,

    /// The machine's name: a-z 0-9 _ . -; made up if not given
    #[arg(short, long, value_name = "NAME")]
    pub(crate) name: Option<MachineName>,

    /// The guest's memory: a number and K, M, G, Ki, Mi or Gi, all binary; at least 1Mi
    #[arg(short = 'M', long, value_name = "SIZE", default_value_t = Wanted::MEMORY)]
    memory: Bytes,

    /// Virtual CPUs
    #[arg(long, value_name = "N", default_value_t = 1)]
    cpus: u32,

    /// One more argument for the kernel; may be repeated
    #[arg(short = 'a', long = "kernel-arg", value_name = "ARG", allow_hyphen_values = true)]
    kernel_arg: Vec<String>,

    /// Set a variable in the guest's environment, or pass on kraft's own; may be repeated
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    env: Vec<String>,

    /// The root file system: a directory, a tar archive or an image (NAME:TAG, oci:DIR), whose files become a RAM disk, or a RAM
    /// disk, a CPIO archive
    #[arg(short = 'i', long, visible_alias = "initrd", value_name = "DIR|FILE|IMAGE", value_hint = clap::ValueHint::AnyPath)]
    rootfs: Option<PathBuf>,

    /// The kernel that loads a program for Linux: a kernel's file, or an image
    #[arg(long, value_name = "REF|FILE", value_hint = clap::ValueHint::FilePath)]
    elfloader: Option<String>,

    /// The directory in the guest that a program for Linux starts in, instead of an image's
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,

    /// Compress the RAM disk that a directory or a tar archive becomes, for a kernel that can undo it
    #[arg(
        long, value_name = "none|gzip|zstd", default_value = "none",
        add = complete::words(Compression::ALL)
    )]
    rootfs_compress: Compression,

    /// Publish a port of the guest's on the host, or a range of them; may be repeated
    #[arg(short, long, visible_alias = "publish", value_name = "[HOST-IP:]HOST-PORT:PORT[/tcp|udp]")]
    port: Vec<String>,

    /// Put the machine on a network of `kraft net create`, or on a bridge of the host's; may be repeated. What is left out
    /// is chosen when the machine is created, and stays; an IPv6 address stands in brackets
    #[arg(long, value_name = "[bridge:]NAME[:IP[/MASK][:GATEWAY[:DNS0[:DNS1[:HOST[:DOMAIN]]]]]]")]
    network: Vec<NetworkRequest>,

    /// The machine's address on its one network
    #[arg(long, value_name = "IP", requires = "network")]
    ip: Option<IpAddr>,

    /// The hardware address of the machine's interface on its one network
    #[arg(long, value_name = "MAC", requires = "network")]
    mac: Option<Mac>,

    #[command(flatten)]
    volumes: VolumeArgs,

    #[command(flatten)]
    secrets: SecretArgs,

    #[command(flatten)]
    schedule: ScheduleArgs,

    #[command(flatten)]
    probes: ProbeArgs,

    /// Remove the machine when it ends
    #[arg(long)]
    pub(crate) rm: bool,

    /// Do without KVM: the same as --accel tcg
    #[arg(short = 'W', long, conflicts_with = "accel")]
    disable_acceleration: bool,

    /// What runs the guest's instructions: KVM, QEMU's translator (tcg), or whichever works, KVM first (auto)
    #[arg(long, value_name = "auto|kvm|tcg", default_value = "auto", add = complete::words(Accel::ALL))]
    accel: Accel,

    /// The machine type; chosen by what the kernel needs if not given
    #[arg(long, value_name = "microvm|q35|pc|virt", add = complete::words(MachineType::ALL))]
    machine: Option<MachineType>,

    /// What the kernel's command line is written in; found by looking at the kernel (auto)
    #[arg(long, value_name = "auto|unikraft|unikraft-old|linux|plain", default_value = "auto", add = complete::words(Dialect::ALL))]
    dialect: Asked,

    /// The platform that runs the guest
    #[arg(long, value_name = "qemu", default_value = "qemu", add = complete::words(Platform::ALL))]
    plat: Platform,

    /// The guest's architecture; the kernel's if not given
    #[arg(short = 'm', long, value_name = "x86_64|arm64", add = complete::words(Arch::ALL))]
    arch: Option<Arch>,

    /// How long the guest may take to shut down before it is ended
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = ValueParser::new(parse_duration))]
    stop_timeout: Duration,

    /// When it is started again after it ended by itself: never, after a failure (at most N times in a row), or always
    #[arg(long, value_name = "no|on-failure[:N]|always", default_value = "no", add = complete::words(&POLICIES))]
    restart: RestartPolicy,

    /// Label the machine; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE")]
    label: Vec<String>,

    /// Set a property of the unit, as systemd-run does; may be repeated
    #[arg(long, value_name = "KEY=VALUE", requires = "systemd")]
    property: Vec<String>,

    /// Tell systemd-machined of the machine, so that `machinectl` knows it; auto does if it is installed, for the system's
    /// machines
    #[arg(long, value_name = "auto|yes|no", default_value = "no", requires = "systemd", add = complete::words(Machined::ALL))]
    machined: Machined,

    /// How far its unit confines it: a user and a view of its own (strict), root with few of root's rights (compatible),
    /// or not at all (off). Strict, unless it has a volume on a file system that cannot map owners: then compatible
    #[arg(
        long, value_name = "strict|compatible|off", requires = "systemd", add = complete::words(Sandbox::ALL)
    )]
    sandbox: Option<Sandbox>,

    /// The slice to put the machine in, instead of kraft.slice
    #[arg(long, value_name = "SLICE", requires = "systemd")]
    slice: Option<String>,

    #[command(flatten)]
    limits: LimitArgs,
}

/// A dialect, or the kernel's own.
#[derive(Debug, Clone, Copy)]
struct Asked(Option<Dialect>);

impl FromStr for Asked {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "auto" { Ok(Self(None)) } else { text.parse().map(|dialect| Self(Some(dialect))) }
    }
}

impl SpecArgs {
    /// Whether it is to start at boot.
    pub(crate) fn boot(&self) -> Boot {
        if self.enable { Boot::Start } else { Boot::Leave }
    }

    /// Who is to keep it alive.
    pub(crate) fn manager(&self) -> Manager {
        if self.systemd { Manager::Systemd } else { Manager::Local }
    }

    /// The record that the machine is to have; see [`Wanted::into_record`].
    pub(crate) fn into_record(self, app: &App) -> Result<NewMachine<'_>> {
        let manager = self.manager();
        let images = Images::new(app, self.source.pull, false);
        let found = self.look(&images).found?;
        found.warnings.iter().for_each(|warning| log::warn!("{warning}"));
        let mut new = self.into_wanted(found, &images)?.into_record(app, manager)?;
        new.held.hold_images(images.into_held());
        Ok(new)
    }

    /// What it is that is to be run.
    fn look(&self, images: &Images<'_>) -> Looked {
        self.source.look(self.plat, self.arch, images)
    }

    /// What would be run and why, without anything being changed.
    pub(crate) fn explain(self, app: &App, format: Format) -> Result<()> {
        // What would have to be fetched is not.
        let images = Images::new(app, Policy::Never, true);
        let Looked { tried, found } = self.look(&images);
        let mut explanation = Explanation::new(self.source.what.clone(), tried);
        let outcome = found.and_then(|found| {
            let (what, mut notes) = (found.what.as_str(), [&found.notes[..], &found.warnings].concat());
            self.into_wanted(found, &images).map(|wanted| {
                notes.extend(program::note(&wanted));
                explanation.found(&app.store, what, wanted, notes);
            })
        });
        outcome.inspect_err(|error| explanation.failed(error)).and(explanation.show(format))
    }

    /// What was typed as values, on top of what comes with what was found.
    fn into_wanted(self, found: Found, images: &Images<'_>) -> Result<Wanted> {
        let (ready, ready_timeout, health) = self.probes.into_parts();
        let (for_kernel, mut app_args) = match found.what {
            As::Kernel | As::Project => (self.arguments, Vec::new()),
            As::Binary | As::Oci => (Vec::new(), self.arguments),
        };
        app_args.extend(self.app_args);
        let typed = Wanted {
            name: self.name,
            kernel_args: self.kernel_arg.into_iter().chain(for_kernel).collect(),
            app_args,
            elfloader: self.elfloader,
            workdir: self.workdir,
            platform: self.plat,
            arch: self.arch,
            memory: self.memory,
            cpus: self.cpus,
            accel: if self.disable_acceleration { Accel::Tcg } else { self.accel },
            machine_type: self.machine,
            dialect: self.dialect.0,
            env: self.env.iter().map(|text| environment(text)).collect::<Result<_>>()?,
            rootfs: self.rootfs,
            rootfs_compress: self.rootfs_compress,
            ports: ports(&self.port)?,
            networks: networks(self.network, self.ip, self.mac)?,
            volumes: self.volumes.requests()?,
            missing: self.volumes.missing(),
            stop_timeout: self.stop_timeout,
            restart: self.restart,
            auto_remove: self.rm,
            labels: labels(&self.label)?,
            properties: self.property,
            slice: self.slice,
            limits: self.limits.limits()?.into_iter().fold(Limits::default(), Limits::with),
            secrets: self.secrets.secrets,
            on_calendar: self.schedule.on_calendar,
            runtime_max: self.schedule.runtime_max,
            machined: self.machined,
            sandbox: self.sandbox,
            ready,
            ready_timeout,
            health,
            pull: self.source.pull,
            ..Wanted::new(PathBuf::new())
        };
        program::check(&typed, found.what)?;
        match found.what {
            As::Binary => program::onto_loader(typed.over(found), images).map(|(wanted, _)| wanted),
            As::Kernel | As::Project | As::Oci => program::placed(typed, &found.kernel).map(|typed| typed.over(found)),
        }
    }
}

fn ports(texts: &[String]) -> Result<Vec<Port>> {
    let ports: Result<Vec<_>> = texts.iter().map(|text| Port::parse(text)).collect();
    Ok(ports?.concat())
}

/// The networks that were asked for. `--ip` and `--mac` say more of the only one.
fn networks(mut asked: Vec<NetworkRequest>, ip: Option<IpAddr>, mac: Option<Mac>) -> Result<Vec<NetworkRequest>> {
    match asked.as_mut_slice() {
        _ if ip.is_none() && mac.is_none() => {}
        [only] => {
            if let Some(ip) = ip {
                if !only.addresses.is_empty() {
                    return Err(Error::new("--ip and the address in --network exclude each other"));
                }
                only.addresses.push((ip, None));
            }
            only.mac = mac;
        }
        _ => {
            return Err(Error::new("--ip and --mac are for a machine on one network")
                .with_hint("with several, `--network NAME:IP` gives each its address"));
        }
    }
    Ok(asked)
}

/// Reads `KEY=VALUE` labels.
pub(crate) fn labels(texts: &[String]) -> Result<BTreeMap<String, String>> {
    texts
        .iter()
        .map(|text| match text.split_once('=') {
            Some(("", _)) => Err(Error::new(format!("bad label '{}': it has no key", text.escape_debug()))),
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => Ok((text.clone(), String::new())),
        })
        .collect()
}

/// Reads `KEY=VALUE`, or `KEY` for a value from our own environment.
pub(super) fn environment(text: &str) -> Result<(String, String)> {
    if let Some((key, value)) = text.split_once('=') {
        return Ok((key.to_owned(), value.to_owned()));
    }
    let value = paths::environment_variable(text)
        .ok_or_else(|| Error::new(format!("environment variable {text} is not set")))
        .map_err(|error| error.with_hint(format!("`-e {text}=VALUE` gives it a value")))?;
    let value = value.into_string().map_err(|_| Error::new("it is not UTF-8"));
    Ok((text.to_owned(), value.with_context(|| format!("cannot pass on the environment variable {text}"))?))
}
