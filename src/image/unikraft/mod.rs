//! What Unikraft kernels say of themselves: version, libraries, parameters. From that follows how their command line is
//! to be written, and what they can do.
//!
//! The sources, in the order in which they are believed: the parameters (`libparam.rs`), the version in `.uk_libinfo`
//! (`libinfo.rs`), and for kernels without either a few strings that every kernel of a kind has. All of it may be made up
//! by whoever made the file: lengths are bounded, text is cut and freed of control characters.

mod libinfo;
mod libparam;
mod memory;

use object::read::ReadRef;
use serde::Serialize;

use crate::machine::{Abilities, Dialect, Kernel};

pub(super) use self::memory::Memory;

/// What a Unikraft kernel says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct About {
    /// Unikraft's version.
    pub version: Option<String>,
    /// The name of that version.
    pub codename: Option<String>,
    /// What compiled it.
    pub compiler: Option<String>,
    /// When it was compiled, as it says.
    pub compiled: Option<String>,
    /// The libraries that it is made of, by name.
    pub libraries: Vec<Library>,
    /// The parameters that it takes, by name; `None` if it does not say.
    pub parameters: Option<Vec<Parameter>>,
    /// Which dialect the strings in it speak of.
    #[serde(skip)]
    hint: Option<Dialect>,
}

/// A library in a kernel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Library {
    /// Unikraft's name for it: `libvfscore`.
    pub name: String,
    /// Its own version.
    pub version: Option<String>,
    /// Its licence.
    pub license: Option<String>,
}

/// A parameter that a kernel takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Parameter {
    /// With its prefix: `netdev.ip`.
    pub name: String,
    /// How many values it takes.
    pub count: u64,
    /// What it is for.
    pub description: Option<String>,
}

/// The names of Unikraft's versions so far: moons of Saturn, which few other programs print before a number.
const CODENAMES: [&str; 16] = [
    "Atlas",
    "Calypso",
    "Dione",
    "Enceladus",
    "Epimetheus",
    "Hyperion",
    "Iapetus",
    "Janus",
    "Mimas",
    "Pandora",
    "Phoebe",
    "Prometheus",
    "Rhea",
    "Telesto",
    "Tethys",
    "Titan",
];

/// The sections of a kernel that tell of it.
#[derive(Debug, Default)]
pub(super) struct Sections {
    info: Option<(u64, u64)>,
    parameters: Vec<libparam::Section>,
}

/// More than a section that is of use here has.
const SECTION_LIMIT: u64 = 1 << 20;
/// How much of a kernel is searched for strings.
const SEARCH_LIMIT: u64 = 32 << 20;
/// More sections of parameters than any kernel has.
const SECTIONS: usize = 1024;

impl Sections {
    /// Takes note of a section: its name, its place in the file and in memory, its size.
    pub(super) fn note(&mut self, name: &[u8], offset: u64, address: u64, size: u64) {
        let Ok(name) = std::str::from_utf8(name) else { return };
        if name == ".uk_libinfo" {
            self.info = Some((offset, size.min(SECTION_LIMIT)));
        } else if name.starts_with(libparam::SECTION) && self.parameters.len() < SECTIONS {
            self.parameters.push(libparam::Section { name: name.to_owned(), address, size });
        }
    }

    /// Whether there is any.
    pub(super) fn any(&self) -> bool {
        self.info.is_some() || !self.parameters.is_empty()
    }

    /// Reads what they say.
    pub(super) fn read<'data, R: ReadRef<'data>>(&self, data: R, memory: &Memory<R>) -> About {
        let info = self.info.and_then(|(offset, size)| data.read_bytes_at(offset, size).ok());
        let mut about = info.map(libinfo::parse).unwrap_or_default();
        if !self.parameters.is_empty() {
            about.parameters = Some(libparam::parse(&self.parameters, memory)).filter(|found| !found.is_empty());
        }
        if about.evidence().is_none() {
            memory.search(SEARCH_LIMIT, |bytes| about.search(bytes));
        }
        about
    }
}

impl About {
    /// A kernel that says its version and nothing else.
    #[cfg(test)]
    pub(crate) fn of_version(version: &str) -> Self {
        Self { version: Some(version.into()), ..Self::default() }
    }

    /// What its command line is written in.
    pub fn dialect(&self) -> Dialect {
        self.hint.or_else(|| self.evidence()).unwrap_or(Dialect::Unikraft)
    }

    /// What follows from its parameters, or from its version.
    fn evidence(&self) -> Option<Dialect> {
        let has = |name: &str| self.parameters.iter().flatten().any(|p| p.name == name);
        if has("netdev.ip") {
            return Some(Dialect::Unikraft);
        }
        if has("netdev.ipv4_addr") || has("vfs.rootfs") {
            return Some(Dialect::UnikraftOld);
        }
        let version = version(self.version.as_deref()?)?;
        Some(if version < (0, 16, 1) { Dialect::UnikraftOld } else { Dialect::Unikraft })
    }

    /// What it can do, from its libraries and parameters.
    pub fn abilities(&self) -> Abilities {
        let known = !self.libraries.is_empty();
        let library = |test: &dyn Fn(&str) -> bool| known.then(|| self.libraries.iter().any(|l| test(&l.name)));
        let parameter = |name| self.parameters.as_ref().map(|all| all.iter().any(|p| p.name == name));
        Abilities {
            net: library(&|name| name == "libuknetdev"),
            ninep: library(&|name| name == "lib9pfs"),
            virtiofs: library(&|name| name.contains("virtiofs") || name == "libvirtio_fs"),
            initrd: library(&|name| name == "libukcpio"),
            env: parameter("env.vars").or(library(&|name| name == "libposix_environ").filter(|found| !found)),
            power_button: None,
        }
    }

    /// The parameters that a command line may use.
    pub fn used_parameters(&self) -> Option<std::collections::BTreeMap<String, u64>> {
        let used = self.parameters.as_ref()?.iter().filter(|p| Kernel::PARAMETERS.contains(&p.name.as_str()));
        // The record is TOML, whose numbers end at i64::MAX.
        Some(used.map(|p| (p.name.clone(), p.count.min(1 << 32))).collect())
    }

    /// Looks for the strings that tell of a version or of a dialect.
    fn search(&mut self, bytes: &[u8]) {
        const NEW: &[u8] = b"IPv4 einfo: cidr[:gw";
        const OLD: [&[u8]; 2] = [b"\0ipv4_subnet_mask\0", b"\0rootfs\0"];
        let finds = |what: &[u8]| memchr::memmem::find(bytes, what);
        // The banners end in `CODENAME VERSION`, the smallest in `CODENAME (VERSION)`.
        for codename in CODENAMES {
            let followed = finds(format!("{codename} ").as_bytes()).map(|at| &bytes[at + codename.len() + 1..]);
            let Some(found) = followed.and_then(text) else { continue };
            let found = found.trim_start_matches('(').split([')', ' ']).next().unwrap_or_default();
            if version(found).is_some() {
                self.version.get_or_insert(found.to_owned());
                self.codename.get_or_insert(codename.to_owned());
            }
        }
        if finds(NEW).is_some() {
            self.hint = Some(Dialect::Unikraft);
        } else if self.hint.is_none() && OLD.iter().any(|what| finds(what).is_some()) {
            self.hint = Some(Dialect::UnikraftOld);
        }
    }
}

/// A version's numbers: of `0.17.0~1a2b3c4` 0, 17, 0.
fn version(text: &str) -> Option<(u32, u32, u32)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let mut numbers = text[..end].split('.').map(|part| part.parse().ok());
    let (major, minor) = (numbers.next()??, numbers.next()??);
    Some((major, minor, numbers.next().flatten().unwrap_or(0)))
}

/// A C string's text: cut at 200 bytes, without control characters; `None` if that leaves nothing.
fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().take(200).position(|byte| *byte == 0).unwrap_or(bytes.len().min(200));
    let text: String = String::from_utf8_lossy(&bytes[..end]).chars().filter(|c| !c.is_control()).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
pub(crate) mod tests;
