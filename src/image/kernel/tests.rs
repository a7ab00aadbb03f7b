//! Kernels made up in memory: just headers, notes and names of sections.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

const EM_386: u16 = 3;
const EM_X86_64: u16 = 62;
const EM_AARCH64: u16 = 183;
const EM_RISCV: u16 = 243;
const ET_REL: u16 = 1;
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;

/// An ELF file: header, program headers, their contents, section names, section table, in this order.
#[derive(Debug, Clone)]
struct Elf {
    class: Class,
    machine: u16,
    kind: u16,
    segments: Vec<(u32, Vec<u8>)>,
    sections: Vec<&'static str>,
}

impl Elf {
    fn new(machine: u16) -> Self {
        let class = if machine == EM_386 { Class::Bits32 } else { Class::Bits64 };
        Self { class, machine, kind: ET_EXEC, segments: vec![(PT_LOAD, vec![0x90; 64])], sections: Vec::new() }
    }

    fn of_type(mut self, kind: u16) -> Self {
        self.kind = kind;
        self
    }

    fn segment(mut self, kind: u32, content: &[u8]) -> Self {
        self.segments.push((kind, content.to_vec()));
        self
    }

    fn note(self, owner: &str, kind: u32) -> Self {
        let mut note = Vec::new();
        for word in [owner.len() as u32 + 1, 4, kind] {
            note.extend(word.to_le_bytes());
        }
        note.extend(owner.as_bytes());
        note.push(0);
        note.resize(note.len().next_multiple_of(4), 0);
        note.extend([0; 4]);
        self.segment(PT_NOTE, &note)
    }

    fn section(mut self, name: &'static str) -> Self {
        self.sections.push(name);
        self
    }

    fn multiboot(self) -> Self {
        let flags = 3_u32;
        let words = [0x1bad_b002, flags, 0_u32.wrapping_sub(0x1bad_b002).wrapping_sub(flags)];
        self.segment(PT_LOAD, &words.map(u32::to_le_bytes).concat())
    }

    fn word(&self, out: &mut Vec<u8>, value: usize) {
        match self.class {
            Class::Bits32 => out.extend((value as u32).to_le_bytes()),
            Class::Bits64 => out.extend((value as u64).to_le_bytes()),
        }
    }

    fn build(&self) -> Vec<u8> {
        let (header, segment, section) = match self.class {
            Class::Bits32 => (52, 32, 40),
            Class::Bits64 => (64, 56, 64),
        };
        let mut names = vec![0];
        let mut name_offsets = vec![0];
        for name in self.sections.iter().chain(&[".shstrtab"]) {
            name_offsets.push(names.len());
            names.extend(name.bytes().chain([0]));
        }
        let contents = header + segment * self.segments.len();
        let names_at = contents + self.segments.iter().map(|(_, c)| c.len().next_multiple_of(8)).sum::<usize>();
        let table_at = (names_at + names.len()).next_multiple_of(8);

        let mut out = b"\x7fELF".to_vec();
        out.extend([if self.class == Class::Bits64 { 2 } else { 1 }, 1, 1]);
        out.resize(16, 0);
        out.extend(self.kind.to_le_bytes());
        out.extend(self.machine.to_le_bytes());
        out.extend(1_u32.to_le_bytes());
        self.word(&mut out, 0x10_0000);
        self.word(&mut out, header);
        self.word(&mut out, table_at);
        out.extend(0_u32.to_le_bytes());
        for half in [header, segment, self.segments.len(), section, name_offsets.len(), name_offsets.len() - 1] {
            out.extend((half as u16).to_le_bytes());
        }
        let mut offset = contents;
        for (kind, content) in &self.segments {
            out.extend(kind.to_le_bytes());
            if self.class == Class::Bits64 {
                out.extend(5_u32.to_le_bytes());
            }
            for value in [offset, 0x10_0000, 0x10_0000, content.len(), content.len()] {
                self.word(&mut out, value);
            }
            if self.class == Class::Bits32 {
                out.extend(5_u32.to_le_bytes());
            }
            self.word(&mut out, 4);
            offset += content.len().next_multiple_of(8);
        }
        for (_, content) in &self.segments {
            let end = out.len() + content.len().next_multiple_of(8);
            out.extend(content);
            out.resize(end, 0);
        }
        out.extend(&names);
        out.resize(table_at, 0);
        for (index, name) in name_offsets.iter().enumerate() {
            out.extend((*name as u32).to_le_bytes());
            // Nothing, then sections of program bits, last the names.
            let kind: u32 = if index == 0 { 0 } else { if index + 1 == name_offsets.len() { 3 } else { 1 } };
            out.extend(kind.to_le_bytes());
            let (at, size) = if kind == 3 { (names_at, names.len()) } else { (0, 0) };
            for value in [0, 0, at, size] {
                self.word(&mut out, value);
            }
            out.extend([0; 8]);
            self.word(&mut out, 1);
            self.word(&mut out, 0);
        }
        out
    }

    fn parse(&self) -> Result<KernelInfo> {
        parse(self.build().as_slice(), Path::new("./web.elf"))
    }

    fn kind(&self) -> KernelKind {
        self.parse().unwrap().kind
    }

    fn error(&self) -> String {
        self.parse().unwrap_err().to_string()
    }
}

/// A bzImage with 64 bytes behind its real-mode sectors.
fn bz_image(version: u16, flags: u16) -> Vec<u8> {
    let mut image = vec![0; 512 * 2 + 64];
    image[0x1f1] = 1;
    image[0x1f4..0x1f8].copy_from_slice(&4_u32.to_le_bytes());
    image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&version.to_le_bytes());
    image[0x236..0x238].copy_from_slice(&flags.to_le_bytes());
    image
}

fn parse_bytes(bytes: &[u8]) -> Result<KernelInfo> {
    parse(bytes, Path::new("k"))
}

#[test]
fn unikraft_is_known_by_its_sections() {
    for name in [".uk_inittab", ".uk_ctortab", ".uk_thread_inittab"] {
        assert_eq!(Elf::new(EM_X86_64).section(".text").section(name).kind(), KernelKind::Unikraft);
    }
    // As built for QEMU: 32-bit, multiboot. As built position-independent. As built for Firecracker: PVH.
    let info = Elf::new(EM_386).multiboot().section(".uk_ctortab").parse().unwrap();
    assert_eq!((info.kind, info.arch, info.class), (KernelKind::Unikraft, Arch::X86_64, Class::Bits32));
    assert_eq!((info.has_pvh, info.has_multiboot), (false, true));
    let pie = Elf::new(EM_AARCH64).of_type(ET_DYN).segment(PT_DYNAMIC, &[0; 16]).section(".uk_inittab");
    assert_eq!((pie.kind(), pie.parse().unwrap().arch), (KernelKind::Unikraft, Arch::Arm64));
    assert!(Elf::new(EM_X86_64).note("Xen", 18).section(".uk_inittab").parse().unwrap().has_pvh);
}

#[test]
fn linux_is_known_in_all_its_forms() {
    let info = parse_bytes(&bz_image(0x20f, 1)).unwrap();
    assert_eq!((info.kind, info.arch, info.class), (KernelKind::Linux, Arch::X86_64, Class::Bits64));
    assert_eq!(parse_bytes(&bz_image(0x20f, 0)).unwrap().class, Class::Bits32);
    assert_eq!(parse_bytes(&bz_image(0x204, 1)).unwrap().class, Class::Bits32);

    let mut image = vec![0; 64];
    image[0x38..0x3c].copy_from_slice(b"ARM\x64");
    let info = parse_bytes(&image).unwrap();
    assert_eq!((info.kind, info.arch), (KernelKind::Linux, Arch::Arm64));

    let info = Elf::new(EM_X86_64).note("Xen", 18).note("Linux", 0x100).parse().unwrap();
    assert_eq!((info.kind, info.has_pvh), (KernelKind::Linux, true));
    assert_eq!(Elf::new(EM_X86_64).section("__ksymtab").kind(), KernelKind::Linux);
}

#[test]
fn other_kernels_are_known_by_how_they_start() {
    assert_eq!(Elf::new(EM_X86_64).note("GNU", 3).note("Xen", 18).kind(), KernelKind::Pvh);
    assert_eq!(Elf::new(EM_X86_64).note("Xen", 6).kind(), KernelKind::Elf);
    assert_eq!(Elf::new(EM_386).multiboot().kind(), KernelKind::Multiboot);
    assert_eq!(Elf::new(EM_X86_64).kind(), KernelKind::Elf);
    // FreeBSD's has an interpreter, Solo5's too.
    assert_eq!(Elf::new(EM_X86_64).segment(PT_INTERP, b"/red/herring\0").note("Xen", 18).kind(), KernelKind::Pvh);
    assert_eq!(Elf::new(EM_X86_64).segment(PT_INTERP, b"/nonexistent\0").note("Solo5", 1).kind(), KernelKind::Elf);
    // The magic alone, without the right sum, is chance.
    let chance = Elf::new(EM_386).segment(PT_LOAD, &[0x02, 0xb0, 0xad, 0x1b, 1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(chance.kind(), KernelKind::Elf);
}

#[test]
fn programs_are_no_kernels() {
    let program = "kernel ./web.elf is a program for Linux, not a kernel";
    assert_eq!(Elf::new(EM_X86_64).segment(PT_INTERP, b"/lib64/ld-linux-x86-64.so.2\0").error(), program);
    assert_eq!(Elf::new(EM_X86_64).of_type(ET_DYN).segment(PT_DYNAMIC, &[0; 16]).error(), program);
    assert_eq!(Elf::new(EM_X86_64).note("GNU", 1).error(), program);
    assert_eq!(Elf::new(EM_X86_64).note("Go", 4).error(), program);
    assert_eq!(Elf::new(EM_X86_64).of_type(ET_REL).error(), "kernel ./web.elf is an object file, not a kernel");
    let own = inspect(&crate::paths::own_executable().unwrap(), None).unwrap_err();
    assert!(own.to_string().ends_with("is a program for Linux, not a kernel"), "{own}");
}

#[test]
fn other_architectures_are_named() {
    assert_eq!(Elf::new(EM_RISCV).error(), "kernel ./web.elf is for an unknown architecture (ELF machine 243)");
    let path = std::env::temp_dir().join(format!("kraft-arm-{}.elf", std::process::id()));
    std::fs::write(&path, Elf::new(EM_AARCH64).build()).unwrap();
    let refused = inspect(&path, Some(Arch::X86_64));
    let taken = (inspect(&path, Some(Arch::Arm64)), inspect(&path, None));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(refused.unwrap_err().to_string(), format!("kernel {} is for arm64, not x86_64", path.display()));
    assert_eq!(taken.0.unwrap(), taken.1.unwrap());
}

#[test]
fn what_is_no_file_of_a_kernel_is_told() {
    let error = inspect(Path::new("./no-such.elf"), None).unwrap_err();
    assert_eq!((error.to_string().as_str(), error.exit_code()), ("kernel not found: ./no-such.elf", 127));
    assert_eq!(inspect(Path::new("src"), None).unwrap_err().to_string(), "kernel src is a directory");
    assert_eq!(
        inspect(Path::new("Cargo.toml"), None).unwrap_err().to_string(),
        "kernel Cargo.toml is not a kernel: it is neither an ELF file nor a Linux image"
    );
    let dir = std::env::temp_dir().join(format!("kraft-kernels-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let (empty, fifo): (PathBuf, PathBuf) = (dir.join("empty"), dir.join("fifo"));
    std::fs::write(&empty, b"").unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let errors = [inspect(&empty, None), inspect(&fifo, None)].map(|result| result.unwrap_err().to_string());
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(errors[0].ends_with("/empty is empty"), "{errors:?}");
    assert!(errors[1].ends_with("/fifo is not a regular file"), "{errors:?}");
    assert!(parse_bytes(b"\x1f\x8b\x08").unwrap_err().hint().unwrap().contains("gunzip"));
    assert!(parse_bytes(b"#!/bin/sh\n").unwrap_err().to_string().contains("script"));
}

#[test]
fn a_file_that_was_cut_anywhere_is_told() {
    for whole in [
        Elf::new(EM_X86_64).note("Xen", 18).section(".uk_inittab").build(),
        Elf::new(EM_386).multiboot().build(),
        bz_image(0x20f, 1),
    ] {
        let shortest = if whole.starts_with(b"\x7fELF") { 4 } else { 0x238 };
        for len in shortest..whole.len() {
            let error = parse_bytes(&whole[..len]).unwrap_err();
            assert!(error.to_string().contains("is truncated: it has"), "{len}: {error}");
        }
        assert!(parse_bytes(&whole).is_ok());
    }
}

/// A file is read piece by piece, memory is not: both must come to the same.
fn parse_both(bytes: &[u8]) -> Result<KernelInfo> {
    let path = Path::new("k");
    let in_memory = parse(bytes, path);
    let by_reading = parse(&ReadCache::new(std::io::Cursor::new(bytes)), path);
    assert_eq!(in_memory, by_reading);
    in_memory
}

fn any_elf() -> impl Strategy<Value = Vec<u8>> {
    let machine = prop::sample::select(vec![EM_386, EM_X86_64, EM_AARCH64]);
    let owner = prop::sample::select(vec!["Xen", "Linux", "GNU", "Solo5"]);
    let section = prop::sample::select(vec![".text", ".uk_inittab", "__param"]);
    (machine, owner, 0_u32..20, section, any::<bool>()).prop_map(|(machine, owner, note, section, multiboot)| {
        let elf = Elf::new(machine).note(owner, note).section(section);
        if multiboot { elf.multiboot().build() } else { elf.build() }
    })
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        let _ = parse_both(&bytes);
    }

    #[test]
    fn random_bytes_behind_a_magic_never_panic(
        magic in prop::sample::select(vec![&b"\x7fELF\x01\x01\x01"[..], b"\x7fELF\x02\x01\x01", b"\x7fELF\x02\x02\x01"]),
        bytes in prop::collection::vec(any::<u8>(), 0..512),
    ) {
        let _ = parse_both(&[magic, &bytes].concat());
    }

    #[test]
    fn mutated_kernels_never_panic(
        mut bytes in any_elf(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        in_header in prop::collection::vec((0_usize..52, any::<u8>()), 0..3),
    ) {
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        for (at, value) in in_header {
            bytes[at] = value;
        }
        let _ = parse_both(&bytes);
    }
}
