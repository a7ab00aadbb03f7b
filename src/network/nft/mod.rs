//! The packet filter: one table, `inet kraft`, which publishes machines' ports, lets networks out and keeps them apart.
//!
//! ```text
//! prerouting, output   a port of the host is looked up in maps and leads to a machine (`dnat`)
//! postrouting          networks leave by the host's address (`masquerade`), and so does a machine that comes back to
//!                      its own network by a published port, and the host itself when it uses one
//! forward              out of a network: yes; into one: only what was published; between two: as from elsewhere;
//!                      `internal`: neither
//! guard                nobody on a network reaches the host's loopback addresses, which its bridge would route
//! ```
//!
//! The rules are the same for any number of networks and machines: what is particular to one is an element of a set or
//! map, with the owner's `NAME ID` as its comment. Each change is one transaction, so that a killed `nft` leaves all of
//! it or nothing, and is made by who holds the lock of the host's network, so that what was read is still true.
//!
//! A map holds either addresses or ports and not pairs of them, as nft before 1.0.7 has no JSON for those. That other
//! tables drop what this one accepts is not undone here: a packet has to pass all of them.

mod apply;
mod element;
mod published;
mod rules;
mod table;

use std::net::IpAddr;
use std::path::Path;

use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::{MachineId, MachineName, NetworkName, Port, Record};
use crate::paths;

use super::Network;
use apply::Refused;
use element::Owner;
use table::{Table, Transaction};

/// The table, read once for as long as nobody changes it: its holder has the lock of the host's network.
#[derive(Debug, Default)]
pub struct Filter {
    read: Option<Option<Table>>,
}

impl Filter {
    /// Makes the table if there is none, and lets it know the network. One that it knows is a success.
    ///
    /// # Errors
    /// When nft cannot be run, or refuses.
    pub fn network_up(&mut self, network: &Network) -> Result<()> {
        self.change(|table| Ok(table::up(table, network))).context("cannot make its rules")
    }

    /// Publishes the machine's ports, which lead to these addresses of it, at most one of a family. What the machine had
    /// published before is replaced, and so is what stands in the way of one that `is_there` does not know: it died, and
    /// nobody has swept it yet.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when another machine has a port. When the machine has no address of a port's family.
    pub fn publish(
        &mut self,
        record: &Record,
        addresses: &[IpAddr],
        is_there: impl Fn(&MachineName, MachineId) -> Result<bool>,
    ) -> Result<()> {
        if record.spec.ports.is_empty() {
            return Ok(());
        }
        let wanted = published::elements(record, addresses)?;
        self.change(|table| {
            let table = table.ok_or_else(|| Error::new("the network of the machine is down"))?;
            published::publish(table, record, &wanted, &is_there)
        })
        .with_context(|| format!("cannot publish the ports of {}", record.spec.name))
    }

    /// Reads the table, decides, applies. Somebody else's hand between the two shows as a refusal, and the second look is
    /// at what that hand made.
    fn change(&mut self, decide: impl Fn(Option<&Table>) -> Result<Transaction>) -> Result<()> {
        let mut once = || {
            let table = match self.read.take() {
                Some(table) => table,
                None => apply::read()?,
            };
            let transaction = decide(table.as_ref())?;
            if transaction.is_empty() {
                self.read = Some(table);
                return Ok(Ok(()));
            }
            apply::apply(&transaction)
        };
        match once()? {
            Ok(()) => Ok(()),
            Err(Refused(_)) => once()?.map_err(|Refused(why)| Error::of(Kind::Failed, why)),
        }
    }
}

/// Has the table forget the network, and what was published of its machines. The last one takes the table with it.
///
/// # Errors
/// When nft cannot be run, or refuses.
pub fn network_down(network: &Network) -> Result<()> {
    Filter::default()
        .change(|table| Ok(table.map(|table| table::down(table, network)).unwrap_or_default()))
        .context("cannot remove its rules")
}

/// Checks that each of the machine's ports has one of these addresses to lead to.
///
/// # Errors
/// Names the port that has none.
pub fn check(record: &Record, addresses: &[IpAddr]) -> Result<()> {
    published::elements(record, addresses).map(drop)
}

/// Takes back what the machine published. What is gone already is a success, and another's stays.
///
/// # Errors
/// When nft cannot be run, or refuses.
pub fn unpublish(name: &MachineName, id: MachineId, ports: &[Port]) -> Result<()> {
    if ports.is_empty() {
        return Ok(());
    }
    let owner = Owner::machine(name, id);
    Filter::default()
        .change(|table| Ok(table.map(|table| published::unpublish(table, &owner)).unwrap_or_default()))
        .with_context(|| format!("cannot take back the ports of {name}"))
}

/// What the table has: a network and the name of its bridge, a port and whose it is.
#[derive(Debug, Default)]
pub struct Known {
    /// The networks.
    pub networks: Vec<(NetworkName, MachineId, String)>,
    /// The published ports.
    pub ports: Vec<(MachineName, MachineId, Port)>,
}

/// All that the table has, and of whom. On a host without nft it has nothing.
///
/// # Errors
/// When nft cannot be run, or what it says cannot be read.
pub fn known() -> Result<Known> {
    if paths::find_program(Path::new("nft")).is_none() {
        return Ok(Known::default());
    }
    let table = apply::read().context("cannot tell what the packet filter has")?;
    let known = |table| Known { networks: table::networks(&table), ports: published::holders(&table) };
    Ok(table.map(known).unwrap_or_default())
}

#[cfg(test)]
mod tests;
