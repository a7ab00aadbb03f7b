//! Images of the Open Container Initiative, and what is in them.
//!
//! An image is called by a [`mod@reference`]. It is [fetched](pull) from a [`registry`], to which [`auth`] tells who we are, or
//! [given](push) to one; [`unused`] tells what is needed of all that was fetched.
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
pub mod registry;
pub mod resolve;
pub mod save;
pub mod unused;
pub mod urunc;
