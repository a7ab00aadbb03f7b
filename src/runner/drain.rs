//! Waiting until journald has taken in all that the guest wrote.
//!
//! A guest's last lines are still on their way when its VMM is gone, more so when the journal is busy. Who hears of the
//! end and then reads the journal expects them there.

#![allow(unsafe_code, reason = "an ioctl")]

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rustix::ioctl::{Getter, ioctl};
use rustix::net::{AddressFamily, sockopt};

use crate::error::{Context as _, Result};

/// A journal that is busier than this gets the last lines late.
const WITHIN: Duration = Duration::from_secs(2);
/// `SIOCOUTQ` of unix(7): what was written and not yet read by the other end.
const OUTQ: rustix::ioctl::Opcode = nix::libc::TIOCOUTQ as rustix::ioctl::Opcode;
/// The kernel says that something was read while it still counts one for it.
const NOTHING: i32 = 1;

/// Waits until the other end of this stream has read it all. Anything else than a unix socket has no other end to wait
/// for.
pub(super) fn drained(stream: impl AsFd) -> Result<()> {
    let stream = stream.as_fd();
    if sockopt::socket_domain(stream).ok() != Some(AddressFamily::UNIX) {
        return Ok(());
    }
    let cannot = "cannot wait for the journal";
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context(cannot)?;
    // Edge-triggered: woken each time that the other end has read something.
    epoll.add(stream, EpollEvent::new(EpollFlags::EPOLLOUT | EpollFlags::EPOLLET, 0)).context(cannot)?;
    let deadline = Instant::now() + WITHIN;
    while unread(stream)? > NOTHING {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            log::debug!("the journal has not taken in all of the console within {WITHIN:?}");
            break;
        }
        let timeout = EpollTimeout::try_from(left).unwrap_or(EpollTimeout::MAX);
        match epoll.wait(&mut [EpollEvent::empty()], timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno).context(cannot),
        }
    }
    Ok(())
}

fn unread(stream: BorrowedFd<'_>) -> Result<i32> {
    // SAFETY: SIOCOUTQ writes one int.
    let getter = unsafe { Getter::<OUTQ, i32>::new() };
    // SAFETY: the opcode is for sockets, and the descriptor is one.
    unsafe { ioctl(stream, getter) }.context("cannot ask how much of the console is unread")
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn waits_for_the_reader_and_for_nobody_else() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        drained(&ours).unwrap();
        for line in 0..50 {
            writeln!(ours, "line {line}").unwrap();
        }
        assert!(unread(ours.as_fd()).unwrap() > NOTHING);
        let reader = std::thread::spawn(move || {
            let mut chunk = [0; 64];
            let mut total = 0;
            while let Ok(count) = theirs.read(&mut chunk)
                && count > 0
            {
                total += count;
            }
            total
        });
        let begun = Instant::now();
        drained(&ours).unwrap();
        assert!(begun.elapsed() < WITHIN, "nobody woke us");
        assert!(unread(ours.as_fd()).unwrap() <= NOTHING);
        drop(ours);
        assert_eq!(reader.join().unwrap(), (0..50).map(|line| format!("line {line}\n").len()).sum::<usize>());
        drained(std::fs::File::open("/dev/null").unwrap()).unwrap();
    }
}
