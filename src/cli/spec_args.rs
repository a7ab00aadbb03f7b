//! The arguments that say what a machine is, and the spec that they amount to.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use clap::builder::ValueParser;

use super::app::App;
use super::volume_args::{Held, VolumeArgs};
use super::{complete, names};
use crate::error::{Context as _, Error, Result};
use crate::image;
use crate::image::rootfs::{self, Compression};
use crate::machine::{
    Accel, Arch, Attachment, Bytes, Dialect, Mac, MachineName, MachineType, Manager, Platform, Port, Record,
    RestartPolicy, Spec, parse_duration,
};
use crate::network::{self, Networks, Request};
use crate::paths;
use crate::store::{RootfsCache, Store};
use crate::systemd;

/// The restart policies, as completion offers them.
pub(crate) const POLICIES: [&str; 3] = ["no", "on-failure", "always"];

/// What a machine is.
#[derive(Debug, Args)]
pub(crate) struct SpecArgs {
    /// The kernel to run
    #[arg(value_name = "KERNEL", value_hint = clap::ValueHint::FilePath)]
    kernel: PathBuf,

    /// Arguments for the kernel; one that begins with '-' is given by --kernel-arg
    #[arg(value_name = "KERNEL-ARGS")]
    arguments: Vec<String>,

    /// Arguments for the application in the guest
    #[arg(value_name = "APP-ARGS", last = true)]
    app_args: Vec<String>,

    /// Run it as a systemd service, kraft-NAME.service
    #[arg(long)]
    pub(crate) systemd: bool,

    /// The machine's name: a-z 0-9 _ . -; made up if not given
    #[arg(short, long, value_name = "NAME")]
    pub(crate) name: Option<MachineName>,

    /// The guest's memory: a number and K, M, G, Ki, Mi or Gi, all binary; at least 1Mi
    #[arg(short = 'M', long, value_name = "SIZE", default_value = "64Mi")]
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

    /// The root file system: a directory or a tar archive, which becomes a RAM disk, or a RAM disk, a CPIO archive
    #[arg(short = 'i', long, visible_alias = "initrd", value_name = "DIR|FILE", value_hint = clap::ValueHint::AnyPath)]
    rootfs: Option<PathBuf>,

    /// Compress the RAM disk that a directory or a tar archive becomes, for a kernel that can undo it
    #[arg(
        long, value_name = "none|gzip|zstd", default_value = "none", requires = "rootfs",
        add = complete::words(&Compression::WORDS)
    )]
    rootfs_compress: Compression,

    /// Publish a port of the guest's on the host, or a range of them; may be repeated
    #[arg(short, long, visible_alias = "publish", value_name = "[HOST-IP:]HOST-PORT:PORT[/tcp|udp]")]
    port: Vec<String>,

    /// Put the machine on a network of `kraft net create`, or on a bridge of the host's; may be repeated. What is left out
    /// is chosen when the machine is created, and stays; an IPv6 address stands in brackets
    #[arg(long, value_name = "[bridge:]NAME[:IP[/MASK][:GATEWAY[:DNS0[:DNS1[:HOST[:DOMAIN]]]]]]")]
    network: Vec<Request>,

    /// The machine's address on its one network
    #[arg(long, value_name = "IP", requires = "network")]
    ip: Option<IpAddr>,

    /// The hardware address of the machine's interface on its one network
    #[arg(long, value_name = "MAC", requires = "network")]
    mac: Option<Mac>,

    #[command(flatten)]
    volumes: VolumeArgs,

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

    /// The slice to put the machine in, instead of kraft.slice
    #[arg(long, value_name = "SLICE", requires = "systemd")]
    slice: Option<String>,
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
    /// Who is to keep it alive.
    pub(crate) fn manager(&self) -> Manager {
        if self.systemd { Manager::Systemd } else { Manager::Local }
    }

    /// The record that the machine is to have. Everything is checked and settled before anything is made: volumes that are
    /// missing, what its root file system becomes.
    pub(crate) fn into_record(self, app: &App) -> Result<NewMachine<'_>> {
        let manager = self.manager();
        let volumes = self.volumes.clone();
        let (mut spec, rootfs) = self.into_spec(app)?;
        app.store.check_free(&spec.name)?;
        let volumes = volumes.hold(app, &spec)?;
        let made = rootfs.map_or(Ok(None), |source| source.prepare(&app.store))?;
        let rootfs = made.map(|(digest, cache)| {
            spec.initrd = Some(app.store.own_rootfs(&spec.name));
            spec.rootfs_digest = Some(digest);
            cache
        });
        Ok(NewMachine { record: Store::new_record(spec, manager)?, held: HeldParts { volumes, rootfs } })
    }

    /// Checks everything and settles what was left open, but for what its root file system is made of. Changes nothing.
    fn into_spec(self, app: &App) -> Result<(Spec, Option<rootfs::Source>)> {
        let networks = attachments(app, self.network, self.ip, self.mac)?;
        let wanted = self.arch;
        let kernel = image::kernel::inspect(&self.kernel, wanted)?;
        let rootfs = self.rootfs.as_deref().map(paths::absolute).transpose()?;
        let source = self.rootfs.as_deref().map(|source| {
            let epoch = paths::environment_variable("SOURCE_DATE_EPOCH");
            let epoch = epoch.map(|epoch| epoch.to_string_lossy().into_owned());
            let compression = self.rootfs_compress;
            rootfs::Wanted { source, compression, kernel: kernel.kind, epoch }.check()
        });
        let source = source.transpose()?;
        systemd::check_properties(&self.property)?;
        if let Some(slice) = &self.slice {
            systemd::check_slice(slice)?;
        }
        let env = self.env.iter().map(|text| environment(text)).collect::<Result<BTreeMap<_, _>>>()?;
        let spec = Spec {
            name: match self.name {
                Some(name) => name,
                None => names::made_up()?,
            },
            platform: self.plat,
            arch: kernel.arch,
            kernel: kernel.record(paths::absolute(&self.kernel)?, self.dialect.0),
            kernel_args: self.kernel_arg.into_iter().chain(self.arguments).collect(),
            app_args: self.app_args,
            env,
            memory: self.memory,
            cpus: self.cpus,
            accel: if self.disable_acceleration { Accel::Tcg } else { self.accel },
            machine_type: self.machine,
            // That of what is made into one is known when it is.
            initrd: rootfs.clone(),
            rootfs,
            rootfs_digest: None,
            stop_timeout_ms: u64::try_from(self.stop_timeout.as_millis()).unwrap_or(u64::MAX),
            restart: self.restart,
            auto_remove: self.rm,
            properties: self.property,
            slice: self.slice,
            labels: labels(&self.label)?,
            ports: ports(&self.port)?,
            networks,
            volumes: self.volumes.mounts(app)?,
        };
        if spec.auto_remove && spec.restart != RestartPolicy::No {
            return Err(Error::new("--rm and --restart exclude each other: what is started again is not removed"));
        }
        spec.validate()?;
        Ok((spec, source))
    }
}

/// A machine that is about to be created.
#[derive(Debug)]
pub(crate) struct NewMachine<'a> {
    pub(crate) record: Record,
    pub(crate) held: HeldParts<'a>,
}

/// What was made for a machine and is its own once it is created; until then nobody takes it away.
#[derive(Debug)]
pub(crate) struct HeldParts<'a> {
    volumes: Held<'a>,
    rootfs: Option<RootfsCache>,
}

impl HeldParts<'_> {
    /// The machine has its root file system: others' may be swept again.
    pub(crate) fn rootfs_taken(&mut self) {
        self.rootfs = None;
    }

    /// The machine is there: from now on its record keeps what it has.
    pub(crate) fn keep(self) {
        self.volumes.keep();
        drop(self.rootfs);
    }
}

fn ports(texts: &[String]) -> Result<Vec<Port>> {
    let ports: Result<Vec<_>> = texts.iter().map(|text| Port::parse(text)).collect();
    Ok(ports?.concat())
}

/// The networks that were asked for. `--ip` and `--mac` say more of the only one.
fn attachments(app: &App, mut asked: Vec<Request>, ip: Option<IpAddr>, mac: Option<Mac>) -> Result<Vec<Attachment>> {
    match asked.as_mut_slice() {
        _ if ip.is_none() && mac.is_none() => {}
        [only] => {
            if let Some(ip) = ip {
                if only.address.is_some() {
                    return Err(Error::new("--ip and the address in --network exclude each other"));
                }
                only.address = Some((ip, None));
            }
            only.mac = mac;
        }
        _ => {
            return Err(Error::new("--ip and --mac are for a machine on one network")
                .with_hint("with several, `--network NAME:IP` gives each its address"));
        }
    }
    if asked.len() > network::MOST {
        return Err(Error::new(format!("a machine is on at most {} networks", network::MOST)));
    }
    let networks = Networks::new(app.store.paths());
    asked.into_iter().map(|request| request.resolve(&networks)).collect()
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
fn environment(text: &str) -> Result<(String, String)> {
    if let Some((key, value)) = text.split_once('=') {
        return Ok((key.to_owned(), value.to_owned()));
    }
    let value = paths::environment_variable(text)
        .ok_or_else(|| Error::new(format!("environment variable {text} is not set")))
        .map_err(|error| error.with_hint(format!("`-e {text}=VALUE` gives it a value")))?;
    let value = value.into_string().map_err(|_| Error::new("it is not UTF-8"));
    Ok((text.to_owned(), value.with_context(|| format!("cannot pass on the environment variable {text}"))?))
}
