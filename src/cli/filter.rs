//! `--filter KEY=VALUE`, as docker and podman have it.

use std::str::FromStr;

use crate::error::Error;
use crate::machine::{Arch, HealthState, Platform, State, View};

/// A condition on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filter {
    /// Part of the name.
    Name(String),
    /// The beginning of the id.
    Id(String),
    /// The state.
    State(State),
    /// What its health probes say.
    Health(HealthState),
    /// Who keeps it alive.
    Manager(String),
    /// The VMM.
    Platform(Platform),
    /// The architecture.
    Arch(Arch),
    /// A label, perhaps with its value.
    Label(String, Option<String>),
}

const KNOWN: &str = "name, id, state, health, manager, plat, arch, label";

impl FromStr for Filter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| Error::new(format!("bad filter '{}': expected KEY=VALUE", text.escape_debug())))?;
        Ok(match key {
            "name" => Self::Name(value.into()),
            "id" => Self::Id(value.into()),
            "state" | "status" => Self::State(value.parse()?),
            "health" => Self::Health(value.parse()?),
            "manager" if matches!(value, "local" | "systemd") => Self::Manager(value.into()),
            "manager" => {
                let value = value.escape_debug();
                return Err(Error::new(format!("unknown manager '{value}': known are local, systemd")));
            }
            "plat" => Self::Platform(value.parse()?),
            "arch" => Self::Arch(value.parse()?),
            "label" => match value.split_once('=') {
                Some((key, value)) => Self::Label(key.into(), Some(value.into())),
                None => Self::Label(value.into(), None),
            },
            _ => return Err(Error::new(format!("unknown filter '{}': known are {KNOWN}", key.escape_debug()))),
        })
    }
}

impl Filter {
    /// Whether the machine is like this. One whose record cannot be read has nothing but a name and a state.
    pub(crate) fn accepts(&self, view: &View) -> bool {
        let spec = view.record.as_ref().map(|record| &record.spec);
        match self {
            Self::Name(part) => view.name.as_str().contains(part.as_str()),
            Self::State(state) => view.state == *state,
            Self::Health(health) => view.health() == Some(*health),
            Self::Id(prefix) => view.record.as_ref().is_some_and(|record| record.id.to_string().starts_with(prefix)),
            Self::Manager(manager) => view.manager().is_some_and(|its| its.to_string() == *manager),
            Self::Platform(platform) => spec.is_some_and(|spec| spec.platform == *platform),
            Self::Arch(arch) => spec.is_some_and(|spec| spec.arch == *arch),
            Self::Label(key, value) => spec
                .and_then(|spec| spec.labels.get(key))
                .is_some_and(|its| value.as_ref().is_none_or(|value| value == its)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        assert_eq!("state=running".parse::<Filter>().unwrap(), Filter::State(State::Running));
        assert_eq!("label=a=b=c".parse::<Filter>().unwrap(), Filter::Label("a".into(), Some("b=c".into())));
        assert!("colour=red".parse::<Filter>().unwrap_err().to_string().contains(KNOWN));
        assert!("state=up".parse::<Filter>().unwrap_err().to_string().contains("restarting"));
        assert!("running".parse::<Filter>().is_err());
    }
}
