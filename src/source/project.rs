//! What a project's directory has to run: a kernel that was built there, or a runtime.

use std::path::{Path, PathBuf};

use super::{As, Asked, Found, image};
use crate::error::{Error, Kind, Result};
use crate::kraftfile::{self, Kraftfile, Runtime, Target};
use crate::machine::{Arch, ImageName};
use crate::paths;

/// What a directory with a Kraftfile has.
///
/// # Errors
/// What is wrong in the file; that nothing is built yet, and how that is done; that no target is the one that is wanted.
pub(super) fn of_kraftfile(dir: &Path, file: &Path, asked: &Asked<'_>) -> Result<Found> {
    let named = paths::absolute(dir)?;
    // `..` has no name of its own.
    let named = if named.file_name().is_some() { named } else { named.canonicalize().unwrap_or(named) };
    let file = kraftfile::load(file, &named, asked.variables)?;
    let base = match &file.runtime {
        // What is built here has all of it; a runtime beside it is for who builds.
        Some(runtime) if !file.unikraft => of_runtime(dir, &file, runtime, asked)?,
        _ => of_targets(dir, &file, asked)?,
    };
    Ok(Found {
        what: As::Project,
        rootfs: file.rootfs.map(|path| rootfs(dir, &path)).transpose()?.or(base.rootfs),
        command: if file.cmd.is_empty() { base.command } else { file.cmd },
        env: base.env.into_iter().chain(file.env).collect(),
        labels: base.labels.into_iter().chain(file.labels).collect(),
        volumes: base.volumes.into_iter().chain(file.volumes).collect(),
        warnings: base.warnings.into_iter().chain(file.notes).collect(),
        ..base
    })
}

fn of_runtime(dir: &Path, file: &Kraftfile, runtime: &Runtime, asked: &Asked<'_>) -> Result<Found> {
    let target = match file.targets.as_slice() {
        [] if asked.target.is_none() => None,
        targets => {
            let wanted: Vec<&Target> = targets.iter().collect();
            Some(choose(&wanted, asked, |_| true).ok_or_else(|| no_target(&file.path, &wanted, asked))?)
        }
    };
    let arch = target.and_then(|target| target.arch.parse().ok());
    match runtime {
        Runtime::Kernel(path) => Ok(Found { arch, ..Found::new(As::Project, kraftfile::join(dir, path)) }),
        Runtime::Image(reference) => of_image(dir, reference, &Asked { arch: asked.arch.or(arch), ..*asked })
            .map_err(|error| error.context(format!("{}: runtime", file.path.display()))),
    }
}

/// What the root file system is made of: a path is relative to the project's directory, and so is that of an image that is a
/// file.
fn rootfs(dir: &Path, said: &Path) -> Result<PathBuf> {
    let path = kraftfile::join(dir, said);
    match said.to_str().and_then(ImageName::beside_paths) {
        Some(image) if !path.exists() => Ok(image.below(&paths::absolute(dir)?).as_str().into()),
        Some(_) | None => Ok(path),
    }
}

/// An image that is a file is one of the project's.
fn of_image(dir: &Path, reference: &str, asked: &Asked<'_>) -> Result<Found> {
    let name = reference.parse::<ImageName>()?.below(&paths::absolute(dir)?);
    image::image(name.as_str(), asked)
}

fn of_targets(dir: &Path, file: &Kraftfile, asked: &Asked<'_>) -> Result<Found> {
    let targets: Vec<&Target> = file.targets.iter().collect();
    if targets.is_empty() {
        // One that names none is built for whatever was asked for then.
        return match built(dir, &file.outdir, Some(&file.name))?.as_slice() {
            [] => Err(not_built(dir, file, &kernel_of(dir, file, &usual_target(asked)), &usual_target(asked))),
            all => of_files(&dir.join(&file.outdir), all, asked),
        };
    }
    let is_built = |target: &Target| kernel_of(dir, file, target).is_file();
    let Some(target) = choose(&targets, asked, is_built) else { return Err(no_target(&file.path, &targets, asked)) };
    let kernel = kernel_of(dir, file, target);
    if !kernel.is_file() {
        return Err(not_built(dir, file, &kernel, target));
    }
    Ok(Found { arch: target.arch.parse().ok(), ..Found::new(As::Project, kernel) })
}

/// What a directory has that has a build and no Kraftfile.
///
/// # Errors
/// When several projects were built there, or nothing that is wanted.
pub(super) fn of_build(dir: &Path, asked: &Asked<'_>) -> Result<Option<Found>> {
    let files = built(dir, Path::new(kraftfile::BUILD), None)?;
    if files.is_empty() {
        return Ok(None);
    }
    let place = dir.join(kraftfile::BUILD);
    let mut projects: Vec<&str> = files.iter().map(|built| built.project.as_str()).collect();
    projects.dedup();
    if projects.len() > 1 {
        let why = format!("{} has kernels of several projects: {}", place.display(), projects.join(", "));
        return Err(Error::new(why).with_hint("give the file of one of them"));
    }
    of_files(&place, &files, asked).map(Some)
}

/// A kernel that was built.
#[derive(Debug, Clone)]
struct Built {
    project: String,
    target: Target,
    path: PathBuf,
}

/// The kernels in a build directory, sorted by name; those of one project if it is named.
fn built(dir: &Path, outdir: &Path, project: Option<&str>) -> Result<Vec<Built>> {
    let place = kraftfile::join(dir, outdir);
    let entries = match std::fs::read_dir(&place) {
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(e) => return Err(Error::new(format!("cannot list {}: {e}", place.display()))),
        Ok(entries) => entries,
    };
    let mut files: Vec<Built> = entries
        .flatten()
        .filter_map(|entry| {
            let (project, target) = Target::of_file(entry.file_name().to_str()?)?;
            entry.path().is_file().then(|| Built { project, target, path: entry.path() })
        })
        .filter(|built| project.is_none_or(|project| project == built.project))
        .collect();
    files.sort_by(|one, two| one.path.cmp(&two.path));
    Ok(files)
}

fn of_files(place: &Path, files: &[Built], asked: &Asked<'_>) -> Result<Found> {
    let targets: Vec<&Target> = files.iter().map(|built| &built.target).collect();
    let target = choose(&targets, asked, |_| true).ok_or_else(|| no_target(place, &targets, asked))?;
    let kernel = files.iter().find(|built| built.target == *target).map(|built| built.path.clone());
    let kernel = kernel.ok_or_else(|| no_target(place, &targets, asked))?;
    Ok(Found { arch: target.arch.parse().ok(), ..Found::new(As::Project, kernel) })
}

/// Where the kernel of a target is, or would be.
fn kernel_of(dir: &Path, file: &Kraftfile, target: &Target) -> PathBuf {
    if let Some(kernel) = &target.kernel {
        return kraftfile::join(dir, kernel);
    }
    let place = kraftfile::join(dir, &file.outdir);
    let mut names = target.files(&file.name).into_iter();
    let usual = place.join(names.next().unwrap_or_default());
    if usual.is_file() {
        return usual;
    }
    names.map(|name| place.join(name)).find(|path| path.is_file()).unwrap_or(usual)
}

/// The target to run, never by asking: of those that are wanted and that can be run, one that is built before one that is
/// not, one for this host before others, and then the first.
fn choose<'a>(targets: &[&'a Target], asked: &Asked<'_>, is_built: impl Fn(&Target) -> bool) -> Option<&'a Target> {
    let fits = |target: &&&Target| {
        let arch: Option<Arch> = target.arch.parse().ok();
        asked.target.is_none_or(|wanted| target.is(wanted))
            && target.plat == asked.platform.as_str()
            && arch.is_some()
            && (asked.arch.is_none() || asked.arch == arch)
    };
    let is_hosts = |target: &Target| target.arch.parse().ok() == Arch::host();
    // The first of the least, as it is false that sorts first.
    targets.iter().filter(fits).min_by_key(|target| (!is_built(target), !is_hosts(target))).copied()
}

fn usual_target(asked: &Asked<'_>) -> Target {
    let arch = asked.arch.or(Arch::host()).unwrap_or(Arch::X86_64);
    Target::new(asked.platform.as_str(), arch.as_str())
}

fn no_target(place: &Path, targets: &[&Target], asked: &Asked<'_>) -> Error {
    let known: Vec<String> = targets.iter().map(ToString::to_string).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    let arch = asked.arch.map(|arch| format!("/{arch}")).unwrap_or_default();
    let runs = format!("{}{arch}", asked.platform);
    let why = match asked.target {
        Some(wanted) if !targets.iter().any(|target| target.is(wanted)) => {
            format!("no target '{}'", wanted.escape_debug())
        }
        Some(wanted) => format!("target '{}' is not for {runs}", wanted.escape_debug()),
        None => format!("no target for {runs}"),
    };
    Error::new(format!("{}: {why}: there are {known}", place.display()))
}

fn not_built(dir: &Path, file: &Kraftfile, kernel: &Path, target: &Target) -> Error {
    let at = if dir == Path::new(".") { String::new() } else { format!(" {}", dir.display()) };
    let why = format!("project {} is not built for {target}: there is no {}", file.name, kernel.display());
    let build = format!("kraft build --plat {} --arch {}{at}", target.plat, target.arch);
    Error::of(Kind::NotFound, why).with_hint(format!(
        "upstream's kraft builds it (`{build}`), or `make` in a project of Unikraft's own build system"
    ))
}
