//! `watch`: machines as they change. systemd says when a unit's properties change, which covers start, end, restart
//! and, by the runner's `STATUS=`, pause; the directory of records says when a machine comes or goes.
//!
//! A signal only says *that* something happened. The machine is looked at anew then, and shown if it is another.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::bus::{Either, MANAGER, Signal};
use super::failure::Failure;
use super::list::liveness_of;
use super::manager::{self, Manager};
use super::records::Records;
use super::service::SystemdService;
use super::unit;
use crate::error::{Kind, Result};
use crate::machine::{Exit, Liveness, MachineName, Manager as Keeper, State, View, Watch};
use crate::store::Store;

impl SystemdService {
    pub(super) fn watch_machines(&self, names: Option<&[MachineName]>) -> Result<Watch> {
        let (ours, others) = match names {
            None => (None, None),
            Some(names) => {
                let (mut ours, mut others) = (BTreeSet::new(), Vec::new());
                for name in names {
                    match self.ours(name)? {
                        Some(_) => drop(ours.insert(name.clone())),
                        None => others.push(name.clone()),
                    }
                }
                (Some(ours), Some(others))
            }
        };
        if ours.as_ref().is_some_and(BTreeSet::is_empty) {
            return self.inner.watch(names);
        }
        let mut following = Following::begin(self.store.clone(), self.scope, ours)?;
        if others.as_ref().is_none_or(|others| !others.is_empty()) {
            following.others = Some(pump(self.inner.watch(others.as_deref())?));
        }
        Ok(Box::new(following))
    }
}

/// Has a thread wait for another watch. It ends with that watch, or at its next item after nobody listens any more.
fn pump(watch: Watch) -> UnboundedReceiver<Result<View>> {
    let (items, receiver) = unbounded_channel();
    std::thread::spawn(move || {
        for item in watch {
            if items.send(item).is_err() {
                break;
            }
        }
    });
    receiver
}

struct Following {
    records: Records,
    others: Option<UnboundedReceiver<Result<View>>>,
    manager: Manager,
    store: Store,
    /// The machines asked for; `None` for all.
    names: Option<BTreeSet<MachineName>>,
    /// What was shown last of each of systemd's machines.
    shown: BTreeMap<MachineName, (State, Option<Exit>)>,
    ready: VecDeque<Result<View>>,
    ended: bool,
}

impl Following {
    /// Subscribes first and looks at the machines then, so that no change falls between.
    fn begin(store: Store, scope: crate::paths::Scope, names: Option<BTreeSet<MachineName>>) -> Result<Self> {
        let mut manager = Manager::new(scope);
        let bus = manager.bus()?;
        let changed = |place: String| {
            format!(
                "type='signal',sender='{MANAGER}',interface='org.freedesktop.DBus.Properties',member='PropertiesChanged',{place}"
            )
        };
        let rules: Vec<String> = match &names {
            None => vec![changed(format!("path_namespace='{}'", unit::UNITS))],
            Some(names) => names
                .iter()
                .map(|name| changed(format!("path='{}'", unit::object_path(&unit::service_name(name)))))
                .collect(),
        };
        bus.match_signals(&rules)?;
        bus.send(vec![manager::subscribe()])?;
        let records = bus.enter(|| Records::watch(store.machines()))?;
        let mut following = Self {
            records,
            others: None,
            manager,
            store,
            names,
            shown: BTreeMap::new(),
            ready: VecDeque::new(),
            ended: false,
        };
        let all = following.wanted()?;
        following.look(&all)?;
        Ok(following)
    }

    fn wanted(&self) -> Result<BTreeSet<MachineName>> {
        match &self.names {
            Some(names) => Ok(names.clone()),
            None => Ok(self.store.names()?.into_iter().collect()),
        }
    }

    /// Looks at machines and keeps those that are another than was shown.
    fn look(&mut self, names: &BTreeSet<MachineName>) -> Result<(), Failure> {
        let services: Vec<String> = names.iter().map(unit::service_name).collect();
        let patterns: Vec<&str> =
            if services.len() > 16 { vec![unit::SERVICES] } else { services.iter().map(String::as_str).collect() };
        if patterns.is_empty() {
            return Ok(());
        }
        let states: BTreeMap<String, _> =
            self.manager.list(&patterns)?.into_iter().map(|state| (state.name.clone(), state)).collect();
        for (name, service) in names.iter().zip(&services) {
            let view = match self.store.read(name) {
                Ok(record) if record.manager == Keeper::Systemd => {
                    let (status, exit) = (self.store.status(name), self.store.last_exit(name));
                    let problem = status.as_ref().err().or(exit.as_ref().err()).cloned();
                    let liveness = liveness_of(states.get(service));
                    // On its way out: what it comes to is told in a moment, by the next signal.
                    if liveness == Liveness::Stopping && self.shown.contains_key(name) {
                        continue;
                    }
                    let mut view = View::new(record, liveness, status.unwrap_or(None), exit.unwrap_or(None));
                    view.unit = Some(service.clone());
                    problem.into_iter().fold(view, View::with_problem)
                }
                Ok(_) => continue,
                Err(error) if error.kind() == Kind::NoSuchMachine && !self.shown.contains_key(name) => continue,
                Err(error) => View::unknown(name.clone(), error),
            };
            self.show(view);
        }
        Ok(())
    }

    fn show(&mut self, view: View) {
        if view.problem.as_ref().is_some_and(|problem| problem.kind() == Kind::NoSuchMachine) {
            self.shown.remove(&view.name);
            if let Some(names) = &mut self.names {
                names.remove(&view.name);
            }
            self.ready.push_back(Ok(view));
            return;
        }
        let now = (view.state, view.exit.clone());
        if self.shown.get(&view.name) != Some(&now) {
            self.shown.insert(view.name.clone(), now);
            self.ready.push_back(Ok(view));
        }
    }

    /// Waits for news of any kind, and takes what there is to show of it.
    fn advance(&mut self) -> Result<()> {
        let (records, others) = (&self.records, &mut self.others);
        let news = self.manager.bus()?.next_signal_or(async {
            let other = async {
                match others {
                    Some(others) => others.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = records.changed() => News::Records(changed),
                view = other => News::Other(view.map(Box::new)),
            }
        })?;
        match news {
            Either::Signal(Signal::Said(first)) => {
                let mut names: BTreeSet<MachineName> = self.machine_of(&first).into_iter().collect();
                let mut all = false;
                while let Some(signal) = self.manager.bus()?.queued_signal() {
                    match signal {
                        Signal::Said(message) => names.extend(self.machine_of(&message)),
                        Signal::ManagerChanged => all = true,
                    }
                }
                let names = if all { self.wanted()? } else { names };
                Ok(self.look(&names)?)
            }
            Either::Signal(Signal::ManagerChanged) => {
                let all = self.wanted()?;
                Ok(self.look(&all)?)
            }
            Either::Other(News::Records(changed)) => {
                let mut names = changed?;
                names.retain(|name| self.names.as_ref().is_none_or(|names| names.contains(name)));
                Ok(self.look(&names)?)
            }
            Either::Other(News::Other(None)) => {
                self.others = None;
                Ok(())
            }
            Either::Other(News::Other(Some(item))) => {
                let known = |name| self.shown.contains_key(name);
                match *item {
                    // systemd's machines are followed here.
                    Ok(view) if view.manager() == Some(Keeper::Systemd) || known(&view.name) => {}
                    item => self.ready.push_back(item),
                }
                Ok(())
            }
        }
    }

    fn machine_of(&self, signal: &zbus::Message) -> Option<MachineName> {
        let header = signal.header();
        let name = unit::machine_of(&unit::unit_at(header.path()?.as_str())?)?;
        self.names.as_ref().is_none_or(|names| names.contains(&name)).then_some(name)
    }
}

enum News {
    Records(Result<BTreeSet<MachineName>>),
    Other(Option<Box<Result<View>>>),
}

impl Iterator for Following {
    type Item = Result<View>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            let nobody_left = self.names.as_ref().is_some_and(BTreeSet::is_empty) && self.others.is_none();
            if self.ended || nobody_left {
                return None;
            }
            if let Err(error) = self.advance() {
                self.ended = true;
                return Some(Err(error));
            }
        }
    }
}
