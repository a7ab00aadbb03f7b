//! A program that a test talks with while it runs: its lines as they come, signals, its end.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::lab::{self, DEADLINE, Said};

/// A program under way. It does not outlive this.
#[derive(Debug)]
pub struct Talk {
    child: Child,
    out: mpsc::Receiver<String>,
    err: mpsc::Receiver<String>,
    said: String,
}

impl Talk {
    /// Starts it.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be started");
        let (out, err) = (lines(child.stdout.take()), lines(child.stderr.take()));
        Self { child, out, err, said: String::new() }
    }

    /// Waits until it prints a line with this in it.
    #[track_caller]
    pub fn until(&mut self, wanted: &str) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.out.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.said += &line;
                    if line.contains(wanted) {
                        return;
                    }
                }
                Err(_) => {
                    panic!("no line '{wanted}'; it said:\n{}{}", self.said, self.err.try_iter().collect::<String>())
                }
            }
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        lab::kill(self.child.id().into(), signal);
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(mut self) -> Said {
        assert!(lab::process_ends(self.child.id(), DEADLINE), "it does not end; it said:\n{}", self.said);
        let status = self.child.wait().expect("it is our child");
        let rest = |lines: &mpsc::Receiver<String>| -> String { lines.iter().collect() };
        let (out, err) = (std::mem::take(&mut self.said) + &rest(&self.out), rest(&self.err));
        Said { code: lab::code_of(status), out, err }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a stream, each with its end.
fn lines(stream: Option<impl std::io::Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (send, lines) = mpsc::channel();
    let mut reader = BufReader::new(stream.expect("it was piped"));
    std::thread::spawn(move || {
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            if send.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
            line.clear();
        }
    });
    lines
}
