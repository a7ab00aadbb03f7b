//! Who we are to a registry: what `docker login`, `podman login` and ours left in their files and helpers.
//!
//! ```text
//! $REGISTRY_AUTH_FILE                                     podman's, in place of all others
//! $DOCKER_CONFIG/config.json, ~/.docker/config.json       docker's, and where ours go
//! $XDG_RUNTIME_DIR/containers/auth.json                   podman's, gone with the boot
//! $XDG_CONFIG_HOME/containers/auth.json                   podman's
//! ```
//!
//! The first of them that knows the registry counts. Nothing in them switches off verification.

mod file;
mod helper;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Context as _, Error, Result};
use crate::paths;

use file::AuthFile;

/// What proves who we are.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A name and a password.
    Password {
        /// The name.
        user: String,
        /// The password, or a token in its place.
        password: String,
    },
    /// A token that others are had for.
    Identity(String),
    /// A token that is shown to the registry as it is.
    Token(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "Password",
            Self::Identity(_) => "Identity",
            Self::Token(_) => "Token",
        })
    }
}

/// Finds what there is for a repository.
///
/// # Errors
/// When a file or a helper that knows the registry cannot be read. One that does not matter is no error.
pub fn find(registry: &str, repository: &str) -> Result<Option<Credentials>> {
    for path in paths::registry_auth_files() {
        let cannot = || format!("cannot tell the credentials for {registry}");
        let Some(file) = AuthFile::read(&path).with_context(cannot)? else { continue };
        if let Some(helper) = file.helper(registry) {
            if let Some(found) = helper::get(helper, file::server(registry)).with_context(cannot)? {
                return Ok(Some(found));
            }
        } else if let Some(found) = file.find(registry, repository).with_context(cannot)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Keeps a name and a password, as docker does: with the helper that its file names, else in the file. Says where.
///
/// # Errors
/// When that cannot be done; what was kept before is kept then.
pub fn keep(registry: &str, user: &str, password: &str) -> Result<String> {
    let path = own()?;
    let _turn = file::turn(&path)?;
    let mut file = AuthFile::read(&path)?.unwrap_or_else(|| AuthFile::new(&path));
    let Some(helper) = file.helper(registry).map(str::to_owned) else {
        file.set(registry, user, password);
        file.write()?;
        return Ok(path.display().to_string());
    };
    helper::store(&helper, file::server(registry), user, password)?;
    Ok(format!("docker-credential-{helper}"))
}

/// Forgets what is kept for a registry, wherever it is. Says whether anything was.
///
/// # Errors
/// When that cannot be done in one place; it is done in the others then.
pub fn forget(registry: &str) -> Result<bool> {
    let (mut forgot, mut failed) = (false, None);
    for path in paths::registry_auth_files() {
        match forget_in(&path, registry) {
            Ok(had) => forgot |= had,
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(forgot), Err)
}

fn forget_in(path: &Path, registry: &str) -> Result<bool> {
    if AuthFile::read(path)?.is_none() {
        return Ok(false);
    }
    let _turn = file::turn(path)?;
    let Some(mut file) = AuthFile::read(path)? else { return Ok(false) };
    let mut forgot = file.remove(registry);
    if forgot {
        file.write()?;
    }
    if let Some(helper) = file.helper(registry)
        && helper::get(helper, file::server(registry))?.is_some()
    {
        helper::erase(helper, file::server(registry))?;
        forgot = true;
    }
    Ok(forgot)
}

/// The file that ours go to.
fn own() -> Result<PathBuf> {
    paths::registry_auth_files()
        .into_iter()
        .next()
        .ok_or_else(|| Error::new("cannot tell where credentials are kept: neither DOCKER_CONFIG nor HOME is set"))
}
