//! `kraft pkg info`.

use std::process::ExitCode;

use clap::Args;

use super::shown::{self, Row};
use crate::cli::app::App;
use crate::cli::output::Format;
use crate::cli::{Outcome, complete, output};
use crate::error::{Error, Kind, Result};
use crate::image::oci::pull;
use crate::image::oci::reference::Reference;
use crate::image::oci::unused::{Users, not_here};
use crate::store::{Blobs, Named};

/// Show all that is known of images that are here
#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// Images
    #[arg(value_name = "IMAGE", required = true, add = complete::images())]
    images: Vec<Reference>,

    /// The form of the output
    #[arg(short, long, value_name = "FORM", value_enum, default_value_t = Format::Json)]
    output: Format,
}

pub(crate) fn info(app: &App, args: &InfoArgs) -> Outcome {
    let (blobs, users) = app
        .store
        .blobs()
        .and_then(|blobs| Users::find(&app.store).map(|users| (blobs, users)))
        .map_err(|error| vec![error])?;
    let (mut rows, mut errors): (Vec<Row>, Vec<Error>) = (Vec::new(), Vec::new());
    for image in &args.images {
        match one(&blobs, &users, image) {
            Ok(found) => rows.extend(found),
            Err(error) => errors.push(error.with_kind(Kind::Failed)),
        }
    }
    errors.extend(output::value(args.output, &rows).err());
    if errors.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(errors) }
}

fn one(blobs: &Blobs, users: &Users, image: &Reference) -> Result<Vec<Row>> {
    let name = image.to_string();
    let target = pull::target(blobs, image)?.ok_or_else(|| not_here(&name))?;
    shown::rows(blobs, users, &Named { name, target })
}
