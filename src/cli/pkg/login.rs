//! `kraft pkg login`.

use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};

use clap::Args;

use crate::cli::{Outcome, output};
use crate::error::{Context as _, Error, Result};
use crate::image::oci::auth::{self, Credentials};
use crate::image::oci::reference::{DEFAULT_REGISTRY, parse_registry};
use crate::image::oci::registry::Registry;

/// More than any password has.
const LONGEST: u64 = 1 << 16;

/// Keep a name and a password for a registry, as docker does
///
/// The registry is asked first whether it takes them.
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The registry, with its port if it has one
    #[arg(value_name = "REGISTRY", default_value = DEFAULT_REGISTRY, value_parser = parse_registry)]
    registry: String,

    /// The name
    #[arg(short, long, value_name = "NAME")]
    username: String,

    /// Read the password from standard input; else it is asked for on the terminal
    #[arg(long)]
    password_stdin: bool,
}

pub(crate) fn login(args: &LoginArgs) -> Outcome {
    output::done(check_and_keep(args))
}

fn check_and_keep(args: &LoginArgs) -> Result<()> {
    let (registry, user) = (&args.registry, &args.username);
    let password = if args.password_stdin { piped()? } else { asked()? };
    if password.is_empty() {
        return Err(Error::new("the password is empty"));
    }
    if user.is_empty() || user.contains([':', '\n']) {
        return Err(Error::new(format!("bad name '{}': it is not empty and has no colon", user.escape_debug())));
    }
    let credentials = Credentials::Password { user: user.clone(), password: password.clone() };
    Registry::check(registry, credentials).with_context(|| format!("cannot log in to {registry}"))?;
    let place = auth::keep(registry, user, &password)?;
    output::line(format!("logged in to {registry}; kept in {place}"))
}

fn piped() -> Result<String> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(LONGEST).read_to_string(&mut text);
    read.context("cannot read the password from standard input")?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// Asks on the terminal, which does not show what is typed.
fn asked() -> Result<String> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Error::new("there is no terminal to ask for the password on")
            .with_hint("--password-stdin reads it from standard input"));
    }
    let cannot = "cannot ask for the password";
    let before = tcgetattr(&stdin).context(cannot)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    silent.local_modes.insert(LocalModes::ECHONL);
    let mut out = std::io::stderr();
    out.write_all(b"password: ").and_then(|()| out.flush()).context(cannot)?;
    tcsetattr(&stdin, OptionalActions::Flush, &silent).context(cannot)?;
    let mut text = String::new();
    let read = stdin.lock().take(LONGEST).read_line(&mut text);
    tcsetattr(&stdin, OptionalActions::Flush, &before).context(cannot)?;
    read.context(cannot)?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}
