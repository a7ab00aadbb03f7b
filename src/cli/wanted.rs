//! What is asked of a machine, by whatever: the command line or a file. [`Wanted::settle`] looks at the host and says what
//! that amounts to, changing nothing; [`Settled::make`] makes what a machine has of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::app::App;
use super::held::{HeldParts, Volumes};
use super::images::{HeldImages, Images};
use super::names;
use super::output;
use super::probe_args::milliseconds;
use super::program;
use crate::error::{Context as _, Error, Result};
use crate::image::binary::Taken;
use crate::image::kernel::KernelInfo;
use crate::image::{self, rootfs};
use crate::lifecycle::{secrets, shares};
use crate::machine::{
    Accel, Arch, Attachment, Bytes, Compression, Dialect, Health, ImageName, ImageOrigin, Kernel, KernelKind, Limits,
    MachineName, MachineType, Machined, Manager, Mount, MountRequest, MountSource, NetworkRequest, Platform, Port,
    Pull, Ready, Record, RestartPolicy, Sandbox, SecretRequest, ShareDriver, Spec, VolumeName,
};
use crate::network::{self, Networks};
use crate::paths::{self, Scope};
use crate::store::{RootfsCache, Store};
use crate::systemd;
use crate::volume::Missing;

/// A machine as it was asked for. Relative paths are relative to the working directory.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Its name; made up if there is none.
    pub(crate) name: Option<MachineName>,
    /// A kernel, or a program for Linux that a loader's kernel is to run.
    pub(crate) kernel: PathBuf,
    pub(crate) kernel_args: Vec<String>,
    /// What runs it if it is a program: an image, or a kernel's file.
    pub(crate) elfloader: Option<String>,
    /// Where in the guest such a program starts.
    pub(crate) workdir: Option<String>,
    pub(crate) app_args: Vec<String>,
    pub(crate) platform: Platform,
    /// The kernel's if `None`.
    pub(crate) arch: Option<Arch>,
    pub(crate) memory: Bytes,
    pub(crate) cpus: u32,
    pub(crate) accel: Accel,
    pub(crate) machine_type: Option<MachineType>,
    /// The kernel's own if `None`.
    pub(crate) dialect: Option<Dialect>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) rootfs: Option<PathBuf>,
    pub(crate) rootfs_compress: Compression,
    pub(crate) ports: Vec<Port>,
    pub(crate) networks: Vec<NetworkRequest>,
    pub(crate) volumes: Vec<MountRequest>,
    /// What becomes of directories that volumes name and that are not there.
    pub(crate) missing: Missing,
    pub(crate) stop_timeout: Duration,
    pub(crate) restart: RestartPolicy,
    pub(crate) auto_remove: bool,
    pub(crate) labels: BTreeMap<String, String>,
    /// `KEY=VALUE`, as for `--property`.
    pub(crate) properties: Vec<String>,
    pub(crate) slice: Option<String>,
    /// As strict as its volumes allow if `None`.
    pub(crate) sandbox: Option<Sandbox>,
    pub(crate) limits: Limits,
    pub(crate) secrets: Vec<SecretRequest>,
    /// systemd's calendar expressions.
    pub(crate) on_calendar: Vec<String>,
    pub(crate) runtime_max: Option<Duration>,
    pub(crate) machined: Machined,
    pub(crate) ready: Ready,
    /// Its manager's own limit if `None`.
    pub(crate) ready_timeout: Option<Duration>,
    pub(crate) health: Option<Health>,
    /// The image that its kernel and the rest are of.
    pub(crate) image: Option<ImageOrigin>,
    /// The image whose files the root file system is.
    pub(crate) rootfs_image: Option<ImageOrigin>,
    /// When images are fetched that are found out to be needed.
    pub(crate) pull: Pull,
}

impl Wanted {
    /// What `run` takes when only a kernel is given.
    pub(crate) const MEMORY: Bytes = Bytes(64 * Bytes::MIB);
    /// The same for the time to shut down.
    pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(10);

    /// A machine of which only the kernel is given.
    pub(crate) fn new(kernel: PathBuf) -> Self {
        Self {
            name: None,
            kernel,
            kernel_args: Vec::new(),
            elfloader: None,
            workdir: None,
            app_args: Vec::new(),
            platform: Platform::Qemu,
            arch: None,
            memory: Self::MEMORY,
            cpus: 1,
            accel: Accel::Auto,
            machine_type: None,
            dialect: None,
            env: BTreeMap::new(),
            rootfs: None,
            rootfs_compress: Compression::None,
            ports: Vec::new(),
            networks: Vec::new(),
            volumes: Vec::new(),
            missing: Missing::Refuse,
            stop_timeout: Self::STOP_TIMEOUT,
            restart: RestartPolicy::No,
            auto_remove: false,
            labels: BTreeMap::new(),
            properties: Vec::new(),
            slice: None,
            sandbox: None,
            limits: Limits::default(),
            secrets: Vec::new(),
            on_calendar: Vec::new(),
            runtime_max: None,
            machined: Machined::No,
            ready: Ready::Guest,
            ready_timeout: None,
            health: None,
            image: None,
            rootfs_image: None,
            pull: Pull::Missing,
        }
    }

    /// Checks everything and settles what was left open, but for what its root file system is made of. Changes nothing.
    pub(crate) fn settle(self, app: &App) -> Result<Settled> {
        let networks = attachments(app, self.networks.clone())?;
        let images = Images::new(app, self.pull, false);
        let (this, kernel) = program::settle(self, &images)?;
        let this = this.with_rootfs_of_image(&images, kernel.arch)?;
        let settled = this.settle_on(app, &kernel, networks)?;
        Ok(Settled { images: images.into_held(), ..settled })
    }

    /// The same with the files of the image that its root file system is, if it is one's.
    fn with_rootfs_of_image(self, images: &Images<'_>, arch: Arch) -> Result<Self> {
        let path = self.rootfs.as_deref().filter(|path| path.symlink_metadata().is_err());
        let Some(name) = path.and_then(Path::to_str).and_then(ImageName::beside_paths) else { return Ok(self) };
        let name = if name.file().is_some() { name.below(&paths::absolute(Path::new("."))?) } else { name };
        let cannot = || format!("rootfs {name} is no file here, and as an image");
        let (image, files) = images.files(self.pull, name.as_str(), arch).with_context(cannot)?;
        Ok(Self { rootfs: Some(files), rootfs_image: Some(image), ..self })
    }

    /// The same for one whose kernel is a kernel and was looked at.
    fn settle_on(self, app: &App, kernel: &KernelInfo, networks: Vec<Attachment>) -> Result<Settled> {
        let taken = program::taken(&self, kernel)?;
        let source = self.rootfs.as_deref().map(|source| {
            let epoch = paths::environment_variable("SOURCE_DATE_EPOCH");
            let epoch = epoch.map(|epoch| epoch.to_string_lossy().into_owned());
            let compression = self.rootfs_compress;
            let program = taken.map(|taken| program::packing(&self.env, taken));
            rootfs::Wanted { source, compression, kernel: kernel.kind, epoch, program }.check()
        });
        let source = source.transpose()?;
        if source.is_none() && !self.rootfs_compress.is_none() {
            return Err(Error::new("--rootfs-compress goes with a root file system, and there is none"));
        }
        systemd::check_properties(&self.properties)?;
        if let Some(slice) = &self.slice {
            systemd::check_slice(slice)?;
        }
        let record = kernel.record(paths::absolute(&self.kernel)?, self.dialect);
        let record = if taken == Some(Taken::Whole) { record.without_root() } else { record };
        let (missing, sandbox) = (self.missing, self.sandbox);
        let mut volumes = super::held::mounts(app, self.volumes.clone())?;
        let secrets = super::secret_args::settle(app.scope, self.secrets.clone())?;
        let mut spec = Spec { networks, secrets, ..self.into_spec(kernel.arch, record)? };
        if taken == Some(Taken::Share) {
            program::check_root(&spec, &volumes)?;
            spec.initrd = None;
            volumes.insert(0, Mount::own_root(app.store.own_root(&spec.name)));
        }
        spec.volumes = volumes;
        check(&spec)?;
        Ok(Settled { spec, missing, sandbox, rootfs: source, images: None, packed: None })
    }

    /// Takes apart what is to be settled later, by [`Settled::attach`].
    pub(crate) fn apart(mut self) -> (Self, Attached) {
        let attached = Attached {
            networks: std::mem::take(&mut self.networks),
            volumes: std::mem::take(&mut self.volumes),
            ready: std::mem::replace(&mut self.ready, Ready::Guest),
            health: self.health.take(),
        };
        (self, attached)
    }

    /// What is known of the machine without looking at the host, checked as far as that goes: volumes and networks are by
    /// their names, and of the kernel only the path is true.
    pub(crate) fn sketch(self) -> Result<Spec> {
        let networks = self.networks.iter().map(NetworkRequest::attachment);
        let volumes = self.volumes.iter().cloned().map(MountRequest::mount);
        let (networks, volumes) = (networks.collect(), volumes.collect());
        let kernel = Kernel::new(self.kernel.clone(), KernelKind::Elf);
        let arch = self.arch.or(Arch::host()).unwrap_or(Arch::X86_64);
        let spec = Spec { networks, volumes, ..self.into_spec(arch, kernel)? };
        check(&spec)?;
        Ok(spec)
    }

    /// All that is the same wherever it is looked at.
    fn into_spec(self, arch: Arch, kernel: Kernel) -> Result<Spec> {
        let rootfs = self.rootfs.as_deref().map(paths::absolute).transpose()?;
        Ok(Spec {
            name: match self.name {
                Some(name) => name,
                None => names::made_up()?,
            },
            platform: self.platform,
            arch,
            kernel,
            kernel_args: self.kernel_args,
            app_args: self.app_args,
            env: self.env,
            memory: self.memory,
            cpus: self.cpus,
            accel: self.accel,
            machine_type: self.machine_type,
            // That of what is made into one is known when it is.
            initrd: rootfs.clone(),
            rootfs,
            rootfs_digest: None,
            rootfs_compress: self.rootfs_compress,
            stop_timeout_ms: milliseconds(self.stop_timeout),
            restart: self.restart,
            auto_remove: self.auto_remove,
            properties: self.properties,
            slice: self.slice,
            sandbox: self.sandbox.unwrap_or_default(),
            labels: self.labels,
            ports: self.ports,
            networks: Vec::new(),
            volumes: Vec::new(),
            limits: self.limits,
            secrets: Vec::new(),
            on_calendar: self.on_calendar,
            runtime_max_ms: self.runtime_max.map(milliseconds),
            machined: self.machined,
            ready: self.ready,
            ready_timeout_ms: self.ready_timeout.map(milliseconds),
            health: self.health,
            image: self.image,
            rootfs_image: self.rootfs_image,
        })
    }

    /// The record that the machine is to have. Everything is checked and settled before anything is made: volumes that
    /// are missing, what its root file system becomes.
    pub(crate) fn into_record(self, app: &App, manager: Manager) -> Result<NewMachine<'_>> {
        let settled = self.settle(app)?;
        app.store.check_free(&settled.spec.name)?;
        settled.make(app, manager)
    }
}

/// What a machine is attached to, and the probes that go that way.
#[derive(Debug, Clone)]
pub(crate) struct Attached {
    networks: Vec<NetworkRequest>,
    volumes: Vec<MountRequest>,
    ready: Ready,
    health: Option<Health>,
}

impl Attached {
    /// Whether some of it is missing.
    pub(crate) fn is_missing(&self, network: impl Fn(&str) -> bool, volume: impl Fn(&VolumeName) -> bool) -> bool {
        let is_missing = |mount: &MountRequest| matches!(&mount.source, MountSource::Volume(name, _) if volume(name));
        self.networks.iter().any(|request| network(&request.name)) || self.volumes.iter().any(is_missing)
    }
}

/// A machine that can be. Its addresses and what its root file system becomes are not known yet.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) spec: Spec,
    missing: Missing,
    sandbox: Option<Sandbox>,
    rootfs: Option<rootfs::Source>,
    images: Option<HeldImages>,
    /// What keeps the machine's own files until it has taken them.
    packed: Option<Vec<RootfsCache>>,
}

impl Settled {
    /// Has what the machine's own files are to be, held as long as this is: the kernel, and what the root file system becomes.
    /// To ask again is nothing.
    pub(crate) fn pack(&mut self, app: &App) -> Result<()> {
        if self.packed.is_some() {
            return Ok(());
        }
        let mut held = Vec::new();
        let own = app.store.own_rootfs(&self.spec.name);
        if let Some(digest) = self.spec.rootfs.as_deref().and_then(|rootfs| app.store.packed(rootfs)) {
            // An image's: it is there as it is to be, and nobody gave it as a file.
            (self.spec.initrd, self.spec.rootfs) = (Some(own.clone()), Some(own));
            self.spec.rootfs_digest = Some(digest);
        } else if let Some(source) = &self.rootfs {
            let (digest, cache) = source.prepare(&app.store)?;
            self.spec.initrd = (!self.spec.has_own_root()).then_some(own);
            self.spec.rootfs_digest = Some(digest);
            held.push(cache);
        }
        let own = app.store.own_kernel(&self.spec.name);
        if let Some(digest) = app.store.packed(self.spec.kernel.given()) {
            self.spec.kernel = Kernel { digest: Some(digest), path: own, ..self.spec.kernel.clone() };
        } else {
            let copies = app.store.copies()?;
            let digest = image::own::keep("kernel", self.spec.kernel.given(), &copies)?;
            self.spec.kernel = self.spec.kernel.clone().owned(own, digest);
            held.push(copies);
        }
        self.packed = Some(held);
        Ok(())
    }

    /// Gives it networks and volumes that were not there yet when it was settled without them, and what is known of it
    /// only through those.
    pub(crate) fn attach(&mut self, app: &App, to: Attached) -> Result<()> {
        self.spec.networks = attachments(app, to.networks)?;
        self.spec.volumes.extend(super::held::mounts(app, to.volumes)?);
        (self.spec.ready, self.spec.health) = (to.ready, to.health);
        check(&self.spec)
    }

    /// A strict machine has a user and a view of its own. Where its volumes cannot be given to him it has root's, as a
    /// machine is not to fail for what nobody asked for.
    fn loosen(&mut self, volumes: &Volumes<'_>) {
        let served = self.spec.volumes.iter().find(|mount| mount.driver == ShareDriver::Virtiofs);
        let why = if let Some(mount) = served {
            format!("virtiofsd has to see {}", mount.what())
        } else if let Some(what) = volumes.of_fixed_owners() {
            format!("the file system of {what} cannot map owners")
        } else {
            return;
        };
        self.spec.sandbox = Sandbox::Compatible;
        output::note(format_args!("{}: --sandbox {}, as {why}", self.spec.name, self.spec.sandbox));
    }

    /// One that had root's user for the sake of its volumes has him still: that is no change.
    pub(crate) fn stay_loosened(&mut self, old: &Spec) {
        if self.sandbox.is_none() && old.sandbox == Sandbox::Compatible && self.spec.volumes == old.volumes {
            self.spec.sandbox = Sandbox::Compatible;
        }
    }

    /// Makes the volumes that are missing and the machine's own files.
    pub(crate) fn make(mut self, app: &App, manager: Manager) -> Result<NewMachine<'_>> {
        secrets::check(&self.spec, manager)?;
        let volumes = Volumes::hold(app, &self.spec, self.missing)?;
        if manager == Manager::Systemd && app.scope == Scope::System {
            if self.sandbox.is_none() {
                self.loosen(&volumes);
            }
            shares::check_confined(&self.spec)?;
        }
        self.pack(app).with_context(|| format!("cannot create {}", self.spec.name))?;
        let mut held = HeldParts::new(volumes, self.packed.unwrap_or_default());
        held.hold_images(self.images);
        Ok(NewMachine { record: Store::new_record(self.spec, manager)?, held })
    }
}

/// A machine that is about to be created.
#[derive(Debug)]
pub(crate) struct NewMachine<'a> {
    pub(crate) record: Record,
    pub(crate) held: HeldParts<'a>,
}

fn check(spec: &Spec) -> Result<()> {
    if spec.auto_remove && spec.unit_restart() != RestartPolicy::No {
        let option = if spec.restart == RestartPolicy::No { "--health-on-failure restart" } else { "--restart" };
        return Err(Error::new(format!("--rm and {option} exclude each other: what is started again is not removed")));
    }
    spec.validate()
}

fn attachments(app: &App, asked: Vec<NetworkRequest>) -> Result<Vec<Attachment>> {
    if asked.len() > network::MOST {
        return Err(Error::new(format!("a machine is on at most {} networks", network::MOST)));
    }
    let networks = Networks::new(app.store.paths());
    asked.into_iter().map(|request| network::resolve(request, &networks)).collect()
}
