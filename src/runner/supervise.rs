//! One life of a guest: started, watched, brought to its end when asked.

mod probes;

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use log::Level;
use nix::poll::{PollFd, PollFlags, poll};

use super::complaints::Complaints;
use super::console::Console;
use super::expiry::Expiry;
use super::heartbeat::{Beat, Heartbeat};
use super::notify::Notifier;
use super::oom::oom_kills;
use super::probe::{Prober, Readiness};
use super::wait::timeout;
use crate::error::{Context as _, Result};
use crate::lifecycle::{self, Attached, EventKind, EventLog, Handover, Step, Stopping};
use crate::logging::message;
use crate::machine::{Exit, Manager, Phase, Reason, Record, Status};
use crate::platform::{self, Ask, Files, Guest, GuestEvent, KnownKvm, Launch, Output, Vmm};
use crate::signals::Signals;
use crate::store::Store;
use crate::volume::virtiofsd::Virtiofsd;

use probes::{Ill, ended_unready, probes};

/// A VMM that has not got the guest to run by then never will.
const START_WITHIN: Duration = Duration::from_secs(60);

pub(super) struct Supervisor<'a> {
    pub(super) store: &'a Store,
    pub(super) record: &'a Record,
    pub(super) status: &'a mut Status,
    pub(super) signals: &'a Signals,
    pub(super) notifier: &'a Notifier,
    /// When the status file had the count of health probes last.
    pub(super) told: Option<Instant>,
}

/// What a runner has of its machine's things.
pub(super) enum Given {
    /// It makes them itself, and takes them back.
    Nothing,
    /// They were handed to it, and are taken back by others.
    Prepared(Box<Handover>),
}

/// What is known of the guest's life so far.
struct Life {
    guest: Box<dyn Guest>,
    /// They are of use as long as the guest lives.
    servers: Vec<Virtiofsd>,
    console: Console,
    complaints: Complaints,
    events: Vec<GuestEvent>,
    stopping: Option<Stopping>,
    /// The guest broke down: its VMM is being ended for that, not on request.
    broken: bool,
    /// The guest is being ended for this, which its probes showed.
    ill: Option<Ill>,
    prober: Prober,
    start_by: Instant,
    heartbeat: Heartbeat,
    expiry: Expiry,
}

impl Supervisor<'_> {
    /// Starts the guest and returns how it ended.
    pub(super) fn run(mut self, mut console: Console, given: Given) -> Result<Exit> {
        let spec = &self.record.spec;
        let vmm = platform::vmm(spec.platform);
        let ooms = oom_kills();
        let prober = Prober::new(spec, spec.ready_limit(self.record.manager))?;
        let (complaints, writer) = std::io::pipe().context("cannot make a pipe for the VMM")?;
        let output = Output { console: console.take_writer(), complaints: writer.into() };
        let control = self.store.control_socket(&spec.name);
        let cache = &self.store.paths().runtime;
        let (attached, files, kvm, confined) = match given {
            Given::Nothing => {
                (lifecycle::attach(self.store, self.record)?, Files::default(), KnownKvm::Cached(cache), false)
            }
            Given::Prepared(mut given) => {
                let (attached, files) = given.attached(self.store)?;
                (attached, files, KnownKvm::Told(given.kvm()), true)
            }
        };
        let Attached { nics, shares, servers, secrets, initrd } = attached;
        let write_xor_execute = confined;
        let launch =
            Launch { spec, control: &control, nics, shares, secrets, initrd, files, kvm, write_xor_execute, output };
        let detach = || {
            if !confined {
                self.detach();
            }
        };
        let guest = vmm.spawn(launch).inspect_err(|_| detach())?;
        self.status.vmm_pid = Some(guest.pid());
        let now = Instant::now();
        let life = Life {
            guest,
            servers,
            console,
            complaints: Complaints::new(complaints),
            events: Vec::new(),
            stopping: None,
            broken: false,
            ill: None,
            prober,
            start_by: now + START_WITHIN,
            heartbeat: Heartbeat::new(self.notifier.watchdog(), now),
            expiry: Expiry::new(spec.runtime_max()),
        };
        let exit = self.watch(&*vmm, life);
        let _ = std::fs::remove_file(control);
        if !confined {
            self.detach();
        }
        let mut exit = exit?;
        if matches!(exit.reason, Reason::Signal | Reason::StartFailed) && oom_kills() > ooms {
            exit.reason = Reason::Oom;
            exit.code = 137;
            exit.detail = "the VMM was killed because memory ran out".into();
        }
        Ok(exit)
    }

    fn detach(&self) {
        for error in lifecycle::detach(self.store, self.record) {
            log::warn!("{error}");
        }
    }

    fn watch(&mut self, vmm: &dyn Vmm, mut life: Life) -> Result<Exit> {
        loop {
            let ready = wait_for_something(self.signals, &life)?;
            if ready.signal {
                while self.signals.take()?.is_some() {
                    self.stop_requested(vmm, &mut life)?;
                }
            }
            if ready.console {
                life.console.pump();
            }
            if ready.complaints {
                life.complaints.read();
            }
            if ready.monitor {
                self.hear(&mut life)?;
            }
            if ready.process {
                return self.ended(life);
            }
            if ready.server {
                self.unserved(&mut life)?;
            }
            self.probe(vmm, &mut life)?;
            self.due(vmm, &mut life)?;
        }
    }

    /// Takes in what the VMM says.
    fn hear(&mut self, life: &mut Life) -> Result<()> {
        let events = match life.guest.events() {
            Ok(events) => events,
            Err(error) => vec![GuestEvent::Broken(error.to_string())],
        };
        for event in events {
            match &event {
                GuestEvent::Started => {
                    self.started(life)?;
                    life.expiry.begin(Instant::now());
                }
                GuestEvent::Alive => {}
                GuestEvent::Paused => {
                    life.prober.pause();
                    self.turned(Phase::Paused)?;
                }
                GuestEvent::Resumed => {
                    life.prober.resume(Instant::now());
                    self.turned(Phase::Running)?;
                }
                GuestEvent::Connections(connections) => life.prober.answer(connections),
                GuestEvent::Panicked | GuestEvent::Broken(_) => self.broke(life, &event)?,
                GuestEvent::Shutdown(_) => {}
                GuestEvent::Refused(why) => {
                    log::warn!("the VMM refused {why}");
                    if self.status.phase == Phase::Starting && !life.prober.has_begun() {
                        life.events.push(GuestEvent::Broken(why.clone()));
                        self.end_vmm(life)?;
                    } else if let Some(stopping) = &mut life.stopping {
                        stopping.skip_grace(Instant::now());
                    }
                }
            }
            if life.heartbeat.heard(Instant::now()) {
                self.notifier.alive();
            }
            match event {
                GuestEvent::Alive | GuestEvent::Connections(_) => {}
                event => life.events.push(event),
            }
        }
        Ok(())
    }

    /// A program that served the guest is gone: what the guest has of it hangs for good.
    fn unserved(&mut self, life: &mut Life) -> Result<()> {
        // What the VMM said before.
        self.hear(life)?;
        let ending = |event: &GuestEvent| matches!(event, GuestEvent::Shutdown(_) | GuestEvent::Broken(_));
        let expected = life.stopping.is_some() || life.events.iter().any(ending);
        for mut server in std::mem::take(&mut life.servers) {
            match server.ended() {
                None => life.servers.push(server),
                Some(Some(why)) if !expected => {
                    let event = GuestEvent::Broken(why);
                    self.broke(life, &event)?;
                    life.events.push(event);
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// The guest runs.
    fn started(&mut self, life: &mut Life) -> Result<()> {
        let description = life.guest.description();
        self.status.accel = Some(description.accel.clone());
        self.status.machine_type = Some(description.machine_type.clone());
        self.status.exit = None;
        if life.prober.begin(Instant::now()) {
            self.ready(life)?;
        } else {
            self.waits(life)?;
        }
        if let Some(note) = &description.note {
            log::warn!(MESSAGE_ID = message::TRANSLATED;
                "{}: {note}; its instructions are translated", self.record.spec.name);
        }
        Ok(())
    }

    /// The guest was paused or goes on.
    fn turned(&mut self, phase: Phase) -> Result<()> {
        let event = match (self.status.phase, phase) {
            (Phase::Running, Phase::Paused) => EventKind::Pause,
            (Phase::Paused, Phase::Running) => EventKind::Unpause,
            _ => return Ok(()),
        };
        self.status.phase = phase;
        self.write_status()?;
        self.notifier.status(&match phase {
            Phase::Paused => "paused".to_owned(),
            _ => self.running_text(),
        });
        EventLog::of(self.store).append(event, self.record, None);
        Ok(())
    }

    /// The guest will not go on by itself: its VMM is ended.
    fn broke(&mut self, life: &mut Life, event: &GuestEvent) -> Result<()> {
        if life.broken {
            return Ok(());
        }
        let text = match event {
            GuestEvent::Broken(why) => why.clone(),
            _ => "the guest panicked".to_owned(),
        };
        // In the journal its end is a line of its own, which says the same.
        log::log!(self.level(Level::Debug, Level::Error), "{}: {text}", self.record.spec.name);
        self.notifier.status(&text);
        self.end_vmm(life)
    }

    fn end_vmm(&mut self, life: &mut Life) -> Result<()> {
        life.broken = true;
        let (stopping, step) = Stopping::begin(Duration::ZERO, false, Instant::now());
        life.stopping = Some(stopping);
        take_step(life, step)
    }

    /// Somebody asks for a stop, or asks once more.
    fn stop_requested(&mut self, vmm: &dyn Vmm, life: &mut Life) -> Result<()> {
        let request = self.store.take_stop_request(&self.record.spec.name);
        if life.ill.take().is_some() {
            self.status.phase = Phase::Stopping;
            self.write_status()?;
        }
        if let Some(stopping) = &mut life.stopping {
            match request {
                Some(request) => stopping.hurry(&request, Instant::now()),
                // A second Ctrl-C, or a second SIGTERM without a word: enough waiting.
                None => stopping.skip_grace(Instant::now()),
            }
            return Ok(());
        }
        let asked = request.as_ref().and_then(|request| request.timeout_ms).map(Duration::from_millis);
        life.expiry.cancel();
        self.stop(vmm, life, asked, request.is_some_and(|request| request.kill))
    }

    /// Begins to bring the guest to its end.
    fn stop(&mut self, vmm: &dyn Vmm, life: &mut Life, asked: Option<Duration>, kill: bool) -> Result<()> {
        let grace = self.grace(vmm, life, asked);
        if self.status.phase == Phase::Paused {
            life.guest.ask(Ask::Resume)?;
        }
        self.status.phase = Phase::Stopping;
        self.write_status()?;
        self.notifier.stopping("stopping", grace + Duration::from_secs(10));
        EventLog::of(self.store).append(EventKind::Stop, self.record, None);
        let (stopping, step) = Stopping::begin(grace, kill, Instant::now());
        life.stopping = Some(stopping);
        take_step(life, step)
    }

    /// Does what is due.
    fn due(&mut self, vmm: &dyn Vmm, life: &mut Life) -> Result<()> {
        let now = Instant::now();
        if life.stopping.is_none() && life.expiry.due(now) {
            log::info!("{}: its time is over", self.record.spec.name);
            self.stop(vmm, life, None, false)?;
        }
        if let Some(step) = life.stopping.as_mut().and_then(|stopping| stopping.advance(now)) {
            if step == Step::Quit {
                log::log!(self.level(Level::Warn, Level::Info), MESSAGE_ID = message::STOP_TIMED_OUT;
                    "{}: the guest did not shut down in time and is ended", self.record.spec.name);
            }
            take_step(life, step)?;
        }
        if !life.prober.has_begun() && now >= life.start_by && !life.broken {
            life.events.push(GuestEvent::Broken(format!("the guest did not run within {START_WITHIN:?}")));
            self.end_vmm(life)?;
        }
        match life.heartbeat.due(now) {
            Beat::Rest => {}
            Beat::Ping => life.guest.ask(Ask::Ping)?,
            // Under systemd its watchdog ends the unit and the sweep says why.
            Beat::Silent if self.record.manager == Manager::Systemd => {}
            Beat::Silent => {
                life.events.push(GuestEvent::Broken("the VMM did not answer any more".into()));
                life.broken = true;
                life.guest.kill()?;
            }
        }
        Ok(())
    }

    /// The VMM is gone: what it left to read is read, and the end is judged.
    fn ended(&mut self, mut life: Life) -> Result<Exit> {
        let status = life.guest.reap()?;
        self.hear(&mut life)?;
        while life.console.interest().is_some() {
            life.console.pump();
        }
        life.complaints.drain();
        let exit = life.guest.conclude(status, &life.events, life.complaints.last());
        if exit.reason != Reason::StartFailed {
            self.ran(&mut life)?;
        }
        let unready = life.prober.waits_for().map(Readiness::complaint);
        Ok(match (&life.ill, &life.stopping) {
            (Some(ill), _) if !life.broken => ill.exit(exit),
            (None, Some(stopping)) if !life.broken => {
                life.expiry.exit(exit.at).unwrap_or_else(|| on_request(exit, stopping.kill, unready))
            }
            _ if unready.is_some() => ended_unready(exit),
            _ => exit,
        })
    }

    fn write_status(&self) -> Result<()> {
        match self.store.write_status(&self.record.spec.name, self.status) {
            // A full disk does not end a guest.
            Err(error) if self.status.running_since.is_some() || self.status.waits_for.is_some() => {
                log::error!("{error}");
                Ok(())
            }
            result => result,
        }
    }

    /// How loud a line is in the journal, and how loud in front of a person.
    fn level(&self, journal: Level, terminal: Level) -> Level {
        match self.record.manager {
            Manager::Systemd => journal,
            Manager::Local => terminal,
        }
    }

    /// The line that `systemctl status` shows.
    fn running_text(&self) -> String {
        let spec = &self.record.spec;
        format!(
            "running: {} on {} ({}), {} CPU{}, {} of memory",
            spec.source_name(),
            self.status.machine_type.as_deref().unwrap_or("?"),
            self.status.accel.as_deref().unwrap_or("?"),
            spec.cpus,
            if spec.cpus == 1 { "" } else { "s" },
            spec.memory
        ) + &self.health_text()
    }
}

/// The end of a guest that somebody wanted ended, whatever its VMM made of it; with why it was not ready, if so.
fn on_request(exit: Exit, kill: bool, unready: Option<String>) -> Exit {
    let detail = match exit.reason {
        _ if unready.is_some() => unready.unwrap_or_default(),
        // One that was stopped before it ran has nothing to say either.
        Reason::Stopped | Reason::Finished | Reason::StartFailed => String::new(),
        Reason::Signal => "the VMM did not end and was killed".into(),
        _ => format!("the guest ended with code {}", exit.code),
    };
    match kill {
        true => Exit { reason: Reason::Killed, code: 137, detail: String::new(), ..exit },
        false => Exit { reason: Reason::Stopped, code: 0, detail, ..exit },
    }
}

fn take_step(life: &mut Life, step: Step) -> Result<()> {
    let asked = match step {
        Step::PowerButton => life.guest.ask(Ask::PowerButton),
        Step::Quit => life.guest.ask(Ask::Quit),
        Step::Kill => return life.guest.kill(),
    };
    // A VMM that takes no requests is ended without one.
    if let Err(error) = asked {
        log::warn!("{error}");
        return life.guest.kill();
    }
    Ok(())
}

/// Which descriptors have something.
#[derive(Debug, Default)]
struct Ready {
    signal: bool,
    process: bool,
    monitor: bool,
    console: bool,
    complaints: bool,
    server: bool,
}

fn wait_for_something(signals: &Signals, life: &Life) -> Result<Ready> {
    let now = Instant::now();
    let deadlines = [
        life.stopping.as_ref().map(Stopping::deadline),
        life.events.is_empty().then_some(life.start_by),
        Some(life.heartbeat.next()),
        life.expiry.next(),
        probes(life).and_then(Prober::next),
    ];
    let left =
        deadlines.into_iter().flatten().min().map(|at| at.saturating_duration_since(now)).unwrap_or(START_WITHIN);
    let readable = |fd| (fd, PollFlags::POLLIN);
    let all = [
        Some(readable(signals.as_fd())),
        Some(readable(life.guest.process())),
        life.guest.monitor().map(readable),
        life.console.interest(),
        life.complaints.fd().map(readable),
    ];
    let servers = life.servers.iter().map(Virtiofsd::process).map(readable);
    // Last, as it is looked at each time.
    let probe = probes(life).and_then(Prober::interest);
    let mut fds: Vec<PollFd<'_>> =
        all.iter().flatten().copied().chain(servers).chain(probe).map(|(fd, flags)| PollFd::new(fd, flags)).collect();
    match poll(&mut fds, timeout(left)) {
        Ok(_) => {}
        Err(nix::errno::Errno::EINTR) => return Ok(Ready::default()),
        Err(errno) => return Err(errno).context("cannot wait for the VMM"),
    }
    let mut results = fds.iter().map(|fd| fd.any().unwrap_or(true));
    let mut ready = |fd: &Option<_>| fd.is_some() && results.next().unwrap_or(false);
    Ok(Ready {
        signal: ready(&all[0]),
        process: ready(&all[1]),
        monitor: ready(&all[2]),
        console: ready(&all[3]),
        complaints: ready(&all[4]),
        server: life.servers.iter().any(|_| results.next().unwrap_or(false)),
    })
}
