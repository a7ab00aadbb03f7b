//! Which image a machine was made of, and how one is asked for.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Digest;
use crate::error::{Error, Result};

/// The image that a machine was made of. Its content is kept as long as the machine is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageOrigin {
    /// Its name as it was resolved, with registry and tag or digest.
    pub reference: String,
    /// The manifest that was chosen of it.
    pub manifest: Digest,
}

impl ImageOrigin {
    /// The name by which the very same content is had again, here and, if a registry has it, elsewhere. An image that was a
    /// file has no other name than its own.
    pub fn pinned(&self) -> ImageName {
        let reference = &self.reference;
        let is_certain = reference.contains('@') || ImageName(reference.clone()).file().is_some();
        ImageName(if is_certain { reference.clone() } else { format!("{reference}@sha256:{}", self.manifest) })
    }

    /// Its name without a digest.
    pub fn name(&self) -> &str {
        match ImageName(self.reference.clone()).file() {
            Some(_) => &self.reference,
            None => self.reference.split('@').next().unwrap_or_default(),
        }
    }

    /// Whether both are the same content by the same name, with a digest or without.
    pub fn is_same(&self, other: &Self) -> bool {
        self.manifest == other.manifest && self.name() == other.name()
    }
}

/// The name of an image as somebody wrote it: a reference, or that of an image that is a file here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageName(String);

impl ImageName {
    /// What the names of images that are files here begin with.
    pub const LOCAL: [&'static str; 3] = ["oci:", "oci-archive:", "docker-archive:"];

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// An image's name where a path may stand as well: that of a file here, or a reference with its tag or its digest. A path that
    /// has a colon begins with `/`, `.` or `~`.
    pub fn beside_paths(text: &str) -> Option<Self> {
        let name: Self = text.parse().ok()?;
        let is_one = name.file().is_some() || (!text.starts_with(['/', '.', '~']) && text.contains([':', '@']));
        is_one.then_some(name)
    }

    /// The directory or the file of an image that is one here.
    pub fn file(&self) -> Option<&Path> {
        self.parts().map(|(_, path, _)| Path::new(path))
    }

    /// The same from everywhere: the path of one that is a file here is taken from a directory.
    #[must_use]
    pub fn below(self, dir: &Path) -> Self {
        let Some((scheme, path, tag)) = self.parts().filter(|(_, path, _)| !path.is_empty()) else { return self };
        let path: PathBuf = dir.join(path).components().collect();
        // One that is no text has been none before.
        path.to_str().map(|path| Self(format!("{scheme}{path}{tag}"))).unwrap_or(self)
    }

    /// The scheme, the path, the tag with its colon.
    fn parts(&self) -> Option<(&'static str, &str, &str)> {
        let scheme = Self::LOCAL.into_iter().find(|scheme| self.0.starts_with(scheme))?;
        let rest = &self.0[scheme.len()..];
        let (path, tag) = rest.split_at(rest.find(':').unwrap_or(rest.len()));
        Some((scheme, path, tag))
    }
}

impl FromStr for ImageName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.is_empty() || text.contains(char::is_control) {
            return Err(Error::new(format!("bad image '{}'", text.escape_debug())));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// When an image is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pull {
    /// When it is not there.
    #[default]
    Missing,
    /// Each time: its name may stand for something else by now.
    Always,
    /// Not at all.
    Never,
}

impl Pull {
    /// All that there are, as they are written.
    pub const ALL: &[&str] = &["missing", "always", "never"];
}

impl fmt::Display for Pull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Missing => "missing",
            Self::Always => "always",
            Self::Never => "never",
        })
    }
}

impl FromStr for Pull {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "missing" => Ok(Self::Missing),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            other => {
                let known = Self::ALL.join(", ");
                Err(Error::new(format!("unknown time to pull '{}': known are {known}", other.escape_debug())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_was_made_of_has_a_name_that_stays() {
        let of =
            |reference: &str| ImageOrigin { reference: reference.into(), manifest: Digest::from_bytes([0xab; 32]) };
        let hex = "ab".repeat(32);
        let pinned = |reference: &str| of(reference).pinned().to_string();
        assert_eq!(pinned("a.org/web:v1"), format!("a.org/web:v1@sha256:{hex}"));
        assert_eq!(pinned("a.org/web@sha256:index"), "a.org/web@sha256:index");
        assert_eq!(pinned("oci:/srv/web:v1"), "oci:/srv/web:v1");
        assert!(of("a.org/web:v1").is_same(&of(&pinned("a.org/web:v1"))));
        assert!(!of("a.org/web:v1").is_same(&of("a.org/web:v2")));
        assert!(!of("a:1").is_same(&ImageOrigin { manifest: Digest::from_bytes([0; 32]), ..of("a:1") }));
    }

    #[test]
    fn a_file_is_the_same_from_everywhere() {
        let below = |text: &str| text.parse::<ImageName>().unwrap().below(Path::new("/etc/m")).to_string();
        assert_eq!(below("oci:web:v1"), "oci:/etc/m/web:v1");
        assert_eq!(below("oci-archive:./a/web.tar"), "oci-archive:/etc/m/a/web.tar");
        assert_eq!(below("docker-archive:/srv/web.tar:web:v1"), "docker-archive:/srv/web.tar:web:v1");
        for same in ["web:v1", "a.org/oci:v1", "oci:", "oci::v1", "ocix:v1"] {
            assert_eq!(below(same), same);
        }
        for bad in ["", "a\nb", "a\0"] {
            assert!(bad.parse::<ImageName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_is_told_from_a_path_by_its_tag() {
        for name in ["web:v1", "a.org/web@sha256:x", "localhost:5000/web:v1", "oci:dir", "oci-archive:/srv/web.tar"] {
            assert_eq!(ImageName::beside_paths(name).unwrap().as_str(), name);
        }
        for path in ["web", "web/root", "web.cpio", "/a:b", "./a:b", "../a:b", "~/a:b", ""] {
            assert_eq!(ImageName::beside_paths(path), None, "{path}");
        }
    }

    #[test]
    fn a_time_to_pull_is_a_word() {
        for word in Pull::ALL {
            assert_eq!(word.parse::<Pull>().unwrap().to_string(), *word);
        }
        let error = "often".parse::<Pull>().unwrap_err().to_string();
        assert_eq!(error, "unknown time to pull 'often': known are missing, always, never");
    }
}
