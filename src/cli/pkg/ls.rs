//! `kraft pkg ls`.

use clap::Args;
use indicatif::HumanBytes;

use super::shown::{self, Row};
use crate::cli::app::App;
use crate::cli::output::Format;
use crate::cli::{Outcome, output};
use crate::error::Result;
use crate::image::oci::unused::Users;
use crate::machine::MachineName;

/// List the images that are here
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Show names only
    #[arg(short, long)]
    quiet: bool,

    /// Show digests whole
    #[arg(long)]
    digests: bool,

    /// The form of the output
    #[arg(short, long, value_name = "FORM", value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub(crate) fn ls(app: &App, args: &LsArgs) -> Outcome {
    output::done(list(app, args))
}

fn list(app: &App, args: &LsArgs) -> Result<()> {
    let blobs = app.store.blobs()?;
    let names = blobs.names()?;
    if args.quiet {
        return output::write(&names.iter().map(|named| format!("{}\n", named.name)).collect::<String>());
    }
    let users = Users::find(&app.store)?;
    let mut rows: Vec<Row> = Vec::new();
    for named in &names {
        match shown::rows(&blobs, &users, named) {
            Ok(found) => rows.extend(found),
            Err(error) => log::warn!("{}: {error}", named.name),
        }
    }
    if args.output != Format::Table {
        return output::value(args.output, &rows);
    }
    let mut table = output::table(["NAME", "PLATFORM", "MANIFEST", "SIZE", "USED BY"]);
    for row in rows {
        let users: Vec<&str> = row.machines.iter().map(MachineName::as_str).collect();
        let manifest = row.manifest.trim_start_matches("sha256:");
        let manifest = if args.digests { &row.manifest } else { manifest.get(..12).unwrap_or(manifest) };
        let (platform, size) = (format!("{}/{}", row.plat, row.arch), HumanBytes(row.size).to_string());
        table.add_row([row.name.as_str(), &platform, manifest, &size, &users.join(", ")]);
    }
    output::write(&output::rows(table))
}
