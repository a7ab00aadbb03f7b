//! A unit as its text: what a unit file says, from which what the manager is told follows. Pure.
//!
//! Values are in the syntax of unit files, except that `%` stands for itself: the manager expands nothing in what it is
//! told over the bus, so nothing is to be expanded in a file either.

use std::time::Duration;

use super::manager::NewUnit;
use super::property::{self, Origin, Property};
use crate::error::Result;

/// A unit and all that is set in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Definition {
    /// The unit's name.
    pub(super) name: String,
    directives: Vec<Directive>,
    lines: Vec<(Section, String)>,
}

/// A section of a unit file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// What all units have.
    Unit,
    /// What units of this type have.
    Own,
}

/// One line of a unit file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Directive {
    key: String,
    value: String,
    origin: Origin,
}

/// The keys of `[Unit]`; all others are the unit type's own.
const OF_UNITS: &[&str] = &[
    "After",
    "AllowIsolate",
    "Before",
    "BindsTo",
    "CollectMode",
    "Conflicts",
    "DefaultDependencies",
    "Description",
    "Documentation",
    "FailureAction",
    "FailureActionExitStatus",
    "IgnoreOnIsolate",
    "JobRunningTimeoutSec",
    "JobTimeoutAction",
    "JobTimeoutRebootArgument",
    "JobTimeoutSec",
    "JoinsNamespaceOf",
    "OnFailure",
    "OnFailureJobMode",
    "OnSuccess",
    "OnSuccessJobMode",
    "PartOf",
    "PropagatesReloadTo",
    "PropagatesStopTo",
    "RebootArgument",
    "RefuseManualStart",
    "RefuseManualStop",
    "ReloadPropagatedFrom",
    "Requires",
    "RequiresMountsFor",
    "Requisite",
    "SourcePath",
    "StartLimitAction",
    "StartLimitBurst",
    "StartLimitIntervalSec",
    "StopPropagatedFrom",
    "StopWhenUnneeded",
    "SuccessAction",
    "SuccessActionExitStatus",
    "SurviveFinalKillSignal",
    "Upholds",
    "Wants",
    "WantsMountsFor",
];

impl Definition {
    /// A unit in which nothing is set.
    pub(super) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), directives: Vec::new(), lines: Vec::new() }
    }

    /// Sets what a machine cannot do without.
    pub(super) fn required(&mut self, key: &str, value: impl Into<String>) {
        self.set(key, value.into(), Origin::Required);
    }

    /// Sets what is left out where systemd does not know it.
    pub(super) fn optional(&mut self, key: &str, value: impl Into<String>) {
        self.set(key, value.into(), Origin::Optional);
    }

    /// Sets what a person typed, `KEY=VALUE`, and checked before.
    pub(super) fn typed(&mut self, typed: &str) {
        let (key, value) = typed.split_once('=').unwrap_or((typed, ""));
        self.set(key, value.to_owned(), Origin::User(key.to_owned()));
    }

    /// Sets what goes before all others of its kind.
    pub(super) fn first(&mut self, key: &str, value: impl Into<String>) {
        self.directives.insert(0, Directive { key: key.to_owned(), value: value.into(), origin: Origin::Required });
    }

    /// Adds a line of a file as a person wrote it: systemd resolves the specifiers in it. The manager is told nothing of it.
    pub(super) fn line(&mut self, section: Section, key: &str, value: &str) {
        self.lines.push((section, format!("{key}={value}\n")));
    }

    fn set(&mut self, key: &str, value: String, origin: Origin) {
        self.directives.push(Directive { key: key.to_owned(), value, origin });
    }

    /// What the manager is told.
    ///
    /// # Errors
    /// Names the key whose value is none.
    pub(super) fn to_unit(&self) -> Result<NewUnit> {
        let mut properties: Vec<Property> = Vec::new();
        for Directive { key, value, origin } in &self.directives {
            properties.extend(property::read(key, value, origin)?);
        }
        Ok(NewUnit { name: self.name.clone(), properties })
    }

    /// The unit file that says the same.
    pub(super) fn to_file(&self) -> String {
        let own = match self.name.rsplit_once('.') {
            Some((_, "slice")) => "Slice",
            Some((_, "socket")) => "Socket",
            Some((_, "timer")) => "Timer",
            _ => "Service",
        };
        let is_units = |directive: &&Directive| OF_UNITS.contains(&directive.key.as_str());
        let (common, special): (Vec<_>, Vec<_>) = self.directives.iter().partition(is_units);
        let mut text = String::new();
        for (section, name, directives) in [(Section::Unit, "Unit", common), (Section::Own, own, special)] {
            let lines: String =
                self.lines.iter().filter(|(of, _)| *of == section).map(|(_, line)| line.as_str()).collect();
            if directives.is_empty() && lines.is_empty() {
                continue;
            }
            let gap = if text.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{gap}[{name}]\n"));
            for Directive { key, value, .. } in directives {
                let value = if property::is_expanded(key) { value.replace('%', "%%") } else { value.clone() };
                text.push_str(&format!("{key}={value}\n"));
            }
            text.push_str(&lines);
        }
        text
    }
}

/// A command as unit files write it, none of whose arguments is expanded. `prefix` is what goes before it.
pub(super) fn command(prefix: &str, executable: &str, arguments: &[&str]) -> String {
    let words: Vec<String> = std::iter::once(&executable).chain(arguments).map(|word| quote(word)).collect();
    format!("{prefix}:{}", words.join(" "))
}

/// A word as unit files write it.
pub(super) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=+,@%$~!^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Several words.
pub(super) fn quote_all<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> String {
    words.into_iter().map(|word| quote(word.as_ref())).collect::<Vec<_>>().join(" ")
}

/// A time as unit files write it.
pub(super) fn time(time: Duration) -> String {
    match time.as_micros() {
        micros if micros % 1_000_000 == 0 => format!("{}s", micros / 1_000_000),
        micros if micros % 1000 == 0 => format!("{}ms", micros / 1000),
        micros => format!("{micros}us"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_unit_and_its_file() {
        let mut unit = Definition::new("kraft-web.service");
        unit.required("Description", "100% web");
        unit.required("ExecStart", command("", "/opt/a b/kraft", &["runner", "$HOME", "a\"b\\"]));
        unit.optional("TimeoutStopSec", time(Duration::from_millis(1500)));
        unit.typed("Environment=A=1 \"B=x y\"");
        let text = "[Unit]\nDescription=100%% web\n\n[Service]\nExecStart=:\"/opt/a b/kraft\" runner $HOME \
                    \"a\\\"b\\\\\"\nTimeoutStopSec=1500ms\nEnvironment=A=1 \"B=x y\"\n";
        assert_eq!(unit.to_file(), text);
        let mut with_lines = unit.clone();
        with_lines.line(Section::Unit, "After", "kraft-%i.service");
        with_lines.line(Section::Own, "Nice", "5");
        let more = text.replace("100%% web\n", "100%% web\nAfter=kraft-%i.service\n") + "Nice=5\n";
        assert_eq!(with_lines.to_file(), more);
        assert_eq!(with_lines.to_unit().unwrap().properties.len(), 4);
        let unit = unit.to_unit().unwrap();
        let argv = ["/opt/a b/kraft", "runner", "$$HOME", "a\"b\\"].map(str::to_owned).to_vec();
        assert_eq!(unit.properties[1].value, vec![("/opt/a b/kraft".to_owned(), argv, false)].into());
        assert_eq!(
            (unit.properties[2].name.as_str(), &unit.properties[2].value),
            ("TimeoutStopUSec", &1_500_000u64.into())
        );
        assert_eq!(unit.properties[3].origin, Origin::User("Environment".into()));
    }

    #[test]
    fn a_value_that_is_none_is_named() {
        let mut unit = Definition::new("x.service");
        unit.optional("NoNewPrivileges", "perhaps");
        assert!(unit.to_unit().unwrap_err().to_string().contains("NoNewPrivileges=perhaps"));
    }

    proptest! {
        #[test]
        fn words_come_back(words in prop::collection::vec("[ -~é]{0,12}", 1..4)) {
            let mut unit = Definition::new("x.service");
            unit.required("Documentation", quote_all(&words));
            prop_assert_eq!(&unit.to_unit().unwrap().properties[0].value, &words.into());
        }
    }
}
