//! `kraft pkg prune`.

use clap::Args;
use indicatif::HumanBytes;

use crate::cli::app::App;
use crate::cli::{Outcome, output};
use crate::error::Result;
use crate::image::oci::unused;

/// Remove what no image's name and no machine needs, and what came of images that never became complete
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Remove all images that no machine was made of, too
    #[arg(short, long)]
    all: bool,
}

pub(crate) fn prune(app: &App, args: &PruneArgs) -> Outcome {
    output::done(remove(app, args))
}

fn remove(app: &App, args: &PruneArgs) -> Result<()> {
    let alone = app.store.blobs_alone()?;
    if args.all {
        for name in unused::names(&app.store, &alone)? {
            alone.unname(&name)?;
            output::line(name)?;
        }
    }
    let removed = unused::remove(&app.store, &alone)?;
    let partial = alone.remove_partial()?;
    let (blobs, bytes) = (removed.blobs + partial.blobs, removed.bytes + partial.bytes);
    output::line(format!("{blobs} blobs removed, {}", HumanBytes(bytes)))
}
