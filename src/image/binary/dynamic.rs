//! What a program or a library says of itself to whoever loads it: an ELF file's headers and its dynamic section.
//!
//! All of it may be made up by whoever made the file: counts and lengths are bounded, and what does not fit is a flaw of
//! that file.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use object::read::ReadRef;
use object::read::elf::{Dyn as _, FileHeader, ProgramHeader as _};
use object::{Endianness, elf};

use crate::machine::Arch;

type Header = elf::FileHeader64<Endianness>;

/// The marks of an ELF file.
pub(super) const MAGIC: &[u8] = b"\x7fELF";
/// More than any path that a kernel takes.
const PATH: u64 = 4096;
/// More entries than any dynamic section has: one for each library and some fifty others.
const ENTRIES: u64 = 1 << 16;
/// A search path, or a name.
const STRING: u64 = 64 << 10;
/// More libraries than one file names.
const NEEDED: usize = 4096;

/// What there is to know of an ELF file before it is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) arch: Arch,
    /// It can be loaded anywhere.
    pub(super) anywhere: bool,
    /// It is marked as a program: programs and libraries that can be loaded anywhere are of one type.
    pub(super) program: bool,
    /// It says where to begin.
    pub(super) entry: bool,
    /// What loads it and its libraries.
    pub(super) interpreter: Option<PathBuf>,
    pub(super) dynamic: Dynamic,
}

/// What the dynamic section says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Dynamic {
    /// Libraries that it needs, in order.
    pub(super) needed: Vec<OsString>,
    /// What others know it by.
    pub(super) soname: Option<OsString>,
    /// Where to look for libraries, its own and those of what it loads; colons between.
    pub(super) rpath: Option<OsString>,
    /// Where to look for its own libraries; with it the other does not count.
    pub(super) runpath: Option<OsString>,
    /// Nowhere else, that is.
    pub(super) no_default: bool,
}

/// Why a file is not what was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It is for another architecture.
    Foreign(String),
    /// It is of another kind.
    Other(String),
    /// It does not hold together.
    Damaged(String),
}

impl Unfit {
    /// What it is instead, to stand behind its name.
    pub(super) fn what(&self) -> &str {
        match self {
            Self::Foreign(what) | Self::Other(what) | Self::Damaged(what) => what,
        }
    }
}

/// Reads an ELF file.
pub(super) fn parse<'data, R: ReadRef<'data>>(data: R) -> Result<Object, Unfit> {
    let damaged = |e: object::read::Error| Unfit::Damaged(format!("is damaged: {e}"));
    let head = data.read_bytes_at(0, 20).map_err(|()| Unfit::Damaged("is truncated".into()))?;
    if !head.starts_with(MAGIC) {
        return Err(Unfit::Other("is not an ELF file".into()));
    }
    let foreign = |what: &str| Err(Unfit::Foreign(format!("is for {what}")));
    match (head[4], head[5]) {
        (2, 1) => {}
        (1, _) => return foreign("a 32-bit processor"),
        (_, 2) => return foreign("a big-endian processor"),
        (class, _) => return Err(Unfit::Damaged(format!("is damaged: unknown ELF class {class}"))),
    }
    let header = Header::parse(data).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    let arch = match header.e_machine(endian) {
        elf::EM_X86_64 => Arch::X86_64,
        elf::EM_AARCH64 => Arch::Arm64,
        other => return foreign(&format!("an unknown architecture (ELF machine {})", other.0)),
    };
    let anywhere = match header.e_type(endian) {
        elf::ET_EXEC => false,
        elf::ET_DYN => true,
        elf::ET_REL => return Err(Unfit::Other("is an object file, which is not linked yet".into())),
        elf::ET_CORE => return Err(Unfit::Other("is a core dump".into())),
        other => return Err(Unfit::Damaged(format!("is damaged: unknown ELF type {}", other.0))),
    };
    if header.e_phnum(endian) == elf::PN_XNUM {
        return Err(Unfit::Damaged("is damaged: it has no sensible number of segments".into()));
    }
    let segments = header.program_headers(endian, data).map_err(damaged)?;
    let len = data.len().map_err(|()| Unfit::Damaged("cannot be read".into()))?;
    let (mut interpreter, mut entries, mut program) = (None, None, false);
    for segment in segments {
        let (offset, size): (u64, u64) = (segment.p_offset(endian), segment.p_filesz(endian));
        let end = offset.saturating_add(size);
        if segment.p_type(endian) == elf::PT_LOAD && end > len {
            return Err(Unfit::Damaged(format!("is truncated: it has {len} bytes of at least {end}")));
        }
        match segment.p_type(endian) {
            elf::PT_INTERP => interpreter = Some(path(data, offset, size)?),
            elf::PT_DYNAMIC if size > ENTRIES * 16 => {
                return Err(Unfit::Damaged(format!("is damaged: its dynamic section has {size} bytes")));
            }
            elf::PT_DYNAMIC => entries = segment.dynamic(endian, data).map_err(damaged)?,
            elf::PT_PHDR => program = true,
            _ => {}
        }
    }
    let strings = |address: u64, size: u64| {
        segments.iter().filter(|segment| segment.p_type(endian) == elf::PT_LOAD).find_map(|segment| {
            let into = address.checked_sub(segment.p_vaddr(endian))?;
            let left = Into::<u64>::into(segment.p_filesz(endian)).checked_sub(into)?;
            Some((Into::<u64>::into(segment.p_offset(endian)).checked_add(into)?, size.min(left)))
        })
    };
    let entries: Vec<(elf::DynamicTag, u64)> = entries
        .unwrap_or_default()
        .iter()
        .map(|entry| (entry.d_tag(endian), entry.d_val(endian)))
        .take_while(|(tag, _)| *tag != elf::DT_NULL)
        .collect();
    let value = |wanted| entries.iter().find(|(tag, _)| *tag == wanted).map(|(_, value)| *value);
    let flags = value(elf::DT_FLAGS_1).unwrap_or(0);
    let table = value(elf::DT_STRTAB).zip(value(elf::DT_STRSZ)).and_then(|(at, size)| strings(at, size));
    let text = |at: u64| {
        let within = || Unfit::Damaged("is damaged: its dynamic section names what is outside of it".into());
        let (offset, size) = table.ok_or_else(within)?;
        let left = size.checked_sub(at).ok_or_else(within)?.min(STRING);
        let bytes = data.read_bytes_at(offset.checked_add(at).ok_or_else(within)?, left).map_err(|()| within())?;
        let end = memchr::memchr(0, bytes).ok_or_else(within)?;
        Ok(OsString::from_vec(bytes[..end].to_vec()))
    };
    let needed: Vec<u64> = entries.iter().filter(|(tag, _)| *tag == elf::DT_NEEDED).map(|(_, at)| *at).collect();
    if needed.len() > NEEDED {
        return Err(Unfit::Damaged(format!("is damaged: it names {} libraries", needed.len())));
    }
    Ok(Object {
        arch,
        anywhere,
        program: program || interpreter.is_some() || flags & elf::DF_1_PIE.0 != 0,
        entry: header.e_entry(endian) != 0,
        interpreter,
        dynamic: Dynamic {
            needed: needed.into_iter().map(text).collect::<Result<_, _>>()?,
            soname: value(elf::DT_SONAME).map(text).transpose()?,
            rpath: value(elf::DT_RPATH).map(text).transpose()?,
            runpath: value(elf::DT_RUNPATH).map(text).transpose()?,
            no_default: flags & elf::DF_1_NODEFLIB.0 != 0,
        },
    })
}

/// An interpreter's path, which ends in a NUL.
fn path<'data, R: ReadRef<'data>>(data: R, offset: u64, size: u64) -> Result<PathBuf, Unfit> {
    let bad = || Unfit::Damaged("is damaged: it has no sensible interpreter".into());
    let bytes = data.read_bytes_at(offset, size.min(PATH)).map_err(|()| bad())?;
    let end = memchr::memchr(0, bytes).ok_or_else(bad)?;
    let path = PathBuf::from(OsString::from_vec(bytes[..end].to_vec()));
    if path.is_absolute() { Ok(path) } else { Err(bad()) }
}
