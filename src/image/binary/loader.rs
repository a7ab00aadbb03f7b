//! How a loader wants its program, from what its kernel's file says.
//!
//! The loader is Unikraft's `app-elfloader`. By its sources (`Config.uk`, `main.c`) it is built in one of these ways:
//!
//! ```text
//! APPELFLOADER_VFSEXEC      the program is in a root file system: an archive that the kernel unpacks, or a share
//!                           that it mounts by 9P; before mid-2023 there was no such
//! APPELFLOADER_INITRDEXEC   the RAM disk is the program itself
//! APPELFLOADER_CUSTOMAPPNAME
//!                           the first argument is the program's name, in a root file system its path
//! APPELFLOADER_VFSEXEC_ENVPWD
//!                           the variable PWD is where it starts
//! ```
//!
//! Kernels tell of their libraries, not of such options; but each option brings a message of its own.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::error::{Context as _, Error, Result};
use crate::image::kernel::KernelInfo;
use crate::image::unikraft::About;
use crate::machine::{Arch, Dialect};

/// The loader that is taken where none is named: an image of Unikraft's.
pub const DEFAULT: &str = "unikraft.org/base:latest";

/// How much of a kernel is searched.
const SEARCH: u64 = 64 << 20;

/// The RAM disk is the program.
const WHOLE: &[u8] = b"No image found (initrd parameter missing?)";
/// The first argument is its name.
const NAMED: &[u8] = b"Program name missing (no argv[1])";
/// It starts where PWD says.
const DIRECTORY: &[u8] = b"Failed to change working directory to";
/// Other messages of every loader.
const ANY: [&[u8]; 3] =
    [b"Program name missing (no argv[", b"ELF executable is not position-independent", b"ELF program loaded to"];
/// What a kernel has that unpacks an archive, and one that mounts by 9P.
const ARCHIVE: &[u8] = b"070701";
const SHARE: &[u8] = b"9P2000";

/// A kernel that runs programs for Linux.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loader {
    /// Its file.
    pub path: PathBuf,
    /// What it runs on.
    pub arch: Arch,
    /// How the program gets to it.
    pub taken: Taken,
    /// Its first argument is the program's name.
    pub named: bool,
    /// It can start the program in another directory than the root.
    pub directory: bool,
}

/// How a program gets to its loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// In an archive, a RAM disk.
    Archive,
    /// In a directory, the root by 9P.
    Share,
    /// As a RAM disk.
    Whole,
}

/// The messages that were found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Messages {
    whole: bool,
    named: bool,
    directory: bool,
    any: bool,
    archive: bool,
    share: bool,
}

impl Messages {
    fn of(bytes: &[u8]) -> Self {
        let has = |what: &[u8]| memchr::memmem::find(bytes, what).is_some();
        let (whole, named) = (has(WHOLE), has(NAMED));
        let any = whole || named || ANY.iter().any(|what| has(what));
        Self { whole, named, any, directory: has(DIRECTORY), archive: has(ARCHIVE), share: has(SHARE) }
    }
}

impl Loader {
    /// What a kernel is as a loader.
    ///
    /// # Errors
    /// When it is none, or one that always starts the same file; when it cannot be read.
    pub fn of(path: &Path, kernel: &KernelInfo) -> Result<Self> {
        let mut bytes = Vec::new();
        super::super::open("kernel", path)?
            .take(SEARCH)
            .read_to_end(&mut bytes)
            .with_context(|| format!("cannot read kernel {}", path.display()))?;
        Self::from_parts(path, kernel, Messages::of(&bytes))
    }

    fn from_parts(path: &Path, kernel: &KernelInfo, messages: Messages) -> Result<Self> {
        let no = |why: &str| {
            let what = format!("kernel {} is no loader of programs for Linux: {why}", path.display());
            Error::new(what).with_hint("`--elfloader` names one, such as Unikraft's app-elfloader")
        };
        let about = kernel.unikraft.as_ref().ok_or_else(|| no("it is not one of Unikraft's"))?;
        let library = |part: &str| about.libraries.iter().any(|library| library.name.contains(part));
        if !messages.any && !about.libraries.is_empty() && !library("elfloader") && !library("binfmt_elf") {
            return Err(no("it was built without appelfloader"));
        }
        let taken = taken(about, messages);
        if taken != Taken::Whole && messages.any && !messages.named {
            let why = "it starts the file that it was built for, whatever it is told (no APPELFLOADER_CUSTOMAPPNAME)";
            return Err(no(why));
        }
        Ok(Self {
            path: path.to_path_buf(),
            arch: kernel.arch,
            taken,
            named: taken != Taken::Whole || messages.named,
            directory: messages.directory && kernel.dialect() == Dialect::Unikraft && taken != Taken::Whole,
        })
    }
}

fn taken(about: &About, messages: Messages) -> Taken {
    let library = |part: &str| about.libraries.iter().any(|library| library.name.contains(part));
    let can = about.abilities();
    if messages.whole || (!about.libraries.is_empty() && !library("vfs")) {
        Taken::Whole
    } else if can.initrd.unwrap_or(messages.archive) {
        Taken::Archive
    } else if can.ninep.unwrap_or(messages.share) {
        Taken::Share
    } else {
        Taken::Archive
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::kernel::Class;
    use crate::image::unikraft::Library;
    use crate::machine::KernelKind;

    fn kernel(libraries: &[&str]) -> KernelInfo {
        let named = |name: &&str| Library { name: (*name).into(), version: None, license: None };
        let mut about = About::of_version("0.17.0");
        about.libraries = libraries.iter().map(named).collect();
        KernelInfo::new(KernelKind::Unikraft, Arch::X86_64, Class::Bits64, Some(about))
    }

    fn loader(libraries: &[&str], text: &str) -> Result<Loader> {
        Loader::from_parts(Path::new("k"), &kernel(libraries), Messages::of(text.as_bytes()))
    }

    const PATH: &str = "Program name missing (no argv[1])";
    const OLD: &str = "Program name missing (no argv[%d]) No image found (initrd parameter missing?)";

    #[test]
    fn what_a_loader_says_of_itself_decides() {
        let archive = loader(&["appelfloader", "libvfscore", "lib9pfs", "libukcpio"], PATH).unwrap();
        assert_eq!((archive.taken, archive.named, archive.directory), (Taken::Archive, true, false));
        let share = loader(&["appelfloader", "libvfscore", "lib9pfs"], PATH).unwrap();
        assert_eq!((share.taken, share.named), (Taken::Share, true));
        let whole = loader(&["appelfloader", "libvfscore", "libukcpio"], OLD).unwrap();
        assert_eq!((whole.taken, whole.named), (Taken::Whole, false));
        let bare = loader(&["appelfloader", "libukboot"], PATH).unwrap();
        assert_eq!((bare.taken, bare.named), (Taken::Whole, true));
        let text = format!("{PATH} %s: Failed to change working directory to '%s'");
        assert!(loader(&["appelfloader", "libvfscore", "libukcpio"], &text).unwrap().directory);
    }

    #[test]
    fn one_that_tells_of_no_libraries_is_known_by_its_messages() {
        assert_eq!(loader(&[], &format!("{PATH} 9P2000.u")).unwrap().taken, Taken::Share);
        assert_eq!(loader(&[], &format!("{PATH} 9P2000.u 070701")).unwrap().taken, Taken::Archive);
        assert_eq!(loader(&[], "").unwrap().taken, Taken::Archive);
    }

    #[test]
    fn what_is_no_loader_is_refused() {
        let error = loader(&["libvfscore", "appnginx"], "").unwrap_err();
        assert_eq!(error.to_string(), "kernel k is no loader of programs for Linux: it was built without appelfloader");
        assert!(error.hint().unwrap().contains("--elfloader"));
        let error = loader(&["appelfloader", "libvfscore"], "ELF program loaded to").unwrap_err().to_string();
        assert!(error.contains("it starts the file that it was built for"), "{error}");
        let linux = KernelInfo::new(KernelKind::Linux, Arch::X86_64, Class::Bits64, None);
        let error = Loader::from_parts(Path::new("k"), &linux, Messages::of(PATH.as_bytes())).unwrap_err();
        assert!(error.to_string().ends_with("it is not one of Unikraft's"), "{error}");
    }
}
