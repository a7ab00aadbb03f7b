//! A machine's kernel: the file, what it is, what it can do. Finding that out is the image's part; here it is only kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Dialect, Digest};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Spec;

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
