//! `kraft version`.

use clap::Args;
use serde::Serialize;

use super::Outcome;
use super::app::App;
use super::output::{self, Format};
use crate::paths::Scope;

/// Show the version
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// The form of the output
    #[arg(short, long, value_name = "FORM", value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Serialize)]
struct Version {
    version: &'static str,
    arch: &'static str,
    scope: String,
}

pub(crate) fn version(app: &App, args: &VersionArgs) -> Outcome {
    let version =
        Version { version: env!("CARGO_PKG_VERSION"), arch: std::env::consts::ARCH, scope: app.scope.to_string() };
    output::done(match args.output {
        Format::Table => {
            let whose = match app.scope {
                Scope::System => "the system's machines; `--user` for your own",
                Scope::User => "your own machines; `--system` for the system's",
            };
            output::line(format_args!(
                "kraft {} ({})\nscope: {} ({whose})",
                version.version, version.arch, version.scope
            ))
        }
        format => output::value(format, &version),
    })
}
