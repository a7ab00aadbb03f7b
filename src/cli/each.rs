//! Doing the same to several machines at once: several names or `--all`, in parallel, each error shown, each success
//! said.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Args;

use super::app::App;
use super::complete;
use super::{Outcome, output};
use crate::error::{Error, Result};
use crate::machine::{MachineName, MachineService, Manager, Selector};

/// As many at once: enough to keep PID 1 and the disk busy, few enough to be polite.
const WORKERS: usize = 16;

/// The machines that a verb is for.
#[derive(Debug, Clone, Args)]
pub(crate) struct Targets {
    /// Machines, by name or by four or more first digits of an id
    #[arg(value_name = "MACHINE", required_unless_present = "all", add = complete::machines())]
    machines: Vec<Selector>,

    /// All machines
    #[arg(long, conflicts_with = "machines")]
    all: bool,

    /// Only machines that systemd runs: with --all the others are left alone, with names they are an error
    #[arg(long)]
    systemd: bool,
}

impl Targets {
    /// Whether all machines are meant.
    pub(crate) fn is_all(&self) -> bool {
        self.all
    }

    /// The names, each once. What cannot be resolved comes as an error beside them.
    pub(crate) fn resolve(&self, app: &App) -> Result<(Vec<MachineName>, Vec<Error>)> {
        let (mut names, mut errors) = (Vec::new(), Vec::new());
        if self.all {
            names = app.names()?;
        }
        for selector in &self.machines {
            match app.resolve(selector) {
                Ok(name) => names.push(name),
                Err(error) => errors.push(error),
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        if self.systemd {
            let other = |name: &MachineName| app.manager_of(name).is_ok_and(|manager| manager != Manager::Systemd);
            if self.all {
                names.retain(|name| !other(name));
            } else if let Some(name) = names.iter().find(|name| other(name)) {
                return Err(Error::new(format!("machine {name} is not run by systemd")));
            }
        }
        Ok((names, errors))
    }
}

/// Does `act` to each machine, prints the name of each that worked (unless `quiet`), collects the errors.
pub(crate) fn each<F>(app: &App, targets: &Targets, act: F) -> Outcome
where
    F: Fn(&dyn MachineService, &MachineName) -> Result<()> + Sync,
{
    let (names, errors) = targets.resolve(app).map_err(|error| vec![error])?;
    let errors = Mutex::new(errors);
    let next = AtomicUsize::new(0);
    let work = || {
        // A worker keeps one service for each manager: one connection to the bus, not one a machine.
        let mut services: Vec<(Manager, Box<dyn MachineService>)> = Vec::new();
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = app.manager_of(name).and_then(|manager| {
                if !services.iter().any(|(known, _)| *known == manager) {
                    services.push((manager, app.service(manager)));
                }
                match services.iter().find(|(known, _)| *known == manager) {
                    Some((_, service)) => act(service.as_ref(), name),
                    None => Ok(()),
                }
            });
            if let Err(error) = result.and_then(|()| output::line(name))
                && let Ok(mut errors) = errors.lock()
            {
                errors.push(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..WORKERS.min(names.len()) {
            scope.spawn(work);
        }
        work();
    });
    let errors = errors.into_inner().unwrap_or_default();
    if errors.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(errors) }
}
