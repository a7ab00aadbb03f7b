//! `kraft compose`: several machines as one project, from one file. One small verb each.
//!
//! ```text
//! labels      how a machine, a network, a volume is known to be of a project
//! wanted      a service as what is wanted of a machine
//! shared      the project's networks and volumes
//! pulling     when images are fetched
//! turn        one change of a project at a time
//! plan        what is to be done to make machines equal to the file
//! carry       doing that; foresee: only saying it
//! attend      starting, and showing consoles, with somebody looking on
//! condition   waiting for what another service has to have come to
//! staged      doing something to services in their order
//! ```

mod attend;
mod carry;
mod condition;
mod config;
mod down;
mod foresee;
mod labels;
mod logs;
mod ls;
mod plan;
mod ps;
mod pull;
mod pulling;
mod shared;
mod staged;
mod start;
mod stop;
mod turn;
mod up;
mod wanted;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};

use super::Outcome;
use super::app::App;
use crate::compose::{self, Loaded, Where};
use crate::error::{Error, Kind, Result};
use crate::paths;

pub(super) use condition::{Awaited, await_all};
use labels::Member;

/// Run several machines as one project, from a compose file
///
/// The file is compose.yaml (compose.yml, docker-compose.yml, docker-compose.yaml, Composefile) here or in a directory
/// above, by the compose specification. Its services are machines PROJECT-SERVICE-1.
#[derive(Debug, Args)]
pub(crate) struct ComposeArgs {
    /// The compose file; may be repeated: later ones are merged into the first
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: Vec<PathBuf>,

    /// The project's name; the file's `name:`, or that of its directory if not given
    #[arg(short, long, value_name = "NAME", add = projects())]
    project_name: Option<String>,

    /// Have the services run, too, that are of this profile; may be repeated; '*' is all of them
    #[arg(long, value_name = "NAME")]
    profile: Vec<String>,

    /// A file of variables, instead of .env beside the compose file; may be repeated
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    env_file: Vec<PathBuf>,

    /// What relative paths are relative to; the directory of the first file if not given
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    project_directory: Option<PathBuf>,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Up(up::UpArgs),
    #[command(alias = "dw")]
    Down(down::DownArgs),
    Start(start::StartArgs),
    Stop(stop::StopArgs),
    Ps(ps::PsArgs),
    #[command(alias = "log")]
    Logs(logs::LogsArgs),
    #[command(alias = "list")]
    Ls(ls::LsArgs),
    Pull(pull::PullArgs),
    Config(config::ConfigArgs),
}

pub(crate) fn compose(app: &App, args: &ComposeArgs) -> Outcome {
    match &args.verb {
        Verb::Up(verb) => up::up(app, args, verb),
        Verb::Down(verb) => down::down(app, args, verb),
        Verb::Start(verb) => start::start(app, args, verb),
        Verb::Stop(verb) => stop::stop(app, args, verb),
        Verb::Ps(verb) => ps::ps(app, args, verb),
        Verb::Logs(verb) => logs::logs(app, args, verb),
        Verb::Ls(verb) => ls::ls(app, verb),
        Verb::Pull(verb) => pull::pull(app, args, verb),
        Verb::Config(verb) => config::config(args, verb),
    }
}

/// The services that a verb is for.
#[derive(Debug, Clone, Args)]
struct Services {
    /// Services; all of the project's if none is given
    #[arg(value_name = "SERVICE", add = services())]
    services: Vec<String>,
}

impl ComposeArgs {
    fn place(&self) -> Where {
        let mut files = self.file.clone();
        if files.is_empty()
            && let Some(several) = paths::environment_variable("COMPOSE_FILE").filter(|several| !several.is_empty())
        {
            files = several.as_bytes().split(|byte| *byte == b':').map(|path| OsStr::from_bytes(path).into()).collect();
        }
        Where {
            files,
            name: self.project_name.clone(),
            dir: self.project_directory.clone(),
            env_files: self.env_file.clone(),
        }
    }

    fn profiles(&self, loaded: &Loaded) -> Vec<String> {
        let more = loaded.variables.values.get("COMPOSE_PROFILES").map(String::as_str).unwrap_or_default();
        let more = more.split(',').map(str::trim).filter(|profile| !profile.is_empty()).map(str::to_owned);
        self.profile.iter().cloned().chain(more).collect()
    }

    /// The project, with the services that its profiles choose and those that are named.
    fn load(&self, named: &[String]) -> Result<Loaded, Vec<Error>> {
        let mut loaded = compose::load(&self.place())?;
        let profiles = self.profiles(&loaded);
        loaded.project.select(&profiles, named)?;
        for warning in &loaded.warnings {
            log::warn!("{warning}");
        }
        Ok(loaded)
    }

    /// What is known of the project by its machines: its name, and the services that its file has, whatever their
    /// profile, if it has one. A file that is wrong is no reason not to stop what is there.
    fn known(&self) -> Result<Known, Vec<Error>> {
        let from_outside = paths::environment_variable("COMPOSE_PROJECT_NAME").and_then(|name| name.into_string().ok());
        let named = self.project_name.clone().or(from_outside).filter(|name| !name.is_empty());
        let file = match (compose::load(&self.place()), &named) {
            (Ok(loaded), _) => Some(loaded),
            (Err(mut flaws), None) => {
                let hint = "`-p NAME` goes by the machines that there are, whatever is wrong with the file";
                match flaws.pop() {
                    Some(last) if last.hint().is_none() => flaws.push(last.with_hint(hint)),
                    last => flaws.extend(last),
                }
                return Err(flaws);
            }
            (Err(flaws), Some(_)) => {
                flaws.iter().filter(|flaw| flaw.kind() != Kind::NotFound).for_each(|flaw| log::warn!("{flaw}"));
                None
            }
        };
        let name = match (&named, &file) {
            (Some(name), _) => name.clone(),
            (None, Some(loaded)) => loaded.project.name.clone(),
            (None, None) => String::new(),
        };
        compose::check_name(&name).map_err(|error| vec![error])?;
        let services =
            file.map(|loaded| loaded.project.file.services.into_iter().map(|service| service.name).collect());
        Ok(Known { name, services })
    }
}

/// A project by its machines.
struct Known {
    name: String,
    services: Option<Vec<String>>,
}

impl Known {
    /// Its machines, those of these services alone if any is named.
    fn members(&self, app: &App, named: &[String]) -> Result<Vec<Member>, Vec<Error>> {
        let mut members = labels::members(app, &self.name).map_err(|error| vec![error])?;
        let mut flaws = Vec::new();
        for service in named {
            let in_file = self.services.as_ref().is_some_and(|known| known.contains(service));
            if !in_file && !members.iter().any(|member| member.service == *service) {
                let why = format!("project {} has no service '{}'", self.name, service.escape_debug());
                flaws.push(Error::new(why));
            }
        }
        if !flaws.is_empty() {
            return Err(flaws);
        }
        members.retain(|member| named.is_empty() || named.contains(&member.service));
        if members.is_empty() && self.services.is_none() {
            let why = format!("there is no project {}", self.name);
            return Err(vec![
                Error::of(Kind::NoSuchMachine, why).with_hint("`kraft compose ls` lists those that there are"),
            ]);
        }
        Ok(members)
    }
}

/// Completes the services of the file that is found from here.
fn services() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        // Completion has nobody to tell of an error.
        let services = compose::load(&Where::default()).map(|loaded| loaded.project.file.services).unwrap_or_default();
        services.into_iter().map(|service| CompletionCandidate::new(service.name)).collect()
    })
}

/// Completes the projects that there are.
fn projects() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let app = App::new(crate::paths::Scope::of_caller()).ok();
        let projects = app.and_then(|app| labels::projects(&app).ok()).unwrap_or_default();
        projects.into_iter().map(CompletionCandidate::new).collect()
    })
}
