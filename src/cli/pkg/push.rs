//! `kraft pkg push`.

use clap::Args;

use super::progress::Progress;
use crate::cli::app::App;
use crate::cli::{Outcome, complete, output};
use crate::error::Result;
use crate::image::oci::push;
use crate::image::oci::reference::Reference;

/// Give an image to a registry, and print what it is there by its digest
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// An image that is here
    #[arg(value_name = "IMAGE", add = complete::images())]
    image: Reference,

    /// What it is to be called there; its own name if not given
    #[arg(value_name = "TO")]
    to: Option<Reference>,

    /// Do not show how it is getting on
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) fn push(app: &App, args: &PushArgs) -> Outcome {
    output::done(one(app, args))
}

fn one(app: &App, args: &PushArgs) -> Result<()> {
    let blobs = app.store.blobs()?;
    let to = args.to.as_ref().unwrap_or(&args.image);
    let progress = Progress::new(args.quiet);
    let pushed = push::push(&blobs, &args.image, to, &|digest, step| progress.show(digest, step))?;
    output::line(to.pinned(pushed.digest))
}
