//! `extends`: a service that says what it has other than another one, of the same file or of another. Pure, but for what
//! reads the other file.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::merge::merge;
use super::node::{Node, Size};
use super::read::{At, Notes};
use super::relocate;
use crate::error::Error;

/// The longest line of services that extend each other.
const LONGEST: usize = 32;

/// A file in which services are.
#[derive(Debug, Clone)]
pub(super) struct Home {
    /// Its tree, variables and all in place.
    pub(super) root: Node,
    /// The file.
    pub(super) path: PathBuf,
    /// What its relative paths are relative to.
    pub(super) dir: PathBuf,
}

/// Has another file, which is named here.
pub(super) type Read<'a> = dyn FnMut(&Path, &At<'_>) -> Result<Rc<Home>, Vec<Error>> + 'a;

/// Puts every service of a file over the one that it extends.
///
/// # Errors
/// When there is no such service or file, or services extend each other in a circle.
pub(super) fn extend(home: &mut Home, read: &mut Read<'_>) -> Result<(), Vec<Error>> {
    let Some(services) = home.root.get("services") else { return Ok(()) };
    let (mut size, mut whole, mut flaws) = (Size::default(), Vec::new(), Vec::new());
    for (key, service) in services.entries().iter().filter(|(_, service)| service.get("extends").is_some()) {
        match over_base(home, &key.text, service.clone(), &mut Vec::new(), read) {
            Ok(service) => {
                size = size.plus(service.size());
                size.check().map_err(|error| vec![service.place.error(error)])?;
                whole.push((key.text.clone(), service));
            }
            Err(more) => flaws.extend(more),
        }
    }
    for (name, service) in whole {
        if let Some(place) = home.root.get_mut("services").and_then(|services| services.get_mut(&name)) {
            *place = service;
        }
    }
    if flaws.is_empty() { Ok(()) } else { Err(flaws) }
}

/// A service over the one that it extends, if it extends one. `line` is of those that lead to it.
fn over_base(
    home: &Home,
    name: &str,
    mut service: Node,
    line: &mut Vec<String>,
    read: &mut Read<'_>,
) -> Result<Node, Vec<Error>> {
    let Some(extends) = service.take("extends").filter(|extends| !extends.is_null()) else { return Ok(service) };
    let at = At::new(&extends, format!("services.{name}.extends"));
    let flaw = |why: String| vec![extends.place.error(Error::new(why).context(at.key.clone()))];
    let here = format!("{name} of {}", home.path.display());
    let is_circle = line.contains(&here) || line.len() >= LONGEST;
    line.push(here);
    if is_circle {
        return Err(flaw(format!("services extend each other in a circle: {}", line.join(" -> "))));
    }
    let mut notes = Notes::default();
    let (base, file) = if at.is_map() {
        at.check_keys(&mut notes, &["service", "file"], &[]);
        (at.get("service").and_then(|at| at.text(&mut notes)), at.get("file"))
    } else {
        (at.text(&mut notes), None)
    };
    let path = file.as_ref().and_then(|at| at.text(&mut notes));
    if !notes.flaws.is_empty() {
        return Err(notes.flaws);
    }
    let Some(base) = base else { return Err(flaw("it names no service".into())) };
    let other = match (path, &file) {
        (Some(path), Some(at)) => Some(read(&home.dir.join(path).components().collect::<PathBuf>(), at)?),
        _ => None,
    };
    let of = other.as_deref().unwrap_or(home);
    let Some(under) = of.root.get("services").and_then(|services| services.get(base)) else {
        return Err(flaw(format!("there is no service '{}' in {}", base.escape_debug(), of.path.display())));
    };
    let mut under = over_base(of, base, under.clone(), line, read)?;
    if of.dir != home.dir {
        relocate::service(&mut under, &of.dir);
    }
    let place = service.place.clone();
    merge(&mut under, service);
    under.place = place;
    Ok(under)
}
