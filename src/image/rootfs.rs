//! What a guest's root file system may be made of, and how it becomes its RAM disk.
//!
//! A [RAM disk](super::initrd) is used in its place. A [directory](super::directory) and a [tar archive](super::tarball)
//! become a CPIO archive in the store's cache; from there the machine takes it. So does, for a kernel that loads it, a
//! [program for Linux](super::binary) with its libraries, or the program alone. What a file is told by its content.

use std::fs::File;
use std::io::{BufWriter, Read, Seek as _, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

use super::binary::{Collection, Program, Taken};
use super::directory::Directory;
use super::initrd::{self, Format};
use super::own;
use super::tarball::{Tarball, is_tar_header};
use super::tree::{HardLinks, Packing, Tree, pack};
use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::{Compression, Digest, KernelKind};
use crate::store::{NewRootfs, RootfsCache, Store};

/// Enough to see a tar archive's first header.
const HEAD: u64 = 512;
/// File systems tell times in steps of up to this. What changed this shortly before it was read may change again without
/// a later time to show for it.
const STEP: Duration = Duration::from_secs(2);
/// Part of every fingerprint: counted up when the same source becomes another archive.
const LAYOUT: u8 = 1;

/// What the person asked for.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// A RAM disk, a directory, or a tar archive.
    pub source: &'a Path,
    /// How to compress what is made.
    pub compression: Compression,
    /// Who reads it.
    pub kernel: KernelKind,
    /// `SOURCE_DATE_EPOCH`, as it is.
    pub epoch: Option<String>,
    /// How a program is packed; none if the source is no such.
    pub program: Option<ForProgram<'a>>,
}

/// How a program is packed.
#[derive(Debug)]
pub struct ForProgram<'a> {
    /// How its loader takes it.
    pub taken: Taken,
    /// The guest's `LD_LIBRARY_PATH`.
    pub library_path: Option<&'a str>,
    /// The directory that it starts in.
    pub directory: Option<&'a str>,
}

/// A source that was looked at.
#[derive(Debug)]
pub enum Source {
    /// Is a RAM disk.
    Initrd(PathBuf),
    /// Becomes one.
    Files(Files),
}

/// Files to be packed.
#[derive(Debug)]
pub struct Files {
    path: PathBuf,
    form: Form,
    compression: Compression,
    packing: Packing,
}

#[derive(Debug)]
enum Form {
    Directory,
    Tar(Compression),
    /// A program with all that it loads.
    Program(Box<Collection>),
}

impl Form {
    fn number(&self) -> u8 {
        match self {
            Self::Directory => 0,
            Self::Tar(_) => 1,
            Self::Program(_) => 2,
        }
    }
}

impl Wanted<'_> {
    /// Looks at the source and checks what can be before anything is made.
    ///
    /// # Errors
    /// When it is missing ([`Kind::NotFound`]), is nothing that a root file system is made of, or is not for this kernel.
    pub fn check(self) -> Result<Source> {
        let latest = self.epoch.as_deref().map(parse_epoch).transpose()?;
        let packing = Packing { links: hard_links(self.kernel), latest };
        let path = self.source;
        let is = |what: &str| Error::new(format!("rootfs {} {what}", path.display()));
        let found = match self.program {
            Some(ForProgram { taken: Taken::Whole, .. }) => Found::Whole,
            Some(how) => Found::Program(collect(path, &how)?),
            None => look(path)?,
        };
        let form = match found {
            Found::Whole if self.compression != Compression::None => {
                return Err(is("is the RAM disk itself for this loader, which takes it as it is"));
            }
            Found::Whole => return Ok(Source::Initrd(path.to_path_buf())),
            Found::Program(collection) => Form::Program(collection),
            Found::Initrd(_) if self.compression != Compression::None => {
                return Err(is(
                    "is a RAM disk, which is used as it is: --rootfs-compress is for what is made into one",
                ));
            }
            Found::Initrd(Format::Cpio) => return Ok(Source::Initrd(path.to_path_buf())),
            Found::Initrd(format) => {
                return match self.kernel {
                    KernelKind::Unikraft => Err(is(&format!("is compressed by {format}, which Unikraft cannot undo"))
                        .with_hint("give it uncompressed")),
                    KernelKind::Linux | KernelKind::Pvh | KernelKind::Multiboot | KernelKind::Elf => {
                        Ok(Source::Initrd(path.to_path_buf()))
                    }
                };
            }
            Found::Directory => Form::Directory,
            Found::Tar(compression) => Form::Tar(compression),
        };
        if self.kernel == KernelKind::Unikraft && self.compression != Compression::None {
            let why = format!("cannot compress the root file system by {}: Unikraft cannot undo it", self.compression);
            return Err(Error::new(why).with_hint("leave --rootfs-compress out"));
        }
        Ok(Source::Files(Files { path: path.to_path_buf(), form, compression: self.compression, packing }))
    }
}

/// Reads `SOURCE_DATE_EPOCH`.
///
/// # Errors
/// When it is no number, or one before 1970.
pub fn parse_epoch(text: &str) -> Result<i64> {
    let seconds = text.parse().ok().filter(|seconds| *seconds >= 0);
    seconds.ok_or_else(|| {
        let why = "it is a number of seconds since 1970";
        Error::new(format!("bad SOURCE_DATE_EPOCH '{}': {why}", text.escape_debug()))
    })
}

/// Unikraft takes every name for a file of its own, and would find those without data empty.
fn hard_links(kernel: KernelKind) -> HardLinks {
    match kernel {
        KernelKind::Unikraft => HardLinks::Copied,
        KernelKind::Linux | KernelKind::Pvh | KernelKind::Multiboot | KernelKind::Elf => HardLinks::Kept,
    }
}

impl Files {
    /// Packs the files into the cache, unless they were packed before and nothing changed.
    ///
    /// # Errors
    /// When a file cannot be read or carried, when it changes meanwhile, or when the disk is full. Nothing is left then.
    pub fn build(&self, cache: &RootfsCache) -> Result<Digest> {
        let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        match &self.form {
            Form::Program(collection) => {
                let fingerprint = self.fingerprint(collection.fingerprint(), collection.newest(), began);
                self.make(cache, fingerprint, || Ok(&**collection))
            }
            Form::Directory => {
                let directory = Directory::survey(&self.path)?;
                let fingerprint = self.fingerprint(directory.fingerprint(), directory.newest(), began);
                self.make(cache, fingerprint, || Ok(directory))
            }
            Form::Tar(compression) => {
                let cannot = || format!("cannot pack rootfs {}", self.path.display());
                let file = super::open("rootfs", &self.path)?;
                let (stamp, newest) = stamp(&file).with_context(cannot)?;
                let fingerprint = self.fingerprint(stamp, newest, began);
                self.make(cache, fingerprint, || {
                    let plain = unpacked(&file, *compression, cache).with_context(cannot)?;
                    still(&file, stamp).with_context(cannot)?;
                    Tarball::index(plain).with_context(cannot)
                })
                .map_err(|error| self.named(error))
            }
        }
    }

    fn named(&self, error: Error) -> Error {
        let name = self.path.display().to_string();
        if error.to_string().contains(&name) { error } else { error.context(format!("cannot pack rootfs {name}")) }
    }

    fn make<T: Tree>(
        &self,
        cache: &RootfsCache,
        fingerprint: Option<Digest>,
        tree: impl FnOnce() -> Result<T>,
    ) -> Result<Digest> {
        if let Some(digest) = fingerprint.and_then(|fingerprint| cache.find(fingerprint)) {
            log::debug!("{} is as it was: its archive is {digest}", self.path.display());
            return Ok(digest);
        }
        let tree = tree()?;
        let new = pack(
            &tree,
            self.packing,
            BufWriter::with_capacity(BUFFER, Encoder::new(cache.begin()?, self.compression)?),
        )?;
        let encoder = new.into_inner().map_err(|e| e.into_error()).context("cannot write the archive")?;
        let digest = encoder.finish().context("cannot write the archive")?.keep(fingerprint)?;
        log::debug!("{} became the archive {digest}", self.path.display());
        Ok(digest)
    }

    /// What was found and how it is packed; none if it was found too soon after a change to be sure.
    fn fingerprint(&self, found: Digest, newest: i128, began: Duration) -> Option<Digest> {
        if !is_settled(newest, began) {
            return None;
        }
        let mut hash = Sha256::new();
        let Packing { links, latest } = self.packing;
        hash.update([LAYOUT, links as u8, self.compression as u8, self.form.number()]);
        hash.update([u8::from(latest.is_some())]);
        hash.update(latest.unwrap_or_default().to_le_bytes());
        hash.update(found.to_string());
        Some(Digest::from_bytes(hash.finalize().into()))
    }
}

/// Whether what changed last at this time has a later time when it changes again.
pub(super) fn is_settled(newest: i128, began: Duration) -> bool {
    let settled = began.checked_sub(STEP).map(|settled| settled.as_nanos());
    settled.is_some_and(|settled| u128::try_from(newest).is_ok_and(|newest| newest < settled))
}

const BUFFER: usize = 128 << 10;

enum Found {
    Initrd(Format),
    Directory,
    Tar(Compression),
    Program(Box<Collection>),
    Whole,
}

/// A program with all that it needs.
fn collect(path: &Path, how: &ForProgram<'_>) -> Result<Box<Collection>> {
    let collection = Collection::of(&Program::inspect(path)?, how.library_path)?;
    for name in collection.names() {
        log::debug!("{} brings {name}", path.display());
    }
    let directory = how.directory.map(Path::new).filter(|directory| directory.is_absolute());
    let collection = match directory {
        Some(directory) => collection.with_directory(directory)?,
        None => collection,
    };
    Ok(Box::new(collection))
}

fn look(path: &Path) -> Result<Found> {
    if path.is_dir() {
        return Ok(Found::Directory);
    }
    let shown = path.display();
    let cannot = || format!("cannot read rootfs {shown}");
    let mut file = super::open("rootfs", path)?;
    let head = head(&mut file).with_context(cannot)?;
    if is_tar_header(&head) {
        return Ok(Found::Tar(Compression::None));
    }
    let format = initrd::parse(&head, path)?;
    let compression = match format {
        Format::Gzip => Compression::Gzip,
        Format::Zstd => Compression::Zstd,
        Format::Xz | Format::Lz4 if named_tar(path) => {
            let how = format!("is a tar archive compressed by {format}, which kraft cannot undo");
            return Err(
                Error::new(format!("rootfs {shown} {how}")).with_hint("compress it by gzip or zstd, or not at all")
            );
        }
        Format::Cpio | Format::Xz | Format::Lz4 => return Ok(Found::Initrd(format)),
    };
    file.rewind().with_context(cannot)?;
    let inner = decoder(file, compression)
        .and_then(|mut inner| self::head(&mut inner))
        .with_context(|| format!("rootfs {shown} is damaged: cannot undo {compression}"))?;
    if is_tar_header(&inner) {
        Ok(Found::Tar(compression))
    } else if inner.starts_with(b"070701") || inner.starts_with(b"070702") {
        Ok(Found::Initrd(format))
    } else {
        let what = format!("is compressed by {compression}, and neither a cpio nor a tar archive inside");
        Err(Error::of(Kind::Failed, format!("rootfs {shown} {what}")))
    }
}

/// By its name alone: it would have to be unpacked to be sure.
fn named_tar(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    [".tar.xz", ".txz", ".tar.lz4"].iter().any(|end| name.ends_with(end))
}

fn head(file: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head)?;
    Ok(head)
}

/// What changes when the file does, and when it did last.
pub(super) fn stamp(file: &File) -> Result<(Digest, i128)> {
    let of = file.metadata().context("cannot look at it")?;
    let mut hash = Sha256::new();
    for word in [of.dev(), of.ino(), of.len(), of.mtime().cast_unsigned(), of.ctime().cast_unsigned()] {
        hash.update(word.to_le_bytes());
    }
    hash.update(of.mtime_nsec().to_le_bytes());
    hash.update(of.ctime_nsec().to_le_bytes());
    let changed = i128::from(of.ctime()) * 1_000_000_000 + i128::from(of.ctime_nsec());
    Ok((Digest::from_bytes(hash.finalize().into()), changed))
}

/// Checks that a file is what it was.
pub(super) fn still(file: &File, before: Digest) -> Result<()> {
    if stamp(file)?.0 == before { Ok(()) } else { Err(Error::new("it changed meanwhile")) }
}

/// The archive uncompressed, as a file that can be read in any order.
fn unpacked(file: &File, compression: Compression, cache: &RootfsCache) -> Result<File> {
    if compression == Compression::None {
        return file.try_clone().context("cannot open it");
    }
    let mut scratch = cache.scratch()?;
    let mut decoder = decoder(file, compression).context("cannot unpack it")?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match decoder.read(&mut buffer) {
            Ok(0) => return Ok(scratch),
            Ok(read) => scratch.write_all(&buffer[..read]).context("cannot write it unpacked")?,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e).with_context(|| format!("cannot undo {compression}")),
        }
    }
}

pub(super) fn decoder<'a>(file: impl Read + 'a, compression: Compression) -> std::io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::None => Box::new(file),
        Compression::Gzip => Box::new(MultiGzDecoder::new(file)),
        Compression::Zstd => Box::new(zstd::Decoder::new(file)?),
    })
}

/// A new archive, perhaps compressed on its way.
enum Encoder<'a> {
    None(NewRootfs<'a>),
    Gzip(GzEncoder<NewRootfs<'a>>),
    Zstd(zstd::Encoder<'static, NewRootfs<'a>>),
}

impl<'a> Encoder<'a> {
    fn new(out: NewRootfs<'a>, compression: Compression) -> Result<Self> {
        Ok(match compression {
            Compression::None => Self::None(out),
            Compression::Gzip => Self::Gzip(GzEncoder::new(out, flate2::Compression::default())),
            Compression::Zstd => {
                let mut encoder =
                    zstd::Encoder::new(out, zstd::DEFAULT_COMPRESSION_LEVEL).context("cannot use zstd")?;
                encoder.include_checksum(true).context("cannot use zstd")?;
                Self::Zstd(encoder)
            }
        })
    }

    fn finish(self) -> std::io::Result<NewRootfs<'a>> {
        match self {
            Self::None(out) => Ok(out),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl Write for Encoder<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::None(out) => out.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::None(out) => out.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

impl Source {
    /// Makes what there is to make, or copies what is used as it is. Returns the content's name in the cache, with the cache
    /// held until the machine has taken it.
    ///
    /// # Errors
    /// Those of [`Files::build`] and [`own::keep`].
    pub fn prepare(&self, store: &Store) -> Result<(Digest, RootfsCache)> {
        match self {
            Self::Initrd(path) => {
                let copies = store.copies()?;
                own::keep("rootfs", path, &copies).map(|digest| (digest, copies))
            }
            Self::Files(files) => {
                let cache = store.rootfs_cache()?;
                files.build(&cache).map(|digest| (digest, cache))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_time_is_one_that_an_archive_can_say() {
        assert_eq!(parse_epoch("0").unwrap(), 0);
        assert_eq!(parse_epoch("1700000000").unwrap(), 1_700_000_000);
        for bad in ["", "-1", "now", "1.5", "99999999999999999999"] {
            let error = parse_epoch(bad).unwrap_err().to_string();
            assert!(error.starts_with(&format!("bad SOURCE_DATE_EPOCH '{bad}': ")), "{error}");
        }
    }

    #[test]
    fn an_archive_that_changes_while_it_is_unpacked_is_refused() {
        let fd = rustix::fs::memfd_create("archive", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let mut file = File::from(fd);
        file.write_all(b"one").unwrap();
        let (before, _) = stamp(&file).unwrap();
        still(&file, before).unwrap();
        file.write_all(b"two").unwrap();
        assert_eq!(still(&file, before).unwrap_err().to_string(), "it changed meanwhile");
    }
}
