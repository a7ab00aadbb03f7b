//! A QEMU that is this process's child.

use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};

use jiff::Timestamp;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::argv::{self, Choice, Devices, Inputs};
use super::qmp::Monitor;
use super::{Binary, conclude};
use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::{Exit, KernelKind};
use crate::platform::{Ask, Description, Files, Guest, GuestEvent, Launch};
use crate::process;

/// Starts QEMU. Its two sockets are made here and inherited, so that there is nothing to wait for before connecting.
pub(super) fn spawn(binary: &Binary, choice: &Choice, launch: Launch<'_>) -> Result<Running> {
    let (ours, theirs) = UnixStream::pair().context("cannot make a socket for QEMU")?;
    let control = listen(launch.control)?;
    let mut held = Vec::new();
    let Files { kernel, initrd } = launch.files;
    let inputs = Inputs {
        kernel: takeable(&launch.spec.kernel.path, kernel, &mut held)?,
        initrd: match (launch.initrd, &launch.spec.initrd) {
            (Some(made), _) => Some(inherited(File::from(made), &mut held)),
            (None, Some(path)) => Some(takeable(path, initrd, &mut held)?),
            (None, None) => None,
        },
        monitor: theirs.as_raw_fd(),
        control: control.as_raw_fd(),
    };
    let given = Devices { nics: &launch.nics, shares: &launch.shares, secrets: &launch.secrets };
    let arguments = argv::arguments(launch.spec, choice, &inputs, given)?;

    let mut command = process::command(&binary.path);
    command.args(arguments);
    command.stderr(Stdio::from(launch.output.complaints));
    if let Some(console) = launch.output.console {
        command.stdout(Stdio::from(console));
    }
    process::die_with_parent(&mut command);
    let inherited: Vec<BorrowedFd<'_>> =
        [theirs.as_fd(), control.as_fd()].into_iter().chain(held.iter().map(File::as_fd)).chain(given.fds()).collect();
    process::inherit(&mut command, &inherited);
    let child = command
        .spawn()
        .with_context(|| format!("cannot run {}", binary.path.display()))
        .map_err(|e| e.with_kind(Kind::CannotRun))?;
    let pid = Pid::from_child(&child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).context("cannot watch QEMU")?;
    let accel = choice.accel.to_string();
    let description = Description { accel, machine_type: choice.machine_type.to_string(), note: choice.note.clone() };
    let monitor = Monitor::start(ours)?;
    Ok(Running { child, pidfd, monitor, description, kind: launch.spec.kernel.kind })
}

/// A file by a path that QEMU takes as one: its multiboot loader cuts paths at spaces and commas, and puts the kernel's
/// on the command line, where quotes mean something. Such a file is opened here and inherited. Any other is left to QEMU, after a look that gives the better error.
fn takeable(path: &Path, open: Option<OwnedFd>, held: &mut Vec<File>) -> Result<PathBuf> {
    if let Some(open) = open {
        return Ok(inherited(open.into(), held));
    }
    let cannot = || format!("cannot read {}", path.display());
    let file = match File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::of(Kind::NotFound, format!("{} is not there any more", path.display())));
        }
        file => file.with_context(cannot)?,
    };
    if !path.as_os_str().as_encoded_bytes().iter().any(|byte| b" ,'\"\\\t\n\r\x0b".contains(byte)) {
        return Ok(path.to_path_buf());
    }
    Ok(inherited(file, held))
}

/// A file that QEMU inherits, by the path that it finds it under.
fn inherited(file: File, held: &mut Vec<File>) -> PathBuf {
    let path = Path::new(crate::paths::OWN_FDS).join(file.as_raw_fd().to_string());
    held.push(file);
    path
}

/// The control socket. The way goes through a descriptor of its directory: a socket's path is at most 107 bytes.
fn listen(path: &Path) -> Result<UnixListener> {
    let cannot = || format!("cannot make {}", path.display());
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::new(format!("cannot make {}: not a file name", path.display())));
    };
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).with_context(cannot),
        _ => {}
    }
    let dir = File::open(dir).with_context(cannot)?;
    UnixListener::bind(crate::paths::inside(&dir, name)).with_context(cannot)
}

/// A QEMU with a guest in it.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    pidfd: OwnedFd,
    monitor: Monitor,
    description: Description,
    kind: KernelKind,
}

impl Guest for Running {
    fn description(&self) -> &Description {
        &self.description
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn process(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    fn monitor(&self) -> Option<BorrowedFd<'_>> {
        (!self.monitor.is_closed()).then(|| self.monitor.as_fd())
    }

    fn events(&mut self) -> Result<Vec<GuestEvent>> {
        self.monitor.events()
    }

    fn ask(&mut self, ask: Ask) -> Result<()> {
        self.monitor.ask(ask)
    }

    fn kill(&mut self) -> Result<()> {
        match pidfd_send_signal(&self.pidfd, Signal::KILL) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            result => result.context("cannot kill QEMU"),
        }
    }

    fn reap(&mut self) -> Result<ExitStatus> {
        self.child.wait().context("cannot collect QEMU's exit status")
    }

    fn conclude(&self, status: ExitStatus, events: &[GuestEvent], complaint: Option<&str>) -> Exit {
        conclude::conclude(self.kind, status, events, complaint, Timestamp::now())
    }
}

impl Drop for Running {
    /// A runner that gives up half-way takes its QEMU with it.
    fn drop(&mut self) {
        let _ = self.kill();
        let _ = self.child.wait();
    }
}
