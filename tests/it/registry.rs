//! A registry of a story's own, on loopback: Debian's docker-registry by TLS, with a certificate of an authority that is
//! made for it, and a password. What it is asked for stands in its log.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::lab::{DEADLINE, Lab, Said, finish};
use crate::wire::free_ports;

/// Who may get in.
pub const USER: &str = "me";
/// By what. It has a colon.
pub const PASSWORD: &str = "se:cret";

/// A registry.
pub struct Registry {
    dir: PathBuf,
    /// `localhost:PORT`.
    pub name: String,
    child: Child,
    log: Arc<(Mutex<Vec<String>>, Condvar)>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Registry {
    /// Whether there is one to start.
    pub fn is_installed() -> bool {
        ["docker-registry", "skopeo", "htpasswd"].iter().all(|name| Path::new("/usr/bin").join(name).exists())
    }

    /// Starts one for a story.
    pub fn start(story: &str) -> Self {
        Self::start_with(story, json!({}))
    }

    /// The same, that lets in nobody whose certificate is not of its authority.
    pub fn start_closed(story: &str) -> Self {
        let authority = PathBuf::from(format!("/tmp/it-registry/{story}/certs/ca.crt"));
        Self::start_with(story, json!({ "clientcas": [authority] }))
    }

    fn start_with(story: &str, mut tls: Value) -> Self {
        let dir = PathBuf::from(format!("/tmp/it-registry/{story}"));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("certs")).unwrap();
        certificates(&dir);
        let passwords = Command::new("htpasswd").args(["-Bbn", "-C", "4", USER, PASSWORD]).output().unwrap();
        std::fs::write(dir.join("htpasswd"), passwords.stdout).unwrap();
        let [port] = free_ports();
        tls["certificate"] = json!(dir.join("server.crt"));
        tls["key"] = json!(dir.join("server.key"));
        let config = json!({
            "version": 0.1,
            "log": { "level": "info" },
            "storage": { "filesystem": { "rootdirectory": dir.join("data") } },
            "http": {
                "addr": format!("127.0.0.1:{port}"),
                "tls": tls,
            },
            "auth": { "htpasswd": { "realm": "test", "path": dir.join("htpasswd") } },
        });
        std::fs::write(dir.join("config.yml"), config.to_string()).unwrap();
        let log = Arc::default();
        let (child, reader) = serve(&dir, &log);
        Self { name: format!("localhost:{port}"), dir, child, log, reader: Some(reader) }
    }

    /// The process that it is now.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The port that it listens at.
    pub fn port(&self) -> u16 {
        self.name.split(':').next_back().unwrap().parse().unwrap()
    }

    /// The certificate of the authority that vouches for it.
    pub fn authority(&self) -> String {
        self.dir.join("certs/ca.crt").to_str().unwrap().to_owned()
    }

    /// A world that trusts it, with credentials of its own.
    pub fn trusted_by(&self, lab: Lab) -> Lab {
        let config = self.dir.join("docker");
        lab.with_env("SSL_CERT_FILE", &self.authority()).with_env("DOCKER_CONFIG", config.to_str().unwrap())
    }

    /// A directory as docker and podman have it for one registry: its authority, and what it knows a client by.
    pub fn certificates(&self) -> PathBuf {
        self.dir.join("certs")
    }

    /// Where docker's file of credentials is.
    pub fn credentials(&self) -> PathBuf {
        self.dir.join("docker/config.json")
    }

    /// Logs in.
    pub fn let_in(&self, lab: &Lab) -> Said {
        self.login(lab, PASSWORD)
    }

    /// The same with any password.
    pub fn login(&self, lab: &Lab, password: &str) -> Said {
        let mut command =
            lab.command(crate::lab::kraft(), ["pkg", "login", &self.name, "-u", USER, "--password-stdin"]);
        let (read, mut write) = std::io::pipe().unwrap();
        writeln!(write, "{password}").unwrap();
        drop(write);
        command.stdin(read);
        finish(command, DEADLINE)
    }

    /// Has skopeo copy a tag of a layout there, and returns the name that it has then.
    pub fn push(&self, layout: &Path, tag: &str) -> String {
        let name = format!("{}/{tag}:v1", self.name);
        let mut command = Command::new("skopeo");
        command.args(["copy", "--quiet", "--all", "--preserve-digests", "--dest-cert-dir"]).arg(self.dir.join("certs"));
        command.args(["--dest-creds", &format!("{USER}:{PASSWORD}")]);
        command.arg(format!("oci:{}:{tag}", layout.display())).arg(format!("docker://{name}"));
        finish(command, DEADLINE).ok();
        name
    }

    /// What skopeo says of a name: its manifest or index as it is there.
    pub fn raw(&self, name: &str) -> String {
        let mut command = Command::new("skopeo");
        command.args(["inspect", "--raw", "--cert-dir"]).arg(self.dir.join("certs"));
        command.args(["--creds", &format!("{USER}:{PASSWORD}"), &format!("docker://{name}")]);
        finish(command, DEADLINE).ok()
    }

    /// The file that it has a blob in.
    pub fn file(&self, digest: &str) -> PathBuf {
        self.dir.join(format!("data/docker/registry/v2/blobs/sha256/{}/{digest}/data", &digest[..2]))
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }

    /// Starts it again where it was.
    pub fn restart(&mut self) {
        self.kill();
        self.log.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let (child, reader) = serve(&self.dir, &self.log);
        (self.child, self.reader) = (child, Some(reader));
    }

    /// Ends it, and returns what it was asked for and how it answered: the request, the status, how much.
    pub fn answers(&mut self) -> Vec<(String, u16, u64)> {
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap()),
            nix::sys::signal::Signal::SIGTERM,
        )
        .unwrap();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        let log = self.log.0.lock().unwrap_or_else(PoisonError::into_inner);
        // 127.0.0.1 - - [TIME] "GET /v2/x/blobs/sha256:... HTTP/1.1" 200 1234 "" "kraft/0.1.0"
        let parse = |line: &String| {
            let mut parts = line.split('"');
            let request = parts.nth(1)?.strip_suffix(" HTTP/1.1")?.to_owned();
            let mut numbers = parts.next()?.split_whitespace();
            Some((request, numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
        };
        log.iter().filter_map(parse).collect()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn serve(dir: &Path, log: &Arc<(Mutex<Vec<String>>, Condvar)>) -> (Child, std::thread::JoinHandle<()>) {
    let (read, write) = std::io::pipe().unwrap();
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(dir.join("config.yml")).stdin(Stdio::null());
    command.stdout(write.try_clone().unwrap()).stderr(write);
    let child = command.spawn().unwrap();
    // Its copies of the pipe would keep the reader from its end.
    drop(command);
    let theirs = Arc::clone(log);
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(read).lines().map_while(Result::ok) {
            theirs.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            theirs.1.notify_all();
        }
    });
    let lines = log.0.lock().unwrap_or_else(PoisonError::into_inner);
    let listens = |lines: &mut Vec<String>| !lines.iter().any(|line| line.contains("listening on"));
    let (lines, waited) = log.1.wait_timeout_while(lines, DEADLINE, listens).unwrap_or_else(PoisonError::into_inner);
    assert!(!waited.timed_out(), "the registry does not listen: {lines:?}");
    drop(lines);
    (child, reader)
}

/// An authority and a certificate for localhost.
fn certificates(dir: &Path) {
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let extensions =
        "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n";
    std::fs::write(dir.join("extensions"), extensions).unwrap();
    let openssl = |args: &[&str]| {
        let mut command = Command::new("openssl");
        command.args(args).current_dir(dir).stdin(Stdio::null());
        finish(command, DEADLINE).ok();
    };
    let authority = ["-subj", "/CN=a test", "-addext", "keyUsage=critical,keyCertSign", "-days", "3650"];
    let files = ["-keyout", "ca.key", "-out", "certs/ca.crt"];
    openssl(&[&["req", "-x509"][..], &key, &authority, &files].concat());
    for (name, subject, request) in
        [("server", "/CN=localhost", "server.csr"), ("certs/client", "/CN=me", "client.csr")]
    {
        let files = ["-subj", subject, "-keyout", &format!("{name}.key"), "-out", request].map(str::to_owned);
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        openssl(&[&["req"][..], &key, &files].concat());
    }
    let signed = |request: &str, extensions: &str, out: &str| {
        let by = ["-CA", "certs/ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "3650"];
        openssl(&[&["x509", "-req", "-in", request][..], &by, &["-extfile", extensions, "-out", out]].concat());
    };
    signed("server.csr", "extensions", "server.crt");
    std::fs::write(dir.join("client"), "extendedKeyUsage=clientAuth\nbasicConstraints=CA:FALSE\n").unwrap();
    signed("client.csr", "client", "certs/client.cert");
}

/// An OCI image layout that is being made.
pub struct Layout {
    dir: PathBuf,
    named: Vec<Value>,
}

/// One image of an index.
pub struct Image<'a> {
    /// What it is for: `qemu`.
    pub os: &'a str,
    /// `x86_64`.
    pub arch: &'a str,
    /// Its layers. Any bytes will do.
    pub layers: &'a [&'a [u8]],
}

impl Layout {
    /// An empty one, in the registry's directory.
    pub fn new(registry: &Registry) -> Self {
        let dir = registry.dir.join("layout");
        std::fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
        std::fs::write(dir.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").unwrap();
        Self { dir, named: Vec::new() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    fn put(&self, content: &[u8], media_type: &str) -> Value {
        let digest = hex(content);
        std::fs::write(self.dir.join("blobs/sha256").join(&digest), content).unwrap();
        json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": content.len() })
    }

    /// Adds an image, or an index of several, and returns the digests of the manifests.
    pub fn add(&mut self, tag: &str, images: &[Image<'_>]) -> Vec<String> {
        const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
        const INDEX: &str = "application/vnd.oci.image.index.v1+json";
        let mut manifests: Vec<Value> = images.iter().map(|image| self.image(image, MANIFEST)).collect();
        let digests = manifests.iter().map(|one| one["digest"].as_str().unwrap()[7..].to_owned()).collect();
        let mut root = match manifests.len() {
            1 => manifests.remove(0),
            _ => {
                let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
                self.put(index.to_string().as_bytes(), INDEX)
            }
        };
        root["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        self.named.push(root);
        let index = json!({ "schemaVersion": 2, "manifests": self.named });
        std::fs::write(self.dir.join("index.json"), index.to_string()).unwrap();
        digests
    }

    fn image(&self, image: &Image<'_>, media_type: &str) -> Value {
        let layer = |content: &&[u8]| self.put(content, "application/vnd.oci.image.layer.v1.tar");
        let layers: Vec<Value> = image.layers.iter().map(layer).collect();
        let ids: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
        let config = json!({
            "architecture": image.arch, "os": image.os, "config": { "Cmd": ["/app"], "Env": ["A=b"] },
            "rootfs": { "type": "layers", "diff_ids": ids },
        });
        let config = self.put(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
        let manifest = json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers });
        let mut manifest = self.put(manifest.to_string().as_bytes(), media_type);
        manifest["platform"] = json!({ "os": image.os, "architecture": image.arch });
        manifest
    }
}

/// A SHA-256.
pub fn hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
