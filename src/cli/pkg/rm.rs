//! `kraft pkg rm`.

use std::process::ExitCode;

use clap::Args;
use indicatif::HumanBytes;

use crate::cli::app::App;
use crate::cli::{Outcome, complete, output};
use crate::error::{Error, Kind, Result};
use crate::image::oci::reference::Reference;
use crate::image::oci::unused::{self, not_here};

/// Remove images by their names, and the content that nobody needs then
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Images
    #[arg(value_name = "IMAGE", required_unless_present = "all", add = complete::images())]
    images: Vec<Reference>,

    /// Remove all images
    #[arg(short, long, conflicts_with = "images")]
    all: bool,

    /// An image that is not there is no error
    #[arg(short, long)]
    force: bool,
}

pub(crate) fn rm(app: &App, args: &RmArgs) -> Outcome {
    let mut errors = unname(app, args).unwrap_or_else(|error| vec![error]);
    errors.extend(free(app).err());
    if errors.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(errors) }
}

/// Takes the names away, and prints each.
fn unname(app: &App, args: &RmArgs) -> Result<Vec<Error>> {
    let blobs = app.store.blobs()?;
    let names: Vec<String> = match args.all {
        true => blobs.names()?.into_iter().map(|named| named.name).collect(),
        false => args.images.iter().map(Reference::to_string).collect(),
    };
    let one = |name: &String| match blobs.unname(name)? {
        true => output::line(name),
        false if args.force => Ok(()),
        false => Err(not_here(name).with_kind(Kind::Failed)),
    };
    Ok(names.iter().filter_map(|name| one(name).err()).collect())
}

fn free(app: &App) -> Result<()> {
    match app.store.try_blobs_alone()? {
        Some(alone) => {
            let removed = unused::remove(&app.store, &alone)?;
            log::info!("removed {} blobs, {}", removed.blobs, HumanBytes(removed.bytes));
        }
        None => output::note("images are in use now: `kraft pkg prune` removes what nobody needs later"),
    }
    Ok(())
}
