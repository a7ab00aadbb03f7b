//! kraft runs unikernels as systemd services. See DESIGN in the repository's documentation for the map; the modules are
//! layers, and use those below them only.

pub mod error;
pub mod machine;
pub mod paths;
pub mod process;
pub mod store;
pub mod systemd;
pub mod undo;
