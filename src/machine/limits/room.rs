//! What a VMM takes beside its guest's memory, and how many threads it has.
//!
//! Measured by the peak of a memory control group (anonymous and shared memory and what the kernel keeps; files are left
//! out, as the kernel takes them back), QEMU 7.2, q35 for Linux and microvm for the tiny guest, memory all touched:
//!
//! ```text
//! guest                                                   beside its memory             threads
//! tiny, 64 MiB, TCG, 1 / 4 vCPUs                          17 / 18 MiB                   3 / 6
//! tiny, 512 MiB, TCG                                      7 MiB                         3
//! tiny, TCG, a RAM disk of 100 MiB, by PVH / multiboot    15 / 115 MiB                  3
//! Linux, TCG, network and 9P, 1 / 4 vCPUs, just booted    78 / 87 MiB, 52 of them code  4 / 7
//! ```
//!
//! The translator's buffer fills while a guest runs code that it did not run before, up to the 256 MiB that the VMM is
//! told, and what is kept of each translation comes to a quarter of it again. Its tables of guest pages grow with the memory
//! that a vCPU uses: two entries of 64 bytes for each page of 4 KiB, a thirty-second. KVM has page tables, less than a
//! hundredth. A multiboot kernel's RAM disk is in the VMM's memory once more, and is smaller than the guest's. The VMM does
//! the work of 9P in at most 64 threads, and has a buffer for each request; virtiofsd remembers each file that the guest has
//! seen.

use super::Count;
use crate::machine::{Accel, Bytes, KernelKind, ShareDriver, Spec};

/// What the translator may fill with what it made of the guest's code, in MiB; QEMU would take up to 1024.
pub const TRANSLATIONS: u64 = 256;

/// The VMM's own memory and the part of its program that it comes by again and again, in MiB: with less it does not end, but
/// reads its program from the disk for ever.
const LEAST: u64 = 48;

/// An amount that is needed, and one that is enough whatever happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room<T> {
    /// With less it ends at once, or soon.
    pub least: T,
    /// With this it never ends for want of it.
    pub ample: T,
}

/// The memory that the VMM, its servers and its runner take beside the guest's.
pub fn vmm(spec: &Spec) -> Room<Bytes> {
    let cpus = u64::from(spec.cpus);
    let servers: u64 = spec.volumes.iter().map(|mount| share(mount.driver)).sum();
    let nics = spec.networks.len() as u64;
    let translator = match spec.accel {
        Accel::Kvm => 0,
        // What cannot have KVM is translated.
        Accel::Auto | Accel::Tcg => {
            (TRANSLATIONS + TRANSLATIONS / 4) * Bytes::MIB + (spec.memory.0 / 32).saturating_mul(cpus)
        }
    };
    let again = match (&spec.initrd, spec.kernel.kind) {
        (None, _) | (Some(_), KernelKind::Linux | KernelKind::Pvh) => 0,
        (Some(_), KernelKind::Unikraft | KernelKind::Multiboot | KernelKind::Elf) => spec.memory.0,
    };
    let fixed = (128 + 8 * cpus + 16 * nics + servers) * Bytes::MIB;
    let ample = Bytes(fixed.saturating_add(spec.memory.0 / 64).saturating_add(translator).saturating_add(again));
    Room { least: Bytes(LEAST * Bytes::MIB), ample: Bytes(ample.mebibytes().saturating_mul(Bytes::MIB)) }
}

/// In MiB.
fn share(driver: ShareDriver) -> u64 {
    match driver {
        ShareDriver::NineP => 64,
        ShareDriver::Virtiofs => 192,
    }
}

/// The threads of the VMM, its servers and its runner, and the process that sweeps after it.
pub fn tasks(spec: &Spec) -> Room<Count> {
    let cpus = u64::from(spec.cpus);
    let servers = spec.volumes.len() as u64;
    // Runner, sweeper; main, RCU, one that starts others, vCPUs.
    Room { least: Count(5 + cpus), ample: Count(128 + cpus + 80 * servers) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_of_a_guest_has_more_room() {
        let small = Spec::example("web");
        let (room, its_tasks) = (vmm(&small), tasks(&small));
        assert!(room.least < room.ample && its_tasks.least < its_tasks.ample);
        assert_eq!(room.ample, Bytes((128 + 8 + 1 + 320 + 2) * Bytes::MIB));
        let kvm = Spec { accel: Accel::Kvm, ..Spec::example("web") };
        assert_eq!(vmm(&kvm).ample, Bytes((128 + 8 + 1) * Bytes::MIB));
        let large = Spec { memory: Bytes(1 << 44), cpus: 255, ..Spec::example("web") };
        assert!(vmm(&large).ample.0 > large.memory.0);
        assert_eq!(tasks(&large).ample, Count(128 + 255));
    }
}
