//! Asking the server whether it answers: one question over UDP, asked again as any client would.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::error::{Context as _, Result};

/// The first question is asked again after this, each further one after twice as long.
const AGAIN: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(200);

/// `version.bind`, class CHAOS, type TXT: what a server answers by itself, whatever names it knows (RFC 1035, 4.1).
const QUESTION: &[u8] = b"\x6b\x72\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07version\x04bind\x00\x00\x10\x00\x03";

/// A server that is asked until it answers.
#[derive(Debug)]
pub(super) struct Probe {
    socket: UdpSocket,
    pause: Duration,
    next: Instant,
}

impl Probe {
    /// Prepares to ask the server at this address.
    pub(super) fn new(server: IpAddr, now: Instant) -> Result<Self> {
        let cannot = || format!("cannot ask the server at {server}");
        let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0)).with_context(cannot)?;
        socket.set_nonblocking(true).and_then(|()| socket.connect((server, 53))).with_context(cannot)?;
        Ok(Self { socket, pause: AGAIN, next: now })
    }

    /// When to ask next.
    pub(super) fn due(&self) -> Instant {
        self.next
    }

    /// Asks, if it is time.
    pub(super) fn ask(&mut self, now: Instant) {
        if now >= self.next {
            // Nobody listens yet: that is what asking again is for.
            let _ = self.socket.send(QUESTION);
            self.next = now + self.pause;
            self.pause = (self.pause * 2).min(LONGEST);
        }
    }

    /// Whether the answer came.
    pub(super) fn answered(&self) -> bool {
        let mut answer = [0; 512];
        loop {
            match self.socket.recv(&mut answer) {
                Ok(length) if length >= 12 && answer[..2] == QUESTION[..2] && answer[2] & 0x80 != 0 => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }
}

impl AsFd for Probe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
