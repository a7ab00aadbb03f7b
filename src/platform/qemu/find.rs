//! Where QEMU is. Nothing is started to find out.
//!
//! Debian's reduced `qemu-system-x86_64-microvm` starts four times as fast as the full program, but has neither
//! isa-debug-exit nor pvpanic nor the seccomp sandbox: a guest's exit code and panic would be lost and the VMM
//! unconfined. It is therefore not sufficient and not looked for.

use std::path::{Path, PathBuf};

use crate::machine::Arch;
use crate::paths;

/// A QEMU program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    /// Absolute path.
    pub path: PathBuf,
}

/// What QEMU is called for an architecture.
pub fn program(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "qemu-system-x86_64",
        Arch::Arm64 => "qemu-system-aarch64",
    }
}

/// The QEMU for an architecture, from `PATH`.
pub fn find(arch: Arch) -> Option<Binary> {
    paths::find_program(Path::new(program(arch))).map(|path| Binary { path })
}

/// The small firmware, where it is installed beside this QEMU.
pub(super) fn qboot(binary: &Binary) -> Option<PathBuf> {
    let beside = binary.path.parent()?.parent()?.join("share/qemu/qboot.rom");
    std::iter::once(beside).chain(paths::QBOOT.iter().map(PathBuf::from)).find(|file| file.is_file())
}
