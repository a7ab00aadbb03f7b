//! Registries that lie, break off and trickle.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::registry::tests::{Asked, Server, said};
use super::{Arch, Digest, Document, Pulled, REQUESTS, Result, Target, Which, choose, documents, pull};
use crate::store::Store;
use crate::store::tests::Scratch;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn hex(content: &str) -> String {
    Digest::from_bytes(Sha256::digest(content.as_bytes()).into()).to_string()
}

fn descriptor(media_type: &str, content: &str) -> Value {
    json!({"mediaType": media_type, "digest": format!("sha256:{}", hex(content)), "size": content.len()})
}

/// What a registry has, by the last part of the address.
#[derive(Clone, Default)]
struct Has(BTreeMap<String, String>);

impl Has {
    fn put(&mut self, content: &str) {
        self.0.insert(format!("sha256:{}", hex(content)), content.to_owned());
    }

    /// An image of one layer; returns its manifest.
    fn image(&mut self, layer: &str) -> String {
        let config = json!({
            "os": "qemu", "architecture": "x86_64", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex(layer))]},
        });
        let config = config.to_string();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor("c", &config),
            "layers": [descriptor("l", layer)],
        });
        let manifest = manifest.to_string();
        [layer, &config, &manifest].into_iter().for_each(|content| self.put(content));
        manifest
    }

    fn named(mut self, tag: &str, content: &str) -> Self {
        self.put(content);
        self.0.insert(tag.to_owned(), content.to_owned());
        self
    }

    /// Answers as a registry does; `special` before that, given what is asked for and what there is of it.
    fn serve(self, special: impl Fn(&Asked, &str) -> Option<String> + Send + Sync + 'static) -> Server {
        Server::start(move |asked, _| {
            let last = asked.0.rsplit('/').next().unwrap_or_default();
            match self.0.get(last) {
                _ if asked.0 == "GET /v2/" => said("200 OK", "", ""),
                None => said("404 Not Found", "", ""),
                Some(content) => special(asked, content)
                    .unwrap_or_else(|| said("200 OK", "docker-content-digest: sha256:00\r\n", content)),
            }
        })
    }
}

fn from(asked: &Asked) -> usize {
    let range = asked.1.lines().find_map(|line| line.strip_prefix("range: bytes="));
    range.map_or(0, |range| range.trim().trim_end_matches('-').parse().unwrap())
}

type Special = fn(&Asked, &str) -> Option<String>;

fn which() -> Which {
    Which::Best(choose::Asked { plat: None, arch: Some(Arch::X86_64) })
}

fn pull_from(store: &Store, server: &Server, version: &str, which: &Which) -> Result<Pulled> {
    let reference = format!("{}/a/b{version}", server.name).parse().unwrap();
    pull(&store.blobs().unwrap(), &reference, which, &|_, _| {})
}

fn blobs(store: &Store) -> usize {
    store.blobs().unwrap().all().unwrap().len()
}

#[test]
fn what_a_registry_says_of_a_digest_does_not_count() {
    let s = Scratch::new();
    let mut has = Has::default();
    let manifest = has.image("layer");
    let other = has.image("another layer");
    let server = has.clone().named("v1", &manifest).serve(|_, _| None);
    let pulled = pull_from(&s.store, &server, ":v1", &which()).unwrap();
    assert_eq!(pulled.root.digest.to_string(), hex(&manifest));
    assert_eq!(blobs(&s.store), 3);
    // Something else by a digest, which others have kept under a name that has it.
    let asked = format!("@sha256:{}", hex(&manifest));
    let name = format!("{}/a/b{asked}", server.name);
    let held = s.store.blobs().unwrap();
    let wrong = held.put(other.as_bytes()).unwrap();
    let target = Target { digest: wrong, size: 1, media_type: String::new() };
    held.name(&name, &target).unwrap();
    assert_eq!(super::target(&held, &name.parse().unwrap()).unwrap().unwrap().digest.to_string(), hex(&manifest));
    has.0.insert(format!("sha256:{}", hex(&manifest)), other.clone());
    let server = has.serve(|_, _| None);
    let error = pull_from(&s.store, &server, &asked, &which()).unwrap_err().to_string();
    assert!(error.ends_with(&format!("is not what came: that is sha256:{}", hex(&other))), "{error}");
}

#[test]
fn what_is_no_image_leaves_nothing() {
    for content in ["", "{}", "[]", "<html>", "{\"manifests\": [], \"layers\": []}"] {
        let s = Scratch::new();
        let server = Has::default().named("v1", content).serve(|_, _| None);
        pull_from(&s.store, &server, ":v1", &which()).unwrap_err();
        assert_eq!((blobs(&s.store), s.store.image_names().unwrap().len()), (0, 0), "{content}");
    }
}

#[test]
fn what_breaks_off_goes_on_and_what_begins_anew_does_too() {
    let layer = "0123456789".repeat(1000);
    // Each answer breaks off; then each answer that begins in the middle begins anew.
    let breaks: Special = |asked, content| {
        let part = &content[from(asked)..];
        (asked.0.contains("/blobs/") && content.len() > 5000).then(|| {
            let headers = format!(
                "content-range: bytes {}-{}/{}\r\ncontent-length: {}\r\nconnection: close\r\n",
                from(asked),
                content.len() - 1,
                content.len(),
                part.len()
            );
            said("206 Partial Content", &headers, &part[..part.len().min(999)])
        })
    };
    let anew: Special = |asked, content| {
        let length = if from(asked) == 0 && content.len() > 5000 { 5000 } else { content.len() };
        let headers = format!("content-length: {}\r\nconnection: close\r\n", content.len());
        asked.0.contains("/blobs/").then(|| said("200 OK", &headers, &content[..length]))
    };
    let specials: [Special; 2] = [breaks, anew];
    for special in specials {
        let s = Scratch::new();
        let mut has = Has::default();
        let manifest = has.image(&layer);
        let server = has.named("v1", &manifest).serve(special);
        pull_from(&s.store, &server, ":v1", &which()).unwrap();
        let digest = hex(&layer).parse().unwrap();
        assert_eq!(s.store.blobs().unwrap().size(digest), Some(10_000));
    }
}

#[test]
fn a_byte_at_a_time_is_not_asked_for_for_ever() {
    let s = Scratch::new();
    let layer = "x".repeat(50_000);
    let mut has = Has::default();
    let manifest = has.image(&layer);
    let server = has.named("v1", &manifest).serve(|asked, content| {
        let from = from(asked);
        let headers = format!(
            "content-range: bytes {from}-{from}/{}\r\ncontent-length: {}\r\nconnection: close\r\n",
            content.len(),
            content.len() - from
        );
        (content.len() == 50_000).then(|| said("206 Partial Content", &headers, "x"))
    });
    let error = pull_from(&s.store, &server, ":v1", &which()).unwrap_err();
    assert!(error.to_string().contains(&hex(&layer)), "{error}");
    assert_eq!(server.asked().iter().filter(|line| line.contains(&hex(&layer))).count(), REQUESTS as usize);
}

#[test]
fn what_is_in_an_index_beside_images_is_no_mistake() {
    let s = Scratch::new();
    let mut has = Has::default();
    let image = has.image("layer");
    let artifact = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
        "config": descriptor("application/vnd.oci.empty.v1+json", "{}"),
    });
    let artifact = artifact.to_string();
    [artifact.as_str(), "{}"].into_iter().for_each(|content| has.put(content));
    let unknown = json!({"mediaType": "application/x", "digest": "sha512:00", "size": 1});
    let typed = |kind: &str, content: &str| descriptor(kind, content);
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        unknown, typed(MANIFEST, &artifact), typed(&format!("{MANIFEST}; charset=utf-8"), &image),
    ]});
    let index = index.to_string();
    let server = has.clone().named("v1", &index).serve(|_, _| None);
    let pulled = pull_from(&s.store, &server, ":v1", &which()).unwrap();
    assert_eq!(pulled.manifest.to_string(), hex(&image));
    // One that is not as long as the index says.
    let mut wrong = typed(MANIFEST, &image);
    wrong["size"] = json!(image.len() + 1);
    let index = json!({"schemaVersion": 2, "manifests": [wrong]}).to_string();
    let server = has.named("v1", &index).serve(|_, _| None);
    let error = pull_from(&Scratch::new().store, &server, ":v1", &which()).unwrap_err().to_string();
    assert!(error.ends_with(&format!("should have {} bytes, and has {}", image.len() + 1, image.len())), "{error}");
}

#[test]
fn what_the_disk_changed_is_fetched_again() {
    let s = Scratch::new();
    let mut has = Has::default();
    let manifest = has.image("layer");
    let server = has.named("v1", &manifest).serve(|_, _| None);
    pull_from(&s.store, &server, ":v1", &which()).unwrap();
    let held = s.store.blobs().unwrap();
    let config = documents::parse(manifest.as_bytes()).map(|document| match document {
        Document::Manifest(manifest) => documents::digest(&manifest.config).unwrap(),
        Document::Index(_) => unreachable!(),
    });
    for digest in [hex(&manifest).parse().unwrap(), config.unwrap()] {
        let mut content = std::fs::read(held.path(digest)).unwrap();
        content[1] ^= 1;
        std::fs::write(held.path(digest), &content).unwrap();
        pull_from(&s.store, &server, ":v1", &which()).unwrap();
        assert!(!held.discard_damaged(digest) && held.size(digest).is_some());
    }
}
