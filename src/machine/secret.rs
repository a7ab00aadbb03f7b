//! Secrets of a machine: what its guest is given and nobody else is to see, as a person writes it and as a record keeps it.
//! A record keeps where a secret is, never the secret.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::text::kept_as_text;
use super::{Dialect, Spec};
use crate::error::{Error, Result};

/// The most bytes that all secrets of a machine have: systemd's own limit for the credentials of a unit.
pub const SECRETS_LIMIT: u64 = 1 << 20;
/// What the name of a secret has before it in QEMU's firmware configuration, where systemd in a guest looks for it.
pub const FW_CFG_PREFIX: &str = "opt/io.systemd.credentials/";
/// The longest name there, by QEMU.
const FW_CFG_LIMIT: usize = 55;
/// The longest name of a file.
const NAME_LIMIT: usize = 255;

/// How a secret gets into the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Through QEMU's firmware configuration.
    FwCfg,
    /// As a file in the RAM disk.
    Initrd,
}

impl Delivery {
    /// The words for them.
    pub const WORDS: [&str; 2] = ["fw_cfg", "initrd"];
}

impl FromStr for Delivery {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "fw_cfg" => Ok(Self::FwCfg),
            "initrd" => Ok(Self::Initrd),
            _ => {
                let known = Self::WORDS.join(", ");
                Err(Error::new(format!("unknown way '{}': known are {known}", text.escape_debug())))
            }
        }
    }
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::FwCfg => "fw_cfg",
            Self::Initrd => "initrd",
        })
    }
}

/// A secret as written: `NAME[=[encrypted:]PATH][,as=WAY]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRequest {
    /// Its name.
    pub name: String,
    /// Its file, perhaps relative; looked for by the name if `None`.
    pub source: Option<PathBuf>,
    /// The file is one of `systemd-creds encrypt`.
    pub encrypted: bool,
    /// How it gets into the guest; what its kernel can read if `None`.
    pub way: Option<Delivery>,
}

impl FromStr for SecretRequest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &str| Error::new(format!("bad secret '{}': {why}", text.escape_debug()));
        let (rest, way) = match text.rsplit_once(",as=") {
            Some((rest, way)) => (rest, Some(way.parse::<Delivery>().map_err(|e| bad(&e.to_string()))?)),
            None => (text, None),
        };
        let (name, source) = match rest.split_once('=') {
            Some((name, source)) => (name, Some(source)),
            None => (rest, None),
        };
        if let Some(why) = flaw(name) {
            return Err(bad(&why));
        }
        let (encrypted, source) = match source.map(|source| (source.strip_prefix("encrypted:"), source)) {
            Some((Some(source), _)) => (true, Some(source)),
            Some((None, source)) => (false, Some(source)),
            None => (false, None),
        };
        match source {
            Some("") => return Err(bad("there is no path behind the '='")),
            Some(path) if path.contains(char::is_control) => return Err(bad("its path holds a control character")),
            Some(_) | None => {}
        }
        Ok(Self { name: name.to_owned(), source: source.map(PathBuf::from), encrypted, way })
    }
}

impl fmt::Display for SecretRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(source) = &self.source {
            write!(f, "={}{}", if self.encrypted { "encrypted:" } else { "" }, source.display())?;
        }
        self.way.map_or(Ok(()), |way| write!(f, ",as={way}"))
    }
}

/// What is wrong with a name, if anything: it is that of a file, and stands in the syntax of units and of QEMU.
fn flaw(name: &str) -> Option<String> {
    if matches!(name, "" | "." | "..") {
        return Some("it has no name".into());
    }
    if let Some(c) = name.chars().find(|&c| !(c.is_ascii_alphanumeric() || "_.-@".contains(c))) {
        return Some(format!("'{}' in its name is not one of a-z A-Z 0-9 _ . - @", c.escape_debug()));
    }
    (name.len() > NAME_LIMIT).then(|| format!("its name has {} characters, at most {NAME_LIMIT} fit", name.len()))
}

/// A secret as a record keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Secret {
    /// Its name.
    pub name: String,
    /// Absolute path of its file.
    pub source: PathBuf,
    /// The file is one of `systemd-creds encrypt`, for this name.
    pub encrypted: bool,
    /// How it gets into the guest; what its kernel can read if `None`.
    pub way: Option<Delivery>,
}

impl Secret {
    /// Checks a path as a record can keep it.
    ///
    /// # Errors
    /// When it is not UTF-8, or not one line.
    pub fn check_path(path: &Path) -> Result<()> {
        match path.to_str() {
            Some(text) if text.contains(char::is_control) || text.contains(",as=") => {
                Err(Error::new(format!("cannot keep {path:?}: it holds a control character, or ',as='")))
            }
            Some(_) => Ok(()),
            None => Err(Error::new(format!("cannot keep {}: it is not UTF-8", path.display()))),
        }
    }
}

impl FromStr for Secret {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let SecretRequest { name, source, encrypted, way } = text.parse()?;
        match source.filter(|source| source.is_absolute()) {
            Some(source) => Ok(Self { name, source, encrypted, way }),
            None => Err(Error::new(format!("bad secret '{}': its path is not absolute", text.escape_debug()))),
        }
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, source, encrypted, way } = self;
        write!(f, "{name}={}{}", if *encrypted { "encrypted:" } else { "" }, source.display())?;
        way.map_or(Ok(()), |way| write!(f, ",as={way}"))
    }
}

kept_as_text!(Secret);

impl Spec {
    /// How a secret gets into this machine's guest.
    pub fn delivery(&self, secret: &Secret) -> Delivery {
        secret.way.unwrap_or(match self.kernel.dialect() {
            Dialect::Unikraft | Dialect::UnikraftOld => Delivery::Initrd,
            Dialect::Linux | Dialect::Plain => Delivery::FwCfg,
        })
    }

    /// Checks that each secret can get into the guest.
    ///
    /// # Errors
    /// Names the one that cannot.
    pub(super) fn validate_secrets(&self) -> Result<()> {
        for (index, secret) in self.secrets.iter().enumerate() {
            let cannot = |why: &str| Error::new(format!("cannot give the guest secret {}: {why}", secret.name));
            if self.secrets[..index].iter().any(|other| other.name == secret.name) {
                return Err(cannot("it is there twice"));
            }
            match self.delivery(secret) {
                Delivery::FwCfg if FW_CFG_PREFIX.len() + secret.name.len() > FW_CFG_LIMIT => {
                    let most = FW_CFG_LIMIT - FW_CFG_PREFIX.len();
                    return Err(cannot(&format!("its name has more than {most} characters, which QEMU does not take")));
                }
                Delivery::Initrd if self.initrd.is_none() && secret.way.is_none() => {
                    return Err(cannot("its kernel reads it from the root file system, and it has none")
                        .with_hint("`--rootfs` gives it one; `as=fw_cfg` is for a kernel that reads QEMU's fw_cfg"));
                }
                Delivery::Initrd if self.kernel.abilities.initrd == Some(false) => {
                    return Err(cannot("its kernel does not unpack a RAM disk"));
                }
                Delivery::FwCfg | Delivery::Initrd => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Kernel, KernelKind};
    use proptest::prelude::*;

    #[test]
    fn what_is_written() {
        let request = |text: &str| text.parse::<SecretRequest>();
        let alone = SecretRequest { name: "db".into(), source: None, encrypted: false, way: None };
        assert_eq!(request("db").unwrap(), alone);
        assert_eq!(
            request("db=encrypted:a,b=c,as=initrd").unwrap(),
            SecretRequest {
                source: Some("a,b=c".into()),
                encrypted: true,
                way: Some(Delivery::Initrd),
                ..alone.clone()
            }
        );
        for text in ["db", "db=a,b=c", "db=encrypted:/a,as=initrd", "db,as=fw_cfg"] {
            assert_eq!(request(text).unwrap().to_string(), text);
        }
        assert_eq!(request("db,as=fw_cfg").unwrap(), SecretRequest { way: Some(Delivery::FwCfg), ..alone });
        for (text, why) in [
            ("", "it has no name"),
            ("=x", "it has no name"),
            ("a/b=x", "'/' in its name is not one of a-z A-Z 0-9 _ . - @"),
            ("a=", "there is no path behind the '='"),
            ("a=encrypted:", "there is no path behind the '='"),
            ("a=x\ny", "its path holds a control character"),
            ("a=x,as=env", "unknown way 'env': known are fw_cfg, initrd"),
        ] {
            let error = request(text).unwrap_err().to_string();
            assert_eq!(error, format!("bad secret '{}': {why}", text.escape_debug()));
        }
    }

    #[test]
    fn the_kernel_decides_the_way() {
        let secret: Secret = "db=/etc/db".parse().unwrap();
        let spec = |kind, secret: &Secret| Spec {
            kernel: Kernel::new("/k", kind),
            secrets: vec![secret.clone()],
            ..Spec::example("web")
        };
        let linux = spec(KernelKind::Linux, &secret);
        assert_eq!((linux.delivery(&secret), linux.validate()), (Delivery::FwCfg, Ok(())));
        let unikraft = spec(KernelKind::Unikraft, &secret);
        assert_eq!(unikraft.delivery(&secret), Delivery::Initrd);
        assert!(unikraft.validate().unwrap_err().to_string().ends_with("from the root file system, and it has none"));
        let given = Spec { initrd: Some("/r".into()), ..unikraft };
        assert_eq!(given.validate(), Ok(()));
        let long = Secret { name: "x".repeat(29), ..secret.clone() };
        let error = spec(KernelKind::Pvh, &long).validate().unwrap_err().to_string();
        assert!(error.contains("more than 28 characters"), "{error}");
        let twice = Spec { secrets: vec![secret.clone(), secret], ..linux };
        assert!(twice.validate().unwrap_err().to_string().ends_with("it is there twice"));
    }

    proptest! {
        #[test]
        fn records_keep_it(name in "[a-z@._-]{3,9}", path in "/[ -~é]{0,20}", encrypted: bool, ways in 0..3usize) {
            let way = [None, Some(Delivery::FwCfg), Some(Delivery::Initrd)][ways];
            // Without a way of its own, such a path would be read as one that has.
            prop_assume!(way.is_some() || !path.contains(",as="));
            let secret = Secret { name, source: path.into(), encrypted, way };
            prop_assert_eq!(&secret.to_string().parse::<Secret>().unwrap(), &secret);
        }
    }
}
