//! `kraft wait`.

use std::process::ExitCode;

use clap::Args;

use super::app::App;
use super::complete;
use super::follow::{self, End};
use super::{Outcome, output};
use crate::error::{Error, Kind, Result};
use crate::machine::Selector;

/// Wait until machines end and print their exit codes
///
/// Ends with the exit code of the machine that was named last. A machine that has ended already counts with its last
/// exit code; one that its policy starts again has not ended.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// Machines, by name or by four or more first digits of an id
    #[arg(value_name = "MACHINE", required = true, add = complete::machines())]
    machines: Vec<Selector>,

    /// Do not print the exit codes
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) fn wait(app: &App, args: &WaitArgs) -> Outcome {
    let mut code = 0;
    let mut errors = Vec::new();
    for selector in &args.machines {
        match wait_one(app, selector).and_then(
            |code| {
                if args.quiet { Ok(code) } else { output::line(code).map(|()| code) }
            },
        ) {
            Ok(its) => code = its,
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(ExitCode::from(code)) } else { Err(errors) }
}

fn wait_one(app: &App, selector: &Selector) -> Result<u8> {
    let name = app.resolve(selector)?;
    let service = app.service_of(&name)?;
    match follow::until_end(service.as_ref(), &name)? {
        End::Ended(Some(exit)) => Ok(exit.code),
        End::Ended(None) => Err(Error::of(Kind::Conflict, format!("cannot wait for {name}: it was never started"))
            .with_hint(format!("`kraft start {name}` starts it"))),
        End::Gone | End::Detached => Err(Error::new(format!("machine {name} was removed"))),
    }
}
