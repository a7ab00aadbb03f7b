//! Layouts and archives that were written here, and by others.

use super::super::build::tests::recipe;
use super::super::build::{Built, build};
use super::super::save::save;
use super::super::{choose, contents};
use super::*;
use crate::image::tarball::tests::{Part, archive};
use crate::store::tests::Scratch;
use tar::EntryType::{Regular, Symlink};

fn local(text: &str) -> Local {
    Local::parse(text).unwrap().unwrap()
}

fn import(scratch: &Scratch, text: &str) -> Result<Imported> {
    let (cache, blobs) = (scratch.store.rootfs_cache()?, scratch.store.blobs()?);
    local(text).import(&cache, &blobs)
}

struct World {
    scratch: Scratch,
    dir: PathBuf,
    built: Built,
}

fn world() -> World {
    let scratch = Scratch::new();
    let (built, dir) = (build(&recipe(&scratch)).unwrap(), scratch.store.paths().state.clone());
    World { scratch, dir, built }
}

#[test]
fn names_are_those_of_skopeo() {
    let parts = |text| {
        let local = local(text);
        (local.form, local.path.to_str().unwrap().to_owned(), local.tag)
    };
    assert_eq!(parts("oci:dir"), (Form::Layout, "dir".into(), None));
    assert_eq!(parts("oci:/a/dir:v1"), (Form::Layout, "/a/dir".into(), Some("v1".into())));
    assert_eq!(parts("oci-archive:f.tar:t"), (Form::Archive, "f.tar".into(), Some("t".into())));
    let reference = Some("localhost:5000/a:b".to_owned());
    assert_eq!(parts("docker-archive:f:localhost:5000/a:b"), (Form::Docker, "f".into(), reference));
    for other in ["nginx", "oci", "ocix:dir", "localhost:5000/oci", "docker://nginx", "oci/x:y"] {
        assert!(Local::parse(other).is_none(), "{other}");
    }
    for bad in ["oci:", "oci:dir:", "oci-archive::t"] {
        assert!(Local::parse(bad).unwrap().unwrap_err().to_string().contains("PATH[:TAG]"), "{bad}");
    }
}

#[test]
fn what_was_written_is_read() {
    let w = world();
    let dir = w.dir.display();
    save(&w.built, &local(&format!("oci:{dir}/layout:v1")), "latest").unwrap();
    save(&w.built, &local(&format!("oci-archive:{dir}/image.tar")), "latest").unwrap();
    let from_layout = import(&w.scratch, &format!("oci:{dir}/layout:v1")).unwrap();
    let from_archive = import(&w.scratch, &format!("oci-archive:{dir}/image.tar")).unwrap();
    assert_eq!(from_layout.target, from_archive.target);
    assert_eq!(from_layout.target.digest, w.built.root().unwrap().digest);
    assert_eq!(
        (from_layout.name.as_str(), from_archive.name.as_str()),
        ("localhost/layout:v1", "localhost/image:latest")
    );
    let (cache, blobs) = (w.scratch.store.rootfs_cache().unwrap(), w.scratch.store.blobs().unwrap());
    let variants = choose::variants(&|digest| blobs.open(digest), from_layout.target.digest).unwrap();
    assert!(contents::read(&blobs, &cache, variants[0].manifest).unwrap().kernel.is_some());
    // The archive may be compressed as a whole.
    let plain = std::fs::read(w.dir.join("image.tar")).unwrap();
    std::fs::write(w.dir.join("image.tar.zst"), zstd::encode_all(plain.as_slice(), 1).unwrap()).unwrap();
    assert_eq!(import(&w.scratch, &format!("oci-archive:{dir}/image.tar.zst")).unwrap().target, from_layout.target);
}

#[test]
fn a_layout_has_many_and_each_tag_once() {
    let w = world();
    let layout = format!("oci:{}/layout", w.dir.display());
    for tag in ["a", "b", "a"] {
        save(&w.built, &local(&layout), tag).unwrap();
    }
    let index = std::fs::read_to_string(w.dir.join("layout/index.json")).unwrap();
    assert_eq!(index.matches(TAG).count(), 2, "{index}");
    let error = import(&w.scratch, &layout).unwrap_err();
    assert!(error.to_string().ends_with("there are 2 images in it: their tags are b, a"), "{error}");
    let error = import(&w.scratch, &format!("{layout}:c")).unwrap_err();
    assert!(error.to_string().ends_with("there is no image 'c' in it: their tags are b, a"), "{error}");
    assert_eq!(error.kind(), Kind::NotFound);
    import(&w.scratch, &format!("{layout}:a")).unwrap();
    let error = save(&w.built, &local(&format!("oci:{}", w.dir.display())), "a").unwrap_err().to_string();
    assert!(error.ends_with("it is a directory with something else in it"), "{error}");
}

#[test]
fn damage_is_found_and_nothing_is_kept_of_it() {
    let w = world();
    let layout = format!("oci:{}/layout", w.dir.display());
    for blob in 0..w.built.blobs.len() {
        let _ = std::fs::remove_dir_all(w.dir.join("layout"));
        save(&w.built, &local(&layout), "a").unwrap();
        let path = w.dir.join("layout/blobs/sha256").join(w.built.blobs[blob].digest.to_string());
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[0] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let fresh = Scratch::new();
        let error = import(&fresh, &layout).unwrap_err().to_string();
        assert!(error.contains("sha256:"), "{error}");
        bytes.truncate(10);
        std::fs::write(&path, &bytes).unwrap();
        import(&fresh, &layout).unwrap_err();
        assert!(fresh.store.blobs().unwrap().size(w.built.root().unwrap().digest).is_none());
        std::fs::remove_file(&path).unwrap();
        if let Err(error) = import(&fresh, &layout) {
            assert_eq!(error.kind(), Kind::NotFound, "{error}");
        } else {
            // One of the manifests: the other is all that there is.
            assert_eq!(w.built.blobs[blob].media_type, MANIFEST);
        }
    }
}

#[test]
fn what_docker_saves_is_read() {
    let w = world();
    let layer = archive(&[(Regular, b"unikraft/bin/kernel", b"", b"kernel")]);
    let id = Digest::from_bytes(Sha256::digest(&layer).into());
    let config = json!({
        "os": "linux", "architecture": "amd64", "config": {"Cmd": ["/x"], "Entrypoint": null, "Labels": null},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{id}"), format!("sha256:{id}")]},
    });
    let config = config.to_string();
    let tags = ["who/app:v1", "other:latest"];
    let manifest =
        json!([{"Config": "c.json", "RepoTags": tags, "Layers": ["1/layer.tar", "2/layer.tar"]}]).to_string();
    let members: &[Part<'_>] = &[
        (Regular, b"1/layer.tar", b"", &layer),
        // As old versions have it where layers are the same.
        (Symlink, b"2/layer.tar", b"../1/layer.tar", b""),
        (Regular, b"c.json", b"", config.as_bytes()),
        (Regular, b"manifest.json", b"", manifest.as_bytes()),
    ];
    let file = w.dir.join("saved.tar");
    std::fs::write(&file, archive(members)).unwrap();
    let name = format!("docker-archive:{}", file.display());
    let imported = import(&w.scratch, &name).unwrap();
    assert_eq!(imported.name, "unikraft.org/who/app:v1");
    assert_eq!(import(&w.scratch, &format!("{name}:other")).unwrap().target, imported.target);
    let error = import(&w.scratch, &format!("{name}:none")).unwrap_err().to_string();
    assert!(error.ends_with("there is no image 'none' in it: there is who/app:v1, other:latest"), "{error}");
    let (cache, blobs) = (w.scratch.store.rootfs_cache().unwrap(), w.scratch.store.blobs().unwrap());
    let contents = contents::read(&blobs, &cache, imported.target.digest).unwrap();
    assert_eq!((contents.says.command, contents.kernel.is_some()), (vec!["/x".to_owned()], true));
    drop((cache, blobs));
    std::fs::write(&file, archive(&members[..3])).unwrap();
    assert!(import(&w.scratch, &name).unwrap_err().to_string().ends_with("manifest.json is not in it"));
}
