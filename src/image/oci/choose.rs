//! One kernel of several: an index has one for each platform and architecture. Never asks.

use std::fmt;
use std::str::FromStr;

use super::documents::{self, Descriptor, Document, Manifest, Open};
use super::urunc;
use crate::error::{Error, Kind, Result};
use crate::machine::{Arch, Digest};

/// Indexes within indexes.
const NESTED: usize = 3;
/// Documents that an index leads to.
const DOCUMENTS: usize = 2048;

/// What an index or a manifest is called.
pub(super) const DOCUMENTS_OF: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// What a kernel is built for, as images say it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plat {
    /// QEMU, with or without KVM.
    Qemu,
    /// Firecracker.
    Firecracker,
    /// Xen.
    Xen,
    /// Not said: what is made for containers says Linux, whatever is in it.
    Linux,
    /// Another.
    Other(String),
}

impl fmt::Display for Plat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Qemu => "qemu",
            Self::Firecracker => "fc",
            Self::Xen => "xen",
            Self::Linux => "linux",
            Self::Other(other) => other,
        })
    }
}

impl FromStr for Plat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if text.is_empty() || text.len() > 64 || !text.bytes().all(is_word) {
            let known = "qemu, fc, xen, linux are some";
            return Err(Error::new(format!("bad platform '{}': {known}", text.escape_debug())));
        }
        Ok(match text.to_ascii_lowercase().as_str() {
            "qemu" | "kvm" => Self::Qemu,
            "fc" | "firecracker" => Self::Firecracker,
            "xen" => Self::Xen,
            "linux" => Self::Linux,
            other => Self::Other(other.to_owned()),
        })
    }
}

impl Plat {
    /// What an image is for, by what it says of its system and its kernel's configuration.
    fn of(os: &str, features: &[String], monitor: Option<&str>) -> Self {
        let has = |name: &str| features.iter().any(|feature| feature == name);
        let said = os.parse().unwrap_or_else(|_| Self::Other("?".into()));
        match said {
            Self::Qemu if has("CONFIG_KVM_VMM_FIRECRACKER=y") && !has("CONFIG_KVM_VMM_QEMU=y") => Self::Firecracker,
            Self::Linux => match monitor {
                Some(monitor) => monitor.parse().unwrap_or(Self::Linux),
                None if has("CONFIG_KVM_VMM_FIRECRACKER=y") => Self::Firecracker,
                None if has("CONFIG_PLAT_KVM=y") || has("CONFIG_KVM_VMM_QEMU=y") => Self::Qemu,
                None if has("CONFIG_PLAT_XEN=y") => Self::Xen,
                None => Self::Linux,
            },
            said => said,
        }
    }

    /// The lower, the sooner it is taken when nothing is asked for.
    fn rank(&self) -> u8 {
        match self {
            Self::Qemu => 0,
            Self::Linux => 1,
            Self::Firecracker | Self::Xen | Self::Other(_) => 2,
        }
    }
}

/// An architecture as images name it, in Unikraft's words or in Go's.
pub fn arch(text: &str) -> Option<Arch> {
    match text {
        "x86_64" | "amd64" => Some(Arch::X86_64),
        "arm64" | "aarch64" => Some(Arch::Arm64),
        _ => None,
    }
}

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The best if `None`.
    pub plat: Option<Plat>,
    /// The host's if `None`.
    pub arch: Option<Arch>,
}

/// One of the images that there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// Its manifest.
    pub manifest: Digest,
    /// What it is for.
    pub plat: Plat,
    /// In our words if we know it, else as it says.
    pub arch: String,
    /// What it says of its kernel's configuration.
    pub features: Vec<String>,
}

/// The one that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Which.
    pub variant: Variant,
    /// Why, for people.
    pub why: String,
}

/// All images that a digest leads to, in their order.
///
/// # Errors
/// When a document cannot be read. Images of an index whose manifest is not there are none, if others are.
pub fn variants(open: &Open<'_>, root: Digest) -> Result<Vec<Variant>> {
    let mut all = Collected { found: Vec::new(), read: 0 };
    all.add(open, root, None, NESTED)?;
    Ok(all.found)
}

struct Collected {
    found: Vec<Variant>,
    /// Documents that were read, or are not there.
    read: usize,
}

impl Collected {
    fn add(&mut self, open: &Open<'_>, digest: Digest, from: Option<&Descriptor>, nested: usize) -> Result<()> {
        self.read += 1;
        if self.read > DOCUMENTS {
            return Err(Error::new(format!("the image leads to more than {DOCUMENTS} documents")));
        }
        match documents::read(open, digest)? {
            Document::Manifest(manifest) if from.is_some() && !documents::is_image(&manifest) => {}
            Document::Manifest(manifest) => self.found.push(variant(open, digest, from, &manifest)?),
            Document::Index(_) if nested == 0 => {
                return Err(Error::new(format!("the index sha256:{digest} is within {NESTED} others")));
            }
            Document::Index(index) => {
                let mut missing = None;
                let before = self.found.len();
                for descriptor in index.manifests.iter().filter(|descriptor| !is_about_another(descriptor)) {
                    let below = documents::digest(descriptor)?;
                    match self.add(open, below, Some(descriptor), nested - 1) {
                        // Only what was asked for may have been fetched.
                        Err(error) if error.kind() == Kind::NotFound => missing = missing.or(Some(error)),
                        result => result?,
                    }
                }
                if let (true, Some(error)) = (self.found.len() == before, missing) {
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// How an image was built stands beside it in an index, as an image that is for nothing. What is no image at all may be
/// there, too, and is no mistake.
pub(super) fn is_about_another(descriptor: &Descriptor) -> bool {
    let kind = descriptor.media_type.split(';').next().unwrap_or_default().trim();
    descriptor.annotation("vnd.docker.reference.type").is_some() || !(kind.is_empty() || DOCUMENTS_OF.contains(&kind))
}

fn variant(open: &Open<'_>, digest: Digest, from: Option<&Descriptor>, manifest: &Manifest) -> Result<Variant> {
    let configuration = documents::configuration(open, manifest)?;
    let said = from.and_then(|from| from.platform.as_ref()).or(manifest.config.platform.as_ref());
    let features = said.and_then(|said| said.features.clone()).filter(|all| !all.is_empty());
    let features = features.or_else(|| configuration.features.clone()).unwrap_or_default();
    let os = said.map_or(&configuration.os, |said| &said.os);
    let architecture = said.map_or(&configuration.architecture, |said| &said.architecture);
    let monitor = urunc::monitor(manifest, &configuration);
    Ok(Variant {
        manifest: digest,
        plat: Plat::of(os, &features, monitor.as_deref()),
        arch: arch(architecture).map_or_else(|| word(architecture), |arch| arch.to_string()),
        features,
    })
}

/// What nobody checked, for people.
fn word(text: &str) -> String {
    let is_word = !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_word { text.to_owned() } else { "?".to_owned() }
}

/// Chooses: what is asked for, else what this host runs best; of several the one that comes first.
///
/// # Errors
/// When a document cannot be read, or when there is none for what is asked; it says what there is.
pub fn choose(open: &Open<'_>, root: Digest, asked: &Asked) -> Result<Chosen> {
    pick(variants(open, root)?, asked)
}

/// The choice alone.
///
/// # Errors
/// When there is none.
pub fn pick(variants: Vec<Variant>, asked: &Asked) -> Result<Chosen> {
    let wanted = asked.arch.or(Arch::host());
    let fits = |variant: &&Variant| {
        let plat = asked.plat.as_ref().is_none_or(|plat| *plat == variant.plat);
        plat && wanted.is_none_or(|wanted| wanted.to_string() == variant.arch)
    };
    let best = variants.iter().filter(fits).min_by_key(|variant| variant.plat.rank());
    let Some(best) = best else { return Err(none_fits(&variants, asked)) };
    let (plat, arch, count) = (&best.plat, &best.arch, variants.len());
    let why = match (count, &asked.plat, asked.arch) {
        (1, ..) => format!("it is the only one, for {plat}/{arch}"),
        (_, Some(_), Some(_)) => format!("{plat}/{arch} was asked for, of {count}"),
        (_, Some(_), None) => format!("{plat} was asked for, and {arch} is this host's, of {count}"),
        (_, None, Some(_)) => format!("{plat} is the best of {count} for {arch}, which was asked for"),
        (_, None, None) => format!("{plat}/{arch} is the best of {count} for this host"),
    };
    Ok(Chosen { why, variant: best.clone() })
}

fn none_fits(variants: &[Variant], asked: &Asked) -> Error {
    let mut there: Vec<String> = variants.iter().map(|of| format!("{}/{}", of.plat, of.arch)).collect();
    there.dedup();
    if there.is_empty() {
        return Error::new("the index has no image");
    }
    let host = Arch::host();
    let wanted = match (&asked.plat, asked.arch.or(host)) {
        (Some(plat), Some(arch)) => format!("{plat}/{arch}"),
        (Some(plat), None) => plat.to_string(),
        (None, arch) => arch.map_or_else(|| "this host".to_owned(), |arch| arch.to_string()),
    };
    Error::new(format!("the image has nothing for {wanted}: it is for {}", there.join(", ")))
        .with_hint("--plat and --arch choose among these")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(plat: Plat, arch: &str) -> Variant {
        Variant { manifest: Digest::from_bytes([7; 32]), plat, arch: arch.into(), features: Vec::new() }
    }

    fn asked(plat: Option<Plat>, arch: Arch) -> Asked {
        Asked { plat, arch: Some(arch) }
    }

    #[test]
    fn what_is_best_is_chosen_unless_another_is_asked_for() {
        let all = || {
            vec![
                variant(Plat::Xen, "x86_64"),
                variant(Plat::Linux, "x86_64"),
                variant(Plat::Qemu, "arm64"),
                variant(Plat::Firecracker, "x86_64"),
                variant(Plat::Qemu, "x86_64"),
            ]
        };
        let chosen = pick(all(), &asked(None, Arch::X86_64)).unwrap();
        assert_eq!(chosen.variant, variant(Plat::Qemu, "x86_64"));
        assert_eq!(chosen.why, "qemu is the best of 5 for x86_64, which was asked for");
        let chosen = pick(all(), &asked(Some(Plat::Xen), Arch::X86_64)).unwrap();
        assert_eq!(chosen.why, "xen/x86_64 was asked for, of 5");
        let error = pick(all(), &asked(Some(Plat::Xen), Arch::Arm64)).unwrap_err();
        let there = "xen/x86_64, linux/x86_64, qemu/arm64, fc/x86_64, qemu/x86_64";
        assert_eq!(error.to_string(), format!("the image has nothing for xen/arm64: it is for {there}"));
        assert!(error.hint().is_some());
        assert_eq!(pick(Vec::new(), &Asked::default()).unwrap_err().to_string(), "the index has no image");
    }

    #[test]
    fn a_platform_is_told_by_all_that_an_image_says() {
        let of = |os: &str, features: &[&str], monitor| {
            let features: Vec<String> = features.iter().map(|&feature| feature.to_owned()).collect();
            Plat::of(os, &features, monitor).to_string()
        };
        assert_eq!(of("qemu", &[], None), "qemu");
        assert_eq!(of("kvm", &["CONFIG_KVM_VMM_FIRECRACKER=y"], None), "fc");
        assert_eq!(of("linux", &["CONFIG_PLAT_XEN=y"], None), "xen");
        assert_eq!(of("linux", &[], Some("firecracker")), "fc");
        assert_eq!(of("linux", &[], Some("hvt")), "hvt");
        assert_eq!(of("linux", &[], None), "linux");
        assert_eq!(of("kraftcloud", &[], None), "kraftcloud");
        assert_eq!(of("a b", &[], None), "?");
    }
}
