//! Kernels with sections of Unikraft's, made up in memory.

use std::path::Path;

use proptest::prelude::*;

use super::libinfo::tests::entry;
use super::*;
use crate::image::kernel::{self, KernelInfo};
use crate::machine::KernelKind;

const BASE: u64 = 0x10_0000;
const HEADERS: usize = 64 + 56;

/// A kernel of one segment, which is loaded to [`BASE`] and holds its sections.
#[derive(Debug, Default)]
struct Image {
    memory: Vec<u8>,
    /// Name, place in memory, size.
    sections: Vec<(String, usize, usize)>,
}

impl Image {
    fn put(&mut self, bytes: &[u8]) -> u64 {
        self.memory.resize(self.memory.len().next_multiple_of(8), 0);
        let at = self.memory.len();
        self.memory.extend(bytes);
        BASE + at as u64
    }

    fn string(&mut self, text: &str) -> u64 {
        self.put(&[text.as_bytes(), &[0]].concat())
    }

    fn words(&mut self, words: &[u64]) -> u64 {
        self.put(&words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>())
    }

    fn section(mut self, name: &str, content: &[u8]) -> Self {
        let at = (self.put(content) - BASE) as usize;
        self.sections.push((name.to_owned(), at, content.len()));
        self
    }

    fn word_section(self, name: &str, words: &[u64]) -> Self {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.section(name, &bytes)
    }

    fn info(self, version: &str, libraries: &[&str]) -> Self {
        let mut bytes = entry(1, &[(6, version)]);
        for library in libraries {
            bytes.extend(entry(1, &[(1, library), (3, "1.0")]));
        }
        self.section(".uk_libinfo", &bytes)
    }

    /// As before 0.18: a section for a library, of pointers.
    fn old_parameters(mut self, library: &str, names: &[&str]) -> Self {
        let pointers: Vec<u64> = names
            .iter()
            .map(|name| {
                let (name, description) = (self.string(name), self.string("what it is for"));
                self.words(&[name, description, 12, 4, 0, 0])
            })
            .collect();
        self.word_section(&format!(".uk_libparam_params_{library}"), &pointers)
    }

    /// As since then: one section of all.
    fn new_parameters(mut self, names: &[(&str, &str)]) -> Self {
        let mut words = Vec::new();
        for (prefix, name) in names {
            words.extend([self.string(prefix), self.string(name), 0, 12, 8, 0, 0]);
        }
        self.word_section(".uk_libparam_params", &words)
    }

    fn build(&self) -> Vec<u8> {
        let mut names = vec![0];
        let mut sections = vec![[0_u64; 4]];
        for (name, at, size) in &self.sections {
            sections.push([names.len() as u64, BASE + *at as u64, (HEADERS + at) as u64, *size as u64]);
            names.extend(name.bytes().chain([0]));
        }
        let names_at = HEADERS + self.memory.len();
        sections.push([names.len() as u64, 0, names_at as u64, names.len() as u64 + 7]);
        names.extend(b".names\0");
        let table = (names_at + names.len()).next_multiple_of(8);

        let mut out = b"\x7fELF\x02\x01\x01".to_vec();
        out.resize(16, 0);
        out.extend([2, 0, 62, 0, 1, 0, 0, 0]);
        out.extend([BASE, 64, table as u64].map(u64::to_le_bytes).concat());
        out.extend([0; 4]);
        let last = sections.len() as u16;
        out.extend([64, 56, 1, 64, last, last - 1].map(u16::to_le_bytes).concat());
        out.extend([1, 5_u32].map(u32::to_le_bytes).concat());
        let size = self.memory.len() as u64;
        out.extend([HEADERS as u64, BASE, BASE, size, size, 8].map(u64::to_le_bytes).concat());
        out.extend(&self.memory);
        out.extend(&names);
        out.resize(table, 0);
        for (index, [name, address, offset, size]) in sections.iter().enumerate() {
            let kind: u32 = if index == 0 { 0 } else { if index + 1 == sections.len() { 3 } else { 1 } };
            out.extend([*name as u32, kind].map(u32::to_le_bytes).concat());
            out.extend([0, *address, *offset, *size].map(u64::to_le_bytes).concat());
            out.extend([0; 8]);
            out.extend([1, 0_u64].map(u64::to_le_bytes).concat());
        }
        out
    }

    fn parse(&self) -> KernelInfo {
        kernel::parse(self.build().as_slice(), Path::new("k.elf")).unwrap()
    }

    fn about(&self) -> About {
        self.parse().unikraft.unwrap()
    }
}

fn names(about: &About) -> Vec<&str> {
    about.parameters.iter().flatten().map(|p| p.name.as_str()).collect()
}

#[test]
fn parameters_are_read_in_both_formats() {
    let old = Image::default()
        .section(".uk_inittab", &[0; 8])
        .old_parameters("libuknetdev", &["ipv4_addr", "ipv4_gw_addr"])
        .old_parameters("libposix_environ", &["vars"])
        .old_parameters("libmine", &["level"]);
    let (info, about) = (old.parse(), old.about());
    assert_eq!(names(&about), ["env.vars", "libmine.level", "netdev.ipv4_addr", "netdev.ipv4_gw_addr"]);
    assert_eq!((info.kind, info.dialect()), (KernelKind::Unikraft, Dialect::UnikraftOld));
    let first = &about.parameters.as_ref().unwrap()[0];
    assert_eq!((first.count, first.description.as_deref()), (4, Some("what it is for")));

    let new = Image::default().new_parameters(&[("vfs", "fstab"), ("netdev", "ip")]);
    assert_eq!(names(&new.about()), ["netdev.ip", "vfs.fstab"]);
    assert_eq!((new.parse().kind, new.parse().dialect()), (KernelKind::Elf, Dialect::Unikraft));
    let kept = new.parse().record("/k.elf".into(), None);
    assert_eq!(
        kept.parameters.unwrap().into_iter().collect::<Vec<_>>(),
        [("netdev.ip".into(), 8), ("vfs.fstab".into(), 8)]
    );
    assert_eq!(new.parse().record("/k.elf".into(), Some(Dialect::Unikraft)).parameters, None);
}

#[test]
fn a_position_independent_kernel_is_read_by_its_relocations() {
    let mut image = Image::default();
    let (prefix, name) = (image.string("netdev") - BASE, image.string("ip") - BASE);
    let image = image.word_section(".uk_libparam_params", &[0, 0, 0, 12, 1, 0, 0]);
    let at = image.sections[0].1 as u64;
    let mut relocations = 0x0bad_b0b0_u32.to_le_bytes().to_vec();
    for (at, value) in [(at, prefix), (at + 8, name)] {
        relocations.extend([at, value, 8].map(u64::to_le_bytes).concat());
    }
    assert_eq!(names(&image.section(".uk_reloc", &relocations).about()), ["netdev.ip"]);
}

#[test]
fn the_version_decides_where_no_parameter_does() {
    for (version, dialect) in [
        ("0.16.0", Dialect::UnikraftOld),
        ("0.16.1~1a2b3c4", Dialect::Unikraft),
        ("0.9", Dialect::UnikraftOld),
        ("1.0.0-rc1", Dialect::Unikraft),
        ("of my own", Dialect::Unikraft),
    ] {
        assert_eq!(Image::default().info(version, &[]).parse().dialect(), dialect, "{version}");
    }
    let both = Image::default().info("0.16.0", &[]).new_parameters(&[("netdev", "ip")]);
    assert_eq!(both.parse().dialect(), Dialect::Unikraft);
}

#[test]
fn without_sections_strings_decide() {
    let kernel = |text: &str| Image::default().section(".uk_inittab", text.as_bytes());
    let found = kernel("\0xx\0Atlas 0.13.1~1a2b3c4\0");
    assert_eq!(found.parse().dialect(), Dialect::UnikraftOld);
    assert_eq!(found.about().version.as_deref(), Some("0.13.1~1a2b3c4"));
    let found = kernel("Powered by Unikraft Telesto (0.16.3~x)\n\0").about();
    assert_eq!((found.version.as_deref(), found.dialect()), (Some("0.16.3~x"), Dialect::Unikraft));
    assert_eq!(kernel("\0ipv4_subnet_mask\0").parse().dialect(), Dialect::UnikraftOld);
    assert_eq!(kernel("IPv4 einfo: cidr[:gw[:dns0\0ipv4_subnet_mask\0").parse().dialect(), Dialect::Unikraft);
    assert_eq!(kernel("Titan of industry\0").parse().dialect(), Dialect::Unikraft);
    assert!(Image::default().section(".text", b"Atlas 0.13.1\0").parse().unikraft.is_none());
}

#[test]
fn abilities_follow_from_libraries() {
    let image = Image::default().section(".uk_inittab", &[0; 8]);
    assert_eq!(image.parse().abilities, Abilities { power_button: Some(false), ..Abilities::default() });
    let image = image.info("0.17.0", &["libuknetdev", "lib9pfs", "libposix_environ"]);
    let expected = Abilities {
        net: Some(true),
        ninep: Some(true),
        virtiofs: Some(false),
        initrd: Some(false),
        env: None,
        power_button: Some(false),
    };
    assert_eq!(image.parse().abilities, expected);
    assert_eq!(image.new_parameters(&[("vfs", "fstab")]).parse().abilities.env, Some(false));
}

#[test]
fn hostile_text_is_made_harmless() {
    let long = "x".repeat(5000);
    let about = Image::default().info("0.17.0\x1b[2J\n", &["lib\x07evil", &long]).about();
    assert_eq!(about.version.as_deref(), Some("0.17.0[2J"));
    assert_eq!(about.libraries[0].name, "libevil");
    assert_eq!(about.libraries[1].name.len(), 200);
}

#[test]
fn hostile_numbers_end_the_reading() {
    let image = Image::default().word_section(".uk_libparam_params", &[u64::MAX; 14]);
    assert_eq!(image.about().parameters, None);
    let mut image = Image::default().new_parameters(&[("netdev", "ip")]);
    image.sections[0].1 = usize::MAX >> 1;
    let bytes = image.build();
    let _ = kernel::parse(bytes.as_slice(), Path::new("k.elf"));
}

fn whole() -> Vec<u8> {
    Image::default()
        .info("0.17.0", &["libuknetdev", "libvfscore"])
        .old_parameters("libuknetdev", &["ip"])
        .new_parameters(&[("env", "vars"), ("vfs", "fstab")])
        .section(".uk_reloc", &[0x0bad_b0b0_u32.to_le_bytes().to_vec(), vec![7; 240]].concat())
        .build()
}

proptest! {
    #[test]
    fn mutated_kernels_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..24),
        wide in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 0..4),
    ) {
        let mut bytes = whole();
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        for (index, value) in wide {
            let at = index.index(bytes.len() / 8) * 8;
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let in_memory = kernel::parse(bytes.as_slice(), Path::new("k"));
        let by_reading = kernel::parse(&object::read::ReadCache::new(std::io::Cursor::new(&bytes)), Path::new("k"));
        prop_assert_eq!(in_memory, by_reading);
    }

    #[test]
    fn random_sections_never_panic(
        info in prop::collection::vec(any::<u8>(), 0..512),
        parameters in prop::collection::vec(BASE..BASE + 1024, 0..64),
        relocations in prop::collection::vec(any::<u8>(), 0..256),
    ) {
        let image = Image::default()
            .section(".uk_inittab", &info)
            .section(".uk_libinfo", &info)
            .word_section(".uk_libparam_params", &parameters)
            .word_section(".uk_libparam_params_libvfscore", &parameters)
            .section(".uk_reloc", &relocations);
        let info = image.parse();
        let _ = (info.dialect(), info.abilities, info.record("/k".into(), None));
    }
}
