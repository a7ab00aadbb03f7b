//! Images of the Open Container Initiative, and what is in them.
//!
//! An image is called by a [`mod@reference`]. `sources` tells where it is by what `registries` says, [`pull`] fetches it
//! from a [`registry`] there, to which [`auth`] tells who we are, and [`push`] gives it to one; [`unused`] tells what is needed of all that was fetched.
//!
//! [`documents`] reads what an image says of itself, [`choose`] picks one of the kernels of an index, [`contents`] finds
//! the kernel and the root file system in the layers and puts them into the store's cache, by content. Upstream's
//! layout has its files in one place; that of [`urunc`] says where they are. [`build`] makes an image of both layouts,
//! [`local`] reads images that are files here, and [`save`] writes such.

pub mod auth;
mod blob;
pub mod build;
pub mod choose;
pub mod contents;
pub mod documents;
mod layer;
pub mod local;
pub mod pull;
pub mod push;
pub mod reference;
mod registries;
pub mod registry;
pub mod resolve;
pub mod save;
mod sources;
pub mod unused;
pub mod urunc;
