//! Running nft: the one place where the table is read and changed.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::table::{NAME, Table, Transaction};
use crate::error::{Context as _, Error, Kind, Result};
use crate::process;

/// Longer than the largest transaction takes on a busy host.
const WITHIN: Duration = Duration::from_secs(30);
/// What nft says of a table that is not there.
const NO_TABLE: &str = "No such file or directory";

/// nft's reason for changing nothing.
#[derive(Debug)]
pub(super) struct Refused(pub(super) String);

/// The table as it is; `None` if there is none.
pub(super) fn read() -> Result<Option<Table>> {
    let said = nft(&["--json", "--numeric-protocol", "list", "table", "inet", NAME], b"")?;
    if said.status.success() {
        return Table::parse(&said.out).map(Some);
    }
    if said.err.contains(NO_TABLE) { Ok(None) } else { Err(Error::new(said.complaint())) }
}

/// Applies all of a transaction or nothing of it.
pub(super) fn apply(transaction: &Transaction) -> Result<Result<(), Refused>> {
    let said = nft(&["-j", "-f", "-"], transaction.to_json().as_bytes())?;
    match said.status.code() {
        Some(0) => Ok(Ok(())),
        Some(_) => Ok(Err(Refused(said.complaint()))),
        None => Err(Error::new(said.complaint())),
    }
}

struct Said {
    status: ExitStatus,
    out: String,
    err: String,
}

impl Said {
    /// Why nft did not do it, in one line. It goes on to show its own reading of the input, which helps nobody.
    fn complaint(&self) -> String {
        let lines = || self.err.lines().map(str::trim).filter(|line| !line.is_empty());
        let line = lines().find(|line| line.contains("Error: ")).or_else(|| lines().next());
        match line {
            Some(line) => line.rsplit("Error: ").next().unwrap_or(line).to_owned(),
            None => format!("nft: {}", self.status),
        }
    }
}

/// Files stand in for pipes: neither side ever waits for the other, whatever the size.
fn nft(arguments: &[&str], input: &[u8]) -> Result<Said> {
    let cannot = "cannot run nft";
    let memory = || rustix::fs::memfd_create("nft", MemfdFlags::CLOEXEC).map(File::from).context(cannot);
    let (mut stdin, mut out, mut err) = (memory()?, memory()?, memory()?);
    stdin.write_all(input).and_then(|()| stdin.rewind()).context(cannot)?;
    let mut command = process::command("nft");
    command.args(arguments).env("LC_ALL", "C");
    command.stdin(stdin).stdout(out.try_clone().context(cannot)?).stderr(err.try_clone().context(cannot)?);
    process::die_with_parent(&mut command);
    let mut child = command.spawn().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::of(Kind::CannotRun, "nft is not installed")
            .with_hint("ports and networks need nftables: `apt install nftables`, `dnf install nftables`"),
        _ => Error::of(Kind::CannotRun, "cannot run nft").context(e.to_string()),
    })?;
    let status = wait(&mut child)?;
    Ok(Said { status, out: text(&mut out)?, err: text(&mut err)? })
}

fn text(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).context("cannot read what nft said")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn wait(child: &mut Child) -> Result<ExitStatus> {
    let cannot = "cannot wait for nft";
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).context(cannot)?;
    let deadline = Instant::now() + WITHIN;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::of(Kind::Timeout, format!("nft did not end within {WITHIN:?}")));
        }
        let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => {}
            Ok(_) => return child.wait().context(cannot),
            Err(errno) => return Err(errno).context(cannot),
        }
    }
}
