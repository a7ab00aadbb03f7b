//! `kraft compose pull`: the images of services are fetched, and nothing is started.

use std::process::ExitCode;

use clap::Args;

use super::wanted::image_path;
use super::{ComposeArgs, Services};
use crate::cli::app::App;
use crate::cli::pkg::progress::Progress;
use crate::cli::{Outcome, output};
use crate::compose::Service;
use crate::error::{Error, Result};
use crate::image::oci::choose::Asked;
use crate::image::oci::local::Local;
use crate::image::oci::pull;
use crate::image::oci::reference::Reference;
use crate::machine::Pull;

/// Fetch the images of services, and start nothing
///
/// Images that are files are passed over, and so is what pull_policy says is never to be fetched, or is there and only
/// fetched where it is missing.
#[derive(Debug, Args)]
pub(super) struct PullArgs {
    #[command(flatten)]
    services: Services,

    /// Do not show how it is getting on
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn pull(app: &App, args: &ComposeArgs, verb: &PullArgs) -> Outcome {
    let named = &verb.services.services;
    let loaded = args.load(named)?;
    let mut done = Vec::new();
    let mut errors: Vec<Error> = Vec::new();
    for service in loaded.project.file.services.iter().filter(|one| named.is_empty() || named.contains(&one.name)) {
        let is_new = !done.contains(&(&service.image, service.own.arch));
        let is_file = image_path(&loaded, service).is_some() || Local::parse(&service.image).is_some();
        if is_new && !is_file && service.pull != Some(Pull::Never) {
            done.push((&service.image, service.own.arch));
            let at = |error: Error| service.place.error(error.context(format!("services.{}.image", service.name)));
            errors.extend(one(app, service, verb).map_err(at).err());
        }
    }
    if errors.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(errors) }
}

fn one(app: &App, service: &Service, verb: &PullArgs) -> Result<()> {
    let image: Reference = service.image.parse()?;
    let asked = Asked { plat: None, arch: service.own.arch };
    // What the file only wants where it is missing is not fetched anew.
    let policy = if service.pull == Some(Pull::Missing) { Pull::Missing } else { Pull::Always };
    let progress = Progress::new(verb.quiet);
    let blobs = app.store.blobs()?;
    let pulled = pull::ensure(&blobs, &image, policy, &asked, &|digest, step| progress.show(digest, step))?;
    output::line(image.pinned(pulled.manifest))
}
