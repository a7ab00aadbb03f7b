//! virtiofsd: the program that serves a directory to a guest over virtio.
//!
//! It is a child of the runner, beside the VMM, and not a unit of its own: so it is in the machine's control group and
//! sandbox, the kernel kills it when the runner dies, systemd when the machine's unit ends, and it ends by itself when
//! the VMM hangs up. Nothing has to be found and taken back later, with systemd or without.
//!
//! Root's is in a chroot of the directory, and drops what it does not need of root's rights; anybody else's has no more
//! than that user. Namespaces of its own would need rights that the machine's sandbox is to take away.
//!
//! Its socket is made, connected and unlinked here before it starts, so there is nothing to wait for, and nobody else
//! can connect to it.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Child;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::{Mount, Spec};
use crate::paths;
use crate::process;
use crate::store::Store;

/// One that runs. It is ended when this is dropped.
#[derive(Debug)]
pub struct Virtiofsd {
    child: Child,
    pidfd: OwnedFd,
    /// What it serves, for people.
    what: String,
}

/// Finds the program, and sees that it can do what is asked.
///
/// # Errors
/// [`Kind::CannotRun`] when it is not installed, or cannot.
pub fn check(mount: &Mount) -> Result<PathBuf> {
    let cannot = || format!("cannot share {}", mount.what());
    let program = find().map_err(|error| error.context(cannot()))?;
    if mount.read_only && !knows(&program, "--readonly")? {
        let why = format!("{}: {} is too old to keep it read-only", cannot(), program.display());
        return Err(Error::of(Kind::CannotRun, why).with_hint("9p can: leave out the option virtiofs"));
    }
    Ok(program)
}

/// Starts one for a directory that is open. Returns the VMM's end of the connection to it.
///
/// # Errors
/// [`Kind::CannotRun`] when it is not installed, or cannot do what is asked.
pub fn start(store: &Store, spec: &Spec, mount: &Mount, root: OwnedFd) -> Result<(Virtiofsd, OwnedFd)> {
    let cannot = || format!("cannot share {}", mount.what());
    let program = check(mount)?;
    let runtime = File::open(store.runtime(&spec.name)).with_context(cannot)?;
    let (listener, socket) = connected(&runtime).with_context(cannot)?;
    let mut command = process::command(&program);
    command.arg(format!("--fd={}", listener.as_raw_fd()));
    // Where it is, whatever has taken its name since.
    command.current_dir(Path::new(paths::OWN_FDS).join(root.as_raw_fd().to_string())).arg("--shared-dir=.");
    command.args(["--cache=never", "--log-level=warn", "--announce-submounts"]);
    command.arg(if rustix::process::geteuid().is_root() { "--sandbox=chroot" } else { "--sandbox=none" });
    if mount.read_only {
        command.arg("--readonly");
    }
    process::die_with_parent(&mut command);
    process::inherit(&mut command, &[listener.as_fd()]);
    let child = command
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))
        .map_err(|error| error.with_kind(Kind::CannotRun))?;
    let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).context("cannot watch virtiofsd")?;
    Ok((Virtiofsd { child, pidfd, what: mount.what() }, socket.into()))
}

/// A listening socket with one connection that waits in it. Its name is gone before this returns.
fn connected(dir: &File) -> Result<(UnixListener, UnixStream)> {
    let path = paths::inside(dir, "virtiofsd.sock");
    let _ = std::fs::remove_file(&path);
    let both = UnixListener::bind(&path).and_then(|listener| Ok((listener, UnixStream::connect(&path)?)));
    let _ = std::fs::remove_file(&path);
    both.context("cannot make a socket for virtiofsd")
}

/// The program. The one of the same name that came with QEMU up to version 7 has other options and is not meant.
fn find() -> Result<PathBuf> {
    let usual = paths::VIRTIOFSD.iter().map(PathBuf::from).find(|path| paths::find_program(path).is_some());
    usual.or_else(|| paths::find_program(Path::new("virtiofsd"))).ok_or_else(|| {
        Error::of(Kind::CannotRun, "virtiofsd is not installed")
            .with_hint("install it (Debian 13, Fedora: virtiofsd), or leave out the option virtiofs")
    })
}

/// Whether the program knows an option.
fn knows(program: &Path, option: &str) -> Result<bool> {
    let mut command = process::command(program);
    command.arg("--help");
    let output = command.output().with_context(|| format!("cannot run {}", program.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).contains(option))
}

impl Virtiofsd {
    /// Readable when it ended.
    pub fn process(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// `None` while it runs. Then why it ended, unless that was because the VMM hung up.
    pub fn ended(&mut self) -> Option<Option<String>> {
        let why = |how: &dyn std::fmt::Display| Some(Some(format!("virtiofsd of {} ended ({how})", self.what)));
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) if status.success() => Some(None),
            Ok(Some(status)) => why(&status),
            Err(error) => why(&error),
        }
    }
}

impl Drop for Virtiofsd {
    fn drop(&mut self) {
        // One that is gone is what is wanted.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = self.child.wait();
    }
}
