//! A reader of CPIO archives that knows no more than the format, and what holds of every archive that kraft makes.

use std::collections::{HashMap, HashSet};

/// A file as an archive has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub name: Vec<u8>,
    pub inode: u32,
    pub mode: u32,
    pub links: u32,
    pub data: Vec<u8>,
}

/// Reads an archive to its end mark.
pub fn read(mut archive: &[u8]) -> Vec<File> {
    assert_eq!(archive.len() % 512, 0);
    let mut files = Vec::new();
    loop {
        assert!(archive.starts_with(b"070701"));
        let field = |n: usize| {
            let digits = str::from_utf8(&archive[6 + n * 8..14 + n * 8]).unwrap();
            u32::from_str_radix(digits, 16).unwrap()
        };
        let (inode, mode, links, size, length) = (field(0), field(1), field(4), field(6) as usize, field(11) as usize);
        let name = archive[110..110 + length].strip_suffix(b"\0").unwrap().to_vec();
        let data = (110 + length).next_multiple_of(4);
        if name == b"TRAILER!!!" {
            assert!(archive[data..].len() < 512 && archive[data..].iter().all(|byte| *byte == 0));
            return files;
        }
        files.push(File { name, inode, mode, links, data: archive[data..data + size].to_vec() });
        archive = &archive[(data + size).next_multiple_of(4)..];
    }
}

/// Nothing leads out, all is in order and in a directory, names of one file agree, and one of them has the data.
pub fn check(files: &[File]) {
    let (mut directories, mut seen) = (HashSet::from([Vec::new()]), HashSet::new());
    let mut shared: HashMap<u32, Vec<&File>> = HashMap::new();
    for file in files {
        let parts: Vec<&[u8]> = file.name.split(|byte| *byte == b'/').collect();
        assert!(parts.iter().all(|part| !matches!(*part, b"" | b"." | b"..") && !part.contains(&0)), "{file:?}");
        assert!(file.name.len() <= 4094);
        assert!(directories.contains(&parts[..parts.len() - 1].join(&b'/')), "{file:?}");
        assert!(seen.insert(file.name.clone()), "{file:?}");
        match file.mode & 0o170_000 {
            0o040_000 => assert!(directories.insert(file.name.clone())),
            0o100_000 => {}
            0o120_000 => assert!(!file.data.is_empty() && !file.data.contains(&0) && file.data.len() < 4096),
            _ => assert!(file.data.is_empty()),
        }
        shared.entry(file.inode).or_default().push(file);
    }
    let key = |file: &File| file.name.iter().map(|byte| if *byte == b'/' { 0 } else { *byte }).collect::<Vec<_>>();
    assert!(files.is_sorted_by_key(key));
    for names in shared.values() {
        let first = names[0];
        if first.mode & 0o170_000 == 0o040_000 {
            assert_eq!(names.len(), 1);
            continue;
        }
        assert!(names.iter().all(|name| name.links as usize == names.len() && name.mode == first.mode), "{names:?}");
        assert!(names[..names.len() - 1].iter().all(|name| name.data.is_empty()), "{names:?}");
    }
}
