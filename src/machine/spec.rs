//! What was asked of a machine. Everything in it is resolved: absolute paths, known kinds, checked amounts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::text::kept_as_text;
use super::{
    Attachment, Bytes, Digest, Health, ImageOrigin, Limits, MachineName, Mount, Port, Ready, RestartPolicy, Secret,
};
use crate::error::{Error, Result};

/// What was asked: enough to start the machine again at any time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Unique among the scope's machines.
    pub name: MachineName,
    /// The VMM that runs it.
    pub platform: Platform,
    /// The guest's architecture.
    pub arch: Arch,
    /// Arguments for the kernel, before the `--` of its command line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernel_args: Vec<String>,
    /// Arguments for the application, after the `--`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub app_args: Vec<String>,
    /// The guest's memory.
    pub memory: Bytes,
    /// Virtual CPUs, at least 1.
    pub cpus: u32,
    /// What runs the guest's instructions.
    pub accel: Accel,
    /// The VMM's machine type; chosen by what the kernel needs if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_type: Option<MachineType>,
    /// Absolute path of the initial RAM disk, the machine's own; as given, in records of an earlier kraft.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd: Option<PathBuf>,
    /// Absolute path of what the root file system was asked to be: a RAM disk, a directory, a tar archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rootfs: Option<PathBuf>,
    /// The content of `initrd`, if it is the machine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rootfs_digest: Option<Digest>,
    /// How what `rootfs` was made into is compressed.
    #[serde(default, skip_serializing_if = "Compression::is_none")]
    pub rootfs_compress: Compression,
    /// How long a guest may take to shut down before it is ended, in milliseconds.
    pub stop_timeout_ms: u64,
    /// When it is started again after it ended.
    pub restart: RestartPolicy,
    /// Remove the machine when it ends.
    #[serde(default)]
    pub auto_remove: bool,
    /// Unit properties as typed (`KEY=VALUE`), for the systemd manager.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<String>,
    /// The slice that the machine's own slice is put in, for the systemd manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slice: Option<String>,
    /// What decides that it is ready.
    #[serde(default, skip_serializing_if = "Ready::is_guest")]
    pub ready: Ready,
    /// How long that may take from when its guest runs, in milliseconds; its manager's own limit if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_timeout_ms: Option<u64>,
    /// How far its unit confines it, for the systemd manager.
    #[serde(default = "Sandbox::unsaid")]
    pub sandbox: Sandbox,
    /// Published ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// What its guest is given and nobody else is to see: where it is, not what it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Secret>,
    /// When the systemd manager starts it besides on request, in systemd's calendar expressions (systemd.time(7)).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_calendar: Vec<String>,
    /// How long it may run before it is stopped, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_max_ms: Option<u64>,
    /// Whether systemd-machined is told of it.
    #[serde(default, skip_serializing_if = "Machined::is_no")]
    pub machined: Machined,
    /// The kernel.
    pub kernel: Kernel,
    /// The guest's environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Labels, for people and filters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its interfaces on networks, in the order in which the guest sees them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Attachment>,
    /// Directories of the host's that its guest sees.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Mount>,
    /// What it may take of its host.
    #[serde(default, skip_serializing_if = "Limits::is_default")]
    pub limits: Limits,
    /// The probe of whether it is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// The image that it was made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageOrigin>,
}

impl Spec {
    /// The longest wait for a graceful stop.
    pub fn stop_timeout(&self) -> Duration {
        Duration::from_millis(self.stop_timeout_ms)
    }

    /// How long it may run before it is stopped.
    pub fn runtime_max(&self) -> Option<Duration> {
        self.runtime_max_ms.map(Duration::from_millis)
    }

    /// What it was made of, for people: the image's name, or the path of the kernel that was given.
    pub fn source(&self) -> Cow<'_, str> {
        match &self.image {
            Some(image) => Cow::Borrowed(&image.reference),
            None => self.kernel.given().to_string_lossy(),
        }
    }

    /// The same in a word, without where that is.
    pub fn source_name(&self) -> String {
        let source = self.source();
        source.rsplit('/').next().unwrap_or_default().to_owned()
    }

    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// Names the setting that cannot be.
    pub fn validate(&self) -> Result<()> {
        if self.memory.0 < Bytes::MIB {
            return Err(Error::new(format!("bad memory {}: a machine has at least 1Mi", self.memory)));
        }
        if self.memory.0 > 1 << 44 {
            return Err(Error::new(format!("bad memory {}: a machine has at most 16Ti", self.memory)));
        }
        if !(1..=255).contains(&self.cpus) {
            return Err(Error::new(format!("bad number of CPUs {}: a machine has 1 to 255", self.cpus)));
        }
        for (key, value) in &self.env {
            if key.is_empty() || key.contains('=') || key.contains('\0') || value.contains('\0') {
                return Err(Error::new(format!("bad environment variable '{}'", key.escape_debug())));
            }
        }
        for (index, port) in self.ports.iter().enumerate() {
            if let Some(other) = self.ports[..index].iter().find(|other| other.collides(port)) {
                return Err(Error::new(format!("ports {other} and {port} exclude each other")));
            }
        }
        for (index, mount) in self.volumes.iter().enumerate() {
            if let Some(other) = self.volumes[..index].iter().find(|other| other.target == mount.target) {
                return Err(Error::new(format!(
                    "volumes {other} and {mount} exclude each other: both are at {}",
                    mount.target
                )));
            }
        }
        self.limits.check(self)?;
        self.validate_secrets()?;
        let is_none = |text: &&String| text.trim().is_empty() || text.contains(char::is_control);
        if let Some(bad) = self.on_calendar.iter().find(is_none) {
            return Err(Error::new(format!("bad calendar expression '{}'", bad.escape_debug()))
                .with_hint("`systemd-analyze calendar EXPR` tells what an expression means"));
        }
        if self.auto_remove && !self.on_calendar.is_empty() {
            let why = "what is started by the calendar is not removed";
            return Err(Error::new(format!("--rm and --on-calendar exclude each other: {why}")));
        }
        if self.runtime_max_ms == Some(0) {
            return Err(Error::new("bad --runtime-max 0: a guest that may not run at all"));
        }
        self.validate_probes()?;
        for text in self.kernel_args.iter().chain(&self.app_args) {
            if text.contains(['\0', '\n']) {
                return Err(Error::new(format!("bad argument '{}': it holds a NUL or a newline", text.escape_debug())));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
impl Spec {
    /// A small machine for tests, all by default; each changes what it is about.
    pub(crate) fn example(name: &str) -> Self {
        Self {
            name: name.parse().expect("tests name machines well"),
            platform: Platform::Qemu,
            arch: Arch::X86_64,
            kernel_args: Vec::new(),
            app_args: Vec::new(),
            memory: Bytes(64 * Bytes::MIB),
            cpus: 1,
            accel: Accel::Auto,
            machine_type: None,
            initrd: None,
            rootfs: None,
            rootfs_digest: None,
            rootfs_compress: Compression::None,
            stop_timeout_ms: 10_000,
            restart: RestartPolicy::No,
            auto_remove: false,
            properties: Vec::new(),
            slice: None,
            sandbox: Sandbox::default(),
            kernel: Kernel::new("/kernel", KernelKind::Pvh),
            env: BTreeMap::new(),
            labels: BTreeMap::new(),
            ports: Vec::new(),
            networks: Vec::new(),
            volumes: Vec::new(),
            limits: Limits::default(),
            secrets: Vec::new(),
            on_calendar: Vec::new(),
            runtime_max_ms: None,
            machined: Machined::No,
            ready: Ready::Guest,
            ready_timeout_ms: None,
            health: None,
            image: None,
        }
    }
}

/// A kernel file and what was found in it when the machine was created, so that a start need not look again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// Absolute path: the machine's own, if it has one.
    pub path: PathBuf,
    /// Absolute path of the file that was given, if `path` is the machine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<PathBuf>,
    /// Its content, if it is the machine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What it is.
    pub kind: KernelKind,
    /// What its command line is written in, as found or as asked for; by its kind if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialect: Option<Dialect>,
    /// What it can do.
    #[serde(default, skip_serializing_if = "Abilities::is_unknown")]
    pub abilities: Abilities,
    /// How many values each of Unikraft's parameters of [`Kernel::PARAMETERS`] takes that it has; `None` if it does not
    /// say which it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<BTreeMap<String, u64>>,
}

impl Kernel {
    /// The parameters of Unikraft's that a command line may use.
    pub const PARAMETERS: [&'static str; 9] = [
        "env.vars",
        "netdev.ip",
        "netdev.ipv4_addr",
        "netdev.ipv4_dns0_addr",
        "netdev.ipv4_gw_addr",
        "netdev.ipv4_subnet_mask",
        "vfs.fstab",
        "vfs.rootdev",
        "vfs.rootfs",
    ];

    /// A kernel of which nothing else is known.
    pub fn new(path: impl Into<PathBuf>, kind: KernelKind) -> Self {
        let (path, abilities) = (path.into(), Abilities::default());
        Self { path, given: None, digest: None, kind, dialect: None, abilities, parameters: None }
    }

    /// The file that was given.
    pub fn given(&self) -> &Path {
        self.given.as_deref().unwrap_or(&self.path)
    }

    /// The same as a machine's own.
    #[must_use]
    pub fn owned(self, own: PathBuf, digest: Digest) -> Self {
        let given = self.given.unwrap_or(self.path);
        Self { path: own, given: Some(given), digest: Some(digest), ..self }
    }

    /// The same kernel where the RAM disk is something else to it than its root file system.
    #[must_use]
    pub fn without_root(mut self) -> Self {
        self.abilities.initrd = Some(false);
        if let Some(parameters) = &mut self.parameters {
            parameters.retain(|name, _| !name.starts_with("vfs."));
        }
        self
    }

    /// What its command line is written in.
    pub fn dialect(&self) -> Dialect {
        self.dialect.unwrap_or(match self.kind {
            KernelKind::Unikraft => Dialect::Unikraft,
            KernelKind::Linux => Dialect::Linux,
            KernelKind::Pvh | KernelKind::Multiboot | KernelKind::Elf => Dialect::Plain,
        })
    }
}

/// What a kernel can do, as far as its file says so; `None` is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abilities {
    /// It has a network stack's lower half.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net: Option<bool>,
    /// It mounts directories of the host's by 9P.
    #[serde(default, rename = "9p", skip_serializing_if = "Option::is_none")]
    pub ninep: Option<bool>,
    /// It mounts directories of the host's by virtiofs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtiofs: Option<bool>,
    /// It unpacks an initial RAM disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd: Option<bool>,
    /// It takes an environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<bool>,
    /// It listens to the power button.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_button: Option<bool>,
}

impl Abilities {
    /// Nothing is known.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// What a kernel is, as far as starting it is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KernelKind {
    /// Built by Unikraft (sections `.uk_inittab`, `.uk_ctortab`, `.uk_thread_inittab`); its devices are on PCI and it
    /// does not listen to the power button.
    Unikraft,
    /// A Linux kernel, compressed or not.
    Linux,
    /// Another kernel with a PVH entry point.
    Pvh,
    /// Another kernel with a multiboot header.
    Multiboot,
    /// An ELF kernel of none of these kinds.
    Elf,
}

macro_rules! words {
    ($(#[$meta:meta])* $name:ident, $what:literal { $($(#[$vmeta:meta])* $variant:ident = $word:literal $(| $alias:literal)*),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $name {
            /// Every value, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word for it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                match text {
                    $($word $(| $alias)* => Ok(Self::$variant),)+
                    _ => {
                        let known: Vec<_> = Self::ALL.iter().map(|known| known.as_str()).collect();
                        Err(Error::new(format!("unknown {} '{}': known are {}", $what, text.escape_debug(), known.join(", "))))
                    }
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(self.as_str()) }
        }

        kept_as_text!($name);
    };
}
pub(super) use words;

words! {
    /// The VMM that runs a machine.
    Platform, "platform" {
        /// QEMU; `kvm` is upstream's alias.
        Qemu = "qemu" | "kvm",
    }
}

words! {
    /// A guest's architecture, by Unikraft's names.
    Arch, "architecture" {
        /// 64-bit x86.
        X86_64 = "x86_64" | "amd64",
        /// 64-bit Arm.
        Arm64 = "arm64" | "aarch64",
    }
}

words! {
    /// How far a machine's unit confines its runner and its VMM.
    #[derive(Default)]
    Sandbox, "sandbox profile" {
        /// A user of its own, no capabilities, nothing of the host's but what the machine has.
        #[default]
        Strict = "strict",
        /// Root's user with few of root's rights, and the host's files in view.
        Compatible = "compatible",
        /// Whatever the manager's user may do.
        Off = "off",
    }
}

impl Sandbox {
    /// What a machine has whose record says nothing: it was made when there was none.
    fn unsaid() -> Self {
        Self::Off
    }
}

impl Arch {
    /// The architecture of this host, if it is one that we know.
    pub fn host() -> Option<Self> {
        std::env::consts::ARCH.parse().ok()
    }
}

words! {
    /// What a kernel's command line is written in: how it is told of addresses, mounts and the environment.
    Dialect, "dialect" {
        /// Unikraft since 0.16.1: `netdev.ip=`, `vfs.fstab=[ ]`, `env.vars=[ ]`.
        Unikraft = "unikraft",
        /// Unikraft before: `netdev.ipv4_addr=`, `vfs.rootfs=`.
        UnikraftOld = "unikraft-old",
        /// Linux: `ip=`, `systemd.mount-extra=`, the environment as it is.
        Linux = "linux",
        /// Nothing is added to what was typed.
        Plain = "plain",
    }
}

words! {
    /// What runs the guest's instructions.
    Accel, "acceleration" {
        /// KVM where it works, else TCG.
        Auto = "auto",
        /// The hardware, by KVM.
        Kvm = "kvm",
        /// QEMU's translator.
        Tcg = "tcg",
    }
}

words! {
    /// Whether systemd-machined is told of a machine.
    #[derive(Default)]
    Machined, "choice" {
        /// If it is installed.
        Auto = "auto",
        /// In any case.
        Yes = "yes",
        /// Not.
        #[default]
        No = "no",
    }
}

impl Machined {
    fn is_no(&self) -> bool {
        *self == Self::No
    }
}

words! {
    /// A QEMU machine type.
    MachineType, "machine type" {
        /// Small and fast, without PCI.
        Microvm = "microvm",
        /// PCI Express.
        Q35 = "q35",
        /// The PC of old, with PCI.
        Pc = "pc",
        /// The Arm board.
        Virt = "virt",
    }
}

words! {
    /// What a published port carries.
    #[derive(PartialOrd, Ord)]
    Protocol, "protocol" {
        /// TCP.
        Tcp = "tcp",
        /// UDP.
        Udp = "udp",
    }
}

words! {
    /// How a directory of the host's gets into a guest.
    ShareDriver, "volume driver" {
        /// Plan 9's file protocol, served by the VMM itself.
        NineP = "9p" | "9pfs",
        /// FUSE over virtio, served by virtiofsd.
        Virtiofs = "virtiofs",
    }
}

words! {
    /// How a root file system that kraft packs is compressed.
    #[derive(Default)]
    Compression, "compression" {
        /// Not at all: quickest to start, and what every kernel reads.
        #[default]
        None = "none",
        /// By gzip.
        Gzip = "gzip",
        /// By zstd.
        Zstd = "zstd",
    }
}

impl Compression {
    /// Nothing is compressed.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_words_list_the_known() {
        let error = "xen".parse::<Platform>().unwrap_err().to_string();
        assert_eq!(error, "unknown platform 'xen': known are qemu");
        assert_eq!("amd64".parse::<Arch>().unwrap(), Arch::X86_64);
    }

    #[test]
    fn kernels_are_kept_with_what_was_found() {
        let old: Kernel = toml::from_str("path = \"/k\"\nkind = \"unikraft\"").unwrap();
        assert_eq!((&old, old.dialect()), (&Kernel::new("/k", KernelKind::Unikraft), Dialect::Unikraft));
        let kernel = Kernel {
            dialect: Some(Dialect::UnikraftOld),
            abilities: Abilities { ninep: Some(true), env: Some(false), ..Abilities::default() },
            parameters: Some(BTreeMap::from([("vfs.fstab".into(), 16)])),
            ..old
        };
        let spec = Spec { kernel, ..Spec::example("web") };
        assert_eq!(toml::from_str::<Spec>(&toml::to_string(&spec).unwrap()).unwrap(), spec);
    }
}
