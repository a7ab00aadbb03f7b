//! `kraft run --explain`: what would be run, and why that.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::output::{self, Format};
use super::wanted::Wanted;
use crate::error::{Error, Result};
use crate::source::Tried;
use crate::store::Store;

/// What was looked at, and what came of it.
#[derive(Debug, Serialize)]
pub(super) struct Explanation {
    argument: Option<PathBuf>,
    tried: Vec<Attempt>,
    #[serde(flatten)]
    runs: Option<Runs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Attempt {
    what: &'static str,
    is_it: bool,
    why: String,
}

/// What it comes to, with what the command line says.
#[derive(Debug, Serialize)]
struct Runs {
    what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    /// The path of its file; the content of one that an image has.
    kernel: String,
    arch: Option<String>,
    rootfs: Option<String>,
    kernel_args: Vec<String>,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    volumes: Vec<String>,
    labels: BTreeMap<String, String>,
    notes: Vec<String>,
}

impl Explanation {
    pub(super) fn new(argument: Option<PathBuf>, tried: Vec<Tried>) -> Self {
        let attempt = |tried: Tried| Attempt { what: tried.what.as_str(), is_it: tried.is_it, why: tried.why };
        Self { argument, tried: tried.into_iter().map(attempt).collect(), runs: None, error: None }
    }

    /// What it is.
    pub(super) fn found(&mut self, store: &Store, what: &'static str, wanted: Wanted, notes: Vec<String>) {
        let file = |path: &Path| match store.packed(path) {
            Some(digest) => format!("sha256:{digest}"),
            None => path.display().to_string(),
        };
        self.runs = Some(Runs {
            what,
            image: wanted.image.map(|image| image.pinned().to_string()),
            kernel: file(&wanted.kernel),
            arch: wanted.arch.map(|arch| arch.to_string()),
            rootfs: wanted.rootfs.as_deref().map(file),
            kernel_args: wanted.kernel_args,
            args: wanted.app_args,
            env: wanted.env,
            volumes: wanted.volumes.iter().map(ToString::to_string).collect(),
            labels: wanted.labels,
            notes,
        });
    }

    /// Nothing came of it.
    pub(super) fn failed(&mut self, error: &Error) {
        self.error = Some(error.to_string());
    }

    pub(super) fn show(&self, format: Format) -> Result<()> {
        match format {
            Format::Table => output::write(&self.text()),
            Format::Json | Format::Yaml => output::value(format, self),
        }
    }

    fn text(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        for Attempt { what, is_it, why } in &self.tried {
            lines.push(format!("{what:<12} {:<4} {why}", if *is_it { "yes" } else { "no" }));
        }
        if let Some(runs) = &self.runs {
            let mut say = |key: &str, values: Vec<String>| {
                lines.extend(values.into_iter().map(|value| format!("{key:<12} {}", value.escape_debug())));
            };
            say("image", runs.image.iter().cloned().collect());
            say("kernel", vec![runs.kernel.clone()]);
            say("arch", runs.arch.iter().cloned().collect());
            say("rootfs", runs.rootfs.iter().cloned().collect());
            say("kernel-arg", runs.kernel_args.clone());
            say("arg", runs.args.clone());
            say("env", pairs(&runs.env));
            say("volume", runs.volumes.clone());
            say("label", pairs(&runs.labels));
            say("note", runs.notes.clone());
        }
        lines.into_iter().map(|line| line + "\n").collect()
    }
}

fn pairs(map: &BTreeMap<String, String>) -> Vec<String> {
    map.iter().map(|(key, value)| format!("{key}={value}")).collect()
}
