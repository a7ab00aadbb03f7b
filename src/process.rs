//! Starting programs: the one place with `Command::new`, and what a child must have before it runs.

#![allow(clippy::disallowed_methods, reason = "this is the file that starts programs")]
#![allow(unsafe_code, reason = "pre_exec and inherited descriptors")]

use std::ffi::OsStr;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// A command for a program by its path, with the standard streams closed off and an empty environment but for `PATH`,
/// `HOME`, `LANG` and what the caller adds.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(std::process::Stdio::null());
    command.env_clear();
    for name in ["PATH", "HOME", "LANG", "LC_ALL", "TZ"] {
        if let Some(value) = crate::paths::environment_variable(name) {
            command.env(name, value);
        }
    }
    command
}

/// Has the kernel kill the child when the thread that starts it dies, whatever kills that. The child starts with no
/// signal blocked.
pub fn die_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    // SAFETY: the closure runs between fork and exec and makes three system calls; it allocates nothing.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            // The parent may have died before the line above.
            if rustix::process::getppid() != Some(parent) {
                return Err(std::io::Error::from_raw_os_error(nix::libc::ESRCH));
            }
            nix::sys::signal::SigSet::empty().thread_set_mask()?;
            Ok(())
        });
    }
}

/// Puts the child in a session of its own: no terminal's Ctrl-C or hang-up reaches it. Of its caller's descriptors it
/// keeps the standard ones: a pipe or a lock of the caller's caller is not held for as long as the child lives.
pub fn detach(command: &mut Command) {
    // SAFETY: the closure runs between fork and exec and makes three system calls; it allocates nothing.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            nix::sys::signal::SigSet::empty().thread_set_mask()?;
            // Before Linux 5.11 there is no such call: then they stay open.
            nix::libc::syscall(nix::libc::SYS_close_range, 3u32, u32::MAX, nix::libc::CLOSE_RANGE_CLOEXEC);
            Ok(())
        });
    }
}

/// Lets the child inherit these descriptors, under the same numbers.
pub fn inherit(command: &mut Command, fds: &[BorrowedFd<'_>]) {
    let numbers: Vec<i32> = fds.iter().map(|fd| fd.as_raw_fd()).collect();
    // SAFETY: the closure runs between fork and exec and makes one system call for each descriptor; the caller holds
    // the descriptors open until then because `spawn` is called while they are borrowed.
    unsafe {
        command.pre_exec(move || {
            for &number in &numbers {
                // SAFETY: the number was a live descriptor at fork, so it is one in the child.
                let fd = BorrowedFd::borrow_raw(number);
                rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
            }
            Ok(())
        });
    }
}
