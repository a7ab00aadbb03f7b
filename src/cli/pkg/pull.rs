//! `kraft pkg pull`.

use std::process::ExitCode;
use std::str::FromStr;

use clap::Args;

use super::progress::Progress;
use super::select::Select;
use crate::cli::app::App;
use crate::cli::{Outcome, output};
use crate::error::{Error, Result};
use crate::image::oci::local::Local;
use crate::image::oci::pull::{self, Which};
use crate::image::oci::reference::Reference;

/// Fetch images from their registries, and print what each is by its digest
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// Images: [REGISTRY[:PORT]/]REPOSITORY[:TAG][@DIGEST], or files: oci:DIR, oci-archive:FILE, docker-archive:FILE
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<Source>,

    #[command(flatten)]
    select: Select,

    /// Fetch the kernels for all platforms and architectures
    #[arg(short, long, conflicts_with_all = ["plat", "arch"])]
    all: bool,

    /// Do not show how it is getting on
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) fn pull(app: &App, args: &PullArgs) -> Outcome {
    let errors: Vec<Error> = args.images.iter().filter_map(|source| one(app, args, source).err()).collect();
    if errors.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(errors) }
}

/// Where an image is.
#[derive(Debug, Clone)]
enum Source {
    Registry(Reference),
    File(Local),
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match Local::parse(text) {
            Some(local) => local.map(Self::File),
            None => text.parse().map(Self::Registry),
        }
    }
}

fn one(app: &App, args: &PullArgs, source: &Source) -> Result<()> {
    match source {
        Source::Registry(image) => fetch(app, args, image),
        Source::File(local) => import(app, local),
    }
}

fn fetch(app: &App, args: &PullArgs, image: &Reference) -> Result<()> {
    let blobs = app.store.blobs()?;
    let which = if args.all { Which::All } else { Which::Best(args.select.asked()) };
    let progress = Progress::new(args.quiet);
    let pulled = pull::pull(&blobs, image, &which, &|digest, step| progress.show(digest, step))?;
    if !args.quiet {
        output::note(format!("{image}: {}", pulled.why));
    }
    output::line(image.pinned(if args.all { pulled.root.digest } else { pulled.manifest }))
}

/// All of what is a file here comes along, and gets the name that it says it has.
fn import(app: &App, local: &Local) -> Result<()> {
    let blobs = app.store.blobs()?;
    let imported = local.import(&app.store.rootfs_cache()?, &blobs)?;
    blobs.name(&imported.name, &imported.target)?;
    output::line(imported.name.parse::<Reference>()?.pinned(imported.target.digest))
}
