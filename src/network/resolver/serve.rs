//! `kraft net serve`: holds one network's server until it is told to end, and starts it again when it dies.
//!
//! ```text
//! starting --it answers--> serving --it dies--> waiting --0.1 s, then twice as long, up to 10 s--> starting
//! ```
//!
//! The manager hears READY=1 when the server answers, or when it turns out that it does not: a machine does not wait for
//! names that are not to be had.

use std::fs::{File, OpenOptions};
use std::net::IpAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use nix::fcntl::FcntlArg;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use sd_notify::NotifyState;

use super::output::Lines;
use super::probe::Probe;
use super::{PROGRAM, Place, names, orphan};
use crate::error::{Context as _, Result};
use crate::machine::NetworkName;
use crate::network::Network;
use crate::paths::Paths;
use crate::process;
use crate::signals::Signals;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// One that lived this long was all right.
const ALL_RIGHT: Duration = Duration::from_secs(60);
/// A server that has not answered by then does not.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// When it ends. Until then it stands by where another process serves the network: that one may end earlier, as a unit
/// does with the last machine of systemd's, or be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// When it is told.
    OnRequest,
    /// Also when no machine is announced any more. There is one such process at a time.
    WithLastMachine,
}

/// Serves the names of a network that is up. `hold_off` locks the host's network.
///
/// # Errors
/// When this process cannot do its part. That the server fails is no error: it is started again.
pub fn serve<L>(paths: &Paths, network: &Network, end: End, hold_off: impl Fn() -> Result<L>) -> Result<()> {
    let signals = Signals::block()?;
    let place = Place::of(paths, &network.name);
    names::make(&place)?;
    let file = open(&place.lock())?;
    let watch = watch(&place)?;
    let standby = open(&place.standby())?;
    match end {
        End::OnRequest => {}
        End::WithLastMachine if !lock(&standby)? => return Ok(()),
        // The last one may have gone before anybody watched.
        End::WithLastMachine if is_over(end, &place, &watch, &hold_off)? => return Ok(()),
        End::WithLastMachine => {}
    }
    while !lock(&file)? {
        tell(&network.name, "another process serves it");
        if is_called_off(end, &place, &signals, &watch, &hold_off)? {
            return Ok(());
        }
    }
    if let Err(error) = super::check() {
        log::warn!("{error}{}", error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default());
        tell(&network.name, "dnsmasq is not installed");
        return Ok(());
    }
    orphan::end(&place)?;
    let Some(gateway) = network.gateways().next() else { return Ok(()) };
    let mut server = Server {
        network,
        gateway,
        place,
        phase: Phase::Waiting(Instant::now()),
        pause: FIRST_PAUSE,
        complained: false,
        told: false,
    };
    loop {
        server.due(Instant::now());
        let ready = server.wait(&signals, &watch)?;
        if ready.signal && signals.take()?.is_some() {
            return Ok(());
        }
        if ready.names && is_over(end, &server.place, &watch, &hold_off)? {
            return Ok(());
        }
    }
}

/// Waits for news while another process serves the network. Returns whether this one is not needed any more.
fn is_called_off<L>(
    end: End,
    place: &Place,
    signals: &Signals,
    watch: &Inotify,
    hold_off: impl Fn() -> Result<L>,
) -> Result<bool> {
    let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
        Err(errno) => return Err(errno).context("cannot wait"),
    }
    Ok((fds[0].any() == Some(true) && signals.take()?.is_some()) || is_over(end, place, watch, hold_off)?)
}

/// No machine is announced any more, and that is an end. Takes in what was watched.
fn is_over<L>(end: End, place: &Place, watch: &Inotify, hold_off: impl Fn() -> Result<L>) -> Result<bool> {
    let _ = watch.read_events();
    if end == End::OnRequest || !names::is_empty(place) {
        return Ok(false);
    }
    let _nobody_comes = hold_off()?;
    Ok(names::is_empty(place))
}

/// Whether a process serves the network.
pub(super) fn is_served(place: &Place) -> Result<bool> {
    is_locked(&place.lock())
}

/// Whether there is a process that serves the network with the last machine, or will once nobody else does.
pub(super) fn has_standby(place: &Place) -> Result<bool> {
    is_locked(&place.standby())
}

fn is_locked(path: &Path) -> Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e).with_context(|| format!("cannot open {}", path.display())),
    };
    let mut lock = whole_file();
    nix::fcntl::fcntl(file.as_fd(), FcntlArg::F_GETLK(&mut lock)).context("cannot tell who serves the network")?;
    Ok(lock.l_type != nix::libc::F_UNLCK as nix::libc::c_short)
}

fn open(path: &Path) -> Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
    file.with_context(|| format!("cannot open {}", path.display()))
}

/// Takes a lock, until the file is closed. False if another process has it.
fn lock(file: &File) -> Result<bool> {
    match nix::fcntl::fcntl(file.as_fd(), FcntlArg::F_SETLK(&whole_file())) {
        Ok(_) => Ok(true),
        Err(nix::errno::Errno::EACCES | nix::errno::Errno::EAGAIN) => Ok(false),
        Err(errno) => Err(errno).context("cannot lock the names of a network"),
    }
}

fn whole_file() -> nix::libc::flock {
    nix::libc::flock {
        l_type: nix::libc::F_WRLCK as nix::libc::c_short,
        l_whence: nix::libc::SEEK_SET as nix::libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Tells of machines that go, and of the end of who serves the network: it closes its lock.
fn watch(place: &Place) -> Result<Inotify> {
    let cannot = "cannot watch the machines of a network";
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).context(cannot)?;
    let gone = AddWatchFlags::IN_DELETE | AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVED_FROM;
    inotify.add_watch(&place.hosts(), gone).context(cannot)?;
    inotify.add_watch(&place.lock(), AddWatchFlags::IN_CLOSE_WRITE).context(cannot)?;
    Ok(inotify)
}

/// Tells the manager how it came out: who waits for the names of this network need not any more.
pub fn tell(network: &NetworkName, status: &str) {
    let status = format!("names of network {network}: {status}");
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&status)]) {
        log::debug!("cannot notify the manager: {error}");
    }
}

/// The server's arguments: nothing comes from a configuration of the host's.
fn arguments(network: &Network, place: &Place) -> Vec<String> {
    let mut arguments: Vec<String> = [
        "--conf-file=/dev/null",
        "--keep-in-foreground",
        "--log-facility=-",
        // The bridge may go and come back.
        "--bind-dynamic",
        "--except-interface=lo",
        "--no-hosts",
        "--domain-needed",
    ]
    .map(str::to_owned)
    .to_vec();
    arguments.push(format!("--interface={}", network.bridge));
    arguments.push(format!("--hostsdir={}", place.hosts().display()));
    arguments.push(format!("--pid-file={}", place.pid().display()));
    if network.internal {
        // Nothing leaves an internal network, questions included: what is not known there does not exist.
        arguments.extend(["--no-resolv".into(), "--address=/#/".into()]);
    }
    arguments
}

struct Server<'a> {
    network: &'a Network,
    gateway: IpAddr,
    place: Place,
    phase: Phase,
    pause: Duration,
    /// It was said that it does not serve, and nothing since.
    complained: bool,
    /// The manager knows how it came out.
    told: bool,
}

enum Phase {
    /// It is to be started then.
    Waiting(Instant),
    Starting(Life, Probe),
    Serving(Life),
}

struct Life {
    child: Child,
    pidfd: OwnedFd,
    lines: Lines,
    since: Instant,
}

impl Drop for Life {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Default)]
struct Ready {
    signal: bool,
    names: bool,
}

impl Server<'_> {
    /// Does what is due.
    fn due(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Waiting(at) if now >= *at => match self.start(now) {
                Ok((life, probe)) => self.phase = Phase::Starting(life, probe),
                Err(error) => self.failed(&error.to_string(), now),
            },
            Phase::Starting(life, _) if now >= life.since + ANSWERS_WITHIN => {
                self.failed(&format!("dnsmasq has not answered within {ANSWERS_WITHIN:?}"), now);
            }
            Phase::Starting(_, probe) => probe.ask(now),
            Phase::Waiting(_) | Phase::Serving(_) => {}
        }
    }

    fn start(&self, now: Instant) -> Result<(Life, Probe)> {
        let cannot = "cannot run dnsmasq";
        let (reader, writer) = std::io::pipe().context(cannot)?;
        let probe = Probe::new(self.gateway, now)?;
        let lines = Lines::new(reader)?;
        let mut command = process::command(PROGRAM);
        command.args(arguments(self.network, &self.place)).stdout(std::process::Stdio::null()).stderr(writer);
        process::die_with_parent(&mut command);
        let child = command.spawn().context(cannot)?;
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).context(cannot)?;
        Ok((Life { child, pidfd, lines, since: now }, probe))
    }

    /// It does not serve. What is said the second time in a row is said to nobody.
    fn failed(&mut self, why: &str, now: Instant) {
        if !std::mem::replace(&mut self.complained, true) {
            log::warn!("names of network {} do not resolve for now: {why}", self.network.name);
        }
        if !self.told {
            self.told = true;
            tell(&self.network.name, why);
        }
        self.phase = Phase::Waiting(now + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// Waits for something and takes it in.
    fn wait(&mut self, signals: &Signals, names: &Inotify) -> Result<Ready> {
        let (life, probe, until) = match &mut self.phase {
            Phase::Waiting(at) => (None, None, Some(*at)),
            Phase::Starting(life, probe) => {
                let until = probe.due().min(life.since + ANSWERS_WITHIN);
                (Some(life), Some(probe), Some(until))
            }
            Phase::Serving(life) => (Some(life), None, None),
        };
        let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        let mut add = |fd| {
            fds.push(PollFd::new(fd, PollFlags::POLLIN));
            fds.len() - 1
        };
        let names = add(names.as_fd());
        let ends = life.as_ref().map(|life| (add(life.pidfd.as_fd()), add(life.lines.as_fd())));
        let probed = probe.as_ref().map(|probe| add(probe.as_fd()));
        let timeout = match until {
            None => PollTimeout::NONE,
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
                PollTimeout::try_from(i32::try_from(left).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::MAX)
            }
        };
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("cannot wait"),
        }
        let at = |index: Option<usize>| index.is_some_and(|index| fds[index].any() == Some(true));
        let ready = Ready { signal: at(Some(0)), names: at(Some(names)) };
        let (died, said, answered) = (at(ends.map(|ends| ends.0)), at(ends.map(|ends| ends.1)), at(probed));
        drop(fds);
        if said || died {
            self.hear();
        }
        if died {
            self.died();
        } else if answered {
            self.answered();
        }
        Ok(ready)
    }

    fn hear(&mut self) {
        if let Phase::Starting(life, _) | Phase::Serving(life) = &mut self.phase {
            let lines = life.lines.read();
            // Those of one that does not come up are known.
            if !self.complained {
                lines.iter().for_each(|line| log::warn!("dnsmasq: {line}"));
            }
        }
    }

    fn died(&mut self) {
        let now = Instant::now();
        if let Phase::Starting(life, _) | Phase::Serving(life) = &mut self.phase {
            let status = life.child.wait().map_or_else(|e| e.to_string(), |status| status.to_string());
            if now.saturating_duration_since(life.since) > ALL_RIGHT {
                self.pause = FIRST_PAUSE;
            }
            let why = life.lines.complaint.take().unwrap_or_else(|| format!("dnsmasq ended: {status}"));
            self.failed(&why, now);
        }
    }

    fn answered(&mut self) {
        let answered = matches!(&self.phase, Phase::Starting(_, probe) if probe.answered());
        if !answered {
            return;
        }
        if let Phase::Starting(life, _) = std::mem::replace(&mut self.phase, Phase::Waiting(Instant::now())) {
            if std::mem::take(&mut self.complained) {
                log::warn!("names of network {} resolve again", self.network.name);
            }
            self.phase = Phase::Serving(life);
            self.told = true;
            tell(&self.network.name, &format!("served at {}", self.gateway));
        }
    }
}
