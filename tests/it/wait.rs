//! Waiting for what is named, each wait with a deadline: the end of a command, what it said, the end of a process, a change
//! in a directory.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// The longest that anything in a test may take.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Its standard output, if it succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.out, self.err);
        self.out
    }

    /// Its one error, if it failed by this code. A failure is one clear line, perhaps with a hint.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        let errors: Vec<&str> = self.err.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "not one clear error: {}", self.err);
        errors[0].trim_start_matches("error: ").to_owned()
    }

    /// It ended by this code, which is another's and no failure of kraft: there is no error.
    #[track_caller]
    pub fn fails_quietly(self, code: i32) {
        assert_eq!((self.code, &*self.err), (code, ""), "stdout: {}", self.out);
    }

    /// The same for a failure whose cure is known: the error and its hint.
    #[track_caller]
    pub fn fails_with_hint(self, code: i32) -> (String, String) {
        let hint = self.err.lines().find_map(|line| line.strip_prefix("hint: ")).unwrap_or_default().to_owned();
        assert!(!hint.is_empty(), "no hint: {}", self.err);
        (self.fails(code), hint)
    }
}

/// Runs a command to its end, or kills it at the deadline.
#[track_caller]
pub fn finish(mut command: Command, within: Duration) -> Said {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be started");
    let (out, err) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let code = wait(&mut child, within);
    let said = |text: mpsc::Receiver<String>| text.recv_timeout(Duration::from_secs(5)).unwrap_or_default();
    let (out, err) = (said(out), said(err));
    let Some(code) = code else { panic!("{command:?} took longer than {within:?}\nstdout: {out}\nstderr: {err}") };
    Said { code, out, err }
}

fn collect(stream: Option<impl std::io::Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (send, text) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes);
        }
        let _ = send.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    text
}

/// The exit status, 128+N for a signal; `None` if it was killed at the deadline.
fn wait(child: &mut Child, within: Duration) -> Option<i32> {
    let ended = process_ends(child.id(), within);
    if !ended {
        let _ = child.kill();
    }
    let status = child.wait().expect("it is our child");
    ended.then(|| code_of(status))
}

/// The exit status, 128+N for a signal.
pub fn code_of(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Waits until a process is gone.
pub fn process_ends(pid: u32, within: Duration) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use std::os::fd::AsFd as _;
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
    let Ok(fd) = pidfd_open(pid, PidfdFlags::empty()) else { return true };
    let deadline = Instant::now() + within;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => panic!("poll: {errno}"),
        }
    }
}

/// Waits until something holds that shows as a change in one of these directories.
#[track_caller]
pub fn until_change(directories: &[PathBuf], what: &str, holds: impl FnMut() -> bool) {
    assert!(changes(directories, holds, DEADLINE), "waited {DEADLINE:?} for {what}");
}

fn changes(directories: &[PathBuf], mut holds: impl FnMut() -> bool, within: Duration) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd as _;
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).expect("there is inotify");
    for directory in directories.iter().filter(|directory| directory.exists()) {
        let interesting = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MODIFY;
        inotify.add_watch(directory, interesting).expect("a directory can be watched");
    }
    let deadline = Instant::now() + within;
    // Looked at after the watch is set, so that no change falls between.
    while !holds() {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(0) => return holds(),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => panic!("poll: {errno}"),
        }
        let _ = inotify.read_events();
    }
    true
}

/// Sends a signal to a process.
pub fn kill(pid: u64, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid"));
    nix::sys::signal::kill(pid, signal).expect("the process is there");
}
