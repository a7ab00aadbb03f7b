//! The argument that gives a machine secrets, and where they are looked for.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::{Error, Kind, Result};
use crate::machine::{Secret, SecretRequest};
use crate::paths::{self, Scope};

/// What a guest is given and nobody else is to see.
#[derive(Debug, Clone, Args)]
pub(crate) struct SecretArgs {
    /// Give the guest a secret: the content of a file, or of one that `systemd-creds encrypt` made; without one, that of
    /// the name in the credential stores of systemd's; may be repeated
    #[arg(long = "secret", value_name = "NAME[=[encrypted:]FILE][,as=fw_cfg|initrd]")]
    pub(crate) secrets: Vec<SecretRequest>,
}

/// Settles where each is. What is in them is not looked at.
pub(crate) fn settle(scope: Scope, requests: Vec<SecretRequest>) -> Result<Vec<Secret>> {
    let settle = |SecretRequest { name, source, encrypted, way }| {
        let (source, encrypted) = match source {
            Some(path) => (paths::absolute(&path)?, encrypted),
            None => find(scope, &name)?,
        };
        Secret::check_path(&source)?;
        Ok(Secret { name, source, encrypted, way })
    };
    requests.into_iter().map(settle).collect()
}

/// Where systemd would find it: the plain ones first.
fn find(scope: Scope, name: &str) -> Result<(PathBuf, bool)> {
    let stores: Vec<(PathBuf, bool)> = match scope {
        Scope::System => {
            let plain = paths::CREDSTORES.iter().map(|dir| (PathBuf::from(dir), false));
            plain.chain(paths::ENCRYPTED_CREDSTORES.iter().map(|dir| (PathBuf::from(dir), true))).collect()
        }
        Scope::User => paths::user_credstores().into_iter().map(|dir| (dir, false)).collect(),
    };
    let found = stores.iter().map(|(dir, encrypted)| (dir.join(name), *encrypted)).find(|(path, _)| path.exists());
    found.ok_or_else(|| {
        let dirs: Vec<_> =
            stores.iter().map(|(dir, _)| dir.as_path()).map(Path::display).map(|d| d.to_string()).collect();
        Error::of(Kind::NotFound, format!("secret {name} is in none of {}", dirs.join(", ")))
            .with_hint(format!("`--secret {name}=FILE` says where it is"))
    })
}
