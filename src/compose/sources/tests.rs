//! Projects of several files.

use std::path::PathBuf;

use super::super::{Loaded, ShareSource, Where, load};
use super::*;
use crate::machine::{Bytes, RestartPolicy};

struct Files {
    dir: PathBuf,
}

impl Files {
    fn new(test: &str, files: &[(&str, &str)]) -> Self {
        let dir = std::env::temp_dir().join(format!("kraft-compose-{}-{test}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let this = Self { dir };
        files.iter().for_each(|(name, text)| this.write(name, text));
        this
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn load(&self, files: &[&str]) -> Result<Loaded, Vec<Error>> {
        let files = files.iter().map(|file| self.dir.join(file)).collect();
        load(&Where { files, name: Some("p".into()), dir: Some(self.dir.clone()), env_files: Vec::new() })
    }

    /// What is wrong, without the directory that all of it is in.
    fn flaws(&self, files: &[&str]) -> String {
        let flaws = self.load(files).expect_err("it is wrong");
        let flaws: Vec<String> = flaws.iter().map(ToString::to_string).collect();
        flaws.join("\n").replace(&format!("{}/", self.dir.display()), "")
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn a_service_extends_another() {
    let files = Files::new(
        "extends",
        &[
            (
                "compose.yaml",
                "services:\n  base: {image: k, mem_limit: 64m, environment: {A: 1, B: 2}, labels: [x=1]}\n  \
                 web: {extends: base, environment: [B=3], restart: always}\n  \
                 more:\n    extends: {service: web}\n    mem_limit: 1g\n  \
                 far: {extends: {file: sub/common.yaml, service: app}, volumes: ['./mine:/mine']}\n",
            ),
            (
                "sub/common.yaml",
                "services:\n  app: {extends: {file: ../deep.yaml, service: root}, env_file: vars, volumes: ['./theirs:/theirs']}\n",
            ),
            ("deep.yaml", "services:\n  root: {image: ./k.elf, restart: on-failure, volumes: ['./deep:/deep']}\n"),
        ],
    );
    let project = files.load(&["compose.yaml"]).unwrap().project;
    let service = |name: &str| project.file.services.iter().find(|service| service.name == name).unwrap();
    let (web, more, far) = (service("web"), service("more"), service("far"));
    assert_eq!((&*web.image, web.memory, web.restart), ("k", Some(Bytes(64 << 20)), RestartPolicy::Always));
    assert_eq!(web.environment["A"].as_deref(), Some("1"));
    assert_eq!(web.environment["B"].as_deref(), Some("3"));
    assert_eq!((more.memory, more.restart, &*more.labels["x"]), (Some(Bytes(1 << 30)), RestartPolicy::Always, "1"));
    assert_eq!(web.place.line, 3);

    // Paths are relative to the file that has them.
    assert_eq!(far.restart, RestartPolicy::OnFailure(None));
    assert_eq!(
        project.dir.join(&far.image).components().collect::<PathBuf>(),
        files.dir.join("sub/.././k.elf").components().collect::<PathBuf>()
    );
    let sources: Vec<PathBuf> = far
        .volumes
        .iter()
        .map(|share| match &share.source {
            ShareSource::Path(path, _) => std::path::absolute(project.dir.join(path)).unwrap(),
            ShareSource::Volume(name, _) => panic!("{name}"),
        })
        .collect();
    assert_eq!(sources, [files.dir.join("sub/../deep"), files.dir.join("sub/theirs"), files.dir.join("mine")]);
    assert_eq!(far.env_files[0].path, files.dir.join("sub/vars"));
}

#[test]
fn a_file_includes_others() {
    let files = Files::new(
        "include",
        &[
            (
                "compose.yaml",
                "include:\n  - sub/compose.yaml\n  - {path: [two.yaml, three.yaml], env_file: two.env}\n\
                 services:\n  web: {image: k, depends_on: [db], networks: [back]}\n",
            ),
            (
                "sub/compose.yaml",
                "name: other\nservices:\n  db: {image: ./db.elf, mem_limit: \"${MEM}\", volumes: ['data:/d'], networks: [back]}\n\
                 networks: {back: }\nvolumes: {data: }\nsecrets: {key: {file: key}}\n",
            ),
            ("sub/.env", "MEM=128m\n"),
            ("two.env", "WORD=two\n"),
            ("two.yaml", "services: {two: {image: k, command: \"${WORD}\"}}\n"),
            ("three.yaml", "services: {two: {restart: always}}\nnetworks: {back: }\n"),
        ],
    );
    let loaded = files.load(&["compose.yaml"]).unwrap();
    let file = &loaded.project.file;
    let service = |name: &str| file.services.iter().find(|service| service.name == name).unwrap();
    assert_eq!(
        (&*service("db").image, service("db").memory),
        (&*files.dir.join("sub/db.elf").display().to_string(), Some(Bytes(128 << 20)))
    );
    assert_eq!(
        (service("two").command.clone().unwrap(), service("two").restart),
        (vec!["two".into()], RestartPolicy::Always)
    );
    assert!(file.networks.contains_key("back") && file.volumes.contains_key("data"));
    assert_eq!(file.secrets["key"].file, Some(files.dir.join("sub/key")));
    assert!(loaded.to_text().unwrap().contains("db.elf"));

    // A later file has the last word on what is included.
    files.write("over.yaml", "services: {db: {mem_limit: 1g, volumes: !reset null}}\n");
    let project = files.load(&["compose.yaml", "over.yaml"]).unwrap().project;
    let db = project.file.services.iter().find(|service| service.name == "db").unwrap();
    assert_eq!((db.memory, db.volumes.len()), (Some(Bytes(1 << 30)), 0));
}

#[test]
fn what_is_wrong_among_files_is_named() {
    let ok = "services: {web: {image: k}}\n";
    for (test, files, why) in [
        (
            "self",
            &[("a.yaml", "services:\n  web: {image: k, extends: web}\n")][..],
            "a.yaml:2: services.web.extends: services extend each other in a circle: web of a.yaml -> web of a.yaml",
        ),
        (
            "far",
            &[
                ("a.yaml", "services:\n  web: {extends: {file: b.yaml, service: b}}\n"),
                ("b.yaml", "services:\n  b: {extends: {file: a.yaml, service: web}}\n"),
            ],
            "in a circle: web of a.yaml -> b of b.yaml -> web of a.yaml",
        ),
        (
            "none",
            &[("a.yaml", "services:\n  web:\n    extends: {service: x}\n")],
            "a.yaml:3: services.web.extends: there is no service 'x' in a.yaml",
        ),
        (
            "file",
            &[("a.yaml", "services:\n  web:\n    extends: {service: x, file: none.yaml}\n")],
            "a.yaml:3: services.web.extends.file: no such file: none.yaml",
        ),
        (
            "key",
            &[("a.yaml", "services:\n  web:\n    extends: {service: x, path: y}\n")],
            "a.yaml:3: services.web.extends.path: there is no such key",
        ),
        (
            "bad",
            &[
                ("a.yaml", "services:\n  web:\n    extends: {service: x, file: b.yaml}\n"),
                ("b.yaml", "services:\n  x: [\n"),
            ],
            "services.web.extends.file: b.yaml:",
        ),
        (
            "loop",
            &[("a.yaml", "include: [b.yaml]\n"), ("b.yaml", "include:\n  - a.yaml\n")],
            "b.yaml:2: include[0]: a.yaml includes itself",
        ),
        (
            "clash",
            &[("a.yaml", "include: [b.yaml]\nservices: {web: {image: other}}\n"), ("b.yaml", ok)],
            "b.yaml:1: services.web: it is included, and another one is at a.yaml:2",
        ),
        ("gone", &[("a.yaml", "include:\n  - b.yaml\n")], "a.yaml:2: include[0]: no such file: b.yaml"),
        ("empty", &[("a.yaml", "include: [{env_file: x}]\n")], "a.yaml:1: include[0]: it names no file"),
        (
            "keys",
            &[("a.yaml", "include: [b.yaml]\n"), ("b.yaml", "services: {web: {image: k}}\nconfigs: {}\n")],
            "b.yaml:2: configs: not supported",
        ),
        (
            "inner",
            &[("a.yaml", "include: [b.yaml]\n"), ("b.yaml", "services:\n  web: {image: k, restart: often}\n")],
            "b.yaml:2: services.web.restart: bad restart policy 'often'",
        ),
    ] {
        let files = Files::new(test, files);
        let flaws = files.flaws(&["a.yaml"]);
        assert!(flaws.contains(why) && flaws.lines().count() == 1, "{test}: {flaws}");
    }
    // What is the same in both is no clash.
    let files = Files::new("same", &[("a.yaml", &format!("include: [b.yaml]\n{ok}")), ("b.yaml", ok)]);
    files.load(&["a.yaml"]).unwrap();
    // A tree of includes has an end.
    let all: Vec<(String, String)> = (0..12)
        .map(|n| {
            (format!("{n}.yaml"), format!("include: [{0}.yaml, {0}.yaml]\nservices: {{s{n}: {{image: k}}}}\n", n + 1))
        })
        .collect();
    let all: Vec<(&str, &str)> = all.iter().map(|(name, text)| (&**name, &**text)).collect();
    let files = Files::new("bomb", &all);
    files.write("12.yaml", ok);
    assert!(files.flaws(&["0.yaml"]).contains("more than 256 files are included"));
}

#[test]
fn files_are_named_by_a_file_of_variables() {
    let files = Files::new(
        "dotenv",
        &[
            (".env", "COMPOSE_FILE=one.yaml:two.yaml\n"),
            ("one.yaml", "services: {a: {image: k}}\n"),
            ("two.yaml", "services: {b: {image: k}}\n"),
        ],
    );
    let project =
        load(&Where { dir: Some(files.dir.clone()), name: Some("p".into()), ..Where::default() }).unwrap().project;
    assert_eq!(project.files, [files.dir.join("one.yaml"), files.dir.join("two.yaml")]);
    assert_eq!(project.file.services.len(), 2);
}
