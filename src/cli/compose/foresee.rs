//! What `up` would do, in the words in which it says what it does.

use super::labels::{Member, in_levels};
use super::plan::{Step, Units};
use super::shared::Missing;
use super::staged::is_done;
use super::up::view;
use super::{carry, plan};
use crate::cli::app::App;
use crate::cli::apply::plan::Action;
use crate::cli::output;
use crate::compose::Loaded;
use crate::error::Result;

/// All that would be done.
pub(super) struct Up {
    pub(super) missing: Missing,
    pub(super) there: Vec<Member>,
    pub(super) steps: Vec<Step>,
    pub(super) removed: Vec<Member>,
    pub(super) starts: bool,
}

impl Up {
    /// Says it.
    ///
    /// # Errors
    /// When nobody hears it.
    pub(super) fn say(self, app: &App, loaded: &Loaded) -> Result<()> {
        let Self { missing, there, steps, removed, starts } = self;
        missing.would_be().keep()?;
        let live = |member: &Member| view(app, member).is_some_and(|view| view.state.is_live());
        let held: Vec<Member> = carry::held_back(app, &there, &steps).into_iter().filter(live).collect();
        in_levels(held.clone()).iter().rev().flatten().try_for_each(|member| say("stopped", &member.name))?;
        in_levels(removed).iter().rev().flatten().try_for_each(|member| say("removed", &member.name))?;
        let steps = plan::in_order(loaded, steps);
        steps.iter().try_for_each(|step| say(step.action, &step.name))?;
        let is_started = |step: &&Step| {
            let there = there.iter().find(|member| member.name == step.name);
            let is_left =
                |member: &Member| view(app, member).is_some_and(|view| view.state.is_live() || is_done(member, &view));
            let rests = there.is_some_and(is_left);
            step.action != Action::Unchanged || step.units == Units::Made || !rests
        };
        let of_held = |step: &&Step| held.iter().any(|member| member.name == step.name);
        let started = steps.iter().filter(|step| starts && (is_started(step) || of_held(step)));
        started.into_iter().try_for_each(|step| say("started", &step.name))
    }
}

fn say(what: impl std::fmt::Display, name: impl std::fmt::Display) -> Result<()> {
    output::line(format!("{what} {name}"))
}
