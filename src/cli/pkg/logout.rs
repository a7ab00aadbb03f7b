//! `kraft pkg logout`.

use clap::Args;

use crate::cli::{Outcome, output};
use crate::error::Result;
use crate::image::oci::auth;
use crate::image::oci::reference::{DEFAULT_REGISTRY, parse_registry};

/// Forget the name and the password for a registry
#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    /// The registry, with its port if it has one
    #[arg(value_name = "REGISTRY", default_value = DEFAULT_REGISTRY, value_parser = parse_registry)]
    registry: String,
}

pub(crate) fn logout(args: &LogoutArgs) -> Outcome {
    output::done(forget(args))
}

fn forget(args: &LogoutArgs) -> Result<()> {
    let registry = &args.registry;
    match auth::forget(registry)? {
        true => output::line(format!("logged out of {registry}")),
        false => output::line(format!("nobody was logged in to {registry}")),
    }
}
