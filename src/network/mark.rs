//! The marks by which our interfaces are found again: their aliases.
//!
//! ```text
//! kraft net NAME ID                 a bridge
//! kraft machine NAME ID INDEX       a tap
//! ```
//!
//! Machines that are kept elsewhere than usual (`KRAFT_STATE_DIR`) have ` @HASH` behind that, so that no kraft takes the
//! interfaces of another state directory for orphans.

use std::path::Path;

use super::record::Network;
use crate::machine::{MachineId, MachineName, NetworkName, Record};
use crate::paths::{self, Paths};

/// Whose an interface is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    /// It is this network's bridge.
    Network(NetworkName, MachineId),
    /// It is this machine's tap.
    Machine(MachineName, MachineId),
}

/// Writes and reads the marks of one state directory.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    suffix: String,
}

impl Mark {
    pub(super) fn of(paths: &Paths) -> Self {
        let usual = paths.state == Path::new(paths::SYSTEM_STATE);
        Self { suffix: if usual { String::new() } else { format!(" @{:016x}", hash(&paths.state)) } }
    }

    pub(super) fn network(&self, network: &Network) -> String {
        format!("kraft net {} {}{}", network.name, network.id, self.suffix)
    }

    pub(super) fn tap(&self, record: &Record, index: usize) -> String {
        format!("kraft machine {} {} {index}{}", record.spec.name, record.id, self.suffix)
    }

    /// Whose the interface with this alias is; `None` if it is not of this state directory.
    pub(super) fn owner(&self, alias: &str) -> Option<Owner> {
        let words: Vec<&str> = alias.strip_suffix(&self.suffix)?.split(' ').collect();
        match words[..] {
            ["kraft", "net", name, id] => Some(Owner::Network(name.parse().ok()?, id.parse().ok()?)),
            ["kraft", "machine", name, id, index] => {
                index.parse::<usize>().ok()?;
                Some(Owner::Machine(name.parse().ok()?, id.parse().ok()?))
            }
            _ => None,
        }
    }
}

/// Which machine an interface with this alias is a tap of, whatever state directory the machine is in.
pub(super) fn machine(alias: &str) -> Option<(MachineName, MachineId)> {
    let mut words = alias.strip_prefix("kraft machine ")?.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// FNV-1a: the same in every build of kraft.
fn hash(path: &Path) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    path.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325, fold)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Manager, Spec};
    use crate::paths::Scope;
    use crate::store::Store;
    use proptest::prelude::*;

    fn mark(state: &str) -> Mark {
        Mark::of(&Paths { scope: Scope::System, state: state.into(), runtime: "/r".into(), overridden: true })
    }

    #[test]
    fn each_finds_its_own_and_no_others() {
        let record = Store::new_record(Spec::example("web"), Manager::Local).unwrap();
        let network = Network::example("inner");
        let marks = [mark(paths::SYSTEM_STATE), mark("/s"), mark("/t")];
        for (one, writer) in marks.iter().enumerate() {
            for (two, reader) in marks.iter().enumerate() {
                let tap = reader.owner(&writer.tap(&record, 3));
                let bridge = reader.owner(&writer.network(&network));
                assert_eq!(tap, (one == two).then(|| Owner::Machine(record.spec.name.clone(), record.id)));
                assert_eq!(machine(&writer.tap(&record, 3)), Some((record.spec.name.clone(), record.id)));
                assert_eq!(bridge, (one == two).then(|| Owner::Network(network.name.clone(), network.id)));
            }
        }
    }

    proptest! {
        #[test]
        fn a_foreign_alias_is_nobodys(alias in "(kraft (net|machine) )?.{0,60}") {
            let found = mark(paths::SYSTEM_STATE).owner(&alias);
            prop_assert!(found.is_none() || alias.starts_with("kraft "));
        }
    }
}
