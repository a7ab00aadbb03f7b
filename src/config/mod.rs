//! Machine files: a machine in one TOML file, `NAME.toml`, that a person or a program wrote.
//!
//! ```text
//! place      where in which file something stands     flaw in it: FILE:LINE:COLUMN: what
//! parse      text -> what is written, key by key       written
//! specifier  %i, %n and the like                       value, attached: TOML as a setting's type, and back
//! image      which image it is made of                 of it and a kernel, one
//! keys       the settings that there are               written, merged: all optional
//! load       which files a machine has, merged         MachineFile
//! write      settings -> text
//! ```
//!
//! Three stages: a file as written, files merged, and what the command line's layer makes of that, which looks at the
//! host: a setting that cannot be is found there. Nothing here touches any file but machine files.

mod attached;
mod dirs;
mod image;
mod keys;
mod load;
mod parse;
mod place;
mod several;
mod specifier;
mod value;
mod write;

pub use dirs::Dirs;
pub use image::{Entrypoint, Rootfs};
pub use keys::Settings;
pub use load::{MachineFile, check, load, names, own_file};
pub use parse::{Written, parse};
pub use place::{Flaws, Place};
pub use specifier::Specifiers;
pub use value::{Directives, Install};
