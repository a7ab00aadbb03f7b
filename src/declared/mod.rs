//! Machines that files declare: what is known of them before they have a record.
//!
//! A declared machine has its record from its first start on, made of its file by the unit that the generator wrote.
//! Until then it is what its file says, as far as that can be told without looking at the host.
//!
//! ```text
//! provisional  a file as the record that it will become, but for what only the host tells
//! mark         the line by which a file is kraft's own, and which machine it was written for
//! service      machines that have no record yet, among the others
//! ```

mod mark;
mod provisional;
mod service;

pub use mark::{heading, written_for};
pub use provisional::{id_of, record};
pub use service::DeclaredService;
