//! Descriptors that one process of a unit leaves with systemd for another (sd_pid_notify_with_fds(3), "FDSTORE=1").

#![allow(unsafe_code, reason = "descriptors that systemd passes are numbers at first")]

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use rustix::io::FdFlags;

use crate::error::{Context as _, Error, Result};
use crate::paths::environment_variable;

/// The number of the first descriptor that systemd passes (sd_listen_fds(3)).
const FIRST: i32 = 3;
/// systemd is busy when it takes this long to read its messages.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// Leaves a descriptor under a name.
pub(super) fn put(name: &str, fd: BorrowedFd<'_>) -> Result<()> {
    // Not watched: a tap or a directory has nothing to say of its end.
    tell(&format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0"), &[fd]).with_context(|| format!("cannot hand over {name}"))
}

/// Takes away what is there under these names. There being nothing is a success.
pub(super) fn remove<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Result<()> {
    for name in names {
        tell(&format!("FDSTOREREMOVE=1\nFDNAME={}", name.as_ref()), &[])
            .context("cannot clear what was handed over")?;
    }
    Ok(())
}

/// Waits until systemd has read all that it was told.
pub(super) fn barrier() -> Result<()> {
    let cannot = "cannot wait for systemd to take what is handed over";
    let (ours, theirs) = std::io::pipe().context(cannot)?;
    tell("BARRIER=1", &[theirs.as_fd()]).context(cannot)?;
    drop(theirs);
    let mut fds = [PollFd::new(ours.as_fd(), PollFlags::empty())];
    loop {
        match poll(&mut fds, PollTimeout::try_from(READ_WITHIN).unwrap_or(PollTimeout::MAX)) {
            Ok(0) => return Err(Error::new(format!("{cannot}: it did not within {READ_WITHIN:?}"))),
            Ok(_) => return Ok(()),
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno).context(cannot),
        }
    }
}

/// What was left for this process, by name. It is taken once.
pub(super) fn take() -> BTreeMap<String, OwnedFd> {
    let number = |name| environment_variable(name)?.to_str()?.parse::<i32>().ok();
    if number("LISTEN_PID") != i32::try_from(std::process::id()).ok() {
        return BTreeMap::new();
    }
    let names = environment_variable("LISTEN_FDNAMES").unwrap_or_default().to_string_lossy().into_owned();
    let all = names.split(':').map(str::to_owned).zip(FIRST..FIRST + number("LISTEN_FDS").unwrap_or(0));
    all.map(|(name, number)| {
        // SAFETY: systemd passed this descriptor to this process alone, and nobody else here takes it.
        let fd = unsafe { OwnedFd::from_raw_fd(number) };
        // It is not to be inherited by what is started without it.
        let _ = rustix::io::fcntl_setfd(&fd, FdFlags::CLOEXEC);
        (name, fd)
    })
    .collect()
}

fn tell(text: &str, fds: &[BorrowedFd<'_>]) -> Result<()> {
    let socket = environment_variable("NOTIFY_SOCKET").ok_or_else(|| Error::new("this is no process of a unit's"))?;
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => UnixAddr::new_abstract(name),
        path => UnixAddr::new(path),
    };
    let address = address.context("cannot reach systemd")?;
    let unbound = std::os::unix::net::UnixDatagram::unbound().context("cannot reach systemd")?;
    let numbers: Vec<i32> = fds.iter().map(|fd| fd.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let rights = if numbers.is_empty() { &[][..] } else { &rights[..] };
    let text = [IoSlice::new(text.as_bytes())];
    sendmsg(unbound.as_raw_fd(), &text, rights, MsgFlags::MSG_NOSIGNAL, Some(&address))
        .context("cannot tell systemd")?;
    Ok(())
}
