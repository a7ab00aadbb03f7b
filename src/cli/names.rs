//! Names for machines that were given none.

use crate::error::{Context as _, Result};
use crate::machine::MachineName;

const HOW: [&str; 32] = [
    "able", "agile", "amber", "bold", "brave", "brisk", "calm", "clear", "crisp", "deft", "eager", "fair", "fleet",
    "frank", "glad", "hardy", "keen", "lucid", "merry", "mild", "neat", "nimble", "plain", "proud", "quick", "quiet",
    "sharp", "sober", "spry", "steady", "swift", "tidy",
];
const WHO: [&str; 32] = [
    "auk", "bison", "coati", "crane", "dingo", "egret", "finch", "gecko", "heron", "ibex", "jackdaw", "kestrel",
    "kiwi", "lark", "lemur", "linnet", "lynx", "marten", "newt", "okapi", "otter", "petrel", "plover", "quail",
    "raven", "saiga", "serval", "stoat", "tapir", "teal", "vole", "wren",
];

/// A name such as `swift_otter_3f9c`: two words for people, four digits against collisions.
pub(crate) fn made_up() -> Result<MachineName> {
    let mut bytes = [0; 4];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).context("cannot get random numbers")?;
    let how = HOW[usize::from(bytes[0]) % HOW.len()];
    let who = WHO[usize::from(bytes[1]) % WHO.len()];
    format!("{how}_{who}_{:02x}{:02x}", bytes[2], bytes[3]).parse()
}

#[cfg(test)]
mod tests {
    #[test]
    fn made_up_names_are_names() {
        for how in super::HOW {
            for who in super::WHO {
                assert!(format!("{how}_{who}_0000").parse::<crate::machine::MachineName>().is_ok());
            }
        }
        super::made_up().unwrap();
    }
}
