//! Registries that stand for others, and those that want to know who asks by a certificate: what docker and podman have
//! configured for them counts here, too.

use std::path::{Path, PathBuf};

use crate::lab::Lab;
use crate::registry::{Image, Layout, Registry, hex, noise};

/// A world with a home directory of its own, in which these registries are trusted.
struct Home {
    lab: Lab,
    dir: PathBuf,
}

impl Home {
    fn new(story: &str, registries: &[&Registry]) -> Self {
        let lab = Lab::new(&format!("mirror-{story}")).with_store();
        let marker = PathBuf::from(lab.file("marker", b""));
        let dir = marker.with_file_name("home");
        let conf = dir.join("registries.conf");
        let lab =
            lab.with_env("HOME", dir.to_str().unwrap()).with_env("CONTAINERS_REGISTRIES_CONF", conf.to_str().unwrap());
        let home = Self { lab, dir };
        std::fs::create_dir_all(&home.dir).unwrap();
        for registry in registries {
            home.trust(registry, &["ca.crt"]);
        }
        home
    }

    /// Copies files from a registry's directory of certificates to where podman has them.
    fn trust(&self, registry: &Registry, names: &[&str]) {
        let to = self.dir.join(".config/containers/certs.d").join(&registry.name);
        std::fs::create_dir_all(&to).unwrap();
        for name in names {
            std::fs::copy(registry.certificates().join(name), to.join(name)).unwrap();
        }
    }

    fn configure(&self, text: &str) {
        std::fs::write(self.dir.join("registries.conf"), text).unwrap();
    }
}

fn push(registry: &Registry, layout: &Path, tag: &str) -> String {
    registry.push(layout, tag)
}

#[test]
fn a_mirror_is_asked_first_and_the_registry_if_it_fails() {
    if !Registry::is_installed() {
        crate::skip!("docker-registry is not installed");
    }
    let (mut own, mut mirror) = (Registry::start("own"), Registry::start("copies"));
    let home = Home::new("first", &[&own, &mirror]);
    let lab = &home.lab;
    let mut layout = Layout::new(&own);
    let contents = [noise(90, 100_000), noise(91, 100_000)];
    let mut names = Vec::new();
    for (tag, content) in ["first", "second"].into_iter().zip(&contents) {
        layout.add(tag, &[Image { os: "qemu", arch: "x86_64", layers: &[content] }]);
        push(&mirror, layout.path(), tag);
        names.push(push(&own, layout.path(), tag));
    }
    own.restart();
    for registry in [&own, &mirror] {
        registry.let_in(lab).ok();
    }
    let (at, copies) = (own.name.clone(), mirror.name.clone());
    let rule = |more: &str| {
        let (own, mirror) = (&at, &copies);
        format!("[[registry]]\nlocation = '{own}'\n{more}\n[[registry.mirror]]\nlocation = '{mirror}'\n")
    };
    home.configure(&rule(""));
    let digest = lab.kraft(["pkg", "pull", &names[0]]).ok();
    assert!(digest.starts_with(&format!("{}@sha256:", names[0])), "{digest}");
    assert_eq!(lab.kraft(["pkg", "ls", "-q"]).ok(), format!("{}\n", names[0]));
    // What it lacks, and what it does not answer.
    mirror.kill();
    let said = lab.kraft(["pkg", "pull", &names[1]]);
    assert!(said.err.contains(&format!("the mirror {copies}/second:v1: ")), "{}", said.err);
    said.ok();
    // What is new goes to where the mirror has it from.
    let other = format!("{}/other:v1", own.name);
    lab.kraft(["pkg", "push", &names[0], &other]).ok();
    home.configure(&rule("blocked = true"));
    for verb in ["pull", "push"] {
        let error = lab.kraft(["pkg", verb, &names[0]]).fails(125);
        assert!(error.contains(&format!("{at} is blocked by {}/registries.conf", home.dir.display())), "{error}");
    }
    home.configure("[[registry]]\nlocation = 7");
    let error = lab.kraft(["pkg", "pull", &names[0]]).fails(125);
    assert!(error.contains("registries.conf:2: "), "{error}");

    let answers = own.answers();
    let asked = |content: &[u8], method: &str, repository: &str| {
        let wanted = format!("{method} /v2/{repository}/blobs/sha256:{}", hex(content));
        answers.iter().filter(|(request, ..)| *request == wanted).count()
    };
    assert_eq!(asked(&contents[0], "GET", "first"), 0, "the mirror has it");
    assert_eq!(asked(&contents[1], "GET", "second"), 1);
    assert!(answers.iter().any(|(request, status, _)| request == "PUT /v2/other/manifests/v1" && *status == 201));
}

#[test]
fn a_registry_is_told_who_asks_by_a_certificate() {
    if !Registry::is_installed() {
        crate::skip!("docker-registry is not installed");
    }
    let registry = Registry::start_closed("closed");
    let home = Home::new("closed", &[&registry]);
    let mut layout = Layout::new(&registry);
    let content = noise(92, 1000);
    layout.add("app", &[Image { os: "qemu", arch: "x86_64", layers: &[&content] }]);
    let name = push(&registry, layout.path(), "app");
    let (error, hint) = home.lab.kraft(["pkg", "pull", &name]).fails_with_hint(125);
    assert!(error.contains("no TLS with it") && hint.contains("NAME.cert"), "{error} {hint}");
    home.trust(&registry, &["client.cert"]);
    let error = registry.let_in(&home.lab).fails(125);
    assert!(error.contains("client.cert: No such file"), "{error}");
    home.trust(&registry, &["client.key"]);
    registry.let_in(&home.lab).ok();
    home.lab.kraft(["pkg", "pull", &name]).ok();
}
