//! Who keeps a test's machines alive, for stories that are the same under both managers.

use crate::lab::Lab;

/// A manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeper {
    Systemd,
    Local,
}

impl Keeper {
    /// A world for the story of this name under this manager.
    pub fn lab(self, story: &str) -> Lab {
        match self {
            Self::Systemd => Lab::new(&format!("sd-{story}")),
            Self::Local => Lab::new(&format!("lo-{story}")),
        }
    }

    /// `kraft run -d` of the tiny guest by this manager.
    #[track_caller]
    pub fn run(self, lab: &Lab, short: &str, options: &[&str], words: &[&str]) {
        lab.start_tiny(short, self == Self::Systemd, options, words).ok();
    }

    /// The arguments of an attached `kraft run` by this manager.
    pub fn attached<'a>(self, options: &[&'a str], guest: &'a str, words: &[&'a str]) -> Vec<&'a str> {
        let mut args = vec!["run"];
        match self {
            Self::Systemd => args.push("--systemd"),
            Self::Local => {}
        }
        args.extend(options);
        args.push(guest);
        args.extend(words);
        args
    }
}

/// Makes each story a test under either manager.
macro_rules! under_both {
    ($($story:ident),* $(,)?) => {
        mod by_systemd {
            $(#[test]
            fn $story() {
                super::$story($crate::keeper::Keeper::Systemd);
            })*
        }
        mod by_local {
            $(#[test]
            fn $story() {
                super::$story($crate::keeper::Keeper::Local);
            })*
        }
    };
}
pub(crate) use under_both;
