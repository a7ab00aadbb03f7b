//! The generator: every machine file as units, at boot and at each reload of the service manager.
//!
//! ```text
//! machine files ──> declared records ──> unit files ──> DIR/kraft-NAME.service, its slice, links below *.wants/
//!         flaws ───────────────────────> a stub ──────> DIR/kraft-NAME.service, wanted by the default target
//! ```
//!
//! It runs before anything else does: it reads machine files alone, asks nobody, and keeps the boot waiting for as long
//! as it takes. Two of it may run at once, so each file appears whole.

mod install;
mod write;

use std::path::Path;

use crate::config::{self, Dirs, Flaws, MachineFile};
use crate::declared;
use crate::error::{Error, Kind, Result};
use crate::machine::MachineName;
use crate::paths::{self, Paths, Scope};
use crate::systemd::{self, Declaration, UnitFile};

pub use install::default_target;

use install::Links;
use write::Target;

/// What is generated, and from what.
#[derive(Debug)]
pub struct Generator<'a> {
    /// Where machine files are.
    pub dirs: &'a Dirs,
    /// Where the machines keep their things.
    pub paths: &'a Paths,
    /// The program that the units are to run.
    pub executable: &'a Path,
}

impl Generator<'_> {
    /// Writes the units of all machine files to a directory. Returns everything that is wrong in those files; each
    /// machine whose name can be told has a unit all the same.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn run(&self, into: &Path) -> Result<Flaws> {
        let target = Target::new(into);
        let (names, mut flaws) = config::names(self.dirs);
        for name in &names {
            match self.one(&target, name) {
                Ok(()) => {}
                Err(Wrong::Host(error)) => return Err(error),
                Err(Wrong::File(wrong)) => flaws.extend(wrong),
            }
        }
        Ok(flaws)
    }

    fn one(&self, target: &Target<'_>, name: &MachineName) -> Result<(), Wrong> {
        match config::load(self.dirs, name).and_then(|file| self.declared(target, &file).map(|done| (file, done))) {
            Ok((_, done)) => Ok(done?),
            // Removed since its name was read.
            Err(flaws) if flaws.iter().all(|flaw| flaw.kind() == Kind::NotFound) => Ok(()),
            Err(flaws) => {
                self.stub(target, name, &flaws)?;
                Err(Wrong::File(flaws))
            }
        }
    }

    /// The units of a machine; what its file has that no unit can is a flaw.
    fn declared(&self, target: &Target<'_>, file: &MachineFile) -> Result<Result<()>, Flaws> {
        let files = units_of(file, self.executable, self.paths)?;
        let links = match &file.settings.install {
            None => Links::default(),
            Some(install) => {
                Links::of(&file.name, install, self.paths.scope).map_err(|error| vec![file.flaw("install", error)])?
            }
        };
        let write = || {
            files.iter().try_for_each(|unit| target.put(unit))?;
            // A timer waits from the boot on, whether its machine is started at boot or not.
            let timers = files.iter().filter(|unit| unit.name.ends_with(".timer"));
            for UnitFile { name, .. } in timers {
                target.link(name, &format!("timers.target.wants/{name}"))?;
            }
            links.make(target)
        };
        Ok(write())
    }

    fn stub(&self, target: &Target<'_>, name: &MachineName, flaws: &Flaws) -> Result<()> {
        let texts: Vec<String> = flaws.iter().map(ToString::to_string).collect();
        let place = self.dirs.paths().iter().map(|dir| dir.join(format!("{name}.toml"))).find(|file| file.exists());
        let files = systemd::stub_files(name, &place.unwrap_or_default(), &texts, self.executable, self.paths)?;
        files.iter().try_for_each(|unit| target.put(unit))?;
        // What was to start it is not known; what is wrong is to be seen.
        Links::default_for(name, self.paths.scope).make(target)
    }
}

/// The unit files of a machine that a file declares.
///
/// # Errors
/// What the file has that no unit can have, each with its place.
pub fn units_of(file: &MachineFile, executable: &Path, paths: &Paths) -> Result<Vec<UnitFile>, Flaws> {
    let settings = &file.settings;
    let record = declared::record(file, paths);
    let mut flaws = Flaws::new();
    let mut hold = |key: &str, result: Result<()>| flaws.extend(result.err().map(|error| file.flaw(key, error)));
    hold("", record.spec.validate());
    hold("properties", systemd::check_properties(&record.spec.properties));
    if let Some(slice) = &settings.slice {
        hold("slice", systemd::check_slice(slice));
    }
    if let Some(secret) = settings.secrets.iter().flatten().find(|secret| secret.source.is_none()) {
        let why = format!("secret {} has no file: where it is cannot be looked for at boot", secret.name);
        hold("secrets", Err(Error::new(why).with_hint(format!("write \"{}=FILE\"", secret.name))));
    }
    if record.spec.auto_remove {
        hold("rm", Err(Error::new("a machine that a file declares is not removed when it ends")));
    }
    for (section, directives) in [("unit", &settings.unit), ("service", &settings.service)] {
        for (key, value) in directives.iter().flat_map(config::Directives::lines) {
            hold(&format!("{section}.{key}"), systemd::check_directive(key, value));
        }
    }
    if !flaws.is_empty() {
        return Err(flaws);
    }
    let lines = |directives| Option::iter(directives).flat_map(config::Directives::lines).collect();
    let (unit, service) = (lines(&settings.unit), lines(&settings.service));
    let declaration = Declaration { record: &record, file: file.path(), unit, service };
    systemd::unit_files(&declaration, executable, paths).map_err(|error| vec![file.flaw("", error)])
}

/// Who is to be told.
enum Wrong {
    /// Nothing can be written here.
    Host(Error),
    /// The author of the file; a stub says it, too.
    File(Flaws),
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        Self::Host(error)
    }
}

/// Whose machines a generator is to look for: what the service manager says, else what it was installed as.
pub fn scope(invoked_as: &Path) -> Scope {
    match paths::environment_variable("SYSTEMD_SCOPE").as_deref().and_then(|scope| scope.to_str()) {
        Some("user") => Scope::User,
        Some("system") => Scope::System,
        _ if invoked_as.parent().is_some_and(|dir| dir.ends_with("user-generators")) => Scope::User,
        _ => Scope::of_caller(),
    }
}
