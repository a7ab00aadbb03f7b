//! Machines without systemd: each has a detached runner, found again by the lock that it holds.

mod launch;
mod logs;
mod stop;
mod watch;

use std::time::Duration;

use crate::error::{Context as _, Error, Kind, Result};
use crate::lifecycle::{self, Cause, EventKind, EventLog};
use crate::machine::{
    Change, Changes, Event, Liveness, LogQuery, Logs, MachineName, MachineService, Manager, Next, Phase, Progress,
    Record, Spec, State, Status, StopMode, View, Watch, next,
};
use crate::network;
use crate::platform;
use crate::store::Store;

/// How long a runner may take to see what its VMM was told.
const SEEN_WITHIN: Duration = Duration::from_secs(10);
/// The longest back-off, and what a guest may take after it until it runs.
const RESTARTED_WITHIN: Duration = Duration::from_secs(150);

/// The machine service of the local manager. It also keeps the records of machines that another manager runs, and
/// pauses them, as that is a matter of the VMM alone.
#[derive(Debug, Clone)]
pub struct LocalService {
    store: Store,
}

impl LocalService {
    /// The service over these records.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Gives a machine another definition under its name. The addresses that are left open stay as they were.
    ///
    /// # Errors
    /// When there can be no such machine; then nothing was changed.
    pub fn redefine(&self, mut record: Record, old: &Record) -> Result<()> {
        let name = record.spec.name.clone();
        let cannot = || format!("cannot change {name}");
        record.spec.validate().with_context(cannot)?;
        let vmm = platform::vmm(record.spec.platform);
        vmm.check(&record.spec, &self.store.paths().runtime).with_context(cannot)?;
        let open = record.clone();
        for new in &mut record.spec.networks {
            let before = old.spec.networks.iter().find(|old| old.network == new.network && old.foreign == new.foreign);
            if let Some(before) = before.filter(|_| new.ip.addresses().next().is_none()) {
                (new.ip.ipv4, new.ip.ipv6) = (before.ip.ipv4, before.ip.ipv6);
                new.mac = new.mac.or(before.mac);
            }
        }
        let addresses = network::settle(&self.store, &mut record).or_else(|_| {
            // The network is another one by now: its addresses are not these.
            record = open;
            network::settle(&self.store, &mut record)
        });
        let _addresses = addresses?;
        self.store.redefine(&record)?;
        EventLog::of(&self.store).append(EventKind::Update, &record, None);
        Ok(())
    }

    fn view(&self, record: Record) -> Result<View> {
        let name = &record.spec.name;
        let mut status = self.store.status(name)?;
        let runner = self.store.runner(name)?;
        if runner.is_none() && record.manager == Manager::Local && status.as_ref().is_some_and(is_unfinished) {
            // Nobody else cleans up after a local runner that was killed. Who may not write sees it all the same.
            match lifecycle::sweep(&self.store, &record, &Cause::Gone) {
                Ok(_) => status = self.store.status(name)?,
                Err(error) => log::debug!("cannot sweep {name}: {error}"),
            }
        }
        let exit = self.store.last_exit(name)?;
        let liveness = liveness(runner.is_some(), status.as_ref());
        Ok(View::new(record, liveness, status, exit))
    }

    fn view_of(&self, name: &MachineName) -> View {
        let record = match self.store.read(name) {
            Ok(record) => record,
            Err(problem) => return View::unknown(name.clone(), problem),
        };
        // What the record says is shown even where its status cannot be read.
        self.view(record.clone())
            .unwrap_or_else(|problem| View::new(record, Liveness::Down, None, None).with_problem(problem))
    }

    /// The machine, if its condition can be told.
    fn known(&self, name: &MachineName) -> Result<View> {
        let view = self.get(name)?;
        match view.problem {
            Some(problem) => Err(problem),
            None => Ok(view),
        }
    }

    fn control(&self, view: &View) -> Result<Box<dyn platform::Control>> {
        let record = view.record.as_ref().ok_or_else(|| unreadable(view))?;
        platform::vmm(record.spec.platform).attach(&self.store.control_socket(&view.name))
    }

    /// Waits until the runner says that the machine is in a state.
    fn until(&self, name: &MachineName, state: State, limit: Duration) -> Result<View> {
        let mut last = None;
        for view in watch::Follow::new(self.clone(), Some(std::slice::from_ref(name)))?.within(limit) {
            let view = view?;
            if view.state == state || !view.state.is_live() {
                return Ok(view);
            }
            last = Some(view);
        }
        last.ok_or_else(|| Error::new(format!("cannot follow {name}")))
    }
}

fn unreadable(view: &View) -> Error {
    view.problem.clone().unwrap_or_else(|| Error::new(format!("the record of {} cannot be read", view.name)))
}

/// What a start may take longer than until the guest runs.
fn until_ready(view: &View) -> Duration {
    let spec = view.record.as_ref().map(|record| &record.spec);
    let limit = spec.and_then(|spec| Some(spec.ready_limit(Manager::Local)?.saturating_add(spec.stop_timeout())));
    limit.unwrap_or_default()
}

fn is_unfinished(status: &Status) -> bool {
    match status.phase {
        Phase::Starting | Phase::Running | Phase::Paused | Phase::Stopping | Phase::Restarting => true,
        Phase::Ended => false,
    }
}

/// Its runner is on its way out.
fn is_ending(status: &Status) -> bool {
    match status.phase {
        Phase::Stopping | Phase::Ended => true,
        Phase::Starting | Phase::Running | Phase::Paused | Phase::Restarting => false,
    }
}

fn liveness(runner: bool, status: Option<&Status>) -> Liveness {
    if !runner {
        return Liveness::Down;
    }
    match status.map(|status| status.phase) {
        // Its first act is to write one: then somebody removed it.
        None => Liveness::Up,
        Some(Phase::Starting) => Liveness::Starting,
        Some(Phase::Restarting) => Liveness::Waiting,
        Some(Phase::Running | Phase::Paused) => Liveness::Up,
        Some(Phase::Stopping | Phase::Ended) => Liveness::Stopping,
    }
}

impl MachineService for LocalService {
    fn create(&self, mut record: Record) -> Result<View> {
        record.spec.validate()?;
        enforceable(&record).with_context(|| format!("cannot create {}", record.spec.name))?;
        platform::vmm(record.spec.platform)
            .check(&record.spec, &self.store.paths().runtime)
            .with_context(|| format!("cannot create {}", record.spec.name))?;
        // Held until the record is there to say what the machine was given.
        let _addresses = network::settle(&self.store, &mut record)?;
        self.store.create(&record)?;
        EventLog::of(&self.store).append(EventKind::Create, &record, None);
        Ok(View::new(record, Liveness::Down, None, None))
    }

    fn create_and_start(&self, record: Record) -> Result<View> {
        let record = self.create(record)?.record.ok_or_else(|| Error::new("a new machine without a record"))?;
        self.start(&record.spec.name)
            .inspect_err(|_| self.store.take_back(&record, |name| MachineService::delete(self, name)))
    }

    fn start(&self, name: &MachineName) -> Result<View> {
        let cannot = || format!("cannot start {name}");
        let mut view = self.known(name).with_context(cannot)?;
        if view.state == State::Running && view.status.as_ref().is_some_and(is_ending) {
            let own = view.record.as_ref().map(|record| record.spec.stop_timeout());
            stop::await_end(&self.store, name, own.unwrap_or_default()).with_context(cannot)?;
            view = self.known(name).with_context(cannot)?;
        }
        match next(view.state, Event::Start).map_err(|denied| denied.into_error(name))? {
            Next::Already => Ok(view),
            Next::To(_) if view.state == State::Paused => {
                self.control(&view)
                    .and_then(|mut vmm| vmm.resume())
                    .with_context(|| format!("cannot resume {name}"))?;
                self.until(name, State::Running, SEEN_WITHIN)
            }
            // The runner is there already and starts the guest by itself.
            Next::To(_) if view.state == State::Restarting => {
                self.until(name, State::Running, RESTARTED_WITHIN.saturating_add(until_ready(&view)))
            }
            Next::To(_) => {
                launch::launch(&self.store, name, until_ready(&view))?;
                self.get(name)
            }
        }
    }

    fn pause(&self, name: &MachineName) -> Result<View> {
        let view = self.known(name).with_context(|| format!("cannot pause {name}"))?;
        match next(view.state, Event::Pause).map_err(|denied| denied.into_error(name))? {
            Next::Already => Ok(view),
            Next::To(_) => {
                self.control(&view).and_then(|mut vmm| vmm.pause()).with_context(|| format!("cannot pause {name}"))?;
                self.until(name, State::Paused, SEEN_WITHIN)
            }
        }
    }

    fn stop(&self, name: &MachineName, mode: StopMode) -> Result<View> {
        stop::stop(&self.store, name, mode).with_context(|| format!("cannot stop {name}"))?;
        self.get(name).or_else(|error| View::gone(name, error))
    }

    fn update(&self, name: &MachineName, changes: &Changes) -> Result<Vec<Change>> {
        let mut record = self.store.read(name)?;
        let settings = apply(&mut record.spec, changes);
        record.spec.validate().with_context(|| format!("cannot update {name}"))?;
        enforceable(&record).with_context(|| format!("cannot update {name}"))?;
        self.store.replace(&record)?;
        EventLog::of(&self.store).append(EventKind::Update, &record, None);
        let up = self.store.runner(name)?.is_some();
        let progress = |when| if up { when } else { Progress::Live };
        Ok(settings.into_iter().map(|(setting, when)| Change { setting, progress: progress(when) }).collect())
    }

    fn delete(&self, name: &MachineName) -> Result<()> {
        // A record that cannot be read does not keep the machine from being removed.
        let record = match self.store.read(name) {
            Ok(record) => Some(record),
            Err(error) if error.kind() == Kind::Newer => return Err(error.context(format!("cannot remove {name}"))),
            Err(_) => None,
        };
        let _locked_out = stop::stop_for_good(&self.store, name).with_context(|| format!("cannot stop {name}"))?;
        // Whoever ended it may have been killed before this. Without a record nobody finds it any more but the doctor.
        for error in record.iter().flat_map(|record| lifecycle::detach(&self.store, record)) {
            log::warn!("{error}");
        }
        self.store.remove(name)?;
        if let Some(record) = record {
            EventLog::of(&self.store).append(EventKind::Remove, &record, None);
        }
        Ok(())
    }

    fn get(&self, name: &MachineName) -> Result<View> {
        match self.store.read(name) {
            Err(error) if error.kind() == Kind::NoSuchMachine => Err(error),
            _ => Ok(self.view_of(name)),
        }
    }

    fn list(&self) -> Result<Vec<View>> {
        let views = self.store.names()?.into_iter().map(|name| self.view_of(&name));
        // One that was removed since its name was read is not there, and not unknown.
        let gone = |view: &View| view.problem.as_ref().is_some_and(|why| why.kind() == Kind::NoSuchMachine);
        Ok(views.filter(|view| !gone(view)).collect())
    }

    fn watch(&self, names: Option<&[MachineName]>) -> Result<Watch> {
        Ok(Box::new(watch::Follow::new(self.clone(), names)?))
    }

    fn logs(&self, name: &MachineName, query: &LogQuery) -> Result<Logs> {
        self.store.read(name)?;
        Ok(Box::new(logs::ConsoleLog::open(&self.store.console_log(name), query)?))
    }
}

/// Limits are kept by systemd alone.
fn enforceable(record: &Record) -> Result<()> {
    match record.manager {
        Manager::Local => record.spec.limits.need_systemd(),
        Manager::Systemd => Ok(()),
    }
}

/// Changes a spec; says which settings changed and when that counts for a running machine.
fn apply(spec: &mut Spec, changes: &Changes) -> Vec<(String, Progress)> {
    let mut changed = Vec::new();
    let mut note = |setting: &str, when| changed.push((setting.to_owned(), when));
    if let Some(memory) = changes.memory {
        spec.memory = memory;
        note("memory", Progress::NeedsRestart);
    }
    if let Some(cpus) = changes.cpus {
        spec.cpus = cpus;
        note("cpus", Progress::NeedsRestart);
    }
    if let Some(restart) = changes.restart {
        spec.restart = restart;
        note("restart", Progress::NeedsRestart);
    }
    if let Some(sandbox) = changes.sandbox {
        spec.sandbox = sandbox;
        note("sandbox", Progress::NeedsRestart);
    }
    if let Some(timeout) = changes.stop_timeout {
        spec.stop_timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        note("stop-timeout", Progress::NeedsRestart);
    }
    for (key, value) in &changes.labels {
        if value.is_empty() {
            spec.labels.remove(key);
        } else {
            spec.labels.insert(key.clone(), value.clone());
        }
        note(&format!("label {key}"), Progress::Live);
    }
    for limit in &changes.limits {
        spec.limits.set(limit.clone());
        note(limit.name(), Progress::Live);
    }
    for property in &changes.properties {
        let key = property.split('=').next().unwrap_or(property);
        spec.properties.retain(|old| old.split('=').next() != Some(key));
        spec.properties.push(property.clone());
        note(&format!("property {key}"), Progress::NeedsRestart);
    }
    changed
}
