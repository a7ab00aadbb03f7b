//! ELF files, as far as telling kernels from each other and from programs goes.
//!
//! The marks, first match wins:
//!
//! ```text
//! section .uk_inittab, .uk_ctortab or .uk_thread_inittab     Unikraft
//! note of "Linux"; sections __ksymtab or __param             Linux
//! note 18 of "Xen"                                           PVH
//! multiboot header                                           multiboot
//! note of "Solo5"                                            ELF (it has an interpreter, too, that nobody has)
//! interpreter; dynamic section; note 1 of "GNU", any of "Go" not a kernel: a program for Linux
//! else                                                       ELF
//! ```
//!
//! The kernels of FreeBSD and of Solo5 have an interpreter, Unikraft's may be position-independent: so programs are
//! what is left when no mark of a kernel was found, and not the other way round.

use std::path::Path;

use object::read::ReadRef;
use object::read::elf::{FileHeader, NoteIterator, ProgramHeader as _, SectionHeader as _};
use object::{Endianness, elf};

use super::kernel::{Class, Depth, KernelInfo, bad, truncated};
use super::unikraft::{About, Memory, Sections};
use crate::error::{Kind, Result};
use crate::machine::{Arch, KernelKind};

/// A multiboot header lies wholly within the first so many bytes, says the specification.
pub(super) const MULTIBOOT_SEARCH: u64 = 8192;
const MULTIBOOT_MAGIC: u32 = 0x1bad_b002;

const UNIKRAFT_SECTIONS: [&[u8]; 3] = [b".uk_inittab", b".uk_ctortab", b".uk_thread_inittab"];
const LINUX_SECTIONS: [&[u8]; 2] = [b"__ksymtab", b"__param"];

/// `XEN_ELFNOTE_PHYS32_ENTRY`: where a PVH guest starts.
const XEN_PHYS32_ENTRY: u32 = 18;
/// `NT_GNU_ABI_TAG`: which operating system a program is for; comes with glibc's start files.
const GNU_ABI_TAG: u32 = 1;

/// More than any kernel has of notes; a damaged header may claim any size.
const NOTES_LIMIT: u64 = 1 << 20;

/// What was seen in a file.
#[derive(Debug, Default)]
struct Marks {
    unikraft: bool,
    linux: bool,
    pvh: bool,
    multiboot: bool,
    solo5: bool,
    program: bool,
}

/// Tells what an ELF file is. `head` is its first [`MULTIBOOT_SEARCH`] bytes.
pub(super) fn parse<'data, R: ReadRef<'data>>(data: R, head: &[u8], path: &Path, depth: Depth) -> Result<KernelInfo> {
    match head.get(4) {
        Some(1) => parse_class::<elf::FileHeader32<Endianness>, R>(data, head, path, Class::Bits32, depth),
        Some(2) => parse_class::<elf::FileHeader64<Endianness>, R>(data, head, path, Class::Bits64, depth),
        Some(class) => Err(bad(path, &format!("is damaged: unknown ELF class {class}"))),
        None => Err(truncated(path, head.len() as u64, size_of::<elf::FileHeader32<Endianness>>() as u64)),
    }
}

fn parse_class<'data, H, R>(data: R, head: &[u8], path: &Path, class: Class, depth: Depth) -> Result<KernelInfo>
where
    H: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let damaged = |e: object::read::Error| bad(path, &format!("is damaged: {e}"));
    let len = data.len().map_err(|()| bad(path, "cannot be read"))?;
    if len < size_of::<H>() as u64 {
        return Err(truncated(path, len, size_of::<H>() as u64));
    }
    let header = H::parse(data).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    let arch = architecture(header.e_machine(endian), path)?;
    match header.e_type(endian) {
        elf::ET_EXEC | elf::ET_DYN => {}
        elf::ET_REL => return Err(bad(path, "is an object file, not a kernel").with_hint("link it first")),
        elf::ET_CORE => return Err(bad(path, "is a core dump, not a kernel")),
        other => return Err(bad(path, &format!("is damaged: unknown ELF type {}", other.0))),
    }
    // Longer tables have their length elsewhere, where a damaged file may claim any; no kernel has so many.
    if header.e_phnum(endian) == elf::PN_XNUM || (header.e_shnum(endian) == 0 && header.e_shoff(endian).into() != 0) {
        return Err(bad(path, "is damaged: it has no sensible number of segments or sections"));
    }
    let wanted = end_of_file::<H, R>(header, endian, data).map_err(damaged)?;
    if len < wanted {
        return Err(truncated(path, len, wanted));
    }
    let mut marks = Marks { multiboot: has_multiboot(head), ..Marks::default() };
    look_at_segments::<H, R>(header, endian, data, &mut marks).map_err(damaged)?;
    look_at_sections::<H, R>(header, endian, data, &mut marks).map_err(damaged)?;
    let about = match depth {
        Depth::Kind => None,
        Depth::Whole => look_at_unikraft::<H, R>(header, endian, data, &marks).map_err(damaged)?,
    };
    let kind = match marks {
        Marks { unikraft: true, .. } => KernelKind::Unikraft,
        Marks { linux: true, .. } => KernelKind::Linux,
        Marks { pvh: true, .. } => KernelKind::Pvh,
        Marks { multiboot: true, .. } => KernelKind::Multiboot,
        Marks { solo5: true, .. } => KernelKind::Elf,
        Marks { program: true, .. } => {
            return Err(bad(path, "is a program for Linux, not a kernel")
                .with_kind(Kind::Program)
                .with_hint("give a unikernel; a program is run by `--as binary`, on a kernel that loads it"));
        }
        Marks { .. } => KernelKind::Elf,
    };
    let info = KernelInfo::new(kind, arch, class, about);
    Ok(KernelInfo { has_pvh: marks.pvh, has_multiboot: marks.multiboot, ..info })
}

fn architecture(machine: elf::Machine, path: &Path) -> Result<Arch> {
    match machine {
        elf::EM_X86_64 | elf::EM_386 => Ok(Arch::X86_64),
        elf::EM_AARCH64 => Ok(Arch::Arm64),
        other => Err(bad(path, &format!("is for an unknown architecture (ELF machine {})", other.0))),
    }
}

/// How long the file is at least, by what its headers point at. What they point at last is usually the section table.
fn end_of_file<'data, H, R>(header: &H, endian: Endianness, data: R) -> object::read::Result<u64>
where
    H: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let len = data.len().unwrap_or(0);
    let table = |offset: u64, entries: u16, size: u16| match offset {
        0 => 0,
        offset => offset.saturating_add(u64::from(entries) * u64::from(size)),
    };
    let segments = table(header.e_phoff(endian).into(), header.e_phnum(endian), header.e_phentsize(endian));
    let sections = table(header.e_shoff(endian).into(), header.e_shnum(endian), header.e_shentsize(endian));
    let mut end = segments.max(sections);
    if end <= len {
        for segment in header.program_headers(endian, data)? {
            let size: u64 = segment.p_filesz(endian).into();
            if size > 0 {
                end = end.max(size.saturating_add(segment.p_offset(endian).into()));
            }
        }
    }
    Ok(end)
}

fn look_at_segments<'data, H, R>(header: &H, endian: Endianness, data: R, marks: &mut Marks) -> object::read::Result<()>
where
    H: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    for segment in header.program_headers(endian, data)? {
        match segment.p_type(endian) {
            elf::PT_INTERP | elf::PT_DYNAMIC => marks.program = true,
            elf::PT_NOTE => {
                let size = Into::<u64>::into(segment.p_filesz(endian)).min(NOTES_LIMIT);
                let Ok(bytes) = data.read_bytes_at(segment.p_offset(endian).into(), size) else { continue };
                // Notes are padded to 4 or 8 bytes, whatever the segment's alignment says beyond that.
                let align = segment.p_align(endian);
                let align = if align.into() == 8 { align } else { H::Word::default() };
                look_at_notes(&mut NoteIterator::<H>::new(endian, align, bytes)?, endian, marks);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Looks at notes up to the first that is damaged.
fn look_at_notes<H>(notes: &mut NoteIterator<'_, H>, endian: Endianness, marks: &mut Marks)
where
    H: FileHeader<Endian = Endianness>,
{
    while let Ok(Some(note)) = notes.next() {
        match (note.name(), note.n_type(endian).0) {
            (b"Xen", XEN_PHYS32_ENTRY) => marks.pvh = true,
            (b"Linux", _) => marks.linux = true,
            (b"Solo5", _) => marks.solo5 = true,
            (b"GNU", GNU_ABI_TAG) | (b"Go", _) => marks.program = true,
            _ => {}
        }
    }
}

fn look_at_sections<'data, H, R>(header: &H, endian: Endianness, data: R, marks: &mut Marks) -> object::read::Result<()>
where
    H: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let sections = header.section_headers(endian, data)?;
    // A table without names is no fault: no mark is in it.
    let Ok(names) = header.section_strings(endian, data, sections) else { return Ok(()) };
    for section in sections {
        let Ok(name) = section.name(endian, names) else { continue };
        marks.unikraft |= UNIKRAFT_SECTIONS.contains(&name);
        marks.linux |= LINUX_SECTIONS.contains(&name);
    }
    Ok(())
}

/// What a kernel says of itself, if it is Unikraft's or speaks as those do.
fn look_at_unikraft<'data, H, R>(
    header: &H,
    endian: Endianness,
    data: R,
    marks: &Marks,
) -> object::read::Result<Option<About>>
where
    H: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    // All that Unikraft runs on is little-endian.
    if marks.linux || endian != Endianness::Little {
        return Ok(None);
    }
    let mut memory = Memory::new(data);
    for segment in header.program_headers(endian, data)? {
        if segment.p_type(endian) == elf::PT_LOAD {
            let (address, offset) = (segment.p_vaddr(endian).into(), segment.p_offset(endian).into());
            memory.load(address, offset, segment.p_filesz(endian).into());
        }
    }
    let mut found = Sections::default();
    let sections = header.section_headers(endian, data)?;
    let Ok(names) = header.section_strings(endian, data, sections) else { return Ok(None) };
    for section in sections {
        let (Ok(name), Some((offset, size))) = (section.name(endian, names), section.file_range(endian)) else {
            continue;
        };
        if name == b".uk_reloc" {
            memory.relocate(offset, size);
        }
        found.note(name, offset, section.sh_addr(endian).into(), size);
    }
    Ok((marks.unikraft || found.any()).then(|| found.read(data, &memory)))
}

/// A multiboot header: the magic at a multiple of 4, then flags and what makes the three add up to zero.
fn has_multiboot(head: &[u8]) -> bool {
    let mut words = head.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    while let Some(word) = words.next() {
        if word == MULTIBOOT_MAGIC {
            let mut rest = words.clone();
            if let (Some(flags), Some(checksum)) = (rest.next(), rest.next())
                && word.wrapping_add(flags).wrapping_add(checksum) == 0
            {
                return true;
            }
        }
    }
    false
}
