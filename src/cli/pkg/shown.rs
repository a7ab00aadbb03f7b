//! An image as it is shown.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::Result;
use crate::image::oci::choose::{self, Variant};
use crate::image::oci::documents::{self, Document};
use crate::image::oci::unused::Users;
use crate::machine::{Digest, MachineName};
use crate::store::{Blobs, Named};

/// One image of a name as JSON shows it. Stable: fields are added, never changed.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// The name, with registry and tag or digest.
    pub(super) name: String,
    /// What the name stands for: an index or a manifest.
    pub(super) root: String,
    /// The manifest.
    pub(super) manifest: String,
    pub(super) plat: String,
    pub(super) arch: String,
    /// The bytes of all that belongs to it.
    pub(super) size: u64,
    /// The machines that were made of it.
    pub(super) machines: Vec<MachineName>,
    pub(super) command: Vec<String>,
    pub(super) env: Vec<String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) layers: Vec<Layer>,
}

#[derive(Debug, Serialize)]
pub(super) struct Layer {
    digest: String,
    media_type: String,
    size: u64,
}

/// What is here of a name, complete.
///
/// # Errors
/// When its documents cannot be read.
pub(super) fn rows(blobs: &Blobs, users: &Users, named: &Named) -> Result<Vec<Row>> {
    let variants = choose::variants(&|digest| blobs.open(digest), named.target.digest)?;
    let mut rows = Vec::new();
    for variant in variants {
        rows.extend(row(blobs, users, named, variant)?);
    }
    Ok(rows)
}

fn row(blobs: &Blobs, users: &Users, named: &Named, variant: Variant) -> Result<Option<Row>> {
    let open = |digest| blobs.open(digest);
    let Document::Manifest(manifest) = documents::read(&open, variant.manifest)? else { return Ok(None) };
    let configuration = documents::configuration(&open, &manifest)?;
    let mut size = blobs.size(variant.manifest).unwrap_or_default() + manifest.config.size;
    let mut layers = Vec::new();
    for layer in &manifest.layers {
        let digest = documents::digest(layer)?;
        if blobs.size(digest) != Some(layer.size) {
            return Ok(None);
        }
        size += layer.size;
        layers.push(Layer { digest: shown(digest), media_type: layer.media_type.clone(), size: layer.size });
    }
    let says = configuration.config.unwrap_or_default();
    let mut command = says.entrypoint.unwrap_or_default();
    command.extend(says.cmd.unwrap_or_default());
    let (env, labels) = (says.env.unwrap_or_default(), says.labels.unwrap_or_default());
    let annotations = manifest.annotations.unwrap_or_default();
    Ok(Some(Row {
        name: named.name.clone(),
        root: shown(named.target.digest),
        manifest: shown(variant.manifest),
        plat: variant.plat.to_string(),
        arch: variant.arch,
        size,
        machines: users.of(variant.manifest),
        command,
        env,
        labels,
        annotations,
        layers,
    }))
}

fn shown(digest: Digest) -> String {
    format!("sha256:{digest}")
}
