//! What is particular to one network or machine: an element of a set or map, with its owner.

use serde_json::{Value, json};

use crate::machine::{MachineId, MachineName, NetworkName};

/// Whose an element is, as its comment says: `NAME ID`. The kernel keeps 128 bytes of a comment, and the longest of
/// these has 97.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner(String);

impl Owner {
    pub(super) fn machine(name: &MachineName, id: MachineId) -> Self {
        Self(format!("{name} {id}"))
    }

    pub(super) fn network(name: &NetworkName, id: MachineId) -> Self {
        Self(format!("{} {id}", name.as_str()))
    }

    pub(super) fn read(comment: &str) -> Self {
        Self(comment.to_owned())
    }

    /// The machine of that mark, if it is one.
    pub(super) fn as_machine(&self) -> Option<(MachineName, MachineId)> {
        self.parts()
    }

    /// The network of that mark, if it is one.
    pub(super) fn as_network(&self) -> Option<(NetworkName, MachineId)> {
        self.parts()
    }

    fn parts<N: std::str::FromStr>(&self) -> Option<(N, MachineId)> {
        let (name, id) = self.0.split_once(' ')?;
        Some((name.parse().ok()?, id.parse().ok()?))
    }
}

/// An element, in nft's JSON.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Element {
    /// The set or map.
    pub(super) set: String,
    /// What is in it.
    pub(super) key: Value,
    /// What a map's key leads to.
    pub(super) data: Option<Value>,
    /// Whose it is.
    pub(super) owner: Owner,
}

impl Element {
    /// A member of a set.
    pub(super) fn member(set: impl Into<String>, key: Value, owner: &Owner) -> Self {
        Self { set: set.into(), key, data: None, owner: owner.clone() }
    }

    /// An entry of a map.
    pub(super) fn entry(set: impl Into<String>, key: Value, data: Value, owner: &Owner) -> Self {
        Self { data: Some(data), ..Self::member(set, key, owner) }
    }

    /// The element as it is added.
    pub(super) fn to_add(&self) -> Value {
        let key = json!({"elem": {"val": self.key, "comment": self.owner.0}});
        match &self.data {
            Some(data) => json!([key, data]),
            None => key,
        }
    }

    /// One element as nft lists it. `None` for one without a comment, which is not ours.
    pub(super) fn parse(set: &str, listed: &Value) -> Option<Self> {
        let (key, data) = match listed.as_array().map(Vec::as_slice) {
            Some([key, data]) => (key, Some(data.clone())),
            Some(_) => return None,
            None => (listed, None),
        };
        let elem = key.get("elem")?;
        let owner = Owner::read(elem.get("comment")?.as_str()?);
        Some(Self { set: set.to_owned(), key: elem.get("val")?.clone(), data, owner })
    }
}
