//! Shell completion, machine names included.

use std::fmt::Display;
use std::process::ExitCode;

use clap::Args;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{Bash, Elvish, EnvCompleter, Fish, Powershell, Zsh};

use super::app::App;
use super::{Outcome, output};
use crate::config::{self, Dirs};
use crate::error::{Context as _, Error};
use crate::network::Networks;
use crate::paths::{Paths, Scope};
use crate::store::Store;
use crate::volume::Volumes;

/// Print the completion script of a shell
///
/// For bash: source <(kraft completion bash). The script asks kraft itself, so that machine names are completed and an
/// upgrade needs no new script.
#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// The shell to complete in
    shell: Shell,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Elvish,
    Powershell,
}

pub(crate) fn completion(args: &CompletionArgs) -> Outcome {
    let shell: &dyn EnvCompleter = match args.shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
        Shell::Elvish => &Elvish,
        Shell::Powershell => &Powershell,
    };
    let mut script = Vec::new();
    shell
        .write_registration("COMPLETE", "kraft", "kraft", "kraft", &mut script)
        .context("cannot write the script")
        .and_then(|()| String::from_utf8(script).map_err(|e| Error::new(e.to_string())))
        .and_then(|text| output::write(&text))
        .map(|()| ExitCode::SUCCESS)
        .map_err(|error| vec![error])
}

/// Completes words of a fixed set.
pub(crate) fn words<T: Display + Sync>(words: &'static [T]) -> ArgValueCandidates {
    ArgValueCandidates::new(|| words.iter().map(|word| CompletionCandidate::new(word.to_string())).collect())
}

/// Completes machine names.
pub(crate) fn machines() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        // Completion has nobody to tell of an error.
        let names = App::new(Scope::of_caller()).and_then(|app| app.names()).unwrap_or_default();
        names.into_iter().map(|name| CompletionCandidate::new(name.to_string())).collect()
    })
}

/// Completes names of machines that files declare.
pub(crate) fn declared() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let names = Dirs::find(Scope::of_caller()).map(|dirs| config::names(&dirs).0).unwrap_or_default();
        names.into_iter().map(|name| CompletionCandidate::new(name.to_string())).collect()
    })
}

/// Completes names of networks.
pub(crate) fn networks() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let names = Paths::find(Scope::of_caller()).and_then(|paths| Networks::new(&paths).names()).unwrap_or_default();
        names.into_iter().map(|name| CompletionCandidate::new(name.to_string())).collect()
    })
}

/// Completes names of images.
pub(crate) fn images() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let names = Paths::find(Scope::of_caller()).and_then(|paths| Store::new(paths).image_names());
        names.unwrap_or_default().into_iter().map(|named| CompletionCandidate::new(named.name)).collect()
    })
}

/// Completes names of volumes.
pub(crate) fn volumes() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let names = Paths::find(Scope::of_caller()).and_then(|paths| Volumes::new(&paths).names()).unwrap_or_default();
        names.into_iter().map(|name| CompletionCandidate::new(name.to_string())).collect()
    })
}
