//! A program for Linux in the kernel's place: its loader becomes the kernel, and the program the root file system.
//!
//! That is all there is to it: what a machine's record says is what `kraft run LOADER --rootfs PROGRAM -- PATH ARGS` would
//! make of it, so that everything that knows kernels and root file systems knows programs, too.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use super::images::Images;
use super::wanted::Wanted;
use crate::error::{Error, Kind, Result};
use crate::image::binary::{self, DEFAULT, DIRECTORY, LIBRARY_PATH, Loader, Program, Taken};
use crate::image::kernel::{self, KernelInfo};
use crate::image::rootfs::ForProgram;
use crate::machine::{Mount, MountRequest, MountSource, ShareDriver, Spec};
use crate::paths;
use crate::source::{self, As, Asked, Found};

/// The variable that names the loader where nobody else does.
const LOADER: &str = "KRAFT_ELFLOADER";

/// Checks that what is asked for a program alone is asked for one.
pub(super) fn check(typed: &Wanted, what: As) -> Result<()> {
    match (&typed.elfloader, what) {
        (Some(_), As::Kernel | As::Project | As::Oci) => {
            Err(Error::new("--elfloader goes with a program for Linux, and this is none")
                .with_hint("`--explain` says what it is taken for"))
        }
        (Some(_), As::Binary) | (None, _) => Ok(()),
    }
}

/// Has what a loader's kernel runs start where it is to: a kernel, an image or a project has its loader by then.
pub(super) fn placed(typed: Wanted, kernel: &Path) -> Result<Wanted> {
    let Some(directory) = &typed.workdir else { return Ok(typed) };
    let loader = kernel::inspect(kernel, typed.arch).and_then(|info| Loader::of(kernel, &info));
    let loader = loader.map_err(|error| error.context("--workdir goes with a program for Linux"))?;
    let env = loader.start_in(directory, &typed.env)?;
    Ok(Wanted { env, workdir: None, ..typed })
}

/// What is to run, with a program on its loader, and what the kernel is.
pub(super) fn settle(wanted: Wanted, images: &Images<'_>) -> Result<(Wanted, KernelInfo)> {
    match kernel::inspect(&wanted.kernel, wanted.arch) {
        Err(error) if error.kind() == Kind::Program => onto_loader(wanted, images),
        kernel => kernel.map(|kernel| (wanted, kernel)),
    }
}

/// Puts a program on its loader.
///
/// # Errors
/// When it is none, or one that the loader cannot run.
pub(super) fn onto_loader(wanted: Wanted, images: &Images<'_>) -> Result<(Wanted, KernelInfo)> {
    let program = Program::inspect(&wanted.kernel)?;
    if let Some(arch) = wanted.arch.filter(|arch| *arch != program.arch) {
        return Err(Error::new(format!("program {} is for {}, not {arch}", wanted.kernel.display(), program.arch)));
    }
    let found = find_loader(&wanted, &program, images)?;
    let (file, wanted) = (found.kernel.clone(), with_loader(wanted, found));
    let kernel = kernel::inspect(&file, wanted.arch)?;
    let loader = Loader::of(&file, &kernel)?;
    let plan = binary::Asked {
        program: &program,
        args: &wanted.app_args,
        env: &wanted.env,
        cwd: wanted.workdir.as_deref(),
        loader: &loader,
        rootfs: wanted.rootfs.as_deref(),
    }
    .plan()?;
    let root = plan.share.map(|dir| MountRequest {
        source: MountSource::Path(dir),
        target: "/".into(),
        read_only: false,
        driver: Some(ShareDriver::NineP),
    });
    let volumes = root.into_iter().chain(wanted.volumes).collect();
    let wanted = Wanted {
        kernel: file,
        elfloader: None,
        workdir: None,
        app_args: plan.app_args,
        env: plan.env,
        rootfs: plan.rootfs,
        volumes,
        ..wanted
    };
    Ok((wanted, kernel))
}

/// What comes with a loader's image, which goes below all else.
fn with_loader(wanted: Wanted, found: Found) -> Wanted {
    let is_told = wanted.workdir.is_some();
    let theirs = found.env.into_iter().filter(|(key, _)| !(is_told && key == DIRECTORY));
    Wanted {
        env: theirs.chain(wanted.env).collect(),
        labels: found.labels.into_iter().chain(wanted.labels).collect(),
        image: found.image,
        ..wanted
    }
}

/// A loader's kernel: as asked for, as the environment has it, or Unikraft's own.
fn find_loader(wanted: &Wanted, program: &Program, images: &Images<'_>) -> Result<Found> {
    let configured = paths::environment_variable(LOADER).filter(|value| !value.is_empty());
    let asked = wanted.elfloader.as_ref().map(OsString::from).or(configured).unwrap_or_else(|| DEFAULT.into());
    let path = Path::new(&asked);
    if asked.is_empty() {
        return Err(Error::new("--elfloader is empty").with_hint("it is an image, or the file of a loader's kernel"));
    }
    if path.exists() || path.is_absolute() || path.starts_with(".") || path.starts_with("..") {
        return Ok(Found::new(As::Kernel, path.to_path_buf()));
    }
    let resolve = |name: &str, arch| images.resolve(name, arch);
    let asked = Asked { forced: Some(As::Oci), ..Asked::new(wanted.platform, Some(program.arch), &|_| None, &resolve) };
    let found = source::look(Some(path), &asked).found;
    found.map_err(|error| {
        let what = format!("cannot run program {}: cannot get its loader {}", program.path.display(), path.display());
        error
            .context(what)
            .with_hint(format!("`--elfloader FILE` or {LOADER}=FILE names the file of a loader's kernel"))
    })
}

/// How a loader takes the program that is its root file system; none if that is something else.
pub(super) fn taken(wanted: &Wanted, kernel: &KernelInfo) -> Result<Option<Taken>> {
    match &wanted.rootfs {
        Some(rootfs) if Program::is_one(rootfs) => Loader::of(&wanted.kernel, kernel).map(|loader| Some(loader.taken)),
        Some(_) | None => Ok(None),
    }
}

/// What becomes of a program, for whoever asks why.
pub(super) fn note(wanted: &Wanted) -> Option<String> {
    let kernel = kernel::inspect(&wanted.kernel, wanted.arch).ok()?;
    let becomes = match taken(wanted, &kernel).ok()?? {
        Taken::Archive => "the program and its libraries become a RAM disk, which the loader unpacks",
        Taken::Share => {
            "the program and its libraries become a directory of the machine's own, as the loader mounts its root by 9P"
        }
        Taken::Whole => "the program becomes the RAM disk, as the loader has no file system",
    };
    Some(becomes.to_owned())
}

/// Checks that the place is free where a program and its libraries are to be.
pub(super) fn check_root(spec: &Spec, volumes: &[Mount]) -> Result<()> {
    let kernel = spec.kernel.given().display();
    match volumes.iter().find(|mount| mount.target == "/") {
        Some(mount) => {
            let why = format!("cannot share {}: kernel {kernel} has the program and its libraries at /", mount.what());
            Err(Error::new(why).with_hint("with the program in it, that directory can be given by --rootfs"))
        }
        None => Ok(()),
    }
}

/// What its environment says of how a program is packed.
pub(super) fn packing(env: &BTreeMap<String, String>, taken: Taken) -> ForProgram<'_> {
    let value = |name: &str| env.get(name).map(String::as_str);
    ForProgram { taken, library_path: value(LIBRARY_PATH), directory: value(DIRECTORY) }
}
