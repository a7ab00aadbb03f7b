//! `kraft compose up`: the project's machines made equal to its file, and started in its order.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use jiff::Timestamp;

use super::attend::{Attended, Came};
use super::labels::{self, Member};
use super::pulling::Pulling;
use super::shared::Missing;
use super::staged::{Done, Starting, is_done};
use super::wanted::{Keeper, Place};
use super::{ComposeArgs, Services, carry, foresee, plan, shared, staged, turn};
use crate::cli::app::App;
use crate::cli::enable::Boot;
use crate::cli::{Outcome, complete, linger, output};
use crate::compose::{File, Loaded, Project, Service};
use crate::error::{Error, Result};
use crate::machine::{MachineName, Manager, Pull, StopMode, View};

/// Create and start the project's machines, and what they have in common
///
/// One that is missing is created, one that the file has changed is made anew, one that is equal goes on undisturbed.
/// They are started in the order of depends_on. Without --detach their consoles are shown; Ctrl-C stops them.
#[derive(Debug, Args)]
pub(super) struct UpArgs {
    #[command(flatten)]
    services: Services,

    /// Return once the machines run
    #[arg(short, long)]
    detach: bool,

    /// Have systemd run the machines, in a slice of the project's; as before if the project is there
    #[arg(long)]
    systemd: bool,

    /// Have the machines start at boot, too, in the order of the file
    #[arg(long, requires = "systemd", conflicts_with = "no_start")]
    enable: bool,

    /// Remove machines of the project that its file has no service for
    #[arg(long)]
    remove_orphans: bool,

    /// Create the machines and start none
    #[arg(long, conflicts_with = "detach")]
    no_start: bool,

    /// When to fetch images, whatever pull_policy says: missing, always or never
    #[arg(long, value_name = "WHEN", add = complete::words(Pull::ALL))]
    pull: Option<Pull>,

    /// Say what would be done and do nothing: images that are not there are not fetched
    #[arg(long, conflicts_with = "pull")]
    dry_run: bool,
}

pub(super) fn up(app: &App, args: &ComposeArgs, verb: &UpArgs) -> Outcome {
    let one = |error| vec![error];
    let named = &verb.services.services;
    let loaded = args.load(named)?;
    let project = &loaded.project;
    let services = project.with_dependencies(named).map_err(one)?;
    if services.is_empty() {
        return Err(vec![Error::new(format!("project {} has no service that its profiles choose", project.name))]);
    }
    let manager = manager(verb, &labels::members(app, &project.name).map_err(one)?, project.file.enable);
    let boot = if verb.enable || project.file.enable { Boot::Start } else { Boot::Leave };
    if boot == Boot::Start && manager == Manager::Local {
        return Err(vec![
            Error::new("machines start at boot by systemd, which does not run these")
                .with_hint("`kraft compose down`, then `kraft compose up --systemd`"),
        ]);
    }
    let wanted = Wanted { loaded: &loaded, services, keeper: Keeper { manager, scope: app.scope }, boot };
    let began = Timestamp::now();
    let Some(changed) = make_equal(app, verb, &wanted)? else { return Ok(ExitCode::SUCCESS) };
    if verb.no_start {
        return Ok(ExitCode::SUCCESS);
    }
    let start = Start::of(app, &wanted, &changed).map_err(one)?;
    if let Some(member) = start.all.first() {
        linger::note(app, manager, &member.name);
    }
    if verb.detach {
        let errors = start.carry_out(app, &AtomicBool::new(false));
        return if errors.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(errors) };
    }
    look_on(app, &wanted, start, began)
}

/// The services that are wanted, and by whom they are kept.
struct Wanted<'a> {
    loaded: &'a Loaded,
    services: Vec<&'a Service>,
    keeper: Keeper,
    boot: Boot,
}

impl Wanted<'_> {
    fn project(&self) -> &Project {
        &self.loaded.project
    }

    /// The machines of these services.
    fn machines(&self, app: &App) -> Result<Vec<Member>> {
        let mut members = labels::members(app, &self.project().name)?;
        members.retain(|member| self.service(member).is_some());
        Ok(members)
    }

    fn service(&self, of: &Member) -> Option<&Service> {
        self.services.iter().find(|service| service.name == of.service).copied()
    }
}

/// Has the machines be what the file says; the services of which one was changed. `None` if that was only to be told.
fn make_equal(app: &App, verb: &UpArgs, wanted: &Wanted<'_>) -> Result<Option<Vec<String>>, Vec<Error>> {
    let one = |error| vec![error];
    let (loaded, keeper) = (wanted.loaded, wanted.keeper);
    let name = &wanted.project().name;
    let places = plan::places(loaded, &wanted.services)?;
    // Held until their machines are there.
    let pulling = Pulling::new(app, if verb.dry_run { Some(Pull::Never) } else { verb.pull });
    let all = plan::check(app, loaded, &places, keeper, &pulling)?;

    // Fetching took its time, and is no change of the project.
    let turn = if verb.dry_run { None } else { Some(turn::take(app, name).map_err(one)?) };
    let there = labels::members(app, name).map_err(one)?;
    let in_use = Project {
        file: File {
            services: wanted.services.iter().map(|one| (*one).clone()).collect(),
            ..wanted.project().file.clone()
        },
        ..wanted.project().clone()
    };
    let missing = shared::look(app, &in_use).map_err(one)?;
    let (fewer, orphans) = without_place(loaded, &there, &places);
    if verb.dry_run {
        let steps = plan::steps(app, loaded, &places, keeper, all, &missing)?;
        let removed = if verb.remove_orphans { [fewer, orphans].concat() } else { fewer };
        let would = foresee::Up { missing, there, steps, removed, starts: !verb.no_start };
        return would.say(app, loaded).map(|()| None).map_err(one);
    }
    let made = missing.make(app).map_err(one)?;
    let steps = match plan::steps(app, loaded, &places, keeper, all, &Missing::default()) {
        Ok(steps) => steps,
        Err(flaws) => {
            made.undo(app);
            return Err(flaws);
        }
    };
    made.keep().map_err(one)?;

    let ran: Vec<MachineName> =
        there.iter().filter(|member| is_live(app, member)).map(|member| member.name.clone()).collect();
    let mut errors = Vec::new();
    if keeper.manager == Manager::Systemd {
        errors.extend(carry::let_go(app, &carry::held_back(app, &there, &steps)));
    }
    let mut changed = Vec::new();
    if errors.is_empty() {
        errors.extend(remove_orphans(app, verb, fewer, orphans));
        let done = carry::all(app, keeper.manager, wanted.boot, plan::in_order(loaded, steps));
        errors.extend(done.errors);
        changed = done.changed;
    }
    if errors.is_empty() {
        return Ok(Some(changed));
    }
    drop(turn);
    // What ran does so again, as far as it is there.
    let all = labels::members(app, name).map_err(one)?;
    let stopped = all.iter().filter(|member| ran.contains(&member.name)).cloned().collect();
    let how = Starting { all: &all, done: Done::Leave, enough: &AtomicBool::new(false) };
    errors.extend(staged::start(app, stopped, how));
    Err(errors)
}

/// What is started.
struct Start {
    /// But for what did all that it was for.
    machines: Vec<Member>,
    /// All machines of their services.
    all: Vec<Member>,
    /// Those that are to be stopped first, as they want to be started again where another was changed.
    again: Vec<Member>,
}

impl Start {
    fn of(app: &App, wanted: &Wanted<'_>, changed: &[String]) -> Result<Self> {
        let all = wanted.machines(app)?;
        let restarts = |member: &&Member| {
            let on =
                |service: &Service| service.depends_on.iter().any(|on| on.restart && changed.contains(&on.service));
            wanted.service(member).is_some_and(on)
        };
        let again: Vec<Member> = all.iter().filter(restarts).cloned().collect();
        let is_due = |member: &&Member| view(app, member).is_none_or(|view| !is_done(member, &view));
        let mut machines: Vec<Member> = all.iter().filter(is_due).cloned().collect();
        for member in &mut machines {
            // What it can do without is not waited for.
            let on = wanted.service(member).map(|service| service.depends_on.as_slice()).unwrap_or_default();
            let is_optional = |name: &String| on.iter().any(|on| on.service == *name && !on.required);
            member.waits.retain(|(service, _)| !is_optional(service));
        }
        Ok(Self { machines, all, again })
    }

    fn carry_out(self, app: &App, enough: &AtomicBool) -> Vec<Error> {
        let mut errors = staged::stop(app, self.again, StopMode::Graceful(None));
        errors.extend(staged::start(app, self.machines, Starting { all: &self.all, done: Done::Leave, enough }));
        errors
    }
}

/// Starts machines and shows their consoles until all of them are down, or somebody had enough: then they are stopped.
fn look_on(app: &App, wanted: &Wanted<'_>, start: Start, began: Timestamp) -> Outcome {
    let one = |error| vec![error];
    let is_shown = |member: &&Member| wanted.service(member).is_some_and(|service| service.attach);
    let shown: Vec<MachineName> = start.all.iter().filter(is_shown).map(|member| member.name.clone()).collect();
    let mut attended = Attended::begin(app, shown, began).map_err(one)?;
    let enough = Arc::new(AtomicBool::new(false));
    let (starter, has_enough) = (app.clone(), Arc::clone(&enough));
    let came = attended.until_done(move || start.carry_out(&starter, &has_enough)).map_err(one)?;
    let (signal, starting) = match came {
        Came::Done(errors) if !errors.is_empty() => return Err(errors),
        Came::Done(_) => match attended.until_all_ended(app).map_err(one)? {
            Some(signal) => (signal, None),
            None => return Ok(ExitCode::SUCCESS),
        },
        Came::Signal(signal) => (signal, Some(attended)),
    };
    output::note("stopping");
    enough.store(true, Ordering::SeqCst);
    let stop = || wanted.machines(app).map(|all| staged::stop(app, all, StopMode::Graceful(None))).map_err(one);
    let mut errors = stop()?;
    if let Some(attended) = starting {
        // What was about to start has come to its end by now, or runs.
        attended.until_given_up();
        errors.extend(stop()?);
    }
    if errors.is_empty() { Ok(ExitCode::from(128u8.wrapping_add(signal))) } else { Err(errors) }
}

/// Who keeps them: as asked, else as before.
fn manager(verb: &UpArgs, there: &[Member], enable: bool) -> Manager {
    match there.first() {
        _ if verb.systemd => Manager::Systemd,
        Some(member) => member.record.manager,
        None if enable => Manager::Systemd,
        None => Manager::Local,
    }
}

/// The machines that have no place in the project: those that are too many of a service, and those of services that its
/// file does not have.
fn without_place(loaded: &Loaded, there: &[Member], places: &[Place<'_>]) -> (Vec<Member>, Vec<Member>) {
    let services = loaded.project.file.services.iter().map(|service| service.name.clone());
    let known: Vec<String> = services.chain(loaded.project.others.clone()).collect();
    let orphans = plan::orphans(there.to_vec(), places, &known);
    orphans.into_iter().partition(|member| known.contains(&member.service))
}

fn remove_orphans(app: &App, verb: &UpArgs, fewer: Vec<Member>, orphans: Vec<Member>) -> Vec<Error> {
    // A service that has fewer machines now is what the file says.
    let mut errors = staged::remove(app, fewer, StopMode::Graceful(None));
    if verb.remove_orphans {
        errors.extend(staged::remove(app, orphans, StopMode::Graceful(None)));
    } else if !orphans.is_empty() {
        let names: Vec<&str> = orphans.iter().map(|member| member.name.as_str()).collect();
        log::warn!("machines that the file has no service for: {} (--remove-orphans removes them)", names.join(", "));
    }
    errors
}

fn is_live(app: &App, member: &Member) -> bool {
    view(app, member).is_some_and(|view| view.state.is_live())
}

/// What is known of a machine, if it can be known.
pub(super) fn view(app: &App, member: &Member) -> Option<View> {
    app.service_of(&member.name).and_then(|service| service.get(&member.name)).ok()
}
