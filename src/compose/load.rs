//! The files of a project: which they are, and what they say together.

use std::path::{Path, PathBuf};

use super::interpolate::Variables;
use super::merge::{merge, without_resets};
use super::node::Node;
use super::project::{Project, check_name, name_of};
use super::read::Notes;
use super::sources::{self, STDIN, Sources, with_files};
use super::{file, render};
use crate::error::{Context as _, Error, Kind, Result};
use crate::paths;

/// The names that are looked for, docker's first, then upstream's.
const NAMES: [&str; 5] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml", "Composefile"];
/// What is merged into the first two, and into the next two.
const OVERRIDES: [&str; 4] =
    ["compose.override.yaml", "compose.override.yml", "docker-compose.override.yml", "docker-compose.override.yaml"];

/// Where a project is, as far as a person said so.
#[derive(Debug, Clone, Default)]
pub struct Where {
    /// The files; looked for if there are none.
    pub files: Vec<PathBuf>,
    /// The project's name.
    pub name: Option<String>,
    /// The project's directory.
    pub dir: Option<PathBuf>,
    /// Files of variables, instead of `.env`.
    pub env_files: Vec<PathBuf>,
}

/// A project and what was noticed while it was read.
#[derive(Debug)]
pub struct Loaded {
    /// The project, services of every profile.
    pub project: Project,
    /// What is passed over.
    pub warnings: Vec<String>,
    /// The variables that were known.
    pub variables: Variables,
    root: Node,
}

impl Loaded {
    /// The files as one, variables and all in place, with the services that are left in the project.
    ///
    /// # Errors
    /// When it cannot be written as text.
    pub fn to_text(&self) -> Result<String> {
        render::text(&self.root, &self.project)
    }
}

/// The files that a project has in this directory, or in one above it. None is an empty list.
pub fn find(dir: &Path, warnings: &mut Vec<String>) -> Vec<PathBuf> {
    for dir in dir.ancestors() {
        let mut there = NAMES.iter().map(|name| dir.join(name)).filter(|path| path.is_file());
        let Some(first) = there.next() else { continue };
        let others: Vec<String> = there.map(|path| path.display().to_string()).collect();
        if !others.is_empty() {
            warnings.push(format!("{} is used, and not {}", first.display(), others.join(", ")));
        }
        let more = OVERRIDES.iter().map(|name| dir.join(name)).find(|path| path.is_file());
        return std::iter::once(first).chain(more).collect();
    }
    Vec::new()
}

/// Reads a project.
///
/// # Errors
/// Everything that is wrong in its files, each with its line and key; [`Kind::NotFound`] alone if there is no file.
pub fn load(at: &Where) -> Result<Loaded, Vec<Error>> {
    let one = |error| vec![error];
    let mut notes = Notes::default();
    let here = paths::absolute(Path::new(".")).map_err(one)?.components().collect::<PathBuf>();
    let files = files(at, &here, &mut notes.warnings).map_err(one)?;
    let Some(first) = files.first() else {
        let error = Error::of(Kind::NotFound, format!("no compose file in {} or above", here.display()));
        return Err(vec![error.with_hint(format!("it is called {}, or named by -f", NAMES[0]))]);
    };
    let dir = match &at.dir {
        Some(dir) => paths::absolute(dir).map_err(one)?,
        None if first.as_os_str() == STDIN => here,
        None => first.parent().unwrap_or(&here).to_owned(),
    };
    let dir: PathBuf = dir.components().collect();
    let mut variables = with_files(environment(), &dir, &at.env_files).map_err(one)?;
    let (mut trees, mut flaws) = (Vec::new(), Vec::new());
    for file in &files {
        match sources::parsed(file) {
            Ok(tree) => trees.push(tree),
            Err(error) => flaws.push(error),
        }
    }
    if !flaws.is_empty() {
        return Err(flaws);
    }
    let name = project_name(at, &trees, &dir, &variables).map_err(one)?;
    variables.values.insert("COMPOSE_PROJECT_NAME".into(), name.clone());
    let mut sources = Sources::default();
    let mut whole: Option<Node> = None;
    for (tree, path) in trees.into_iter().zip(&files) {
        match sources.whole(tree, path, &dir, &variables, &mut Vec::new()) {
            Ok(tree) => match &mut whole {
                Some(root) => merge(root, tree),
                None => whole = Some(tree),
            },
            Err(more) => flaws.extend(more),
        }
    }
    notes.warnings.append(&mut sources.warnings);
    if !flaws.is_empty() {
        return Err(flaws);
    }
    let Some(mut root) = whole else { return Err(vec![Error::new("there is no compose file")]) };
    without_resets(&mut root);
    let file = file::read(&root, &mut notes);
    if !notes.flaws.is_empty() {
        return Err(notes.flaws);
    }
    // One place for several services by an anchor is told once.
    let mut warnings: Vec<String> = Vec::new();
    notes.warnings.into_iter().for_each(|warning| {
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    });
    let project = Project { name, dir, files, file, others: Vec::new() };
    Ok(Loaded { project, warnings, variables, root })
}

/// The files that were named, by a person or by a variable, else those that are found.
fn files(at: &Where, here: &Path, warnings: &mut Vec<String>) -> Result<Vec<PathBuf>> {
    let absolute = |file: &PathBuf| match file.as_os_str() == STDIN {
        true => Ok(file.clone()),
        false => Ok(paths::absolute(file)?.components().collect()),
    };
    if !at.files.is_empty() {
        return at.files.iter().map(absolute).collect();
    }
    let dir = at.dir.as_deref().unwrap_or(here);
    // `.env` may name them, too.
    let variables = with_files(environment(), dir, &at.env_files)?;
    match variables.values.get("COMPOSE_FILE").filter(|files| !files.is_empty()) {
        Some(files) => files.split(':').map(|file| absolute(&here.join(dir).join(file))).collect(),
        None => find(dir, warnings).iter().map(absolute).collect(),
    }
}

/// Our own environment.
fn environment() -> Variables {
    Variables { values: paths::environment_variables().collect() }
}

/// `-p`, else COMPOSE_PROJECT_NAME, else the file's, else the directory's.
fn project_name(at: &Where, trees: &[Node], dir: &Path, variables: &Variables) -> Result<String> {
    if let Some(name) = &at.name {
        return check_name(name).map(|()| name.clone());
    }
    if let Some(name) = variables.values.get("COMPOSE_PROJECT_NAME").filter(|name| !name.is_empty()) {
        return check_name(name).map(|()| name.clone()).context("COMPOSE_PROJECT_NAME");
    }
    if let Some(node) = trees.iter().rev().find_map(|tree| tree.get("name").filter(|node| !node.is_null())) {
        let super::node::Value::Scalar { text, .. } = &node.value else {
            return Err(node.place.error(Error::new(format!("name: expected a text, found {}", node.kind()))));
        };
        let name = super::interpolate::expand(text, variables, &mut Vec::new())
            .and_then(|name| check_name(&name).map(|()| name));
        return name.map_err(|error| node.place.error(error.context("name")));
    }
    name_of(dir).ok_or_else(|| {
        Error::new(format!("the directory {} gives the project no name", dir.display()))
            .with_hint("`-p NAME` or `name:` in the file does")
    })
}
