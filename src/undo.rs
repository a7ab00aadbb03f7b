//! A stack of steps to take back: each act pushes its undo, `commit` forgets them all; and [`Orphan`]s, which nobody is
//! left to take back.

use std::fmt;

/// Undoes what was done so far, last first, unless [committed](Undo::commit).
#[derive(Default)]
pub struct Undo<'a> {
    steps: Vec<(String, Step<'a>)>,
}

type Step<'a> = Box<dyn FnOnce() -> crate::error::Result<()> + 'a>;

impl<'a> Undo<'a> {
    /// An empty stack.
    pub fn new() -> Self {
        Self::default()
    }

    /// Remembers how to take back what was just done. `what` names it for the log.
    pub fn push(&mut self, what: impl Into<String>, step: impl FnOnce() -> crate::error::Result<()> + 'a) {
        self.steps.push((what.into(), Box::new(step)));
    }

    /// Everything worked: nothing is taken back.
    pub fn commit(mut self) {
        self.steps.clear();
    }
}

/// Something of kraft's whose owner is gone, and how to take it away.
pub struct Orphan {
    what: String,
    step: Step<'static>,
}

impl Orphan {
    /// `what` names it for a person: what it is, and whose it was. `step` looks again whether that is still so.
    pub fn new(what: impl Into<String>, step: impl FnOnce() -> crate::error::Result<()> + 'static) -> Self {
        Self { what: what.into(), step: Box::new(step) }
    }

    /// What it is.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Takes it away. Gone already is a success.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn remove(self) -> crate::error::Result<()> {
        (self.step)().map_err(|error| error.context(format!("cannot remove {}", self.what)))
    }
}

impl fmt::Debug for Orphan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Orphan").field(&self.what).finish()
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        while let Some((what, step)) = self.steps.pop() {
            if let Err(error) = step() {
                log::warn!("cannot take back {what}: {error}");
            }
        }
    }
}

impl fmt::Debug for Undo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.steps.iter().map(|(what, _)| what)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn takes_back_last_first_unless_committed() {
        let seen = RefCell::new(Vec::new());
        let mut undo = Undo::new();
        for n in 1..=3 {
            let seen = &seen;
            undo.push(format!("{n}"), move || {
                seen.borrow_mut().push(n);
                Ok(())
            });
        }
        drop(undo);
        assert_eq!(*seen.borrow(), [3, 2, 1]);
        let mut undo = Undo::new();
        undo.push("kept", || {
            seen.borrow_mut().push(9);
            Ok(())
        });
        undo.commit();
        assert_eq!(*seen.borrow(), [3, 2, 1]);
    }
}
