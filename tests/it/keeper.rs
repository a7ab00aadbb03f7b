//! Who keeps a test's machines alive, for stories that are the same under both managers.

use crate::lab::{Lab, Who};

/// A manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeper {
    /// The system's systemd, for root.
    Systemd,
    /// The user manager of an ordinary user who lingers.
    User,
    /// A runner of root's in the background.
    Local,
}

impl Keeper {
    /// A world for the story of this name under this manager.
    pub fn lab(self, story: &str) -> Lab {
        match self {
            Self::Systemd => Lab::new(&format!("sd-{story}")),
            Self::User => Lab::of(&format!("us-{story}"), Who::Tester),
            Self::Local => Lab::new(&format!("lo-{story}")),
        }
    }

    /// Its machines are units.
    pub fn has_units(self) -> bool {
        match self {
            Self::Systemd | Self::User => true,
            Self::Local => false,
        }
    }

    /// `kraft run -d` of the tiny guest by this manager.
    #[track_caller]
    pub fn run(self, lab: &Lab, short: &str, options: &[&str], words: &[&str]) {
        lab.start_tiny(short, self.has_units(), options, words).ok();
    }

    /// The arguments of an attached `kraft run` by this manager.
    pub fn attached<'a>(self, options: &[&'a str], guest: &'a str, words: &[&'a str]) -> Vec<&'a str> {
        let mut args = vec!["run"];
        if self.has_units() {
            args.push("--systemd");
        }
        args.extend(options);
        args.push(guest);
        args.extend(words);
        args
    }
}

/// Makes each story a test under either manager, and as an ordinary user. They are those that tests/run has told by the
/// package, too: see `package` there.
macro_rules! everywhere {
    ($($story:ident),* $(,)?) => {
        mod everywhere {
            mod by_user {
                $(#[test]
                fn $story() {
                    super::super::$story($crate::keeper::Keeper::User);
                })*
            }
            mod by_systemd {
                $(#[test]
                fn $story() {
                    super::super::$story($crate::keeper::Keeper::Systemd);
                })*
            }
        }
        mod by_local {
            $(#[test]
            fn $story() {
                super::$story($crate::keeper::Keeper::Local);
            })*
        }
    };
}
pub(crate) use everywhere;

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
