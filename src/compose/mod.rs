//! Compose files: several machines, and what they have in common, as one text. No I/O but for [`load`], which reads
//! what a project is made of; `cli` makes machines of it.
//!
//! ```text
//! node         a YAML text as a tree in which everything knows its line
//! interpolate  variables, and the files that give them values
//! merge        several files as one
//! read         values out of a tree, what is wrong and what is passed over
//! sources      the files of a project, with what they include
//! extends      a service over the one that it extends
//! relocate     paths of another directory's file
//! file         a whole file; service, keys, own, attached: its services
//! model        what it says, in our words
//! order        who waits for whom
//! project      the services that are wanted, under a name
//! load         the files of a project, found and read
//! render       a tree as text again
//! ```

mod attached;
mod clash;
mod extends;
mod file;
mod interpolate;
mod keys;
mod load;
mod merge;
mod model;
mod node;
mod order;
mod own;
mod project;
mod read;
mod relocate;
mod render;
mod service;
mod sources;

pub use clash::ports as clashing_ports;
pub use interpolate::{Variables, dotenv, expand};
pub use load::{Loaded, Where, find, load};
pub use model::{
    Condition, Dependency, EnvFile, File, Link, Network, Own, Secret, SecretUse, Service, Share, ShareSource, Volume,
};
pub use node::{Key, Node, Place, Value};
pub use order::levels;
pub use project::{DEFAULT_NETWORK, Project, check_name};
pub use read::Notes;

/// What the labels begin with by which compose knows what is its own.
pub const DOCKER: &str = "com.docker.compose.";

/// Reads the text of a file. For tests of the parser.
///
/// # Errors
/// Everything that is wrong in it, each with its line and key.
pub fn parse(
    text: &str,
    path: &std::path::Path,
    with: &Variables,
) -> Result<(File, Vec<String>), Vec<crate::error::Error>> {
    let mut notes = Notes::default();
    let mut root = node::parse(text, path).map_err(|error| vec![error])?;
    interpolate::interpolate(&mut root, with, &mut notes.warnings)?;
    merge::without_resets(&mut root);
    let file = file::read(&root, &mut notes);
    if notes.flaws.is_empty() { Ok((file, notes.warnings)) } else { Err(notes.flaws) }
}

#[cfg(test)]
mod tests;
