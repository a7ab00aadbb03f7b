//! What was asked of a machine. Everything in it is resolved: absolute paths, known kinds, checked amounts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Accel, Arch, Attachment, Bytes, Compression, Digest, Health, ImageOrigin, Kernel, Limits, MachineName, MachineType,
    Machined, Mount, Platform, Port, Ready, RestartPolicy, Sandbox, Secret,
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
    /// The image whose files are its root file system, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rootfs_image: Option<ImageOrigin>,
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

    /// Whether its root file system is a directory of its own.
    pub fn has_own_root(&self) -> bool {
        self.volumes.iter().any(|mount| mount.own)
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
        let source = match &self.image {
            Some(image) => Cow::Borrowed(image.name()),
            None => self.source(),
        };
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
            kernel: Kernel::new("/kernel", crate::machine::KernelKind::Pvh),
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
            rootfs_image: None,
        }
    }
}
