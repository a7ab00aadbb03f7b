//! A dnsmasq whose holder was killed: it goes on, as the kernel forgets whose death it was to share once it drops its
//! privileges (`PR_SET_PDEATHSIG` of prctl(2)).

use std::path::Path;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::Place;
use crate::error::{Context as _, Result};
use crate::paths;

/// Ends it, if there is one. Nobody serves the network.
pub(super) fn end(place: &Place) -> Result<()> {
    let Ok(text) = std::fs::read_to_string(place.pid()) else { return Ok(()) };
    let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw) else { return Ok(()) };
    // Open before it is looked at: what is killed is what was looked at, though the number be another's by now.
    if let Ok(process) = pidfd_open(pid, PidfdFlags::empty())
        && serves(pid, place)
    {
        let killed = pidfd_send_signal(&process, Signal::KILL);
        killed.with_context(|| format!("cannot end the dnsmasq of {}", place.dir.display()))?;
        wait(&process);
    }
    let _ = std::fs::remove_file(place.pid());
    Ok(())
}

/// Its command line names this network's directory.
fn serves(pid: Pid, place: &Place) -> bool {
    let file = Path::new(paths::PROCESSES).join(pid.as_raw_nonzero().to_string()).join("cmdline");
    let Ok(line) = std::fs::read(file) else { return false };
    let hosts = format!("--hostsdir={}", place.hosts().display());
    line.split(|&byte| byte == 0).any(|word| word == hosts.as_bytes())
}

/// Its address is to be free for the next one. A killed process that takes longer gets company.
fn wait(process: &std::os::fd::OwnedFd) {
    use nix::poll::{PollFd, PollFlags, poll};
    use std::os::fd::AsFd as _;
    let _ = poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], 2000u16);
}
