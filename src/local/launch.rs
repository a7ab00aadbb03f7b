//! Starting a detached runner and waiting until it says READY=1, on a notify socket of our own.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::{MachineName, Reason};
use crate::store::Store;
use crate::{paths, process};

const NOTIFY: &str = "notify.sock";
/// Longer than a runner gives its VMM.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// Starts a runner. Returns when the machine is ready, or was. `extra` is what it may take from when its guest runs.
pub(super) fn launch(store: &Store, name: &MachineName, extra: Duration) -> Result<()> {
    let limit = READY_WITHIN.saturating_add(extra);
    let cannot = || format!("cannot start {name}");
    let runtime = store.make_runtime(name).with_context(cannot)?;
    let (socket, address) = listen(&runtime).with_context(cannot)?;
    let stderr = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(store.runner_log(name))
        .with_context(cannot)?;
    let mut command = process::command(paths::own_executable()?);
    command.arg("runner").arg(name.as_str());
    command.env("NOTIFY_SOCKET", address);
    command.env("KRAFT_STATE_DIR", &store.paths().state);
    command.env("KRAFT_RUNTIME_DIR", &store.paths().runtime);
    command.stdout(Stdio::null()).stderr(stderr);
    command.current_dir("/");
    process::detach(&mut command);
    let mut child = command.spawn().context("cannot run the runner").with_context(cannot)?;
    match wait_ready(&socket.socket, &mut child, limit).with_context(cannot)? {
        Outcome::Ready => Ok(()),
        Outcome::Ended(status) => Err(why(store, name, status)),
        Outcome::Late => {
            let _ = child.kill();
            let _ = child.wait();
            Err(Error::of(Kind::Timeout, format!("cannot start {name}: it was not ready within {limit:?}")))
        }
    }
}

enum Outcome {
    Ready,
    Ended(ExitStatus),
    Late,
}

fn wait_ready(socket: &UnixDatagram, child: &mut Child, limit: Duration) -> Result<Outcome> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).context("cannot watch the runner")?;
    let deadline = Instant::now() + limit;
    let mut buffer = [0; 4096];
    loop {
        let Some(left) = deadline.checked_duration_since(Instant::now()) else { return Ok(Outcome::Late) };
        let (word, ended) = readable(socket.as_fd(), pidfd.as_fd(), left)?;
        if word {
            let n = socket.recv(&mut buffer).context("cannot read from the runner")?;
            if buffer[..n].split(|&b| b == b'\n').any(|line| line == b"READY=1") {
                return Ok(Outcome::Ready);
            }
        } else if ended {
            let status = child.wait().context("cannot collect the runner")?;
            return Ok(Outcome::Ended(status));
        }
    }
}

fn readable(socket: BorrowedFd<'_>, process: BorrowedFd<'_>, left: Duration) -> Result<(bool, bool)> {
    let mut fds = [PollFd::new(socket, PollFlags::POLLIN), PollFd::new(process, PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok((fds[0].any() == Some(true), fds[1].any() == Some(true))),
        Err(errno) => Err(errno).context("cannot wait for the runner"),
    }
}

/// A notify socket in the machine's runtime directory, and its address. The address goes through a descriptor of ours,
/// as a socket's path is at most 107 bytes.
fn listen(runtime: &Path) -> Result<(Listener, PathBuf)> {
    let cannot = || format!("cannot make {}", runtime.join(NOTIFY).display());
    let dir = File::open(runtime).with_context(cannot)?;
    match std::fs::remove_file(runtime.join(NOTIFY)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).with_context(cannot),
        _ => {}
    }
    let address = paths::inside(&dir, NOTIFY);
    let socket = UnixDatagram::bind(&address).with_context(cannot)?;
    Ok((Listener { socket, file: runtime.join(NOTIFY), _dir: dir }, address))
}

/// The socket while we listen; its file goes with it.
struct Listener {
    socket: UnixDatagram,
    file: PathBuf,
    _dir: File,
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// Why a guest never ran, from what its runner recorded, else from what it wrote.
fn why(store: &Store, name: &MachineName, status: ExitStatus) -> Error {
    if let Some(signal) = status.signal() {
        return Error::new(format!("cannot start {name}: the runner was killed by signal {signal}"));
    }
    let kind = match status.code() {
        Some(126) => Kind::CannotRun,
        Some(127) => Kind::NotFound,
        _ => Kind::Failed,
    };
    let recorded = store.last_exit(name).ok().flatten().filter(|exit| exit.reason == Reason::StartFailed);
    let detail = recorded.map(|exit| exit.detail).or_else(|| {
        let text = std::fs::read_to_string(store.runner_log(name)).ok()?;
        Some(text.trim().lines().last()?.trim_start_matches("error: ").to_owned())
    });
    Error::of(kind, format!("cannot start {name}: {}", detail.unwrap_or_else(|| format!("its runner ended: {status}"))))
}
