//! `kraft update`.

use std::time::Duration;

use clap::Args;
use clap::builder::ValueParser;

use super::app::App;
use super::each::{Targets, each};
use super::limit_args::LimitArgs;
use super::spec_args::{POLICIES, labels};
use super::{Outcome, complete, enable, output};
use crate::error::Error;
use crate::lifecycle::shares;
use crate::machine::{Bytes, Changes, Progress, RestartPolicy, Sandbox, Spec, parse_duration};
use crate::paths::Scope;
use crate::systemd;

/// Change settings of machines
///
/// What cannot be changed while the guest runs counts from the next start on; kraft says so.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    targets: Targets,

    /// The guest's memory
    #[arg(short = 'M', long, value_name = "SIZE")]
    memory: Option<Bytes>,

    /// Virtual CPUs
    #[arg(long, value_name = "N")]
    cpus: Option<u32>,

    /// When it is started again after it ended by itself
    #[arg(long, value_name = "no|on-failure[:N]|always", add = complete::words(&POLICIES))]
    restart: Option<RestartPolicy>,

    /// How long the guest may take to shut down before it is ended
    #[arg(long, value_name = "TIME", value_parser = ValueParser::new(parse_duration))]
    stop_timeout: Option<Duration>,

    /// How far its unit confines it
    #[arg(long, value_name = "strict|compatible|off", add = complete::words(Sandbox::ALL))]
    sandbox: Option<Sandbox>,

    /// Set a label; an empty value removes it; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE")]
    label: Vec<String>,

    /// Set a property of the unit, such as MemoryMax=1G or CPUQuota=50%; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    property: Vec<String>,

    #[command(flatten)]
    limits: LimitArgs,
}

pub(crate) fn update(app: &App, args: &UpdateArgs) -> Outcome {
    let changes = Changes {
        memory: args.memory,
        cpus: args.cpus,
        restart: args.restart,
        stop_timeout: args.stop_timeout,
        sandbox: args.sandbox,
        labels: labels(&args.label).map_err(|error| vec![error])?,
        properties: args.property.clone(),
        limits: args.limits.clone().limits().map_err(|error| vec![error])?,
    };
    if changes == Changes::default() {
        return Err(vec![Error::new("nothing to change").with_hint("`kraft update --help` shows what can be changed")]);
    }
    systemd::check_properties(&changes.properties).map_err(|error| vec![error])?;
    each(app, &args.targets, |service, name| {
        let _claim = app.claim(name)?;
        enable::check_ours(app, name)?;
        if let Some(sandbox) = changes.sandbox
            && app.scope == Scope::System
        {
            let record = app.store.read(name)?;
            shares::check_confined(&Spec { sandbox, ..record.spec })?;
        }
        let later: Vec<String> = service
            .update(name, &changes)?
            .into_iter()
            .filter(|change| change.progress == Progress::NeedsRestart)
            .map(|change| change.setting)
            .collect();
        enable::keep_in_step(app, name)?;
        if !later.is_empty() {
            output::note(format!("{name} has its new {} after `kraft restart {name}`", later.join(", ")));
        }
        Ok(())
    })
}
