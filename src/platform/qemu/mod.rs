//! QEMU: finding it, its command line, its process. Its protocol is in `qmp.rs`.

mod argv;
mod conclude;
mod find;
pub mod kvm;
mod process;
mod qmp;
mod usernet;

use std::path::Path;

use self::argv::Choice;
use self::kvm::Kvm;
use super::{Control, Guest, KnownKvm, Launch, Vmm};
use crate::error::{Error, Kind, Result};
use crate::machine::{Accel, Arch, KernelKind, MachineType, Spec};

pub use find::{Binary, find};

/// The VMM that runs on everything.
#[derive(Debug, Clone, Copy)]
pub struct Qemu;

impl Vmm for Qemu {
    fn has_power_button(&self, spec: &Spec) -> bool {
        spec.kernel.kind != KernelKind::Unikraft && spec.kernel.abilities.power_button != Some(false)
    }

    fn check(&self, spec: &Spec, cache: &Path) -> Result<()> {
        argv::check(spec)?;
        choose(spec, KnownKvm::Cached(cache)).map(drop)
    }

    fn spawn(&self, launch: Launch<'_>) -> Result<Box<dyn Guest>> {
        let mut launch = launch;
        let kvm = std::mem::replace(&mut launch.kvm, KnownKvm::Told(Kvm::Usable));
        let (binary, choice) = choose(launch.spec, kvm)?;
        let choice = Choice { split_wx: launch.write_xor_execute, ..choice };
        Ok(Box::new(process::spawn(&binary, &choice, launch)?))
    }

    fn attach(&self, control: &Path) -> Result<Box<dyn Control>> {
        Ok(Box::new(qmp::Client::connect(control)?))
    }
}

/// Settles what the spec leaves open: the program, the machine type, the acceleration.
fn choose(spec: &Spec, known: KnownKvm<'_>) -> Result<(Binary, Choice)> {
    let machine_type = match spec.machine_type {
        Some(machine_type) => fitting(machine_type, spec)?,
        None => machine_type_for(spec),
    };
    let binary = find(spec.arch).ok_or_else(|| {
        Error::of(Kind::CannotRun, format!("cannot find {}", find::program(spec.arch))).with_hint(match spec.arch {
            Arch::X86_64 => "install QEMU for x86 (Debian: qemu-system-x86; Fedora: qemu-system-x86-core)",
            Arch::Arm64 => "install QEMU for Arm (Debian: qemu-system-arm; Fedora: qemu-system-aarch64-core)",
        })
    })?;
    let foreign = Arch::host() != Some(spec.arch);
    let (accel, note) = match spec.accel {
        Accel::Tcg => (Accel::Tcg, None),
        Accel::Auto if foreign => (Accel::Tcg, None),
        Accel::Kvm if foreign => {
            return Err(Error::of(
                Kind::CannotRun,
                format!("cannot use kvm: the guest is {}, this host is not", spec.arch),
            ));
        }
        Accel::Auto | Accel::Kvm => match (answer(known), spec.accel) {
            (Kvm::Usable, _) => (Accel::Kvm, None),
            (Kvm::Unusable(why), Accel::Kvm) => {
                return Err(Error::of(Kind::CannotRun, format!("cannot use kvm: {why}"))
                    .with_hint("`--accel tcg` translates instead, slower; `kraft doctor` says more"));
            }
            (Kvm::Unusable(why), _) => (Accel::Tcg, Some(format!("kvm cannot be used: {why}"))),
        },
    };
    let qboot = if machine_type == MachineType::Microvm { find::qboot(&binary) } else { None };
    Ok((binary, Choice { machine_type, accel, note, qboot, split_wx: false }))
}

fn answer(known: KnownKvm<'_>) -> Kvm {
    match known {
        KnownKvm::Cached(dir) => kvm::probe_cached(dir),
        KnownKvm::Told(kvm) => kvm,
    }
}

/// The machine type that boots this kind of kernel fastest, of those that have the devices it expects.
fn machine_type_for(spec: &Spec) -> MachineType {
    let has_devices = !(spec.ports.is_empty() && spec.networks.is_empty() && spec.volumes.is_empty());
    match (spec.arch, spec.kernel.kind) {
        (Arch::Arm64, _) => MachineType::Virt,
        // Nothing tells a kernel where a microvm's devices are; on PCI it finds them.
        (Arch::X86_64, KernelKind::Pvh) if has_devices => MachineType::Q35,
        (Arch::X86_64, KernelKind::Pvh) => MachineType::Microvm,
        (Arch::X86_64, KernelKind::Unikraft | KernelKind::Multiboot | KernelKind::Elf) => MachineType::Pc,
        (Arch::X86_64, KernelKind::Linux) => MachineType::Q35,
    }
}

fn fitting(machine_type: MachineType, spec: &Spec) -> Result<MachineType> {
    let arm = machine_type == MachineType::Virt;
    if arm != (spec.arch == Arch::Arm64) {
        return Err(Error::new(format!("machine type {machine_type} is not for {}", spec.arch)));
    }
    if machine_type == MachineType::Microvm && matches!(spec.kernel.kind, KernelKind::Multiboot) {
        return Err(Error::new("machine type microvm cannot start a multiboot kernel")
            .with_hint("`--machine pc` or `--machine q35` can"));
    }
    Ok(machine_type)
}
