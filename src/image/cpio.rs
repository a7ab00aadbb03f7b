//! Writes CPIO archives in the `newc` format, as Linux (`Documentation/driver-api/early-userspace/buffer-format.rst`),
//! Unikraft (`lib/ukcpio`) and `cpio -i` read them: a header, the name and the data of one file after the other.
//!
//! It knows the format and its limits. What goes in, and in which order, is told by [`tree`](super::tree).

use std::io::Write;

use super::tree::show;
use crate::error::{Context as _, Error, Result};

/// The longest name in bytes. With its NUL and the `/` that Unikraft puts in front it fills `PATH_MAX`; a longer one
/// is left out by Linux without a word.
pub const NAME_LIMIT: usize = 4094;
/// The longest target of a symbolic link in bytes; Linux leaves out a longer one.
pub const TARGET_LIMIT: usize = 4095;
/// The largest file: its size is kept in 32 bits.
pub const SIZE_LIMIT: u64 = u32::MAX as u64;

/// How much is shown of a name that is too long.
const SHOWN: usize = 64;
/// The name of what ends an archive.
const TRAILER: &[u8] = b"TRAILER!!!";
/// `cpio` pads an archive to this.
const BLOCK: u64 = 512;

/// All of a header but the name and the number of bytes that follow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Header {
    /// The same in all names of one file.
    pub inode: u32,
    /// Type and permissions.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// How many names in the archive are those of this file.
    pub links: u32,
    /// Seconds since 1970.
    pub mtime: u32,
    /// Major and minor number, if it is a device.
    pub device: (u32, u32),
}

/// An archive that is being written.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    written: u64,
    /// What is still to come of the present file's data.
    owed: u64,
}

impl<W: Write> Writer<W> {
    /// An empty archive.
    pub fn new(out: W) -> Self {
        Self { out, written: 0, owed: 0 }
    }

    /// Begins the next file. Its data is what is [written](Write) until the next call.
    ///
    /// # Errors
    /// When the format cannot carry the name or the size, when the data before is not complete, or when it cannot be
    /// written.
    pub fn begin(&mut self, name: &[u8], header: &Header, size: u64) -> Result<()> {
        check_name(name)?;
        let size = u32::try_from(size).map_err(|_| too_large(name, size))?;
        self.head(name, header, size).context("cannot write the archive")
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// When the data before is not complete, or when it cannot be written.
    pub fn finish(mut self) -> Result<W> {
        self.head(TRAILER, &Header { links: 1, ..Header::default() }, 0)
            .and_then(|()| self.pad(BLOCK))
            .context("cannot write the archive")?;
        Ok(self.out)
    }

    fn head(&mut self, name: &[u8], header: &Header, size: u32) -> std::io::Result<()> {
        if self.owed != 0 {
            return Err(std::io::Error::other(format!("{} bytes of a file are missing", self.owed)));
        }
        self.pad(4)?;
        let Header { inode, mode, uid, gid, links, mtime, device: (major, minor) } = header;
        let length = name.len() + 1;
        let mut head = format!(
            "070701{inode:08x}{mode:08x}{uid:08x}{gid:08x}{links:08x}{mtime:08x}{size:08x}\
             {0:08x}{0:08x}{major:08x}{minor:08x}{length:08x}{0:08x}",
            0
        )
        .into_bytes();
        head.extend_from_slice(name);
        head.push(0);
        self.put(&head)?;
        self.pad(4)?;
        self.owed = u64::from(size);
        Ok(())
    }

    fn pad(&mut self, to: u64) -> std::io::Result<()> {
        const ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];
        let gap = self.written.next_multiple_of(to) - self.written;
        self.put(&ZEROS[..gap as usize])
    }

    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

/// The data of the file that was begun last.
impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if bytes.len() as u64 > self.owed {
            return Err(std::io::Error::other("it has more data than its size says"));
        }
        self.put(bytes)?;
        self.owed -= bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// A name goes in as it is, relative to the root and without `.` or `..`, or not at all.
pub(super) fn check_name(name: &[u8]) -> Result<()> {
    check_length(name)?;
    let cannot = |why: &str| Err(Error::new(why.to_owned()).context(format!("cannot pack {}", show(name))));
    if name == TRAILER {
        return cannot("a cpio archive ends at this name");
    }
    if name.contains(&0) {
        return cannot("its name holds a NUL");
    }
    if name.split(|byte| *byte == b'/').any(|part| matches!(part, b"" | b"." | b"..")) {
        return cannot("its name is not that of a file below the root");
    }
    Ok(())
}

/// The part of [`check_name`] that can be checked before anything is known of the name.
pub(super) fn check_length(name: &[u8]) -> Result<()> {
    if name.len() <= NAME_LIMIT {
        return Ok(());
    }
    let why = format!("its name has {} bytes, and a cpio archive can have {NAME_LIMIT}", name.len());
    Err(Error::new(why).context(format!("cannot pack {}...", show(&name[..SHOWN]))))
}

fn too_large(name: &[u8], size: u64) -> Error {
    Error::new(format!("it has {size} bytes, and a file in a cpio archive can have {SIZE_LIMIT}"))
        .context(format!("cannot pack {}", show(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: Header = Header { inode: 7, mode: 0o100644, uid: 1, gid: 2, links: 1, mtime: 9, device: (0, 0) };

    fn archive(name: &[u8], data: &[u8]) -> Result<Vec<u8>> {
        let mut writer = Writer::new(Vec::new());
        writer.begin(name, &FILE, data.len() as u64)?;
        writer.write_all(data).unwrap();
        writer.finish()
    }

    #[test]
    fn the_layout_is_that_of_the_format() {
        let bytes = archive(b"a/bc", b"hello").unwrap();
        let head = "070701000000070000\
                    81a400000001000000020000000100000009000000050000000000000000000000000000000000000005\
                    00000000";
        assert_eq!(&bytes[..110], head.as_bytes());
        assert_eq!(&bytes[110..124], b"a/bc\0\0hello\0\0\0");
        assert!(bytes[124..].starts_with(b"070701"));
        assert!(bytes[124 + 110..].starts_with(b"TRAILER!!!\0"));
        assert_eq!(bytes.len() % 512, 0);
    }

    #[test]
    fn what_it_cannot_carry_is_refused() {
        let long = vec![b'x'; NAME_LIMIT + 1];
        for (name, why) in [
            (b"TRAILER!!!".as_slice(), "cannot pack TRAILER!!!: a cpio archive ends at this name"),
            (b"/a", "cannot pack /a: its name is not that of a file below the root"),
            (b"a/../b", "not that of a file"),
            (b"", "not that of a file"),
            (b"a\0b", "holds a NUL"),
            (&long, "its name has 4095 bytes"),
        ] {
            let error = archive(name, b"").unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(archive(&long[1..], b"").is_ok());
        assert!(archive(b"a/TRAILER!!!", b"").is_ok());
        let error = Writer::new(Vec::new()).begin(b"big", &FILE, 1 << 32).unwrap_err().to_string();
        assert_eq!(error, "cannot pack big: it has 4294967296 bytes, and a file in a cpio archive can have 4294967295");
    }

    #[test]
    fn data_and_size_agree() {
        let mut writer = Writer::new(Vec::new());
        writer.begin(b"a", &FILE, 3).unwrap();
        assert!(writer.write_all(b"four").is_err());
        assert!(writer.begin(b"b", &FILE, 0).unwrap_err().to_string().contains("3 bytes of a file are missing"));
    }
}
