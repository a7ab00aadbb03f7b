//! Programs that keep credentials: `docker-credential-NAME get|store|erase`, with the registry on standard input.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::Credentials;
use crate::error::{Context as _, Error, Kind, Result};
use crate::{paths, process};

/// A helper may ask a person first.
const DEADLINE: Duration = Duration::from_secs(120);
/// More than any has to say.
const LONGEST: u64 = 1 << 20;
/// What they say when they have nothing.
const NOTHING: &str = "credentials not found";

/// Asks a helper; `None` when it has nothing.
pub(super) fn get(name: &str, server: &str) -> Result<Option<Credentials>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    let (ok, said) = call(name, "get", server)?;
    if !ok && said.contains(NOTHING) {
        return Ok(None);
    }
    if !ok {
        return Err(failed(name, &said));
    }
    let answer: Answer = serde_json::from_str(&said).with_context(|| format!("docker-credential-{name}"))?;
    Ok(Some(match answer.username.as_str() {
        "<token>" => Credentials::Identity(answer.secret),
        _ => Credentials::Password { user: answer.username, password: answer.secret },
    }))
}

/// Has a helper keep a password.
pub(super) fn store(name: &str, server: &str, user: &str, password: &str) -> Result<()> {
    let what = json!({ "ServerURL": server, "Username": user, "Secret": password });
    let (ok, said) = call(name, "store", &what.to_string())?;
    if ok { Ok(()) } else { Err(failed(name, &said)) }
}

/// Has a helper forget a password.
pub(super) fn erase(name: &str, server: &str) -> Result<()> {
    let (ok, said) = call(name, "erase", server)?;
    if ok { Ok(()) } else { Err(failed(name, &said)) }
}

fn failed(name: &str, said: &str) -> Error {
    Error::new(format!("docker-credential-{name} failed: {}", said.trim().lines().next().unwrap_or("it says nothing")))
}

fn find(name: &str) -> Result<PathBuf> {
    let program = format!("docker-credential-{name}");
    let is_word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    let found = is_word.then(|| paths::find_program(Path::new(&program))).flatten();
    found.ok_or_else(|| Error::new(format!("{} is not installed, which keeps the credentials", program.escape_debug())))
}

/// Runs a helper. Returns whether it succeeded, and what it said on standard output.
fn call(name: &str, verb: &str, input: &str) -> Result<(bool, String)> {
    let cannot = || format!("cannot run docker-credential-{name}");
    let mut command = process::command(find(name)?);
    // They find their own settings in it: AWS_PROFILE, DBUS_SESSION_BUS_ADDRESS.
    command.envs(paths::environment());
    command.arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    process::die_with_parent(&mut command);
    let mut child = command.spawn().with_context(cannot)?;
    let said = talk(&mut child, input);
    if said.is_err() {
        // It has had its time, or says more than can be.
        let _ = child.kill();
    }
    let status = child.wait().with_context(cannot)?;
    said.with_context(cannot).map(|said| (status.success(), said))
}

fn talk(child: &mut Child, input: &str) -> Result<String> {
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input.as_bytes()).and_then(|()| stdin.write_all(b"\n")) {
            // It need not read all of it.
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => {}
            written => written.context("cannot write to it")?,
        }
    }
    let Some(stdout) = child.stdout.take() else { return Ok(String::new()) };
    let (done, outcome) = mpsc::channel();
    std::thread::spawn(move || {
        let mut said = String::new();
        let read = stdout.take(LONGEST).read_to_string(&mut said);
        let _ = done.send(read.map(|_| said));
    });
    match outcome.recv_timeout(DEADLINE) {
        Ok(said) => said.context("cannot read from it"),
        Err(_) => Err(Error::of(Kind::Timeout, format!("it did not answer within {} s", DEADLINE.as_secs()))),
    }
}
