//! Images of the Open Container Initiative, and what is in them.
//!
//! [`documents`] reads what an image says of itself, [`choose`] picks one of the kernels of an index, [`contents`] finds
//! the kernel and the root file system in the layers and puts them into the store's cache, by content. Upstream's
//! layout has its files in one place; that of [`urunc`] says where they are. [`build`] makes an image of both layouts,
//! [`local`] reads images that are files here, and [`save`] writes such.

mod blob;
pub mod build;
pub mod choose;
pub mod contents;
pub mod documents;
mod layer;
pub mod local;
pub mod reference;
pub mod resolve;
pub mod save;
pub mod urunc;
