//! `kraft net prune`.

use clap::Args;

use super::rm::end_names;
use crate::cli::app::App;
use crate::cli::{Outcome, output};
use crate::network::{self, Networks};

/// Remove all networks that no machine is on, and print their names
#[derive(Debug, Args)]
pub(super) struct PruneArgs {}

pub(super) fn prune(app: &App, _args: &PruneArgs) -> Outcome {
    let networks = Networks::new(app.store.paths());
    let (removed, mut errors) = network::prune(&networks, &app.store).map_err(|error| vec![error])?;
    errors.extend(removed.iter().filter_map(|name| end_names(app, name).and_then(|()| output::line(name)).err()));
    if errors.is_empty() { Ok(std::process::ExitCode::SUCCESS) } else { Err(errors) }
}
