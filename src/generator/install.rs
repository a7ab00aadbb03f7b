//! `[install]`: the links by which other units start a machine's.

use super::write::Target;
use crate::config::Install;
use crate::error::{Error, Result};
use crate::machine::MachineName;
use crate::paths::Scope;
use crate::systemd;

/// What a unit is in when nothing is said of that.
pub fn default_target(scope: Scope) -> &'static str {
    match scope {
        Scope::System => "multi-user.target",
        Scope::User => "default.target",
    }
}

/// Links to a unit, by where they are below the directory of units.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Links {
    unit: String,
    places: Vec<String>,
}

impl Links {
    /// Those that `[install]` asks for; of an empty one, the default.
    pub(super) fn of(name: &MachineName, install: &Install, scope: Scope) -> Result<Self> {
        let unit = systemd::service_name(name);
        let mut places = Vec::new();
        let all = [(&install.wanted_by, "wants"), (&install.required_by, "requires"), (&install.upheld_by, "upholds")];
        for (others, how) in all {
            for other in others {
                check(other)?;
                places.push(format!("{other}.{how}/{unit}"));
            }
        }
        if places.is_empty() {
            places = Self::default_for(name, scope).places;
        }
        for alias in &install.alias {
            check(alias)?;
            if !alias.ends_with(".service") || *alias == unit {
                return Err(Error::new(format!("bad alias '{}': it is not another service", alias.escape_debug())));
            }
            places.push(alias.clone());
        }
        Ok(Self { unit, places })
    }

    /// That of a unit that is started at boot.
    pub(super) fn default_for(name: &MachineName, scope: Scope) -> Self {
        let unit = systemd::service_name(name);
        Self { places: vec![format!("{}.wants/{unit}", default_target(scope))], unit }
    }

    /// Makes them.
    pub(super) fn make(&self, target: &Target<'_>) -> Result<()> {
        self.places.iter().try_for_each(|place| target.link(&self.unit, place))
    }
}

/// The kinds of units that can start others.
const KINDS: [&str; 8] = ["target", "service", "socket", "timer", "path", "mount", "device", "slice"];

/// It becomes a file's name.
fn check(unit: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let kind = unit.rsplit_once('.').filter(|(name, kind)| !name.is_empty() && KINDS.contains(kind));
    if kind.is_none() || !unit.chars().all(allowed) || unit.len() > 255 || unit.starts_with('.') {
        return Err(Error::new(format!("bad unit name '{}'", unit.escape_debug()))
            .with_hint("a whole name is needed, such as multi-user.target or kraft-web.service"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(install: &Install) -> Result<Vec<String>> {
        Links::of(&"web".parse().unwrap(), install, Scope::System).map(|links| links.places)
    }

    #[test]
    fn an_install_is_links() {
        let install = Install {
            wanted_by: vec!["a.target".into()],
            required_by: vec!["kraft-app.service".into()],
            alias: vec!["site.service".into()],
            ..Install::default()
        };
        let places =
            ["a.target.wants/kraft-web.service", "kraft-app.service.requires/kraft-web.service", "site.service"];
        assert_eq!(links(&install).unwrap(), places);
        assert_eq!(links(&Install::default()).unwrap(), ["multi-user.target.wants/kraft-web.service"]);
        for bad in ["", "web", "../x.target", "a b.target", ".target", "x.scope"] {
            assert!(links(&Install { wanted_by: vec![bad.into()], ..Install::default() }).is_err(), "{bad}");
        }
        assert!(links(&Install { alias: vec!["x.target".into()], ..Install::default() }).is_err());
    }
}
