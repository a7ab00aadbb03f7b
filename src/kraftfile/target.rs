//! What a project is built for.

use std::fmt;
use std::path::PathBuf;

use super::node::Node;
use crate::error::{Error, Result};

/// A platform and an architecture that a project has, or may have, a kernel for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The platform by its own name: `qemu`, `fc`, `xen`.
    pub plat: String,
    /// The architecture by Unikraft's name: `x86_64`, `arm64`, `arm`.
    pub arch: String,
    /// The kernel, where it is not in its usual place.
    pub kernel: Option<PathBuf>,
}

impl Target {
    /// The target of these two words, each by its own name or an alias.
    pub fn new(plat: &str, arch: &str) -> Self {
        let (plat, arch) = (plain_plat(plat).to_owned(), plain_arch(arch).to_owned());
        Self { name: None, plat, arch, kernel: None }
    }

    /// Whether it is the one that somebody wants: its name, its platform, or `PLAT/ARCH`.
    pub fn is(&self, wanted: &str) -> bool {
        self.name.as_deref() == Some(wanted)
            || match wanted.split_once('/') {
                Some((plat, arch)) => (plain_plat(plat), plain_arch(arch)) == (&self.plat, &self.arch),
                None => plain_plat(wanted) == self.plat,
            }
    }

    /// The names that its kernel's file may have: builders before 0.7 call QEMU `kvm`.
    pub fn files(&self, project: &str) -> Vec<String> {
        let of = |plat: &str| format!("{project}_{plat}-{}", self.arch);
        let old = (self.plat == "qemu").then(|| of("kvm"));
        [of(&self.plat)].into_iter().chain(old).collect()
    }

    /// The target that a file in a build directory is of, with its project's name.
    pub fn of_file(name: &str) -> Option<(String, Self)> {
        let (project, target) = name.rsplit_once('_').filter(|(_, target)| target.contains('-')).or_else(|| {
            // Of `app_qemu-x86_64` the last `_` is the architecture's.
            let (rest, _) = name.rsplit_once('_')?;
            let at = rest.rfind('_')?;
            Some((&name[..at], &name[at + 1..]))
        })?;
        let (plat, arch) = target.split_once('-')?;
        let known = ["qemu", "kvm", "fc", "firecracker", "xen"].contains(&plat);
        let is_kernel = ["x86_64", "arm64", "arm"].contains(&arch);
        (known && is_kernel && !project.is_empty()).then(|| (project.to_owned(), Self::new(plat, arch)))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} ({}/{})", self.plat, self.arch),
            None => write!(f, "{}/{}", self.plat, self.arch),
        }
    }
}

fn plain_plat(plat: &str) -> &str {
    match plat {
        "kvm" => "qemu",
        "firecracker" => "fc",
        other => other,
    }
}

fn plain_arch(arch: &str) -> &str {
    match arch {
        "amd64" => "x86_64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A list of `PLAT/ARCH` and of maps.
pub(super) fn read(node: &Node<'_>) -> Result<Vec<Target>> {
    node.items()?.iter().map(one).collect()
}

fn one(node: &Node<'_>) -> Result<Target> {
    if !node.is_map() {
        let text = node.word()?;
        let (plat, arch) = split(&text).map_err(|error| node.flaw(error))?;
        return Ok(Target::new(plat, arch));
    }
    let field = |names: [&str; 2]| names.iter().find_map(|name| node.get(name));
    let name = node.get("name").map(|node| node.word()).transpose()?;
    let plat = field(["plat", "platform"]).ok_or_else(|| node.flaw(Error::new("it has no plat")))?;
    let plat = if plat.is_map() { plat.get("name").ok_or_else(|| plat.unexpected("a text"))? } else { plat };
    let text = plat.word()?;
    let arch = field(["arch", "architecture"]);
    let arch = arch.map(|node| if node.is_map() { node.get("name").unwrap_or(node) } else { node });
    let target = match (text.contains('/'), arch) {
        (true, _) => {
            let (plat_name, arch) = split(&text).map_err(|error| plat.flaw(error))?;
            Target::new(plat_name, arch)
        }
        (false, Some(arch)) => Target::new(&text, &arch.word()?),
        (false, None) => return Err(node.flaw(Error::new("it has no arch"))),
    };
    let kernel = node.get("kernel").map(|node| node.word()).transpose()?.map(PathBuf::from);
    Ok(Target { name, kernel, ..target })
}

fn split(text: &str) -> Result<(&str, &str)> {
    match text.split_once('/') {
        Some((plat, arch)) if !plat.is_empty() && !arch.is_empty() && !arch.contains('/') => Ok((plat, arch)),
        _ => {
            Err(Error::new(format!("bad target '{}'", text.escape_debug()))
                .with_hint("a target is PLAT/ARCH: qemu/x86_64"))
        }
    }
}
