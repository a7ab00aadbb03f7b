//! The command line: one file a verb. A verb resolves what the person typed, checks it, acts once, and says what
//! happened. Only this layer chooses between managers.

mod app;
mod apply;
mod complete;
pub(crate) mod compose;
mod config;
mod create;
mod declare;
mod disable;
pub mod doctor;
mod each;
mod elsewhere;
mod enable;
mod events;
mod explain;
mod export;
mod file_image;
mod filter;
mod follow;
mod found;

mod generator;
mod held;
mod images;
mod inspect;
mod kill;
mod limit_args;
mod limits;
mod linger;
mod logs;
mod names;
mod net;
mod output;
mod pause;
mod pkg;
mod probe_args;
mod program;
mod ps;
mod restart;
mod restore;
mod rm;
mod run;
mod runner;
mod samples;
mod schedule_args;
mod secret_args;
mod source_args;
mod spec_args;
mod start;
mod stats;
mod stop;
mod tick;
mod top;
mod update;
mod version;
mod volume;
mod volume_args;
mod wait;
mod wanted;
mod written;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::error::{Error, Result};
use crate::paths::{self, Scope};

use app::App;

/// What all verbs have is shown apart from what is their own.
const GLOBAL: &str = "Global options";

/// Limits, too.
const LIMITS: &str = "Limits, with --systemd";

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Run unikernels as systemd services.
#[derive(Debug, Parser)]
#[command(name = "kraft", version, disable_help_subcommand = true, max_term_width = 110)]
#[command(after_help = "Exit codes: the guest's own with run and wait; 125 kraft failed, 126 the VMM cannot be run, \
                        127 kernel or file not found, 128+N ended by signal N.\n\
                        `kraft VERB --help` and kraft-VERB(1) tell more of each command.")]
pub struct Cli<V: Subcommand> {
    /// Your own machines, run by your user manager: the default for everybody but root
    #[arg(long, global = true, conflicts_with = "system", help_heading = GLOBAL)]
    user: bool,

    /// The system's machines, run by the system manager: the default for root
    #[arg(long, global = true, help_heading = GLOBAL)]
    system: bool,

    /// How much kraft says about itself: off, error, warn, info, debug or trace
    #[arg(long, global = true, value_name = "LEVEL", default_value = "warn", help_heading = GLOBAL,
        add = complete::words(&LEVELS))]
    log_level: log::LevelFilter,

    #[command(subcommand)]
    verb: V,
}

/// What units run. Two of it belong to each start, and what every other verb takes costs a process a millisecond.
#[derive(Debug, Subcommand)]
enum UnitVerb {
    #[command(hide = true)]
    Runner(runner::RunnerArgs),
}

/// What can be done. Aliases are hidden, as completion offers one name for a verb and would take the shorter.
#[derive(Debug, Subcommand)]
enum Verb {
    #[command(alias = "r", after_help = "`kraft r` is the same.")]
    Run(run::RunArgs),
    Create(create::CreateArgs),
    Start(start::StartArgs),
    Stop(stop::StopArgs),
    Restart(restart::RestartArgs),
    Kill(kill::KillArgs),
    Pause(pause::PauseArgs),
    Unpause(pause::UnpauseArgs),
    #[command(alias = "remove", after_help = "`kraft remove` is the same.")]
    Rm(rm::RmArgs),
    Enable(enable::EnableArgs),
    Disable(disable::DisableArgs),
    Wait(wait::WaitArgs),
    Update(update::UpdateArgs),
    #[command(alias = "ls", after_help = "`kraft ls` is the same.")]
    Ps(ps::PsArgs),
    Inspect(inspect::InspectArgs),
    Stats(stats::StatsArgs),
    Top(top::TopArgs),
    #[command(alias = "log", after_help = "`kraft log` is the same.")]
    Logs(logs::LogsArgs),
    #[command(alias = "event", after_help = "`kraft event` is the same.")]
    Events(events::EventsArgs),
    #[command(alias = "network", after_help = "`kraft network` is the same.")]
    Net(net::NetArgs),
    #[command(aliases = ["image", "package"], after_help = "`kraft image` is the same.")]
    Pkg(pkg::PkgArgs),
    Version(version::VersionArgs),
    #[command(aliases = ["vol", "volumes"], after_help = "`kraft vol` is the same.")]
    Volume(volume::VolumeArgs),
    Config(config::ConfigArgs),
    Apply(apply::ApplyArgs),
    Compose(compose::ComposeArgs),
    Export(export::ExportArgs),
    Doctor(doctor::DoctorArgs),
    Completion(complete::CompletionArgs),
    #[command(hide = true)]
    Restore(restore::RestoreArgs),
    #[command(hide = true)]
    Runner(runner::RunnerArgs),
}

/// What a verb comes to: an exit code, or errors to show.
pub(crate) type Outcome = Result<ExitCode, Vec<Error>>;

/// Runs the program.
///
/// # Errors
/// Everything that went wrong, to be shown once.
pub fn main() -> Outcome {
    if let Some(name) = generator::invoked() {
        return generator::main(&name);
    }
    clap_complete::CompleteEnv::with_factory(command).complete();
    let cli = match parse() {
        Ok(cli) => cli,
        Err(usage) => return show_usage(&usage),
    };
    let scope = match (cli.user, cli.system) {
        (true, _) => Scope::User,
        (_, true) => Scope::System,
        _ => Scope::of_caller(),
    };
    if !matches!(cli.verb, Verb::Runner(_)) {
        crate::logging::to_stderr(cli.log_level);
    }
    let app = App::new(scope).map_err(|error| vec![error])?;
    match cli.verb {
        Verb::Run(args) => run::run(&app, args),
        Verb::Create(args) => create::create(&app, args),
        Verb::Start(args) => start::start(&app, &args),
        Verb::Stop(args) => stop::stop(&app, &args),
        Verb::Restart(args) => restart::restart(&app, &args),
        Verb::Kill(args) => kill::kill(&app, &args),
        Verb::Pause(args) => pause::pause(&app, &args),
        Verb::Unpause(args) => pause::unpause(&app, &args),
        Verb::Rm(args) => rm::rm(&app, &args),
        Verb::Enable(args) => enable::enable(&app, &args),
        Verb::Disable(args) => disable::disable(&app, &args),
        Verb::Wait(args) => wait::wait(&app, &args),
        Verb::Update(args) => update::update(&app, &args),
        Verb::Ps(args) => ps::ps(&app, &args),
        Verb::Inspect(args) => inspect::inspect(&app, &args),
        Verb::Stats(args) => stats::stats(&app, &args),
        Verb::Top(args) => top::top(&app, &args),
        Verb::Logs(args) => logs::logs(&app, &args),
        Verb::Events(args) => events::events(&app, &args),
        Verb::Net(args) => net::net(&app, &args),
        Verb::Pkg(args) => pkg::pkg(&app, args),
        Verb::Version(args) => version::version(&app, &args),
        Verb::Volume(args) => volume::volume(&app, args),
        Verb::Config(args) => config::config(&app, &args),
        Verb::Apply(args) => apply::apply(&app, &args),
        Verb::Compose(args) => compose::compose(&app, &args),
        Verb::Export(args) => export::export(&app, &args),
        Verb::Doctor(args) => doctor::doctor(&app, &args),
        Verb::Completion(args) => complete::completion(&args),
        Verb::Restore(args) => restore::restore(&app, &args),
        Verb::Runner(args) => runner::runner(&app, &args, cli.log_level),
    }
}

fn parse() -> Result<Cli<Verb>, clap::Error> {
    let is_option = |word: &std::ffi::OsString| word.as_encoded_bytes().starts_with(b"-");
    if paths::arguments().find(|word| !is_option(word)).is_none_or(|verb| verb != "runner") {
        return Cli::try_parse();
    }
    let Cli { user, system, log_level, verb: UnitVerb::Runner(args) } = Cli::try_parse()?;
    Ok(Cli { user, system, log_level, verb: Verb::Runner(args) })
}

/// The whole command, for completion, man pages and tests.
pub fn command() -> clap::Command {
    Cli::<Verb>::command()
}

/// Help and version go to standard output and are a success; a mistake exits by 125, as 2 may be a guest's own code.
fn show_usage(usage: &clap::Error) -> Outcome {
    // Nobody is left to tell when the stream is gone.
    let _ = usage.print();
    Ok(if usage.use_stderr() { ExitCode::from(125) } else { ExitCode::SUCCESS })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
