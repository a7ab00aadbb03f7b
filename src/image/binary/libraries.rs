//! Which libraries a program gets, found as ld.so would find them; nothing is run. The rules are those of ld.so(8) and of
//! glibc's `elf/dl-load.c`, for each library that is needed, breadth first:
//!
//! ```text
//! a name with a slash       that path
//! what is loaded already    by its name or by what it calls itself
//! else, the first of        RPATH of who needs it, of who loaded that, and so on, of the program;
//!                               an object that has a RUNPATH has no RPATH, and one that needs it goes by neither
//!                           LD_LIBRARY_PATH of the guest's environment
//!                           RUNPATH of who needs it
//!                           ld.so.cache, and the directories that ld.so has built in; not with `-z nodefaultlib`
//! ```
//!
//! A file for another processor is passed over. musl's loader knows no cache, has directories of its own, and is the C
//! library itself. Left out are the variants for newer processors in `glibc-hwcaps`, which are never necessary, and what a
//! program opens by `dlopen`, which its file does not tell.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use object::read::ReadCache;

use super::cache::Cache;
use super::dynamic::{self, Dynamic, Object, Unfit};
use super::host::{Found, Host};
use crate::error::{Error, Kind, Result};
use crate::machine::Arch;
use crate::paths;

/// More files than any program loads.
const OBJECTS: usize = 4096;
/// The largest cache that is read.
const CACHE: u64 = 64 << 20;
/// So many missing libraries are named.
const SHOWN: usize = 8;

/// What a program loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Libraries {
    /// Every file by the name under which it is opened; the interpreter first.
    pub(super) paths: Vec<PathBuf>,
    /// Some are found by the cache alone.
    pub(super) by_cache: bool,
}

/// Something that is loaded.
#[derive(Debug)]
struct Loaded {
    /// The name under which it was opened.
    path: PathBuf,
    real: PathBuf,
    dynamic: Dynamic,
    /// Who brought it.
    by: Option<usize>,
}

/// A program's view of its host.
#[derive(Debug)]
pub(super) struct Search<'a> {
    host: &'a Host,
    arch: Arch,
    interpreter: &'a Path,
    /// The interpreter's directory, by its real name.
    own: PathBuf,
    /// `LD_LIBRARY_PATH`.
    environment: Option<&'a OsStr>,
    cache: Vec<u8>,
    loaded: Vec<Loaded>,
    /// Names that are taken, whatever they lead to.
    names: Vec<OsString>,
    missing: Vec<(OsString, PathBuf)>,
    result: Libraries,
}

impl<'a> Search<'a> {
    /// Finds what `program`, the object at this path, loads by this interpreter.
    pub(super) fn run(
        host: &'a Host,
        path: &Path,
        program: &Object,
        interpreter: &'a Path,
        environment: Option<&'a OsStr>,
    ) -> Result<Libraries> {
        let wants = || format!("{} wants the interpreter {}", path.display(), interpreter.display());
        let found = host.follow(interpreter).map_err(|error| match error.kind() {
            Kind::NotFound => Error::of(Kind::NotFound, format!("{}, which is not there", wants())).with_hint(
                "install the C library that it was built with, link it by -static-pie, or give its whole root \
                     file system by --rootfs",
            ),
            _ => error.context(wants()),
        })?;
        let loader = open(host, &found)?.map_err(|unfit| Error::new(format!("{}, which {}", wants(), unfit.what())))?;
        if loader.arch != program.arch {
            return Err(Error::new(format!("{}, which is for {}", wants(), loader.arch)));
        }
        let mut search = Self {
            host,
            arch: program.arch,
            interpreter,
            own: found.real.parent().unwrap_or(&found.real).to_path_buf(),
            environment,
            cache: Vec::new(),
            loaded: Vec::new(),
            names: Vec::new(),
            missing: Vec::new(),
            result: Libraries { paths: vec![interpreter.to_path_buf()], by_cache: false },
        };
        search.names.extend(loader.dynamic.soname.clone());
        search.names.extend(interpreter.file_name().map(OsStr::to_owned));
        if !search.is_musl() {
            search.cache = search.read_cache();
        }
        let real = host.follow(path)?.real;
        search.loaded.push(Loaded { path: path.to_path_buf(), real, dynamic: program.dynamic.clone(), by: None });
        search.all()?;
        search.finish(path)
    }

    fn all(&mut self) -> Result<()> {
        let mut at = 0;
        while at < self.loaded.len() {
            for name in self.loaded[at].dynamic.needed.clone() {
                self.one(at, &name)?;
            }
            at += 1;
        }
        Ok(())
    }

    fn finish(self, program: &Path) -> Result<Libraries> {
        if self.missing.is_empty() {
            return Ok(self.result);
        }
        let named = self.missing.iter().take(SHOWN).map(|(name, by)| {
            let whose = if by == program { String::new() } else { format!(" (for {})", by.display()) };
            format!("{}{whose}", super::shown(name))
        });
        let more = self.missing.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let what = if self.missing.len() == 1 { "a library" } else { "libraries" };
        let names = named.collect::<Vec<_>>().join(", ");
        let why = format!("{} needs {what} that cannot be found: {names}{more}", program.display());
        Err(Error::of(Kind::NotFound, why).with_hint(
            "install what is missing, name its directory by `-e LD_LIBRARY_PATH=DIR`, or give the whole root file system \
             by --rootfs",
        ))
    }

    /// Finds what the object at `by` needs under this name.
    fn one(&mut self, by: usize, name: &OsStr) -> Result<()> {
        if self.names.iter().any(|known| known == name) || self.is_musl_itself(name) {
            return Ok(());
        }
        self.names.push(name.to_owned());
        if name.as_bytes().contains(&b'/') {
            let path = self.expand(name.as_bytes(), by);
            if !path.is_absolute() {
                let (by, name) = (self.loaded[by].path.display(), super::shown(name));
                let why = format!("{by} needs {name}, which depends on the directory that it is started in");
                return Err(Error::new(why).with_hint("give the whole root file system by --rootfs"));
            }
            return match self.try_path(by, &path)? {
                true => Ok(()),
                false => self.miss(by, name),
            };
        }
        for dir in self.places(by) {
            if self.try_path(by, &dir.join(name))? {
                return Ok(());
            }
        }
        if !self.loaded[by].dynamic.no_default {
            if let Some(paths) = Cache::parse(&self.cache).map(|cache| cache.find(name.as_bytes(), self.arch)) {
                for (index, path) in paths.iter().enumerate() {
                    if self.try_path(by, path)? {
                        if !self.built_in().iter().any(|dir| Some(&**dir) == path.parent()) {
                            self.result.by_cache = true;
                            // The guest's processor may be one that has a variant of its own.
                            let there = paths[index + 1..].iter().filter(|path| self.host.follow(path).is_ok());
                            self.result.paths.extend(there.cloned());
                        }
                        return Ok(());
                    }
                }
            }
            for dir in self.built_in() {
                if self.try_path(by, &dir.join(name))? {
                    return Ok(());
                }
            }
        }
        self.miss(by, name)
    }

    fn miss(&mut self, by: usize, name: &OsStr) -> Result<()> {
        self.missing.push((name.to_owned(), self.loaded[by].path.clone()));
        Ok(())
    }

    /// Loads a file if it is there and for this processor.
    fn try_path(&mut self, by: usize, path: &Path) -> Result<bool> {
        let found = match self.host.follow(path) {
            Err(error) if error.kind() == Kind::NotFound => return Ok(false),
            found => found?,
        };
        let whose = || format!("{} needs {}", self.loaded[by].path.display(), path.display());
        if !self.host.place(&found.real).is_file() {
            return Ok(false);
        }
        let object = match open(self.host, &found)? {
            Err(Unfit::Foreign(_)) => return Ok(false),
            Ok(object) if object.arch != self.arch => return Ok(false),
            Err(unfit) => return Err(Error::new(format!("{}, which {}", whose(), unfit.what()))),
            Ok(object) => object,
        };
        if self.loaded.len() >= OBJECTS {
            return Err(Error::new(format!("{}: it is one of more than {OBJECTS} libraries", whose())));
        }
        self.result.paths.push(path.to_path_buf());
        if self.loaded.iter().all(|loaded| loaded.real != found.real) {
            self.names.extend(object.dynamic.soname.clone());
            let (path, real) = (path.to_path_buf(), found.real);
            self.loaded.push(Loaded { path, real, dynamic: object.dynamic, by: Some(by) });
        }
        Ok(true)
    }

    /// The directories for who needs something, in order, but for those of last resort.
    fn places(&self, by: usize) -> Vec<PathBuf> {
        let mut lists: Vec<(OsString, usize)> = Vec::new();
        let object = &self.loaded[by].dynamic;
        let musl = self.is_musl();
        let environment = self.environment.map(|list| (list.to_owned(), by));
        if musl {
            // The environment first, then each object's own, whichever kind.
            lists.extend(environment);
            let mut at = Some(by);
            while let Some(index) = at {
                let Loaded { dynamic, by, .. } = &self.loaded[index];
                lists.extend(dynamic.runpath.clone().or(dynamic.rpath.clone()).map(|list| (list, index)));
                at = *by;
            }
        } else {
            if object.runpath.is_none() {
                let mut at = Some(by);
                while let Some(index) = at {
                    let Loaded { dynamic, by, .. } = &self.loaded[index];
                    let list = dynamic.rpath.clone().filter(|_| dynamic.runpath.is_none());
                    lists.extend(list.map(|list| (list, index)));
                    at = *by;
                }
            }
            lists.extend(environment);
            lists.extend(object.runpath.clone().map(|list| (list, by)));
        }
        let mut places = Vec::new();
        for (list, whose) in lists {
            for item in list.as_bytes().split(|byte| matches!(byte, b':' | b';')) {
                let dir = self.expand(item, whose);
                // What is relative is so to wherever the program is started.
                if dir.is_absolute() {
                    places.push(dir);
                }
            }
        }
        places
    }

    /// The directories of last resort.
    fn built_in(&self) -> Vec<PathBuf> {
        if self.is_musl() {
            return paths::MUSL_LIBRARIES.iter().map(PathBuf::from).collect();
        }
        let mut dirs = vec![self.own.clone()];
        // /lib and /usr/lib are one on most systems, and ld.so knows both names.
        let short = self.own.strip_prefix(paths::USR).ok().map(|below| Path::new("/").join(below));
        let long = self.own.strip_prefix("/").ok().map(|below| Path::new(paths::USR).join(below));
        dirs.splice(0..0, short.or(long));
        dirs.extend(paths::LIBRARIES.iter().map(PathBuf::from));
        dirs
    }

    /// `$ORIGIN`, `$LIB` and `$PLATFORM`, with or without braces.
    fn expand(&self, text: &[u8], by: usize) -> PathBuf {
        let origin = self.loaded[by].real.parent().unwrap_or(Path::new("/")).as_os_str().as_bytes();
        let below = self.own.strip_prefix(paths::USR).or(self.own.strip_prefix("/")).unwrap_or(&self.own);
        let platform = match self.arch {
            Arch::X86_64 => "x86_64",
            Arch::Arm64 => "aarch64",
        };
        let tokens: [(&[u8], &[u8]); 3] =
            [(b"ORIGIN", origin), (b"LIB", below.as_os_str().as_bytes()), (b"PLATFORM", platform.as_bytes())];
        let mut out = Vec::new();
        let mut rest = text;
        while let Some(at) = memchr::memchr(b'$', rest) {
            out.extend_from_slice(&rest[..at]);
            rest = &rest[at + 1..];
            let token = tokens.iter().find_map(|(name, value)| {
                let braced = rest.strip_prefix(b"{").and_then(|rest| rest.strip_prefix(*name)?.strip_prefix(b"}"));
                let bare = || {
                    rest.strip_prefix(*name)
                        .filter(|rest| !rest.first().is_some_and(|c| c.is_ascii_alphanumeric() || *c == b'_'))
                };
                braced.or_else(bare).map(|rest| (*value, rest))
            });
            match token {
                Some((value, behind)) => {
                    out.extend_from_slice(value);
                    rest = behind;
                }
                None => out.push(b'$'),
            }
        }
        out.extend_from_slice(rest);
        PathBuf::from(OsString::from_vec(out))
    }

    fn is_musl(&self) -> bool {
        self.interpreter.file_name().is_some_and(|name| name.as_bytes().starts_with(b"ld-musl-"))
    }

    /// musl's loader is its C library, and has these names for it.
    fn is_musl_itself(&self, name: &OsStr) -> bool {
        const NAMES: [&[u8]; 8] = [b"c", b"pthread", b"rt", b"m", b"dl", b"util", b"xnet", b"c.musl-x86_64"];
        let library = |name: &[u8]| name.strip_prefix(b"lib").map(<[u8]>::to_vec);
        self.is_musl()
            && library(name.as_bytes()).is_some_and(|rest| {
                NAMES.iter().any(|known| rest.strip_prefix(*known).is_some_and(|end| end.starts_with(b".so")))
                    || rest.starts_with(b"c.musl-")
            })
    }

    fn read_cache(&self) -> Vec<u8> {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        let place = self.host.place(Path::new(paths::LIBRARY_CACHE));
        // Without one, ld.so goes on as well.
        match File::open(&place).map(|file| file.take(CACHE).read_to_end(&mut bytes)) {
            Ok(Ok(_)) => bytes,
            Ok(Err(_)) | Err(_) => Vec::new(),
        }
    }
}

/// Reads an object; `Err` inside is for what is none.
fn open(host: &Host, found: &Found) -> Result<Result<Object, Unfit>> {
    let file = super::super::open("library", &host.place(&found.real))?;
    Ok(dynamic::parse(&ReadCache::new(file)))
}
