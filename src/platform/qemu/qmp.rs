//! QMP, as much of it as is spoken here: the greeting, seven commands, their answers and seven events.
//!
//! [`Lines`] cuts the byte stream, [`parse`] reads one message; neither does I/O. [`Monitor`] is the runner's own
//! connection and never blocks. [`Client`] is anybody else's and waits for each answer, with a deadline.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, openat};
use serde::Deserialize;
use serde_json::Value;

use super::usernet;
use crate::error::{Context as _, Error, Kind, Result};
use crate::platform::{Ask, Control, GuestEvent, Shutdown};

/// A QEMU that takes longer than this for an answer is not well.
const DEADLINE: Duration = Duration::from_secs(5);
/// No message of QEMU's is as long.
const LONGEST: usize = 1 << 20;

/// One message from QEMU.
#[derive(Debug, Clone, PartialEq)]
enum Message {
    Greeting,
    Answer { id: Option<String>, result: Result<Value, String> },
    Event { name: String, data: Value },
}

fn parse(line: &[u8]) -> Result<Message> {
    #[derive(Deserialize)]
    struct Raw {
        #[serde(rename = "QMP")]
        greeting: Option<Value>,
        #[serde(rename = "return")]
        answer: Option<Value>,
        error: Option<Refusal>,
        event: Option<String>,
        #[serde(default)]
        data: Value,
        id: Option<String>,
    }
    #[derive(Deserialize)]
    struct Refusal {
        desc: String,
    }
    let raw: Raw = serde_json::from_slice(line).context("QEMU sent what is not QMP")?;
    match raw {
        Raw { greeting: Some(_), .. } => Ok(Message::Greeting),
        Raw { event: Some(name), data, .. } => Ok(Message::Event { name, data }),
        Raw { error: Some(refusal), id, .. } => Ok(Message::Answer { id, result: Err(refusal.desc) }),
        Raw { answer: Some(value), id, .. } => Ok(Message::Answer { id, result: Ok(value) }),
        _ => Err(Error::new("QEMU sent a message of no known kind")),
    }
}

/// Cuts bytes into lines.
#[derive(Debug, Default)]
struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.pending.extend_from_slice(bytes);
        let mut lines = Vec::new();
        while let Some(end) = self.pending.iter().position(|&b| b == b'\n') {
            let mut line: Vec<u8> = self.pending.drain(..=end).collect();
            line.truncate(line.trim_ascii_end().len());
            if !line.is_empty() {
                lines.push(line);
            }
        }
        if self.pending.len() > LONGEST {
            return Err(Error::new("QEMU sent a message without end"));
        }
        Ok(lines)
    }
}

/// The id of the command that lets the guest run for the first time.
const FIRST_CONT: &str = "run";
/// What only a person's command tells, and its id.
const CONNECTIONS: &str =
    "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"info usernet\"},\"id\":\"usernet\"}";
const CONNECTIONS_ID: &str = "usernet";

/// The runner's own connection.
#[derive(Debug)]
pub(super) struct Monitor {
    stream: UnixStream,
    lines: Lines,
    closed: bool,
}

impl Monitor {
    /// Greets QEMU and has it run the guest, in one write: QEMU reads when it is ready to, and the answers come as
    /// events.
    pub(super) fn start(stream: UnixStream) -> Result<Self> {
        stream.set_nonblocking(true).context("cannot set up QEMU's monitor")?;
        let mut monitor = Self { stream, lines: Lines::default(), closed: false };
        monitor.send("qmp_capabilities", "")?;
        monitor.send("cont", FIRST_CONT)?;
        Ok(monitor)
    }

    pub(super) fn ask(&mut self, ask: Ask) -> Result<()> {
        match ask {
            Ask::Ping => self.send("query-status", "ping"),
            Ask::PowerButton => self.send("system_powerdown", "powerdown"),
            Ask::Resume => self.send("cont", "resume"),
            Ask::Quit => self.send("quit", "quit"),
            Ask::Connections => self.send_line(CONNECTIONS, "info usernet"),
        }
    }

    /// Requests are a few dozen bytes and at most one of a kind is under way, so that a full socket means that QEMU has
    /// not read for very long.
    fn send(&mut self, command: &str, id: &str) -> Result<()> {
        self.send_line(&request(command, id), command)
    }

    fn send_line(&mut self, line: &str, command: &str) -> Result<()> {
        self.stream.write_all(line.as_bytes()).with_context(|| format!("cannot send {command} to QEMU"))
    }

    /// Reads all that is there. An end of the stream is no error: the process says more about that.
    pub(super) fn events(&mut self) -> Result<Vec<GuestEvent>> {
        let mut events = Vec::new();
        let mut buffer = [0; 4096];
        while !self.closed {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.closed = true,
                Ok(n) => {
                    for line in self.lines.push(&buffer[..n])? {
                        events.extend(self.interpret(parse(&line)?)?);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => self.closed = true,
                Err(e) => return Err(e).context("cannot read from QEMU"),
            }
        }
        Ok(events)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    fn interpret(&mut self, message: Message) -> Result<Option<GuestEvent>> {
        Ok(match message {
            Message::Greeting => None,
            Message::Answer { id, result: Ok(value) } => match id.as_deref() {
                Some(FIRST_CONT) => Some(GuestEvent::Started),
                Some("ping") => Some(run_state(&value).unwrap_or(GuestEvent::Alive)),
                Some(CONNECTIONS_ID) => {
                    Some(GuestEvent::Connections(usernet::connections(value.as_str().unwrap_or_default())))
                }
                _ => None,
            },
            // One without a network of its own has none.
            Message::Answer { id: Some(id), result: Err(_) } if id == CONNECTIONS_ID => {
                Some(GuestEvent::Connections(Vec::new()))
            }
            Message::Answer { id, result: Err(why) } => {
                Some(GuestEvent::Refused(format!("{}: {why}", id.as_deref().unwrap_or("a command"))))
            }
            Message::Event { name, data } => match name.as_str() {
                // Why it stopped is in the run state alone.
                "STOP" => {
                    self.ask(Ask::Ping)?;
                    None
                }
                "RESUME" => Some(GuestEvent::Resumed),
                "GUEST_PANICKED" => Some(GuestEvent::Panicked),
                "SHUTDOWN" => Some(GuestEvent::Shutdown(match data.get("reason").and_then(Value::as_str) {
                    Some("guest-shutdown") => Shutdown::PowerOff,
                    Some("guest-reset") => Shutdown::Reset,
                    Some("guest-panic") => return Ok(Some(GuestEvent::Panicked)),
                    _ => Shutdown::Host,
                })),
                _ => None,
            },
        })
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// What the answer to query-status says beyond being an answer.
fn run_state(value: &Value) -> Option<GuestEvent> {
    match value.get("status").and_then(Value::as_str)? {
        "paused" => Some(GuestEvent::Paused),
        "guest-panicked" => Some(GuestEvent::Panicked),
        "internal-error" => Some(GuestEvent::Broken("QEMU met an internal error running the guest".into())),
        "io-error" => Some(GuestEvent::Broken("QEMU met an I/O error".into())),
        _ => None,
    }
}

/// A request in as few bytes as it takes: QEMU reads them one by one.
fn request(command: &str, id: &str) -> String {
    if id.is_empty() {
        return format!("{{\"execute\":\"{command}\"}}");
    }
    format!("{{\"execute\":\"{command}\",\"id\":\"{id}\"}}")
}

/// A connection to the control socket of another process's QEMU.
///
/// QEMU serves one such client at a time: a second one waits for the greeting until the first is done.
#[derive(Debug)]
pub(super) struct Client {
    stream: UnixStream,
    lines: Lines,
    queue: std::collections::VecDeque<Message>,
}

impl Client {
    pub(super) fn connect(path: &Path) -> Result<Self> {
        let cannot = || format!("cannot reach QEMU at {}", path.display());
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Error::new("not a file name").context(cannot()));
        };
        let dir = File::open(dir).with_context(cannot)?;
        // The directory may be in a guest's hands that broke out: a link there leads to another machine's socket.
        let how = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let socket = File::from(openat(&dir, name, how, Mode::empty()).with_context(cannot)?);
        if !socket.metadata().with_context(cannot)?.file_type().is_socket() {
            return Err(Error::new("it is not a socket").context(cannot()));
        }
        let path = Path::new(crate::paths::OWN_FDS).join(socket.as_raw_fd().to_string());
        let stream = UnixStream::connect(path).with_context(cannot)?;
        let mut client = Self { stream, lines: Lines::default(), queue: std::collections::VecDeque::new() };
        let deadline = Instant::now() + DEADLINE;
        while client.next(deadline, "greeting")? != Message::Greeting {}
        client.execute("qmp_capabilities")?;
        Ok(client)
    }

    fn execute(&mut self, command: &str) -> Result<Value> {
        let deadline = Instant::now() + DEADLINE;
        self.stream
            .write_all(request(command, command).as_bytes())
            .with_context(|| format!("cannot send {command} to QEMU"))?;
        loop {
            match self.next(deadline, command)? {
                Message::Answer { id: Some(id), result } if id == command => {
                    return result.map_err(|why| Error::new(format!("QEMU refused {command}: {why}")));
                }
                _ => {}
            }
        }
    }

    fn next(&mut self, deadline: Instant, what: &str) -> Result<Message> {
        loop {
            if let Some(message) = self.queue.pop_front() {
                return Ok(message);
            }
            let late = || Error::of(Kind::Timeout, format!("QEMU did not answer ({what}) within {DEADLINE:?}"));
            let left = deadline.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()).ok_or_else(late)?;
            self.stream.set_read_timeout(Some(left)).context("cannot set a deadline")?;
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(Error::new("QEMU closed its control socket")),
                Ok(n) => {
                    for line in self.lines.push(&buffer[..n])? {
                        self.queue.push_back(parse(&line)?);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(late()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e).context("cannot read from QEMU"),
            }
        }
    }
}

impl Control for Client {
    fn pause(&mut self) -> Result<()> {
        self.execute("stop").map(drop)
    }

    fn resume(&mut self) -> Result<()> {
        self.execute("cont").map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages() {
        assert_eq!(parse(br#"{"QMP": {"version": {}, "capabilities": ["oob"]}}"#).unwrap(), Message::Greeting);
        assert_eq!(
            parse(br#"{"return": {}, "id": "run"}"#).unwrap(),
            Message::Answer { id: Some("run".into()), result: Ok(Value::Object(Default::default())) }
        );
        assert!(matches!(
            parse(br#"{"id":"x","error": {"class": "GenericError", "desc": "no"}}"#).unwrap(),
            Message::Answer { result: Err(why), .. } if why == "no"
        ));
        assert!(
            matches!(parse(br#"{"event":"STOP","timestamp":{}}"#).unwrap(), Message::Event { name, .. } if name == "STOP")
        );
        assert!(parse(b"{}").is_err() && parse(b"\xff").is_err());
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_they_arrive(text in "[a-z\n]{0,60}", cut in 0usize..60) {
            let bytes = text.as_bytes();
            let cut = cut.min(bytes.len());
            let whole = Lines::default().push(bytes).unwrap();
            let mut lines = Lines::default();
            let mut parts = lines.push(&bytes[..cut]).unwrap();
            parts.extend(lines.push(&bytes[cut..]).unwrap());
            prop_assert_eq!(parts, whole);
        }

        #[test]
        fn parsing_never_panics(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
