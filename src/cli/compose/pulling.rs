//! When the images of services are fetched.

use crate::cli::app::App;
use crate::cli::images::Images;
use crate::compose::{Pull, Service};
use crate::image::oci::pull::Policy;

/// The images of a project, each by the policy of its service. They are held until its machines are there.
#[derive(Debug)]
pub(super) struct Pulling<'a> {
    /// What a person asked for goes before what the file says.
    asked: Option<Policy>,
    always: Images<'a>,
    missing: Images<'a>,
    never: Images<'a>,
}

impl<'a> Pulling<'a> {
    pub(super) fn new(app: &'a App, asked: Option<Policy>) -> Self {
        let images = |policy| Images::new(app, policy, false);
        let [always, missing, never] = [Policy::Always, Policy::Missing, Policy::Never].map(images);
        Self { asked, always, missing, never }
    }

    /// Those of a service.
    pub(super) fn of(&self, service: &Service) -> &Images<'a> {
        match self.asked.or(service.pull.map(policy)).unwrap_or_default() {
            Policy::Always => &self.always,
            Policy::Missing => &self.missing,
            Policy::Never => &self.never,
        }
    }
}

fn policy(pull: Pull) -> Policy {
    match pull {
        Pull::Always => Policy::Always,
        Pull::Missing => Policy::Missing,
        Pull::Never => Policy::Never,
    }
}
