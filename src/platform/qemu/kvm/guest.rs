//! The probe's guest: one vCPU in long mode, four instructions, a deadline.
//!
//! ```text
//! guest address   what
//! 0x0000          pxor xmm0, xmm0; popcnt rax, rax; out dx, al; hlt
//! 0x1000          page tables: PML4, PDPT, PD, mapping the first 2 MiB to themselves
//! ```
//!
//! The first two are instructions that a host which only emulates does not know. The third ends the run and carries
//! the result of the second.
//!
//! The deadline is a timer's signal that this thread has blocked and that KVM unblocks while the guest runs: it ends
//! the run, and no handler is ever called.

#![allow(unsafe_code, reason = "memory that a guest sees, and KVM_SET_SIGNAL_MASK, which kvm-ioctls lacks")]

use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use kvm_bindings::{kvm_regs, kvm_segment, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd};
use nix::errno::Errno;
use nix::sys::signal::{SigEvent, SigSet, SigevNotify, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;
use rustix::mm::{MapFlags, ProtFlags};

use super::Outcome;

const DEADLINE: Duration = Duration::from_secs(1);

const CODE: [u8; 11] = [
    0x66, 0x0f, 0xef, 0xc0, // pxor xmm0, xmm0
    0xf3, 0x48, 0x0f, 0xb8, 0xc0, // popcnt rax, rax
    0xee, // out dx, al
    0xf4, // hlt
];
const PORT: u16 = 0xf4;
const OPERAND: u64 = 0xff00_0000_0101_0101;

const MEMORY: usize = 0x4000;
const PML4: usize = 0x1000;
const PDPT: usize = 0x2000;
const PD: usize = 0x3000;

/// Where Intel's processors may keep what they need for real mode; outside the guest's memory.
const TSS: usize = 0xfffb_d000;

/// The probe could not be carried out.
#[derive(Debug)]
pub(super) struct Failure {
    /// What failed: goes on from `cannot `.
    pub(super) doing: &'static str,
    pub(super) errno: Errno,
}

fn cannot<E: Into<Failed>>(doing: &'static str) -> impl FnOnce(E) -> Failure {
    move |error| Failure { doing, errno: error.into().0 }
}

struct Failed(Errno);

impl From<kvm_ioctls::Error> for Failed {
    fn from(error: kvm_ioctls::Error) -> Self {
        Self(Errno::from_raw(error.errno()))
    }
}

impl From<Errno> for Failed {
    fn from(errno: Errno) -> Self {
        Self(errno)
    }
}

impl From<rustix::io::Errno> for Failed {
    fn from(errno: rustix::io::Errno) -> Self {
        Self(Errno::from_raw(errno.raw_os_error()))
    }
}

/// Runs the guest once.
pub(super) fn run(kvm: &Kvm) -> Result<Outcome, Failure> {
    execute(kvm, &CODE, DEADLINE)
}

/// Runs this code once. Everything it took is given back on return, in the reverse order of these lines.
fn execute(kvm: &Kvm, code: &[u8], limit: Duration) -> Result<Outcome, Failure> {
    let memory = Memory::holding(code).map_err(cannot("get memory for a virtual machine"))?;
    let vm = kvm.create_vm().map_err(cannot("create a virtual machine"))?;
    vm.set_tss_address(TSS).map_err(cannot("set up a virtual machine"))?;
    let region = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: 0,
        memory_size: MEMORY as u64,
        userspace_addr: memory.start as u64,
    };
    // SAFETY: the region is a mapping of that size which only the guest uses from here on, and `memory` outlives `vm`.
    unsafe { vm.set_user_memory_region(region) }.map_err(cannot("give memory to a virtual machine"))?;
    let mut vcpu = vm.create_vcpu(0).map_err(cannot("create a virtual CPU"))?;
    enter_long_mode(&vcpu).map_err(cannot("set up a virtual CPU"))?;
    let deadline = Deadline::start(limit).map_err(cannot("set a timer"))?;
    allow_during_run(&vcpu, Deadline::SIGNAL).map_err(cannot("set up a virtual CPU"))?;
    loop {
        return match vcpu.run() {
            Ok(exit) => Ok(judge(&exit)),
            // Being stopped or frozen interrupts a run as well.
            Err(e) if [Errno::EINTR as i32, Errno::EAGAIN as i32].contains(&e.errno()) => {
                if Instant::now() < deadline.at {
                    continue;
                }
                Ok(Outcome::Prevented(format!("a guest of {} bytes did not end within {limit:?}", code.len())))
            }
            Err(e) => Ok(Outcome::Broken(Errno::from_raw(e.errno()).desc().to_owned())),
        };
    }
}

/// What the end of the guest's run says.
fn judge(exit: &VcpuExit<'_>) -> Outcome {
    let broken = |how: String| Outcome::Broken(how);
    match exit {
        VcpuExit::IoOut(PORT, data) if data.iter().map(|b| u32::from(*b)).eq([OPERAND.count_ones()]) => Outcome::Ran,
        VcpuExit::IoOut(..) => broken("it computes wrong results".into()),
        VcpuExit::InternalError => broken("internal error".into()),
        VcpuExit::FailEntry(reason, _) => broken(format!("entry failed, reason {reason:#x}")),
        VcpuExit::Shutdown => broken("the virtual CPU shut down".into()),
        other => broken(format!("unexpected exit {other:?}")),
    }
}

fn enter_long_mode(vcpu: &VcpuFd) -> Result<(), kvm_ioctls::Error> {
    let mut sregs = vcpu.get_sregs()?;
    let code = kvm_segment {
        limit: 0xffff_ffff,
        selector: 8,
        type_: 11, // execute, read, accessed
        present: 1,
        s: 1,
        l: 1,
        g: 1,
        ..Default::default()
    };
    let data = kvm_segment { selector: 16, type_: 3, l: 0, db: 1, ..code };
    sregs.cs = code;
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.cr3 = PML4 as u64;
    sregs.cr4 = 1 << 5 | 1 << 9 | 1 << 10; // PAE, OSFXSR, OSXMMEXCPT
    sregs.cr0 = 1 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 31; // PE, MP, ET, NE, PG
    sregs.efer = 1 << 8 | 1 << 10; // LME, LMA
    vcpu.set_sregs(&sregs)?;
    vcpu.set_regs(&kvm_regs { rax: OPERAND, rdx: u64::from(PORT), rflags: 2, ..Default::default() })
}

/// Has KVM block every signal but one while the guest runs.
fn allow_during_run(vcpu: &VcpuFd, signal: Signal) -> Result<(), Errno> {
    /// `struct kvm_signal_mask` with the kernel's 8-byte signal set behind it.
    #[repr(C, packed)]
    struct Mask {
        len: u32,
        blocked: u64,
    }
    /// `_IOW(KVMIO, 0x8b, struct kvm_signal_mask)`
    const KVM_SET_SIGNAL_MASK: u32 = 0x4004_ae8b;
    let mask = Mask { len: 8, blocked: !(1 << (signal as u32 - 1)) };
    // SAFETY: the descriptor is a vCPU's, and the kernel reads `len` and as many bytes behind it as that says.
    let result = unsafe { nix::libc::ioctl(vcpu.as_raw_fd(), KVM_SET_SIGNAL_MASK as _, &raw const mask) };
    Errno::result(result).map(drop)
}

/// The guest's memory, an own mapping that is gone with this.
struct Memory {
    start: *mut std::ffi::c_void,
}

impl Memory {
    fn holding(code: &[u8]) -> Result<Self, rustix::io::Errno> {
        // SAFETY: a new anonymous mapping wherever the kernel likes overlaps nothing.
        let start = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                MEMORY,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        let memory = Self { start };
        // SAFETY: the mapping has that size, is zeroed, and nobody else knows of it yet.
        fill(unsafe { std::slice::from_raw_parts_mut(start.cast(), MEMORY) }, code);
        Ok(memory)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, of that size, and no reference into it is left.
        let _ = unsafe { rustix::mm::munmap(self.start, MEMORY) };
    }
}

/// Writes the guest into zeroed memory.
fn fill(memory: &mut [u8], code: &[u8]) {
    const PRESENT_WRITABLE: u64 = 0b11;
    const LARGE: u64 = 1 << 7;
    memory[..code.len()].copy_from_slice(code);
    for (table, entry) in
        [(PML4, PDPT as u64 | PRESENT_WRITABLE), (PDPT, PD as u64 | PRESENT_WRITABLE), (PD, PRESENT_WRITABLE | LARGE)]
    {
        memory[table..table + 8].copy_from_slice(&entry.to_le_bytes());
    }
}

/// A signal to this thread when the time is up. The signal is blocked, and none is left pending afterwards.
struct Deadline {
    at: Instant,
    timer: Option<Timer>,
    former_mask: SigSet,
}

impl Deadline {
    const SIGNAL: Signal = Signal::SIGALRM;

    fn start(limit: Duration) -> Result<Self, Errno> {
        let thread_id = rustix::thread::gettid().as_raw_nonzero().get();
        let notify = SigevNotify::SigevThreadId { signal: Self::SIGNAL, thread_id, si_value: 0 };
        let mut deadline = Self {
            at: Instant::now() + limit,
            timer: None,
            former_mask: SigSet::from(Self::SIGNAL).thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)?,
        };
        let mut timer = Timer::new(ClockId::CLOCK_MONOTONIC, SigEvent::new(notify))?;
        timer.set(Expiration::OneShot(limit.into()), TimerSetTimeFlags::empty())?;
        deadline.timer = Some(timer);
        Ok(deadline)
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        drop(self.timer.take());
        if Instant::now() >= self.at
            && let Ok(pending) =
                SignalFd::with_flags(&Self::SIGNAL.into(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        {
            let _ = pending.read_signal();
        }
        let _ = self.former_mask.thread_set_mask();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_result_at_the_right_port_is_a_run() {
        assert_eq!(judge(&VcpuExit::IoOut(PORT, &[12])), Outcome::Ran);
        for exit in
            [VcpuExit::IoOut(PORT, &[1]), VcpuExit::IoOut(PORT, &[12, 0]), VcpuExit::IoOut(1, &[12]), VcpuExit::Hlt]
        {
            assert!(matches!(judge(&exit), Outcome::Broken(_)), "{exit:?}");
        }
        assert_eq!(judge(&VcpuExit::InternalError), Outcome::Broken("internal error".into()));
    }

    fn kvm() -> Option<Kvm> {
        let kvm = Kvm::new_with_path(crate::paths::KVM).ok();
        if kvm.is_none() {
            eprintln!("skipped: no /dev/kvm that opens");
        }
        kvm
    }

    /// Any KVM runs this, so that long mode is known to be set up right where the probe's own code fails.
    #[test]
    fn code_that_is_easy_to_emulate_runs() {
        let Some(kvm) = kvm() else { return };
        let code = [0xb0, 12, 0xee]; // mov al, 12; out dx, al
        assert_eq!(execute(&kvm, &code, DEADLINE).unwrap(), Outcome::Ran);
        let code = [0x48, 0x31, 0xc0, 0x04, 11, 0xee]; // xor rax, rax; add al, 11; out dx, al
        assert!(matches!(execute(&kvm, &code, DEADLINE).unwrap(), Outcome::Broken(how) if how.contains("wrong")));
    }

    #[test]
    fn an_endless_guest_is_ended_and_its_signal_taken() {
        let Some(kvm) = kvm() else { return };
        let limit = Duration::from_millis(20);
        let start = Instant::now();
        let outcome = execute(&kvm, &[0xeb, 0xfe], limit).unwrap(); // jmp to itself
        assert!(matches!(&outcome, Outcome::Prevented(how) if how.contains("did not end")), "{outcome:?}");
        assert!(start.elapsed() >= limit);
        // A signal that was left pending would have killed this process when the mask was put back.
        assert!(!SigSet::thread_get_mask().unwrap().contains(Deadline::SIGNAL));
    }
}
