//! `kraft pkg build`: a kernel and what goes with it become an image.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::app::App;
use crate::cli::spec_args::{environment, labels};
use crate::cli::{Outcome, complete, output};
use crate::error::{Context as _, Error, Result};
use crate::image::oci::build::{self, Built, Recipe};
use crate::image::oci::choose::Plat;
use crate::image::oci::local::Local;
use crate::image::oci::reference::{DEFAULT_TAG, Reference};
use crate::image::oci::save;
use crate::image::{kernel, rootfs};
use crate::machine::{Arch, Compression};
use crate::paths;
use crate::store::RootfsCache;

/// Make an image of a kernel and what goes with it
///
/// The image is kept under its name, or written to a file. kraft, upstream's kraft and urunc can run it. The same files make
/// the same image: it has no time in it but that of SOURCE_DATE_EPOCH. `kraft pkg` without a verb is the same.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// The kernel
    #[arg(short, long, value_name = "FILE", required = true, value_hint = clap::ValueHint::FilePath)]
    kernel: PathBuf,

    /// What the image is called: [REGISTRY[:PORT]/]NAME[:TAG]
    #[arg(short, long, value_name = "NAME", required_unless_present = "output")]
    name: Option<Reference>,

    /// The root file system: a directory or a tar archive, which becomes a RAM disk, or a RAM disk, a CPIO archive
    #[arg(long, value_name = "DIR|FILE", value_hint = clap::ValueHint::AnyPath)]
    rootfs: Option<PathBuf>,

    /// The platform that the kernel is built for: qemu, fc, xen or another
    #[arg(short, long, value_name = "PLAT", default_value = "qemu")]
    plat: Plat,

    /// The architecture that the kernel must be for; whichever it is if not given
    #[arg(short = 'm', long, value_name = "x86_64|arm64", add = complete::words(Arch::ALL))]
    arch: Option<Arch>,

    /// Set a variable in the guest's environment, or pass on kraft's own; may be repeated
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    env: Vec<String>,

    /// Label the image; may be repeated. com.urunc.unikernel.KEY=VALUE says what urunc is told
    #[arg(short, long, value_name = "KEY=VALUE")]
    label: Vec<String>,

    /// Write the image there instead of keeping it: oci:DIR[:TAG] or oci-archive:FILE[:TAG]
    #[arg(short, long, value_name = "WHERE", value_parser = to)]
    output: Option<Local>,

    /// Arguments for the application in the guest
    #[arg(value_name = "APP-ARGS", last = true)]
    app_args: Vec<String>,
}

fn to(text: &str) -> Result<Local> {
    Local::parse(text).unwrap_or_else(|| Err(Error::new("it is written to oci:DIR[:TAG] or to oci-archive:FILE[:TAG]")))
}

pub(super) fn build(app: &App, args: &BuildArgs) -> Outcome {
    output::done(make(app, args))
}

fn make(app: &App, args: &BuildArgs) -> Result<()> {
    if let Some(name) = args.name.as_ref().filter(|name| name.digest().is_some()) {
        return Err(Error::new(format!("cannot make {name}: its digest is known when it is made"))
            .with_hint("leave the digest out"));
    }
    let created = match paths::environment_variable("SOURCE_DATE_EPOCH") {
        None => None,
        Some(text) => Some(rootfs::parse_epoch(&text.to_string_lossy())?),
    };
    let cache = app.store.rootfs_cache()?;
    let recipe = Recipe {
        kernel: args.kernel.clone(),
        rootfs: args.rootfs.as_deref().map(|source| packed(args, source, created, &cache)).transpose()?,
        plat: args.plat.clone(),
        arch: args.arch,
        command: args.app_args.clone(),
        env: args.env.iter().map(|text| environment(text)).collect::<Result<BTreeMap<_, _>>>()?,
        labels: labels(&args.label)?,
        created,
    };
    let built = build::build(&recipe)?;
    write(app, args, &built)?;
    built.notes.iter().for_each(output::note);
    Ok(())
}

/// The RAM disk that the root file system becomes. No file of it is newer than what the image says of itself.
fn packed(args: &BuildArgs, source: &Path, created: Option<i64>, cache: &RootfsCache) -> Result<PathBuf> {
    let kernel = kernel::inspect(&args.kernel, args.arch)?.kind;
    let epoch = Some(created.unwrap_or(0).to_string());
    match (rootfs::Wanted { source, compression: Compression::None, kernel, epoch, program: None }).check()? {
        rootfs::Source::Initrd(path) => Ok(path),
        rootfs::Source::Files(files) => Ok(cache.path(files.build(cache)?)),
    }
}

fn write(app: &App, args: &BuildArgs, built: &Built) -> Result<()> {
    let root = built.root()?;
    let shown = match (&args.output, &args.name) {
        (Some(output), name) => {
            let tag = name.as_ref().and_then(Reference::tag).unwrap_or(DEFAULT_TAG);
            save::save(built, output, tag)?;
            output.to_string()
        }
        (None, Some(name)) => {
            let name = name.to_string();
            let blobs = app.store.blobs()?;
            let target = save::keep(built, &blobs).with_context(|| format!("cannot keep {name}"))?;
            blobs.name(&name, &target)?;
            name
        }
        (None, None) => return Err(Error::new("the image has no name").with_hint("-n NAME gives it one")),
    };
    log::info!("{shown} is sha256:{}", root.digest);
    output::line(shown)
}
