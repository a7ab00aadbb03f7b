//! When the images of services are fetched.

use crate::cli::app::App;
use crate::cli::images::Images;
use crate::compose::Service;
use crate::machine::Pull;

/// The images of a project. They are held until its machines are there.
#[derive(Debug)]
pub(super) struct Pulling<'a> {
    pub(super) images: Images<'a>,
    /// What a person asked for goes before what the file says.
    asked: Option<Pull>,
}

impl<'a> Pulling<'a> {
    pub(super) fn new(app: &'a App, asked: Option<Pull>) -> Self {
        Self { images: Images::new(app, asked.unwrap_or_default(), false), asked }
    }

    /// When a service's is fetched.
    pub(super) fn of(&self, service: &Service) -> Pull {
        self.asked.or(service.pull).unwrap_or_default()
    }
}
