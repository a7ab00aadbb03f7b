//! Kraftfiles: what a project of Unikraft's says of what to run. Of the format, `v0.5` and `v0.6`, what a machine is made
//! of is read; what builds kernels (`libraries`, `template`, `kconfig`) is left to who does that.
//!
//! [`find`] looks which file a directory has, [`parse`] reads text, [`load`] a file.
//!
//! Source: kraftkit, `unikraft/app` and `schema/`.

mod interpolate;
mod node;
mod target;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::{MountRequest, MountSource};

pub use interpolate::Variables;
pub use target::Target;

use node::{Node, Source};

/// What a project's file may be called, in the order in which they are looked for.
pub const NAMES: [&str; 5] = ["kraft.yaml", "kraft.yml", "Kraftfile.yml", "Kraftfile.yaml", "Kraftfile"];

/// Where kernels are built, in the project's directory.
pub const BUILD: &str = ".unikraft/build";

const VERSIONS: [&str; 2] = ["0.5", "0.6"];

/// All keys that the format has. Those that begin with `x-` are anybody's.
const KEYS: [&str; 15] = [
    "cmd",
    "env",
    "labels",
    "libraries",
    "name",
    "networks",
    "outdir",
    "rootfs",
    "runtime",
    "spec",
    "specification",
    "targets",
    "template",
    "unikraft",
    "volumes",
];

/// More than any has.
const LARGEST: u64 = 1 << 20;

/// What a Kraftfile says. Paths are relative to the project's directory, or absolute; those
/// of volumes are absolute if that is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kraftfile {
    /// The file.
    pub path: PathBuf,
    /// The project's name, made plain; the directory's if it does not say.
    pub name: String,
    /// What runs the root file system, if it is not built here.
    pub runtime: Option<Runtime>,
    /// The root file system.
    pub rootfs: Option<PathBuf>,
    /// The application's arguments.
    pub cmd: Vec<String>,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// Directories of the host's.
    pub volumes: Vec<MountRequest>,
    /// What it is built for.
    pub targets: Vec<Target>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Its kernel is built here.
    pub unikraft: bool,
    /// Where its kernels are built.
    pub outdir: PathBuf,
    /// What in it means nothing, each with its place.
    pub notes: Vec<String>,
}

/// What runs a root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runtime {
    /// A kernel's file.
    Kernel(PathBuf),
    /// An image, by its reference.
    Image(String),
}

/// The Kraftfile that a directory has.
pub fn find(dir: &Path) -> Option<PathBuf> {
    NAMES.iter().map(|name| dir.join(name)).find(|path| path.is_file())
}

/// Reads the file of the project in a directory.
///
/// # Errors
/// With file, line and key of what is wrong.
pub fn load(path: &Path, dir: &Path, variables: Variables<'_>) -> Result<Kraftfile> {
    let cannot = || format!("cannot read {}", path.display());
    // Without O_NONBLOCK, opening a FIFO waits for a writer.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = match std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::of(Kind::NotFound, format!("no such Kraftfile: {}", path.display())));
        }
        file => file.with_context(cannot)?,
    };
    if !file.metadata().with_context(cannot)?.is_file() {
        return Err(Error::new("it is no regular file").context(cannot()));
    }
    let mut text = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut text).with_context(cannot)?;
    if text.len() as u64 > LARGEST {
        return Err(Error::new("it is larger than 1Mi").context(cannot()));
    }
    let text = String::from_utf8(text).map_err(|e| {
        let line = e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        Error::new(format!("{}:{line}: it is not UTF-8", path.display()))
    })?;
    parse(&text, path, dir, variables)
}

/// Reads text. `path` is for messages; `dir` is the project's directory, which names a project that does not say its own.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, path: &Path, dir: &Path, variables: Variables<'_>) -> Result<Kraftfile> {
    // Some editors begin every file with it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let value = node::parse(text, path)?;
    let root = Node::root(Source { text, path, variables }, &value);
    let mut notes = Vec::new();
    for (key, node) in root.entries()? {
        if !KEYS.contains(&key.as_str()) && !key.starts_with("x-") {
            notes.push(node.flaw(Error::new("no such key")).to_string());
        }
    }
    version(&root)?;
    let name = match root.get("name") {
        Some(node) => plain_name(&node.word()?),
        None => directory_name(dir),
    };
    let outdir = root.get("outdir").map(|node| node.word()).transpose()?;
    let mut file = Kraftfile {
        path: path.to_owned(),
        name,
        runtime: root.get("runtime").map(|node| runtime(&node)).transpose()?,
        rootfs: root.get("rootfs").map(|node| rootfs(&node)).transpose()?,
        cmd: root.get("cmd").map(|node| command(&node)).transpose()?.unwrap_or_default(),
        env: root.get("env").map(|node| environment(&node, variables)).transpose()?.unwrap_or_default(),
        volumes: root.get("volumes").map(|node| volumes(&node, dir)).transpose()?.unwrap_or_default(),
        targets: root.get("targets").map(|node| target::read(&node)).transpose()?.unwrap_or_default(),
        labels: root.get("labels").map(|node| labels(&node)).transpose()?.unwrap_or_default(),
        unikraft: root.get("unikraft").is_some(),
        outdir: outdir.unwrap_or_else(|| BUILD.to_owned()).into(),
        notes,
    };
    // A template says what to build as well.
    file.unikraft |= root.get("template").is_some();
    if file.runtime.is_none() && !file.unikraft && file.targets.is_empty() {
        return Err(root.flaw(Error::new("it says nothing to run: it has no runtime, no unikraft and no targets")));
    }
    Ok(file)
}

fn version(root: &Node<'_>) -> Result<()> {
    let Some(node) = root.get("spec").or_else(|| root.get("specification")) else {
        return Err(root.flaw(Error::new("it has no spec").with_hint("its first line is usually `spec: v0.6`")));
    };
    let said = node.text()?;
    if VERSIONS.contains(&said.trim_start_matches('v')) {
        return Ok(());
    }
    let why = format!("unknown specification '{}': known are v0.5, v0.6", said.escape_debug());
    Err(node.flaw(Error::new(why)))
}

/// A project's name as its kernels' files have it: `[a-z0-9_-]`.
fn plain_name(name: &str) -> String {
    let is_plain = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    name.to_lowercase().chars().filter(is_plain).collect::<String>().trim_start_matches(['_', '-']).to_owned()
}

/// The name of a project that is in this directory and says none.
pub fn directory_name(dir: &Path) -> String {
    plain_name(&dir.file_name().unwrap_or_default().to_string_lossy())
}

/// `kernel://PATH`, a path that begins with `.` or `/`, `oci://REFERENCE`, or a reference; a map has it as `source` or
/// `name`, and perhaps a `version`.
fn runtime(node: &Node<'_>) -> Result<Runtime> {
    if node.is_map() {
        let Some(source) = node.get("source").or_else(|| node.get("name")) else {
            return Err(node.flaw(Error::new("it has no source")));
        };
        let (text, version) = (source.word()?, node.get("version").map(|node| node.word()).transpose()?);
        return match (one_runtime(&text), version) {
            (Runtime::Image(image), Some(version)) if !has_tag(&image) => {
                Ok(Runtime::Image(format!("{image}:{version}")))
            }
            (runtime, _) => Ok(runtime),
        };
    }
    node.word().map(|text| one_runtime(&text))
}

fn one_runtime(text: &str) -> Runtime {
    match text.strip_prefix("kernel://") {
        Some(path) => Runtime::Kernel(path.into()),
        None if text.starts_with(['/', '.']) => Runtime::Kernel(text.into()),
        None => Runtime::Image(text.strip_prefix("oci://").unwrap_or(text).to_owned()),
    }
}

/// A colon before the last slash is a port's.
fn has_tag(image: &str) -> bool {
    image.contains('@') || image.rsplit('/').next().is_some_and(|last| last.contains(':'))
}

fn rootfs(node: &Node<'_>) -> Result<PathBuf> {
    let source = if node.is_map() { node.get("source") } else { Some(node.clone()) };
    source.ok_or_else(|| node.flaw(Error::new("it has no source")))?.word().map(PathBuf::from)
}

/// A text is one argument.
fn command(node: &Node<'_>) -> Result<Vec<String>> {
    if node.is_list() { node.items()?.iter().map(Node::text).collect() } else { Ok(vec![node.text()?]) }
}

/// A map, or a list of `KEY=VALUE`. What has no value has the host's.
fn environment(node: &Node<'_>, variables: Variables<'_>) -> Result<BTreeMap<String, String>> {
    let passed_on = |node: &Node<'_>, key: &str| {
        let unset = || Error::new(format!("environment variable {} is not set", key.escape_debug()));
        variables(key).ok_or_else(|| node.flaw(unset().with_hint("a value makes it independent of the host's")))
    };
    let named = |node: &Node<'_>, key: &str| match key {
        "" => Err(node.flaw(Error::new("it has no name"))),
        _ => Ok(()),
    };
    let mut env = BTreeMap::new();
    if node.is_list() {
        for item in node.items()? {
            let text = item.text()?;
            let (key, value) = match text.split_once('=') {
                Some((key, value)) => (key.to_owned(), value.to_owned()),
                None => (text.clone(), passed_on(&item, &text)?),
            };
            named(&item, &key)?;
            env.insert(key, value);
        }
        return Ok(env);
    }
    for (key, value) in node.entries()? {
        named(&value, &key)?;
        if key.contains('=') {
            return Err(value.flaw(Error::new("its name has a '=' in it")));
        }
        let text = if value.is_null() { passed_on(&value, &key)? } else { value.text()? };
        env.insert(key, text);
    }
    Ok(env)
}

fn labels(node: &Node<'_>) -> Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    if node.is_list() {
        for item in node.items()? {
            let text = item.word()?;
            let (key, value) = text.split_once('=').unwrap_or((&text, ""));
            labels.insert(key.to_owned(), value.to_owned());
        }
        return Ok(labels);
    }
    for (key, value) in node.entries()? {
        let text = if value.is_null() { String::new() } else { value.text()? };
        labels.insert(key, text);
    }
    Ok(labels)
}

fn volumes(node: &Node<'_>, dir: &Path) -> Result<Vec<MountRequest>> {
    node.items()?.iter().map(|item| volume(item, dir)).collect()
}

/// `SRC:DST` and what `--volume` takes behind it, `SRC` alone for the guest's root, or a map.
fn volume(node: &Node<'_>, dir: &Path) -> Result<MountRequest> {
    let at = |error: Error| node.flaw(error);
    if !node.is_map() {
        let text = node.word()?;
        let text = if text.contains(':') { text } else { format!("{text}:/") };
        // A directory of the project's need not be told by a `./`.
        let is_here = !text.starts_with(['/', '.'])
            && text.split(':').next().is_some_and(|source| !source.is_empty() && dir.join(source).is_dir());
        let text = if is_here { format!("./{text}") } else { text };
        return text.parse::<MountRequest>().map(|request| below(request, dir)).map_err(at);
    }
    let source = node.get("source").ok_or_else(|| node.flaw(Error::new("it has no source")))?;
    let text = source.word()?;
    let is_here = !text.starts_with(['/', '.']) && dir.join(&text).is_dir();
    let text = if is_here { format!("./{text}") } else { text };
    let target = match node.get("destination").or_else(|| node.get("target")) {
        Some(target) => MountRequest::target(&target.word()?).map_err(|error| target.flaw(error))?,
        None => "/".to_owned(),
    };
    let driver = node.get("driver").map(|node| node.word()?.parse().map_err(|error| node.flaw(error))).transpose()?;
    let read_only = match node.get("readonly").or_else(|| node.get("readOnly")) {
        Some(node) => match node.text()?.as_str() {
            "true" => true,
            "false" => false,
            _ => return Err(node.unexpected("true or false")),
        },
        None => false,
    };
    let source = text.parse::<MountSource>().map_err(|error| source.flaw(error))?;
    Ok(below(MountRequest { source, target, read_only, driver }, dir))
}

/// A path is relative to the project's directory.
fn below(request: MountRequest, dir: &Path) -> MountRequest {
    match request.source {
        MountSource::Path(path) => MountRequest { source: MountSource::Path(join(dir, &path)), ..request },
        MountSource::Volume(..) => request,
    }
}

/// A path of a Kraftfile's, from where kraft is.
pub fn join(dir: &Path, path: &Path) -> PathBuf {
    dir.join(path).components().filter(|part| *part != Component::CurDir).collect()
}

#[cfg(test)]
mod tests;
