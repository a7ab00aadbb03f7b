//! Networks: bridges of ours on the host, the addresses on them, and the taps that machines are connected by.

pub mod nft;
mod record;

pub use record::{Network, SCHEMA};
