//! Whether a file is a program for Linux that a loader can run: what it is, or by name what it is instead.

use std::io::{Read as _, Seek as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use object::read::ReadCache;

use super::dynamic::{self, Object, Unfit};
use crate::error::{Context as _, Error, Result};
use crate::image::kernel;
use crate::machine::{Arch, KernelKind};
use crate::paths;

/// Enough to see which interpreter a script wants.
const LINE: u64 = 256;
/// What is done about a program that has a place of its own.
const REBUILD: &str = "rebuild it with -static-pie, or with -fPIE -pie (`go build -buildmode=pie`)";

/// A program for Linux.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its absolute name, as it was given: a link's own.
    pub path: PathBuf,
    /// What it runs on.
    pub arch: Arch,
    /// How it is linked.
    pub linkage: Linkage,
    pub(super) object: Object,
}

/// How a program is linked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Linkage {
    /// It is whole.
    Static,
    /// An interpreter loads its libraries.
    Dynamic {
        /// Where that is.
        interpreter: PathBuf,
    },
}

impl Program {
    /// Looks at a file.
    ///
    /// # Errors
    /// When it is missing ([`Kind::NotFound`](crate::error::Kind::NotFound)), cannot be read, or is no program that a loader
    /// can run: says what it is instead.
    pub fn inspect(path: &Path) -> Result<Self> {
        let shown = path.display();
        let mut file = super::super::open("program", path)?;
        let mut line = Vec::new();
        file.by_ref().take(LINE).read_to_end(&mut line).with_context(|| format!("cannot read program {shown}"))?;
        file.rewind().with_context(|| format!("cannot read program {shown}"))?;
        let bad = |what: &str| Error::new(format!("program {shown} {what}"));
        if let Some(rest) = line.strip_prefix(b"#!") {
            let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            let interpreter = super::super::tree::show(rest[..end].trim_ascii());
            return Err(bad(&format!("is a script for {interpreter}, which a loader cannot start")).with_hint(format!(
                "run its interpreter with the script as an argument, in a root file system of --rootfs: `{interpreter}`"
            )));
        }
        if let Ok(kernel) = kernel::parse(&ReadCache::new(&file), path)
            && kernel.kind != KernelKind::Elf
        {
            return Err(bad("is a kernel, not a program for Linux").with_hint("run it without --as binary"));
        }
        let object = dynamic::parse(&ReadCache::new(file)).map_err(|unfit| match unfit {
            Unfit::Other(what) => bad(&format!("{what}: it is no program for Linux")),
            Unfit::Foreign(what) => bad(&what),
            Unfit::Damaged(what) => bad(&what).with_hint("copy or build it again"),
        })?;
        Self::of(paths::absolute(path)?, object).map_err(|(what, hint)| bad(what).with_hint(hint))
    }

    /// Whether a file looks like a program for Linux, be it one that a loader can run or not: what makes the difference is
    /// [`inspect`](Self::inspect)'s to say. A kernel does not.
    pub fn is_one(path: &Path) -> bool {
        let Ok(file) = super::super::open("program", path) else { return false };
        let is_elf = dynamic::parse(&ReadCache::new(&file)).is_ok();
        is_elf && kernel::parse(&ReadCache::new(&file), path).is_err()
    }

    /// It finds libraries by where it is itself.
    pub(super) fn looks_around_itself(&self) -> bool {
        let dynamic = &self.object.dynamic;
        let lists = [&dynamic.rpath, &dynamic.runpath].into_iter().flatten().chain(&dynamic.needed);
        lists.into_iter().any(|text| memchr::memmem::find(text.as_bytes(), b"ORIGIN").is_some())
    }

    /// A program of what its file says.
    fn of(path: PathBuf, object: Object) -> Result<Self, (&'static str, &'static str)> {
        let linkage = match &object.interpreter {
            Some(interpreter) => Linkage::Dynamic { interpreter: interpreter.clone() },
            None => Linkage::Static,
        };
        if !object.anywhere {
            return Err(match linkage {
                Linkage::Static => ("is a static program that is not position-independent", REBUILD),
                Linkage::Dynamic { .. } => ("is a program that is not position-independent", REBUILD),
            });
        }
        if !object.entry || !object.program {
            return Err(("is a shared library, not a program", "give the program that uses it"));
        }
        Ok(Self { path, arch: object.arch, linkage, object })
    }
}
