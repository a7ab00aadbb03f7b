//! A machine's secrets, as its VMM is given them: by descriptor, or in a RAM disk that is made in memory for one start.
//! What is in them passes no command line, no environment, no record and no log.

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::error::{Context as _, Error, Kind, Result};
use crate::image::extend::{Extra, with_files};
use crate::machine::{Bytes, Delivery, Manager, Record, SECRETS_LIMIT, Secret, Spec};
use crate::paths;
use crate::platform::SecretFile;

/// Checks that the machine's secrets are there and not too large. What is in them is not looked at.
///
/// # Errors
/// Names the first that is missing, with its path.
pub fn check(spec: &Spec, manager: Manager) -> Result<()> {
    let mut total = 0;
    for secret in &spec.secrets {
        if secret.encrypted && manager == Manager::Local {
            return Err(Error::new(format!("cannot give the guest secret {}: it is encrypted", secret.name))
                .with_hint("systemd decrypts it, with `--systemd`"));
        }
        if manager == Manager::Systemd
            && secret.source.as_os_str().as_encoded_bytes().iter().any(|b| b" \\".contains(b))
        {
            // systemd 257 takes such a path and then cannot start the unit.
            let what = format!("secret {}: {}", secret.name, secret.source.display());
            return Err(Error::new(format!("systemd cannot load {what}: its path holds a space or a backslash"))
                .with_hint("a symbolic link to it can have a name without"));
        }
        let (_, size) = open_file(secret, &secret.source)?;
        // An encrypted one is larger than what is in it, and systemd judges that.
        total = add(total, if secret.encrypted { 0 } else { size }, secret)?;
    }
    Ok(())
}

/// The machine's secrets: those that the VMM shows to the guest, and the RAM disk with the others in it, made of the one
/// that is found at `initrd`.
pub(super) fn open(record: &Record, initrd: Option<&Path>) -> Result<(Vec<SecretFile>, Option<OwnedFd>)> {
    let (mut shown, mut extras, mut total) = (Vec::new(), Vec::new(), 0);
    let loaded = match record.manager {
        Manager::Systemd => paths::credentials_directory(),
        Manager::Local => None,
    };
    for secret in &record.spec.secrets {
        let (content, size) = match &loaded {
            Some(dir) => open_file(secret, &dir.join(&secret.name))?,
            None if secret.encrypted => {
                return Err(Error::new(format!("systemd did not decrypt secret {}", secret.name)));
            }
            None => open_file(secret, &secret.source)?,
        };
        total = add(total, size, secret)?;
        let name = secret.name.clone();
        match record.spec.delivery(secret) {
            Delivery::FwCfg => shown.push(SecretFile { name, content: content.into() }),
            Delivery::Initrd => extras.push(Extra { name, content, size }),
        }
    }
    if extras.is_empty() {
        return Ok((shown, None));
    }
    let disk = with_files(initrd, &paths::GUEST_SECRETS, extras)?;
    Ok((shown, Some(disk)))
}

fn add(total: u64, size: u64, secret: &Secret) -> Result<u64> {
    let total = total.saturating_add(size);
    if total > SECRETS_LIMIT {
        let most = Bytes(SECRETS_LIMIT);
        return Err(Error::new(format!("secret {} is too large: all of a machine's have at most {most}", secret.name)));
    }
    Ok(total)
}

fn open_file(secret: &Secret, path: &Path) -> Result<(File, u64)> {
    let what = || format!("secret {}: {}", secret.name, path.display());
    // Without O_NONBLOCK, opening a FIFO waits for a writer.
    let opened = OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32).open(path);
    let file = match opened {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::of(Kind::NotFound, format!("{} is not there", what())));
        }
        opened => opened.with_context(|| format!("cannot read {}", what()))?,
    };
    let metadata = file.metadata().with_context(|| format!("cannot read {}", what()))?;
    if !metadata.is_file() {
        return Err(Error::new(format!("{} is not a regular file", what())));
    }
    Ok((file, metadata.len()))
}
