//! Settings that are one word of a few: each an enum that is kept, typed and shown as that word, and whose error lists the
//! others.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::text::kept_as_text;
use crate::error::{Error, Result};

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
    pub(super) fn unsaid() -> Self {
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
    pub(super) fn is_no(&self) -> bool {
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
}
