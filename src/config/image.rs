//! The image that a machine is made of, in the place of a kernel's file, or of a root file system's.

use std::path::PathBuf;

use toml::Value;

use super::keys::Settings;
use super::place::Place;
use super::value::{Around, Read, Setting, Written, escaped, list, parsed, text};
use crate::error::Error;
use crate::machine::{ImageName, Pull};

impl Setting for ImageName {
    fn read(value: &Written<'_>, around: &Around<'_>) -> Read<Self> {
        parsed(value, around, "a text, an image's name").map(|name: Self| name.below(around.base))
    }

    fn write(&self) -> Option<Value> {
        Some(escaped(self.as_str()))
    }
}

impl Setting for Pull {
    fn read(value: &Written<'_>, around: &Around<'_>) -> Read<Self> {
        parsed(value, around, "a text, such as \"always\"")
    }

    fn write(&self) -> Option<Value> {
        Some(Value::String(self.to_string()))
    }
}

/// What the command begins with in place of what the image says, whose arguments are left out then. None at all is said,
/// too: the command is what `args` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entrypoint(pub Vec<String>);

impl Setting for Entrypoint {
    fn read(value: &Written<'_>, around: &Around<'_>) -> Read<Self> {
        list(value, "a list of texts", |value| text(value, around, "a text")).map(Self)
    }

    fn write(&self) -> Option<Value> {
        Some(Value::Array(self.0.iter().map(|text| escaped(text)).collect()))
    }
}

/// What the root file system is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rootfs {
    /// A directory or a file.
    Path(PathBuf),
    /// The files of an image.
    Image(ImageName),
}

impl Rootfs {
    /// The directory or the file.
    pub fn path(&self) -> Option<&PathBuf> {
        match self {
            Self::Path(path) => Some(path),
            Self::Image(_) => None,
        }
    }

    /// The image.
    pub fn image(&self) -> Option<&ImageName> {
        match self {
            Self::Path(_) => None,
            Self::Image(image) => Some(image),
        }
    }

    /// Either, as `--rootfs` takes it.
    pub fn to_path(&self) -> PathBuf {
        match self {
            Self::Path(path) => path.clone(),
            Self::Image(image) => image.as_str().into(),
        }
    }
}

impl Setting for Rootfs {
    fn read(value: &Written<'_>, around: &Around<'_>) -> Read<Self> {
        match ImageName::beside_paths(&text(value, around, "a text, a path or an image's name")?) {
            Some(image) => Ok(Self::Image(image.below(around.base))),
            None => PathBuf::read(value, around).map(Self::Path),
        }
    }

    fn write(&self) -> Option<Value> {
        match self {
            Self::Path(path) => path.write(),
            Self::Image(image) => image.write(),
        }
    }
}

/// What is wrong with a file that says two things to run; the places are those of `kernel` and of `image`.
pub(super) fn two_things(kernel: &Place, image: &Place) -> Error {
    let is_later = (image.line, image.column) > (kernel.line, kernel.column);
    let (first, then, place) = if is_later { ("kernel", kernel, image) } else { ("image", image, kernel) };
    let why = format!("kernel and image exclude each other, and {first} is there, too: {then}");
    place.error(Error::new(why).with_hint("an image has a kernel of its own"))
}

impl Settings {
    /// The key that says what to run.
    pub(super) fn runs(&self) -> Option<&'static str> {
        self.kernel.as_ref().map(|_| "kernel").or(self.image.as_ref().map(|_| "image"))
    }

    /// Leaves out what another file says to run instead, which is read later.
    pub(super) fn give_way(&mut self, later: &Self) {
        if later.kernel.is_some() {
            (self.image, self.entrypoint, self.pull) = (None, None, None);
        }
        if later.image.is_some() {
            self.kernel = None;
        }
    }

    /// Which of the keys about an image is given without one.
    pub fn idle_image(&self) -> Option<&'static str> {
        let rootfs = self.rootfs.as_ref().and_then(Rootfs::image);
        match (&self.image, &self.entrypoint, &self.pull) {
            (None, Some(_), _) => Some("entrypoint"),
            (None, None, Some(_)) if rootfs.is_none() => Some("pull"),
            (Some(_), _, _) | (None, None, _) => None,
        }
    }
}
