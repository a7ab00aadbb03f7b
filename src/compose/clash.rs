//! Ports of the host's that more than one machine of a project would publish. Pure.

use super::model::{Condition, Service};
use crate::error::Error;

/// What is wrong with the ports of these services, which run at the same time.
pub fn ports(services: &[&Service]) -> Vec<Error> {
    let mut flaws = Vec::new();
    for (index, service) in services.iter().enumerate() {
        let flaw = |error: Error| service.place.error(error.context(format!("services.{}.ports", service.name)));
        if let Some(port) = service.ports.first().filter(|_| service.scale > 1) {
            let why = format!("{} machines cannot all publish {port}", service.scale);
            flaws.push(flaw(Error::new(why).with_hint("one service in front of them can")));
        }
        for other in services[..index].iter().filter(|other| !take_turns(service, other)) {
            let of_both = service.ports.iter().flat_map(|port| other.ports.iter().map(move |theirs| (port, theirs)));
            flaws.extend(of_both.filter(|(port, theirs)| port.collides(theirs)).map(|(port, theirs)| {
                flaw(Error::new(format!("{port} and {theirs} of {} exclude each other", other.name)))
            }));
        }
    }
    flaws
}

/// One runs when the other has ended.
fn take_turns(one: &Service, two: &Service) -> bool {
    let after = |later: &Service, first: &Service| {
        later.depends_on.iter().any(|on| on.service == first.name && on.condition == Condition::Completed)
    };
    one.scale == 0 || two.scale == 0 || after(one, two) || after(two, one)
}
