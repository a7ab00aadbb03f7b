//! What an image that is being made consists of: documents in memory, and layers of one file each, which stays where it is
//! until it is written.

use std::fs::File;
use std::io::{Cursor, Read};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use crate::error::{Context as _, Error, Result};
use crate::image::tarball::Stored;
use crate::machine::Digest;

const BLOCK: u64 = 512;
/// The largest size that a header has without extensions.
const SIZE_LIMIT: u64 = 8 << 30;

/// One blob, known by its content.
#[derive(Debug)]
pub struct Blob {
    /// The digest of all of it.
    pub digest: Digest,
    /// How much that is.
    pub size: u64,
    /// What is in it, by its media type.
    pub media_type: String,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Bytes(Vec<u8>),
    /// A tar archive of one file: a header, so much of the file, zeros.
    Layer(Vec<u8>, File, u64),
}

impl Blob {
    /// A document. Keys are sorted, so that the same value is the same blob.
    pub fn document(media_type: &str, value: &Value) -> Self {
        Self::bytes(media_type, value.to_string().into_bytes())
    }

    /// Any bytes.
    pub fn bytes(media_type: &str, bytes: Vec<u8>) -> Self {
        let digest = Digest::from_bytes(Sha256::digest(&bytes).into());
        Self { digest, size: bytes.len() as u64, media_type: media_type.into(), body: Body::Bytes(bytes) }
    }

    /// A layer with one file, root's, and of no time. Its directories are implied.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn layer(media_type: &str, path: &str, mode: u32, file: File) -> Result<Self> {
        let size = file.metadata().context("cannot tell its size")?.len();
        let mut header = Header::new_ustar();
        let cannot = || format!("cannot pack it as {path}");
        header.set_path(path.trim_start_matches('/')).with_context(cannot)?;
        header.set_entry_type(EntryType::Regular);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        if size >= SIZE_LIMIT {
            return Err(
                Error::new(format!("it has {size} bytes, and can have less than {SIZE_LIMIT}")).context(cannot())
            );
        }
        header.set_size(size);
        header.set_cksum();
        let body = Body::Layer(header.as_bytes().to_vec(), file, size);
        let mut blob = Self { digest: Digest::from_bytes([0; 32]), size: 0, media_type: media_type.into(), body };
        let (mut hash, mut buffer, mut reader) = (Sha256::new(), vec![0; 128 << 10], blob.reader());
        let mut whole = 0;
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => {
                    hash.update(&buffer[..read]);
                    whole += read as u64;
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e).context("cannot read it"),
            }
        }
        drop(reader);
        if whole != BLOCK + size.next_multiple_of(BLOCK) + 2 * BLOCK {
            return Err(Error::new("it changed while it was read"));
        }
        (blob.digest, blob.size) = (Digest::from_bytes(hash.finalize().into()), whole);
        Ok(blob)
    }

    /// All of it, from its beginning.
    pub fn reader(&self) -> Box<dyn Read + '_> {
        match &self.body {
            Body::Bytes(bytes) => Box::new(bytes.as_slice()),
            Body::Layer(header, file, size) => {
                let zeros = size.next_multiple_of(BLOCK) - size + 2 * BLOCK;
                let file = Stored { file, at: 0, left: *size };
                Box::new(header.as_slice().chain(file).chain(Cursor::new(vec![0; zeros as usize])))
            }
        }
    }

    /// What leads to it.
    pub fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": format!("sha256:{}", self.digest), "size": self.size})
    }
}
