//! One attempt: a connection that never blocks, from its beginning to what it showed.
//!
//! ```text
//! Connecting --> Sending --> Receiving      http
//!     |
//!     +--------> Asking                     tcp, by a port that the VMM listens at
//!     |
//!     +--------> done                       tcp, by the guest's address
//! ```
//!
//! A VMM that forwards a port takes every connection before it knows whether anybody in the guest does. It is asked then
//! what became of it; one that nobody takes it ends.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with};

use super::Target;
use super::head::{Head, Progress};
use crate::machine::{Probe, Way};
use crate::platform::Connection;

/// Between two questions about one connection.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// An attempt under way.
#[derive(Debug)]
pub(super) struct Attempt {
    socket: OwnedFd,
    target: Target,
    state: State,
    by: Instant,
    limit: Duration,
}

#[derive(Debug)]
enum State {
    Connecting,
    Asking { at: Instant, asked: bool, taken: bool },
    Sending { request: Vec<u8>, sent: usize },
    Receiving(Head),
}

impl Attempt {
    /// Begins one that may take so long.
    pub(super) fn begin(target: &Target, now: Instant, limit: Duration) -> Result<Self, String> {
        let address = target.way.address();
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, None)
            .map_err(|errno| format!("cannot make a socket: {}", in_words(errno)))?;
        Ok(Self { socket, target: target.clone(), state: State::Connecting, by: now + limit, limit })
    }

    pub(super) fn interest(&self) -> (BorrowedFd<'_>, PollFlags) {
        let flags = match self.state {
            State::Connecting | State::Sending { .. } => PollFlags::POLLOUT,
            State::Asking { .. } | State::Receiving(_) => PollFlags::POLLIN,
        };
        (self.socket.as_fd(), flags)
    }

    /// When to look again at the latest.
    pub(super) fn deadline(&self) -> Instant {
        match self.state {
            State::Asking { at, asked: false, .. } => at.min(self.by),
            _ => self.by,
        }
    }

    /// Goes on as far as it can; what it showed, at its end.
    pub(super) fn advance(&mut self, now: Instant) -> Option<Result<(), String>> {
        loop {
            match self.step(now) {
                Step::On => {}
                Step::Wait if now >= self.by => return Some(Err(self.late())),
                Step::Wait => return None,
                Step::End(outcome) => return Some(outcome),
            }
        }
    }

    fn step(&mut self, now: Instant) -> Step {
        match &mut self.state {
            State::Connecting => match connect(&self.socket, &self.target.way.address()) {
                Ok(()) | Err(Errno::ISCONN) => self.connected(now),
                Err(Errno::INPROGRESS | Errno::ALREADY | Errno::INTR) => Step::Wait,
                Err(errno) => Step::End(Err(self.unreachable(errno))),
            },
            State::Asking { taken: true, .. } => Step::End(Ok(())),
            State::Asking { .. } => {
                let mut byte = [0; 1];
                match recv(&self.socket, &mut byte[..], RecvFlags::DONTWAIT) {
                    // It speaks first.
                    Ok((1.., _)) => Step::End(Ok(())),
                    Err(Errno::AGAIN | Errno::INTR) => Step::Wait,
                    Ok(_) | Err(_) => Step::End(Err(self.nobody())),
                }
            }
            State::Sending { request, sent } => {
                match send(&self.socket, &request[*sent..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                    Ok(count) => *sent += count,
                    Err(Errno::AGAIN | Errno::INTR) => return Step::Wait,
                    Err(_) => return Step::End(Err(self.cut_off())),
                }
                if *sent == request.len() {
                    self.state = State::Receiving(Head::default());
                }
                Step::On
            }
            State::Receiving(head) => {
                let mut buffer = [0; 2048];
                let progress = match recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                    Err(Errno::AGAIN | Errno::INTR) => return Step::Wait,
                    Ok((count @ 1.., _)) => head.feed(&buffer[..count]),
                    Ok(_) | Err(_) if head.is_empty() => return Step::End(Err(self.cut_off())),
                    Ok(_) | Err(_) => Progress::Bad,
                };
                match progress {
                    Progress::More => Step::On,
                    Progress::Status(200..=399) => Step::End(Ok(())),
                    Progress::Status(status) => Step::End(Err(format!("{} answered {status}", self.name()))),
                    Progress::Bad => Step::End(Err(format!("{} answered what is not HTTP", self.name()))),
                }
            }
        }
    }

    fn connected(&mut self, now: Instant) -> Step {
        match (&self.target.probe, self.target.way) {
            (Probe::Tcp(_), Way::Network(_)) => return Step::End(Ok(())),
            (Probe::Tcp(_), Way::Forward(_)) => self.state = State::Asking { at: now, asked: false, taken: false },
            (Probe::Http { path, .. }, way) => {
                let request = format!(
                    "GET {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: kraft/{}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
                    way.address(),
                    env!("CARGO_PKG_VERSION")
                );
                self.state = State::Sending { request: request.into_bytes(), sent: 0 };
            }
        }
        Step::On
    }

    /// Whether the VMM is to be asked now; once.
    pub(super) fn asks(&mut self) -> bool {
        match &mut self.state {
            State::Asking { at, asked, .. } if !*asked && Instant::now() >= *at => {
                *asked = true;
                true
            }
            _ => false,
        }
    }

    /// What the VMM said of the guest's connections: ours is among them, and none to this port is still to be taken.
    pub(super) fn answer(&mut self, connections: &[Connection]) {
        let port = self.target.probe.port();
        if let State::Asking { at, asked, taken } = &mut self.state {
            let mut ours = connections.iter().filter(|connection| connection.port == port).peekable();
            *taken = ours.peek().is_some() && ours.all(|connection| connection.established);
            *asked = false;
            *at = Instant::now() + ASK_AGAIN;
        }
    }

    fn name(&self) -> String {
        self.target.probe.name()
    }

    fn late(&self) -> String {
        match (&self.state, &self.target.probe) {
            (State::Connecting, _) => format!("{} does not answer", self.target.way.address()),
            (_, Probe::Tcp(port)) => format!("the guest does not answer at port {port}"),
            (_, Probe::Http { .. }) => format!("{} gave no answer within {:?}", self.name(), self.limit),
        }
    }

    fn nobody(&self) -> String {
        match self.target.way {
            Way::Network(address) => format!("nobody listens at {address}"),
            Way::Forward(_) => format!("nobody listens at port {} of the guest", self.target.probe.port()),
        }
    }

    fn cut_off(&self) -> String {
        match self.target.way {
            Way::Network(_) => format!("{} was closed without an answer", self.name()),
            // Whether somebody listened does not show.
            Way::Forward(_) => format!("{} was closed without an answer, as if nobody listened", self.name()),
        }
    }

    fn unreachable(&self, errno: Errno) -> String {
        match errno {
            Errno::CONNREFUSED => self.nobody(),
            errno => format!("cannot reach {}: {}", self.target.way.address(), in_words(errno)),
        }
    }
}

/// What one step led to.
enum Step {
    On,
    Wait,
    End(Result<(), String>),
}

fn in_words(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener};

    use nix::poll::{PollFd, PollTimeout, poll};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    fn attempt(probe: &str, way: Way) -> Attempt {
        Attempt::begin(&Target { probe: probe.parse().unwrap(), way }, Instant::now(), LIMIT).unwrap()
    }

    /// Polls until it is over.
    fn outcome(mut attempt: Attempt) -> Result<(), String> {
        loop {
            if let Some(outcome) = attempt.advance(Instant::now()) {
                return outcome;
            }
            let (fd, flags) = attempt.interest();
            let left = attempt.deadline().saturating_duration_since(Instant::now());
            poll(&mut [PollFd::new(fd, flags)], PollTimeout::try_from(left).unwrap()).unwrap();
        }
    }

    /// Serves one connection: what was asked, answered by this.
    fn server(answer: &'static [u8]) -> (SocketAddr, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            stream.write_all(answer).unwrap();
            String::from_utf8(request).unwrap()
        });
        (address, thread)
    }

    #[test]
    fn http() {
        for (answer, expected) in [
            (&b"HTTP/1.1 200 OK\r\n\r\n"[..], Ok(())),
            (b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", Ok(())),
            (b"HTTP/1.0 503 No\r\n\r\nno", Err("http :80/up answered 503".to_owned())),
            (b"SSH-2.0-OpenSSH\r\n", Err("http :80/up answered what is not HTTP".to_owned())),
            (b"HTTP/1.1 200 O", Err("http :80/up answered what is not HTTP".to_owned())),
            (b"", Err("http :80/up was closed without an answer".to_owned())),
        ] {
            let (address, thread) = server(answer);
            assert_eq!(outcome(attempt("http:80/up", Way::Network(address))), expected);
            let request = thread.join().unwrap();
            assert!(request.starts_with(&format!("GET /up HTTP/1.1\r\nHost: {address}\r\n")), "{request}");
        }
    }

    #[test]
    fn tcp() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(outcome(attempt("tcp:80", Way::Network(address))), Ok(()));
        drop(listener);
        assert_eq!(outcome(attempt("tcp:80", Way::Network(address))), Err(format!("nobody listens at {address}")));
    }

    #[test]
    fn a_forward_is_believed_when_the_vmm_says_so() {
        let connection = |port, established| Connection { port, established };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut tried = attempt("tcp:80", Way::Forward(listener.local_addr().unwrap()));
        let mut stream = None;
        while !tried.asks() {
            assert_eq!(tried.advance(Instant::now()), None);
            stream = stream.or_else(|| listener.accept().ok());
        }
        assert!(!tried.asks());
        for connections in [vec![], vec![connection(81, true)], vec![connection(80, true), connection(80, false)]] {
            tried.answer(&connections);
            assert_eq!(tried.advance(Instant::now()), None);
        }
        tried.answer(&[connection(80, true), connection(81, false)]);
        assert_eq!(tried.advance(Instant::now()), Some(Ok(())));

        let mut tried = attempt("tcp:80", Way::Forward(listener.local_addr().unwrap()));
        while !tried.asks() {
            assert_eq!(tried.advance(Instant::now()), None);
        }
        drop(listener.accept().unwrap());
        assert_eq!(outcome(tried), Err("nobody listens at port 80 of the guest".into()));
    }

    #[test]
    fn what_takes_too_long_is_over() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut tried = attempt("http:80", Way::Network(listener.local_addr().unwrap()));
        assert_eq!(tried.advance(Instant::now()), None);
        let late = tried.advance(Instant::now() + LIMIT);
        assert_eq!(late, Some(Err("http :80/ gave no answer within 30s".into())));
    }
}
