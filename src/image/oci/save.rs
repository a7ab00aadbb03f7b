//! Writes an image that was made: into the store, or as files that other tools read.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::blob::Blob;
use super::build::{Built, INDEX};
use super::documents::{self, LIMIT};
use super::local::{self, Form, Local, TAG};
use crate::error::{Context as _, Error, Result};
use crate::store::{Blobs, Target, random};

const LAYOUT: &str = "oci-layout";
const LAYOUT_CONTENT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
const BLOBS: &str = "blobs/sha256";

/// Keeps an image in the store. It has no name until it is given one.
///
/// # Errors
/// When a blob cannot be written.
pub fn keep(built: &Built, blobs: &Blobs) -> Result<Target> {
    for blob in &built.blobs {
        local::put(blobs, blob.digest, blob.size, blob.reader())?;
    }
    let root = built.root()?;
    Ok(Target { digest: root.digest, size: root.size, media_type: root.media_type.clone() })
}

/// Writes an image to a layout, which may be there already and have others, or to an archive, which is replaced. `tag` is
/// what it is called there unless the name says so.
///
/// # Errors
/// When it cannot be written, or what is there is something else.
pub fn save(built: &Built, to: &Local, tag: &str) -> Result<()> {
    let tag = to.tag.as_deref().unwrap_or(tag);
    let cannot = || format!("cannot write {to}");
    match to.form {
        Form::Layout => layout(built, &to.path, tag).with_context(cannot),
        Form::Archive => archive(built, &to.path, tag).with_context(cannot),
        Form::Docker => Err(Error::new("an image for several platforms is no docker-archive")
            .with_hint("oci:DIR and oci-archive:FILE take it"))
        .with_context(cannot),
    }
}

fn entry(root: &Blob, tag: &str) -> Value {
    let mut descriptor = root.descriptor();
    descriptor["annotations"] = json!({TAG: tag});
    descriptor
}

fn layout(built: &Built, dir: &Path, tag: &str) -> Result<()> {
    let index = dir.join("index.json");
    let before = if dir.join(LAYOUT).is_file() {
        let text = std::fs::read(&index).with_context(|| format!("cannot read {}", index.display()))?;
        if text.len() as u64 > LIMIT {
            return Err(Error::new(format!("{} has more than {LIMIT} bytes", index.display())));
        }
        documents::json::<Value>(&text).with_context(|| index.display().to_string())?
    } else {
        match std::fs::read_dir(dir).map(|mut entries| entries.next().is_none()) {
            Ok(false) => return Err(Error::new("it is a directory with something else in it")),
            Ok(true) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e).context("cannot look into it"),
        }
        json!({"schemaVersion": 2, "mediaType": INDEX})
    };
    std::fs::create_dir_all(dir.join(BLOBS)).with_context(|| format!("cannot make {}", dir.join(BLOBS).display()))?;
    for blob in &built.blobs {
        let path = dir.join(BLOBS).join(blob.digest.to_string());
        if std::fs::metadata(&path).is_ok_and(|there| there.len() == blob.size) {
            continue;
        }
        replace(&path, |file| std::io::copy(&mut blob.reader(), file).map(drop).context("cannot copy it"))?;
    }
    replace(&dir.join(LAYOUT), |file| file.write_all(LAYOUT_CONTENT.as_bytes()).context("cannot write it"))?;
    // Last: until it is there, so is nothing of the image.
    let mut after = before;
    let mut all = after["manifests"].as_array().cloned().unwrap_or_default();
    all.retain(|descriptor| descriptor["annotations"][TAG] != tag);
    all.push(entry(built.root()?, tag));
    after["manifests"] = Value::Array(all);
    replace(&index, |file| file.write_all(after.to_string().as_bytes()).context("cannot write it"))
}

fn archive(built: &Built, path: &Path, tag: &str) -> Result<()> {
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry(built.root()?, tag)]});
    replace(path, |file| {
        let mut builder = Builder::new(BufWriter::new(file));
        let mut add = |name: &str, kind, size, data: &mut dyn std::io::Read| {
            let mut header = Header::new_ustar();
            header.set_entry_type(kind);
            header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_size(size);
            builder.append_data(&mut header, name, data).context("cannot write it")
        };
        add("blobs/", EntryType::Directory, 0, &mut std::io::empty())?;
        add("blobs/sha256/", EntryType::Directory, 0, &mut std::io::empty())?;
        let mut blobs: Vec<&Blob> = built.blobs.iter().collect();
        blobs.sort_by_key(|blob| blob.digest.to_string());
        blobs.dedup_by_key(|blob| blob.digest);
        for blob in blobs {
            add(&format!("{BLOBS}/{}", blob.digest), EntryType::Regular, blob.size, &mut blob.reader())?;
        }
        let index = index.to_string();
        for (name, text) in [("index.json", index.as_str()), (LAYOUT, LAYOUT_CONTENT)] {
            add(name, EntryType::Regular, text.len() as u64, &mut text.as_bytes())?;
        }
        let mut out = builder.into_inner().context("cannot write it")?;
        out.flush().context("cannot write it")
    })
}

/// Writes a file beside its place and puts it there when it is whole.
fn replace(path: &Path, write: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let name = path.file_name().ok_or_else(|| Error::new("it is no name of a file"))?;
    let suffix: String = random()?.iter().map(|byte| format!("{byte:02x}")).collect();
    let new: PathBuf = path.with_file_name(format!(".{}.{suffix}", name.to_string_lossy()));
    let written =
        File::create_new(&new).with_context(|| format!("cannot make {}", new.display())).and_then(|mut file| {
            write(&mut file)?;
            file.sync_all().context("cannot write it")?;
            std::fs::rename(&new, path).with_context(|| format!("cannot make {}", path.display()))
        });
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    written
}
