//! Kernels: ELF files of all classes with notes and sections, and Linux's own formats.

use std::path::Path;

use kraft::image::kernel;
use proptest::prelude::*;

fn elf(is_64: bool, machine: u16, note: &[u8], section: &str) -> Vec<u8> {
    let (head, program, entry) = if is_64 { (64u64, 56u64, 64u64) } else { (52, 32, 40) };
    let word = |bytes: &mut Vec<u8>, value: u64| {
        if is_64 { bytes.extend(value.to_le_bytes()) } else { bytes.extend((value as u32).to_le_bytes()) }
    };
    let (note_at, names) = (head + program, format!("\0{section}\0.shstrtab\0"));
    let names_at = note_at + note.len() as u64;
    let sections_at = (names_at + names.len() as u64).next_multiple_of(8);
    let mut bytes = vec![0x7f, b'E', b'L', b'F', if is_64 { 2 } else { 1 }, 1, 1];
    bytes.resize(16, 0);
    bytes.extend(2u16.to_le_bytes());
    bytes.extend(machine.to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    for value in [0x10_0000, head, sections_at] {
        word(&mut bytes, value);
    }
    bytes.extend(0u32.to_le_bytes());
    for half in [head, program, 1, entry, 3, 2] {
        bytes.extend((half as u16).to_le_bytes());
    }
    bytes.extend(4u32.to_le_bytes());
    if is_64 {
        bytes.extend(4u32.to_le_bytes());
    }
    for value in [note_at, 0, 0, note.len() as u64, note.len() as u64] {
        word(&mut bytes, value);
    }
    if !is_64 {
        bytes.extend(4u32.to_le_bytes());
    }
    word(&mut bytes, 4);
    bytes.extend(note);
    bytes.extend(names.as_bytes());
    bytes.resize(sections_at as usize, 0);
    for (name, kind, at, size) in [
        (0, 0u32, 0, 0),
        (1, 1, note_at, note.len() as u64),
        (section.len() as u32 + 2, 3, names_at, names.len() as u64),
    ] {
        bytes.extend(u32::to_le_bytes(name));
        bytes.extend(kind.to_le_bytes());
        for value in [0, 0, at, size] {
            word(&mut bytes, value);
        }
        bytes.extend([0; 8]);
        word(&mut bytes, 1);
        word(&mut bytes, 0);
    }
    bytes
}

fn note(owner: &str, kind: u32) -> Vec<u8> {
    let mut note = Vec::new();
    for word in [owner.len() as u32 + 1, 4, kind] {
        note.extend(word.to_le_bytes());
    }
    note.extend(owner.as_bytes());
    note.push(0);
    note.resize(note.len().next_multiple_of(4), 0);
    note.extend([0; 4]);
    note
}

fn kernels() -> Vec<Vec<u8>> {
    let mut linux = vec![0; 2048];
    linux[0x1f1] = 1;
    linux[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    linux[0x202..0x208].copy_from_slice(b"HdrS\x0f\x02");
    linux[0x1f4] = 64;
    let mut arm = vec![0; 128];
    arm[0x38..0x3c].copy_from_slice(b"ARM\x64");
    let mut multiboot = elf(false, 3, &note("Xen", 18), ".uk_ctortab");
    for word in [0x1bad_b002u32, 0, 0x1bad_b002u32.wrapping_neg()] {
        multiboot.extend(word.to_le_bytes());
    }
    vec![
        elf(true, 62, &note("Xen", 18), ".uk_inittab"),
        elf(true, 62, &note("Linux", 1), ".text"),
        elf(true, 183, &note("Solo5", 1), ".uk_libinfo"),
        multiboot,
        linux,
        arm,
    ]
}

#[test]
fn what_is_damaged_is_a_kernel_before() {
    for (number, bytes) in kernels().iter().enumerate() {
        kernel::parse(bytes.as_slice(), Path::new("k")).unwrap_or_else(|error| panic!("{number}: {error}"));
    }
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn any_file_is_told_or_refused(bytes in crate::damaged(kernels())) {
        if let Err(error) = kernel::parse(bytes.as_slice(), Path::new("k")) {
            prop_assert!(error.to_string().starts_with("kernel k "), "{error}");
        }
    }
}
