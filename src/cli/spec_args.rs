//! The arguments that say what a machine is, and the spec that they amount to.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::ValueParser;

use super::{complete, names};
use crate::error::{Context as _, Error, Result};
use crate::image;
use crate::image::rootfs::{self, Compression};
use crate::machine::{
    Accel, Arch, Bytes, Kernel, MachineName, MachineType, Manager, Platform, Record, RestartPolicy, Spec,
    parse_duration,
};
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
    #[arg(long, value_name = "none|gzip|zstd", default_value = "none", add = complete::words(&Compression::WORDS))]
    rootfs_compress: Compression,

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

impl SpecArgs {
    /// Who is to keep it alive.
    pub(crate) fn manager(&self) -> Manager {
        if self.systemd { Manager::Systemd } else { Manager::Local }
    }

    /// The record that the machine is to have. Everything is checked and settled before anything is made.
    pub(crate) fn into_record(self, store: &Store) -> Result<NewMachine> {
        let manager = self.manager();
        let (mut spec, rootfs) = self.into_spec()?;
        store.check_free(&spec.name)?;
        let made = rootfs.map_or(Ok(None), |source| source.prepare(store))?;
        let held = made.map(|(digest, cache)| {
            spec.initrd = Some(store.own_rootfs(&spec.name));
            spec.rootfs_digest = Some(digest);
            cache
        });
        Ok(NewMachine { record: Store::new_record(spec, manager)?, held })
    }

    /// Checks everything and settles what was left open, but for what its root file system is made of. Changes nothing.
    fn into_spec(self) -> Result<(Spec, Option<rootfs::Source>)> {
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
            kernel: Kernel { path: paths::absolute(&self.kernel)?, kind: kernel.kind },
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
pub(crate) struct NewMachine {
    pub(crate) record: Record,
    /// Keeps what was made for it until it has it: to be held until it is created, and no longer.
    pub(crate) held: Option<RootfsCache>,
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
