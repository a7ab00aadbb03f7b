//! A RAM disk with a few files more than the one it is made of: in memory, sealed, for one start.

use std::fs::File;
use std::io::{BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use super::cpio::{Header, Writer};
use super::initrd::{self, Format};
use crate::error::{Context as _, Error, Result};

/// What ends an archive is within so many bytes of its end: an entry of 124 bytes, and zeros up to a multiple of 512;
/// twice that for those who pad twice.
const TAIL: u64 = 2048;
const MAGICS: [&[u8]; 2] = [b"070701", b"070702"];
/// The name of what ends an archive, after a header of 110 bytes.
const TRAILER: &[u8] = b"TRAILER!!!\0";
const HEADER: usize = 110;

/// A file to be added.
#[derive(Debug)]
pub struct Extra {
    /// Its name, which nothing else in the same directory may have.
    pub name: String,
    /// Its content, from where it stands to its end.
    pub content: File,
    /// How much that is.
    pub size: u64,
}

/// The RAM disk `initrd`, or an empty one, and behind its own files `extras`, in the last of `directories`. These are
/// made, each in the one before it, where they are missing. The files are their owner's alone to read, root's.
///
/// # Errors
/// When something cannot be read, or `initrd` does not end as an archive does.
pub fn with_files(initrd: Option<&Path>, directories: &[&str], extras: Vec<Extra>) -> Result<OwnedFd> {
    let cannot = "cannot make a RAM disk in memory";
    let memory = memfd_create("kraft-initrd", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).context(cannot)?;
    let mut disk = File::from(memory);
    if let Some(path) = initrd {
        let format = initrd::inspect(path)?;
        copy(path, format, &mut disk).with_context(|| format!("cannot add to rootfs {}", path.display()))?;
    }
    let mut writer = Writer::new(BufWriter::new(&mut disk));
    // Numbers that hard links of the archive before will not have.
    let mut inode = u32::MAX - 1024;
    let mut header = |mode, links| {
        inode += 1;
        Header { inode, mode, links, ..Header::default() }
    };
    for (index, directory) in directories.iter().enumerate() {
        let mode = if index + 1 == directories.len() { 0o40700 } else { 0o40755 };
        writer.begin(directory.as_bytes(), &header(mode, 2), 0)?;
    }
    for mut extra in extras {
        let name = format!("{}/{}", directories.last().unwrap_or(&""), extra.name);
        writer.begin(name.as_bytes(), &header(0o100_400, 1), extra.size)?;
        std::io::copy(&mut (&mut extra.content).take(extra.size), &mut writer).context(cannot)?;
    }
    writer.finish()?.flush().context(cannot)?;
    disk.seek(SeekFrom::Start(0)).context(cannot)?;
    let memory = OwnedFd::from(disk);
    fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)
        .context(cannot)?;
    Ok(memory)
}

/// Copies an archive so that another can follow: up to what ends it, as Unikraft reads no further than that; one that is
/// compressed as it is, which Linux knows how to read.
fn copy(path: &Path, format: Format, disk: &mut File) -> Result<()> {
    let mut archive = super::open("rootfs", path)?;
    let size = archive.metadata().context("cannot tell its size")?.len();
    let end = match format {
        Format::Cpio => {
            let start = size.saturating_sub(TAIL);
            let mut tail = Vec::new();
            archive.seek(SeekFrom::Start(start)).context("cannot read it")?;
            archive.read_to_end(&mut tail).context("cannot read it")?;
            archive.seek(SeekFrom::Start(0)).context("cannot read it")?;
            start + trailer(&tail).ok_or_else(|| Error::new("it does not end as a cpio archive does"))? as u64
        }
        Format::Gzip | Format::Zstd | Format::Xz | Format::Lz4 => size,
    };
    let copied = std::io::copy(&mut (&mut archive).take(end), disk).context("cannot copy it")?;
    if copied != end {
        return Err(Error::new("it changed while it was read"));
    }
    let gap = end.next_multiple_of(4) - end;
    disk.write_all(&[0; 4][..gap as usize]).context("cannot copy it")
}

/// Where what ends an archive begins, in the archive's last bytes: with nothing but zeros behind it.
fn trailer(tail: &[u8]) -> Option<usize> {
    let data = tail.iter().rposition(|&byte| byte != 0)? + 1;
    let name = data.checked_sub(TRAILER.len() - 1)?;
    let start = name.checked_sub(HEADER)?;
    let ends = tail[name..data] == TRAILER[..TRAILER.len() - 1] && tail.get(data) == Some(&0);
    (ends && MAGICS.iter().any(|magic| tail[start..].starts_with(magic))).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn archive(names: &[&str]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for name in names {
            let header = Header { mode: 0o100_644, links: 1, ..Header::default() };
            writer.begin(name.as_bytes(), &header, 5).unwrap();
            writer.write_all(b"hello").unwrap();
        }
        writer.finish().unwrap()
    }

    fn extended(initrd: Option<&[u8]>) -> Result<Vec<u8>> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let own = format!("kraft-extend-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(own);
        std::fs::create_dir_all(&dir).unwrap();
        let (path, secret) = (dir.join("r.cpio"), dir.join("s"));
        std::fs::write(&secret, b"sesame").unwrap();
        if let Some(bytes) = initrd {
            std::fs::write(&path, bytes).unwrap();
        }
        let extra = Extra { name: "db".into(), content: File::open(secret).unwrap(), size: 6 };
        let disk = with_files(initrd.map(|_| path.as_path()), &["run", "run/credentials"], vec![extra]);
        std::fs::remove_dir_all(dir).unwrap();
        let disk = disk?;
        let mut bytes = Vec::new();
        let mut disk = File::from(disk);
        disk.read_to_end(&mut bytes).unwrap();
        assert!(disk.write_all(b"x").is_err(), "it is sealed");
        Ok(bytes)
    }

    /// The names and contents of an archive up to the first end of one, as Unikraft reads it.
    fn names(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
        let field = |at: usize, n: usize| {
            usize::from_str_radix(std::str::from_utf8(&bytes[at + 6 + 8 * n..][..8]).unwrap(), 16).unwrap()
        };
        let (mut at, mut found) = (0, Vec::new());
        loop {
            assert!(bytes[at..].starts_with(b"0707"), "at {at}");
            let (size, length) = (field(at, 6), field(at, 11));
            let name = String::from_utf8(bytes[at + HEADER..][..length - 1].to_vec()).unwrap();
            if name == "TRAILER!!!" {
                return found;
            }
            let data = (at + HEADER + length).next_multiple_of(4);
            found.push((name, bytes[data..data + size].to_vec()));
            at = (data + size).next_multiple_of(4);
        }
    }

    #[test]
    fn the_files_are_behind_those_of_the_archive() {
        let own = [("run".into(), vec![]), ("run/credentials".into(), vec![])];
        let secret = ("run/credentials/db".to_owned(), b"sesame".to_vec());
        let alone = names(&extended(None).unwrap());
        assert_eq!(alone, [&own[..], std::slice::from_ref(&secret)].concat());
        for padding in [0, 1024] {
            let mut archive = archive(&["a", "TRAILER", "run/credentials/db"]);
            archive.resize(archive.len() + padding, 0);
            let found = names(&extended(Some(&archive)).unwrap());
            assert_eq!(found.len(), 6);
            assert_eq!(found.last(), Some(&secret));
        }
        // A shell's pads to nothing at all.
        let archive = archive(&["a"]);
        let bare = archive.len() - archive.iter().rev().take_while(|&&byte| byte == 0).count();
        assert_eq!(names(&extended(Some(&archive[..bare + 1])).unwrap()).len(), 4);
    }

    #[test]
    fn an_archive_that_is_cut_off_is_refused() {
        let archive = archive(&["a"]);
        let error = extended(Some(&archive[..120])).unwrap_err().to_string();
        assert!(error.ends_with("it does not end as a cpio archive does"), "{error}");
    }
}
