//! The table as it is, and what changes it: pure.

use serde_json::{Value, json};

use super::element::{Element, Owner};
use super::{published, rules};
use crate::error::{Context as _, Error, Result};
use crate::machine::{MachineId, NetworkName};
use crate::network::Network;

/// The table's name, in the family `inet`.
pub(super) const NAME: &str = "kraft";

/// What is in the table.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// All elements that have an owner.
    pub(super) elements: Vec<Element>,
    /// Chain and expressions of every rule, in their order.
    rules: Vec<(String, Value)>,
}

impl Table {
    /// Reads what `nft -j list table` says.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let cannot = "cannot read what nft says";
        let listing: Value = serde_json::from_str(text).context(cannot)?;
        let listed = listing["nftables"].as_array().ok_or_else(|| Error::new("it lists nothing").context(cannot))?;
        let mut table = Self::default();
        for item in listed {
            if let Some(set) = item.get("set").or_else(|| item.get("map")) {
                let name = set["name"].as_str().unwrap_or_default();
                let listed = set["elem"].as_array().map(Vec::as_slice).unwrap_or_default();
                table.elements.extend(listed.iter().filter_map(|element| Element::parse(name, element)));
            } else if let Some(rule) = item.get("rule") {
                table.rules.push((rule["chain"].as_str().unwrap_or_default().to_owned(), rule["expr"].clone()));
            }
        }
        Ok(table)
    }

    /// The rules are those of this program, and nobody changed them.
    fn is_current(&self) -> bool {
        self.rules == rules::rules()
    }

    /// The elements with this mark.
    pub(super) fn of(&self, owner: &Owner) -> Vec<Element> {
        self.elements.iter().filter(|element| element.owner == *owner).cloned().collect()
    }
}

/// Commands of nft that are applied together.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Transaction {
    commands: Vec<Value>,
}

impl Transaction {
    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    pub(super) fn to_json(&self) -> String {
        json!({"nftables": self.commands}).to_string()
    }

    pub(super) fn push(&mut self, command: Value) {
        self.commands.push(command);
    }

    pub(super) fn add(&mut self, elements: &[Element]) {
        self.each_set(elements, "add", Element::to_add);
    }

    pub(super) fn delete(&mut self, elements: &[Element]) {
        self.each_set(elements, "delete", |element| element.key.clone());
    }

    /// One command for each set.
    fn each_set(&mut self, elements: &[Element], verb: &str, value: impl Fn(&Element) -> Value) {
        let mut sets: Vec<&str> = elements.iter().map(|element| element.set.as_str()).collect();
        sets.sort_unstable();
        sets.dedup();
        for set in sets {
            let values: Vec<Value> = elements.iter().filter(|element| element.set == set).map(&value).collect();
            self.push(json!({verb: {"element": {"family": "inet", "table": NAME, "name": set, "elem": values}}}));
        }
    }
}

/// What makes the table know a network.
pub(super) fn up(table: Option<&Table>, network: &Network) -> Transaction {
    let mut transaction = Transaction::default();
    if !table.is_some_and(Table::is_current) {
        rules::install(&mut transaction);
    }
    let owner = Owner::network(&network.name, network.id);
    let (is, wanted) = (table.map(|table| table.of(&owner)).unwrap_or_default(), elements(network, &owner));
    let (gone, new) = difference(&is, &wanted);
    transaction.delete(&gone);
    transaction.add(&new);
    transaction
}

/// The networks that it knows, each by the name of its bridge.
pub(super) fn networks(table: &Table) -> Vec<(NetworkName, MachineId, String)> {
    let bridges = table.elements.iter().filter(|element| element.set == rules::BRIDGES);
    bridges
        .filter_map(|element| {
            let (name, id) = element.owner.as_network()?;
            Some((name, id, element.key.as_str()?.to_owned()))
        })
        .collect()
}

/// What makes it forget one.
pub(super) fn down(table: &Table, network: &Network) -> Transaction {
    let owner = Owner::network(&network.name, network.id);
    let mut transaction = Transaction::default();
    if !table.elements.iter().any(|element| element.set == rules::BRIDGES && element.owner != owner) {
        transaction.push(json!({"delete": {"table": {"family": "inet", "name": NAME}}}));
        return transaction;
    }
    let mut gone = table.of(&owner);
    gone.extend(published::into(table, network));
    transaction.delete(&gone);
    transaction
}

/// Those of the first that are not in the second, and the other way round.
pub(super) fn difference(is: &[Element], wanted: &[Element]) -> (Vec<Element>, Vec<Element>) {
    let without = |these: &[Element], those: &[Element]| {
        these.iter().filter(|element| !those.contains(element)).cloned().collect()
    };
    (without(is, wanted), without(wanted, is))
}

/// All that the table knows of a network.
fn elements(network: &Network, owner: &Owner) -> Vec<Element> {
    let bridge = &network.bridge;
    let mut elements = vec![
        Element::member(rules::BRIDGES, json!(bridge), owner),
        Element::member(rules::WITHIN, json!({"concat": [bridge, bridge]}), owner),
    ];
    if network.internal {
        elements.push(Element::member(rules::INTERNAL, json!(bridge), owner));
    }
    let prefix = |addr: String, len: u8| json!({"prefix": {"addr": addr, "len": len}});
    let subnets = [
        network.ipv4.map(|net| (4, prefix(net.network().to_string(), net.prefix_len()))),
        network.ipv6.map(|net| (6, prefix(net.network().to_string(), net.prefix_len()))),
    ];
    for (family, subnet) in subnets.into_iter().flatten() {
        if !network.internal {
            elements.push(Element::member(format!("masquerade{family}"), subnet.clone(), owner));
        }
        elements.push(Element::member(format!("hairpin{family}"), json!({"concat": [bridge, subnet]}), owner));
    }
    elements
}
