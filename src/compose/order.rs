//! The order of services: who waits for whom. Pure.

use std::collections::BTreeMap;

use super::model::Service;

/// A circle of dependencies, if there is one: a service in it, and the way around.
pub(super) fn cycle(services: &[Service]) -> Option<(&Service, Vec<String>)> {
    let levels = levels(&names(services));
    let placed = |name: &str| levels.iter().flatten().any(|known| known == name);
    // What is in no level waits for a circle, or is in one: whoever is followed long enough is in it.
    let mut at = services.iter().find(|service| !placed(&service.name))?;
    let next = |of: &Service| {
        let waits = of.depends_on.iter().find(|on| !placed(&on.service))?;
        services.iter().find(|service| service.name == waits.service)
    };
    for _ in 0..services.len() {
        at = next(at)?;
    }
    let (first, mut around) = (at, vec![at.name.clone()]);
    for _ in 0..services.len() {
        at = next(at)?;
        around.push(at.name.clone());
        if at.name == first.name {
            break;
        }
    }
    Some((first, around))
}

/// Each service and what it waits for.
pub fn names(services: &[Service]) -> BTreeMap<String, Vec<String>> {
    let of = |service: &Service| service.depends_on.iter().map(|on| on.service.clone()).collect();
    services.iter().map(|service| (service.name.clone(), of(service))).collect()
}

/// What can be started at once: first what waits for nobody, then what waits for those alone, and so on. What waits for
/// something that is not among the services does not wait for it; what is in a circle is left out.
pub fn levels(services: &BTreeMap<String, Vec<String>>) -> Vec<Vec<String>> {
    let mut levels: Vec<Vec<String>> = Vec::new();
    let mut left: Vec<&String> = services.keys().collect();
    loop {
        let is_left = |name: &String| left.contains(&name);
        let free: Vec<String> = left
            .iter()
            .filter(|name| services.get(**name).is_none_or(|on| !on.iter().any(is_left)))
            .map(|name| (*name).clone())
            .collect();
        if free.is_empty() {
            return levels;
        }
        left.retain(|name| !free.contains(name));
        levels.push(free);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_comes_later() {
        let of = |text: &str| -> BTreeMap<String, Vec<String>> {
            let one = |line: &str| {
                let (name, on) = line.split_once(':').unwrap();
                (name.to_owned(), on.split_whitespace().map(str::to_owned).collect())
            };
            text.split(',').map(one).collect()
        };
        assert_eq!(
            levels(&of("web:db cache,db:migrate,cache:,migrate:")),
            [vec!["cache".to_owned(), "migrate".to_owned()], vec!["db".to_owned()], vec!["web".to_owned()]]
        );
        assert_eq!(levels(&of("a:gone")), [["a"]]);
        assert_eq!(levels(&of("a:b,b:a,c:")), [["c"]]);
    }
}
