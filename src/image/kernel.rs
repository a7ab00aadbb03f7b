//! What a kernel file is: its kind, its architecture, and by which protocols it can be started.
//!
//! [`parse`] looks at bytes, [`inspect`] at a file of which it reads only headers, names and notes. ELF files are told
//! apart in `elf.rs`; Linux's own formats here, by the offsets of its boot protocols
//! (`Documentation/arch/x86/boot.rst`, `Documentation/arch/arm64/booting.rst`).

use std::path::{Path, PathBuf};

use object::read::{ReadCache, ReadRef};

use super::elf;
use super::unikraft::About;
use crate::error::{Error, Result};
use crate::machine::{Abilities, Arch, Dialect, Kernel, KernelKind};

/// What there is to know about a kernel before it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelInfo {
    /// What it is.
    pub kind: KernelKind,
    /// What it runs on. A 32-bit x86 kernel is `x86_64`'s: that is how multiboot kernels start.
    pub arch: Arch,
    /// The width of the file's own format.
    pub class: Class,
    /// It has a PVH entry point (an ELF note).
    pub has_pvh: bool,
    /// It has a multiboot header. QEMU looks for that first, and takes it in 32-bit files only.
    pub has_multiboot: bool,
    /// What a kernel built by Unikraft says of itself.
    pub unikraft: Option<About>,
    /// What it can do.
    pub abilities: Abilities,
}

impl KernelInfo {
    /// What follows from a kind, and from what the kernel says of itself.
    pub(super) fn new(kind: KernelKind, arch: Arch, class: Class, unikraft: Option<About>) -> Self {
        let said = unikraft.as_ref().map(About::abilities).unwrap_or_default();
        let abilities = match kind {
            // What is a module in one build is missing in the next: only what every kernel of a distribution has.
            KernelKind::Linux => {
                Abilities { initrd: Some(true), env: Some(true), power_button: Some(true), ..Abilities::default() }
            }
            KernelKind::Unikraft => Abilities { power_button: Some(false), ..said },
            KernelKind::Pvh | KernelKind::Multiboot | KernelKind::Elf => said,
        };
        Self { kind, arch, class, has_pvh: false, has_multiboot: false, unikraft, abilities }
    }

    /// What its command line is written in.
    pub fn dialect(&self) -> Dialect {
        match (&self.unikraft, self.kind) {
            (Some(about), _) => about.dialect(),
            (None, KernelKind::Unikraft) => Dialect::Unikraft,
            (None, KernelKind::Linux) => Dialect::Linux,
            (None, KernelKind::Pvh | KernelKind::Multiboot | KernelKind::Elf) => Dialect::Plain,
        }
    }

    /// What a record keeps of it. A dialect that was asked for is taken at its word: what the kernel says of its parts no
    /// longer counts.
    pub fn record(&self, path: PathBuf, asked: Option<Dialect>) -> Kernel {
        let new = Kernel::new(path, self.kind);
        match asked {
            Some(_) => Kernel {
                dialect: asked,
                abilities: Abilities { power_button: self.abilities.power_button, ..Abilities::default() },
                ..new
            },
            None => Kernel {
                dialect: Some(self.dialect()),
                abilities: self.abilities,
                parameters: self.unikraft.as_ref().and_then(About::used_parameters),
                ..new
            },
        }
    }
}

/// 32 or 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// 32 bits.
    Bits32,
    /// 64 bits.
    Bits64,
}

/// How far to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// What kind of kernel it is.
    Kind,
    /// Also what it says of itself.
    Whole,
}

/// Looks at a kernel file.
///
/// # Errors
/// When it is missing ([`Kind::NotFound`](crate::error::Kind::NotFound)), cannot be read, is no kernel, is incomplete,
/// or is for another architecture than the wanted one.
pub fn inspect(path: &Path, wanted: Option<Arch>) -> Result<KernelInfo> {
    look(path, wanted, Depth::Whole)
}

/// Looks whether a file is still the kernel that it was, without asking what it says of itself: its record has that.
///
/// # Errors
/// As [`inspect`].
pub fn check(path: &Path, wanted: Arch) -> Result<()> {
    look(path, Some(wanted), Depth::Kind).map(drop)
}

/// Looks whether a file is a kernel, of whatever architecture.
///
/// # Errors
/// As [`inspect`]; of kind [`Kind::Program`](crate::error::Kind::Program) when it is a program for Linux.
pub fn tell(path: &Path) -> Result<KernelInfo> {
    look(path, None, Depth::Kind)
}

fn look(path: &Path, wanted: Option<Arch>, depth: Depth) -> Result<KernelInfo> {
    let file = super::open("kernel", path)?;
    let info = parse_to(&ReadCache::new(file), path, depth)?;
    match wanted {
        Some(wanted) if wanted != info.arch => Err(bad(path, &format!("is for {}, not {wanted}", info.arch))),
        Some(_) | None => Ok(info),
    }
}

/// Tells what kernel these bytes are. `path` is for messages.
///
/// # Errors
/// When they are no kernel, or not a whole one.
pub fn parse<'data, R: ReadRef<'data>>(data: R, path: &Path) -> Result<KernelInfo> {
    parse_to(data, path, Depth::Whole)
}

fn parse_to<'data, R: ReadRef<'data>>(data: R, path: &Path, depth: Depth) -> Result<KernelInfo> {
    let len = data.len().map_err(|()| bad(path, "cannot be read"))?;
    let head =
        data.read_bytes_at(0, len.min(elf::MULTIBOOT_SEARCH)).map_err(|()| bad(path, "cannot be read to its end"))?;
    if let Some(info) = linux_x86(head) {
        let whole = linux_x86_size(head);
        return if len < whole { Err(truncated(path, len, whole)) } else { Ok(info) };
    }
    if at(head, 0x38) == Some(*b"ARM\x64") {
        return Ok(KernelInfo::new(KernelKind::Linux, Arch::Arm64, Class::Bits64, None));
    }
    if head.starts_with(b"\x7fELF") {
        return elf::parse(data, head, path, depth);
    }
    Err(not_a_kernel(head, path))
}

/// A bzImage: the signature of the boot protocol's header.
fn linux_x86(head: &[u8]) -> Option<KernelInfo> {
    if at(head, 0x202) != Some(*b"HdrS") || at(head, 0x1fe) != Some([0x55, 0xaa]) {
        return None;
    }
    // xloadflags came with protocol 2.12; its lowest bit says that there is a 64-bit entry point.
    let version = u16::from_le_bytes(at(head, 0x206)?);
    let flags = u16::from_le_bytes(at(head, 0x236)?);
    let class = if version >= 0x20c && flags & 1 == 1 { Class::Bits64 } else { Class::Bits32 };
    Some(KernelInfo::new(KernelKind::Linux, Arch::X86_64, class, None))
}

/// The least size of a bzImage: its real-mode sectors and the boot sector, and the rest in units of 16 bytes.
fn linux_x86_size(head: &[u8]) -> u64 {
    let sectors = match head.get(0x1f1).copied().unwrap_or(0) {
        0 => 4,
        sectors => u64::from(sectors),
    };
    let rest = at(head, 0x1f4).map_or(0, u32::from_le_bytes);
    (sectors + 1) * 512 + u64::from(rest) * 16
}

fn not_a_kernel(head: &[u8], path: &Path) -> Error {
    if head.starts_with(b"\x1f\x8b") {
        return bad(path, "is compressed by gzip").with_hint("`gunzip` unpacks it");
    }
    if head.starts_with(b"MZ") {
        return bad(path, "is a program for Windows or EFI firmware, not a kernel that can be started without those");
    }
    if head.starts_with(b"#!") {
        return bad(path, "is a script, not a kernel");
    }
    bad(path, "is not a kernel: it is neither an ELF file nor a Linux image")
}

pub(super) fn bad(path: &Path, what: &str) -> Error {
    Error::new(format!("kernel {} {what}", path.display()))
}

pub(super) fn truncated(path: &Path, len: u64, wanted: u64) -> Error {
    bad(path, &format!("is truncated: it has {len} bytes of at least {wanted}"))
        .with_hint("copy or build it again: the rest of the file is missing")
}

fn at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests;
