//! `restore`: what `kraft.service` does at boot. Machines that were created and not enabled get their units back, down.
//!
//! Transient units are gone with the boot and records are not. A `kraft start` makes a machine's units anew by itself;
//! this makes all of them, so that `systemctl start` finds them, too. The calls go out in batches on one connection, as
//! the manager carries them out faster than one can ask for each.

use std::collections::HashSet;

use super::anchor::{Active, Anchored};
use super::bus::Ticket;
use super::definition::Definition;
use super::failure::Failure;
use super::family::Family;
use super::manager::{self, NewUnit};
use super::property::Origin;
use super::refused::Refused;
use super::service::SystemdService;
use super::unit;
use crate::error::{Error, Kind, Result};
use crate::machine::{MachineName, Record};
use crate::paths;
use crate::store::Claim;

/// As many calls are on their way at once.
const BATCH: usize = 32;

/// The units of helpers that several machines share.
const SHARED: &str = "kraft:*.service";

/// A machine whose units are being made, and nobody removes meanwhile.
struct Pending {
    record: Record,
    ticket: Ticket,
    _claim: Claim,
}

impl SystemdService {
    /// Makes the units of all machines that have none. Those that a file defines have theirs. What goes wrong with one
    /// machine is returned in the end and does not keep the others from theirs.
    ///
    /// # Errors
    /// When the records or the manager cannot be asked at all.
    pub fn restore(&self) -> Result<Vec<Error>> {
        let mut errors = Vec::new();
        let mut loaded: HashSet<String> =
            self.manager.borrow_mut().list(&[unit::SERVICES, SHARED])?.into_iter().map(|unit| unit.name).collect();
        let mut names = self.store.names()?;
        names.retain(|name| !loaded.contains(&unit::service_name(name)));
        let mut rest = names.into_iter();
        // The first one tells which properties this manager refuses: then all the others are asked for at once.
        if let Some((record, _claim)) = self.next_lost(&mut rest, &mut errors) {
            errors.extend(self.anchor_again(&record).err());
        }
        let refused = Refused::load(self.store.paths());
        loop {
            let mut batch = Vec::new();
            while batch.len() < BATCH
                && let Some((record, claim)) = self.next_lost(&mut rest, &mut errors)
            {
                match self.send(&record, &refused, &mut loaded) {
                    Ok(ticket) => batch.push(Pending { record, ticket, _claim: claim }),
                    Err(error) => errors.push(error),
                }
            }
            if batch.is_empty() {
                return Ok(errors);
            }
            for pending in batch {
                let answer = self.manager.borrow_mut().bus()?.answer(pending.ticket);
                // A unit that is there after all, a property that is new: the long way knows what to do.
                if answer.is_err() {
                    errors.extend(self.anchor_again(&pending.record).err());
                }
            }
        }
    }

    /// The next machine that systemd is to have, unless somebody changes it just now and makes its units by himself.
    fn next_lost(
        &self,
        names: &mut impl Iterator<Item = MachineName>,
        errors: &mut Vec<Error>,
    ) -> Option<(Record, Claim)> {
        for name in names {
            let lost = self.store.try_claim(&name).and_then(|claim| Ok((self.ours(&name)?, claim)));
            match lost {
                Ok((Some(record), Some(claim))) => return Some((record, claim)),
                Ok(_) => {}
                Err(error) if error.kind() == Kind::NoSuchMachine => {}
                Err(error) => errors.push(error.context(cannot(&name))),
            }
        }
        None
    }

    fn send(&self, record: &Record, refused: &Refused, loaded: &mut HashSet<String>) -> Result<Ticket> {
        let (anchor, others) =
            self.lost_units(record, refused, loaded).map_err(|e| e.context(cannot(&record.spec.name)))?;
        let call = manager::start_transient(&anchor, &others.iter().collect::<Vec<_>>());
        let sent = self.manager.borrow_mut().bus()?.send(vec![call]);
        let ticket = sent?.into_iter().next().ok_or_else(|| Failure::from(Error::new("a call without an answer")))?;
        loaded.extend(others.into_iter().map(|unit| unit.name));
        Ok(ticket)
    }

    /// The machine's slice, and what is to be made along with it.
    fn lost_units(
        &self,
        record: &Record,
        refused: &Refused,
        loaded: &HashSet<String>,
    ) -> Result<(NewUnit, Vec<NewUnit>)> {
        let executable = paths::own_executable()?;
        let Family { anchor, service, own, shared } = Family::of(record, &executable, self.store.paths())?;
        let mut service = service.to_unit()?;
        service.properties.retain(|p| p.origin != Origin::Optional || !refused.contains(&p.name));
        let missing = shared.iter().filter(|unit| !loaded.contains(&unit.name));
        let beside = own.iter().chain(missing).map(Definition::to_unit);
        let others = std::iter::once(Ok(service)).chain(beside).collect::<Result<_>>()?;
        Ok((anchor.to_unit()?, others))
    }

    fn anchor_again(&self, record: &Record) -> Result<()> {
        match self.anchor(record, Active::Anchor).map_err(|e| e.context(cannot(&record.spec.name)))? {
            Anchored::Made(_) | Anchored::ByFile(_) => Ok(()),
        }
    }
}

fn cannot(name: &MachineName) -> String {
    format!("cannot give {name} its units back")
}
