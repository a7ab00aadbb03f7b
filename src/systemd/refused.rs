//! Which optional properties this systemd does not know, remembered until the next boot.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::paths::Paths;
use crate::store;

/// No machine's directory begins with a dot.
const FILE: &str = ".refused-properties.json";

/// The names of properties that the manager refused.
#[derive(Debug)]
pub(super) struct Refused {
    file: PathBuf,
    names: BTreeSet<String>,
}

impl Refused {
    /// What is remembered. A file that cannot be read is as good as none: the manager will say it again.
    pub(super) fn load(paths: &Paths) -> Self {
        let file = paths.runtime.join(FILE);
        let names = std::fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Self { file, names }
    }

    /// Whether it was refused before.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Remembers one more. Failing to is no failure: it costs the next call a round trip.
    pub(super) fn add(&mut self, name: &str) {
        self.names.insert(name.to_owned());
        let Ok(text) = serde_json::to_vec(&self.names) else { return };
        let kept = match self.file.parent() {
            Some(dir) => std::fs::create_dir_all(dir).map_err(|e| e.to_string()),
            None => Ok(()),
        };
        if let Err(error) = kept.and_then(|()| store::replace_file(&self.file, &text).map_err(|e| e.to_string())) {
            log::debug!("cannot remember that {name} is refused: {error}");
        }
    }
}
