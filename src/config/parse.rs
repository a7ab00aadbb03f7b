//! Text -> what is written in it, each key with its place. Knows TOML and no settings.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::place::{Flaws, Place};
use crate::error::Error;

/// A file as written.
#[derive(Debug, Clone)]
pub struct Written<'a> {
    pub(super) path: Arc<Path>,
    text: &'a str,
    pub(super) table: DeTable<'a>,
}

/// A key and its value.
pub(super) type Entry<'a, 'i> = (&'a Spanned<Cow<'i, str>>, &'a Spanned<DeValue<'i>>);

/// Reads TOML. `path` is for messages.
///
/// # Errors
/// Everything that is no TOML.
pub fn parse<'a>(text: &'a str, path: &Path) -> Result<Written<'a>, Flaws> {
    let path: Arc<Path> = path.into();
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(Written { path, text, table: table.into_inner() });
    }
    let flaw = |error: toml::de::Error| {
        let place = Place::of(&path, text, error.span().unwrap_or(0..0));
        place.error(Error::new(error.message().trim_end().replace('\n', ", ")))
    };
    Err(errors.into_iter().map(flaw).collect())
}

impl<'i> Written<'i> {
    /// Where these bytes begin.
    pub(super) fn place(&self, span: Range<usize>) -> Place {
        Place::of(&self.path, self.text, span)
    }

    /// What is written at the top, in the order of the text.
    pub(super) fn entries(&self) -> Vec<Entry<'_, 'i>> {
        in_order(&self.table)
    }
}

/// The entries of a table in the order of the text.
pub(super) fn in_order<'a, 'i>(table: &'a DeTable<'i>) -> Vec<Entry<'a, 'i>> {
    let mut entries: Vec<Entry<'a, 'i>> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_toml_is_shown_where_it_is() {
        let flaws = parse("a = 1\nb = = 2\nc = 'é' x\n", "/m/web.toml".as_ref()).unwrap_err();
        let flaws: Vec<String> = flaws.iter().map(ToString::to_string).collect();
        assert!(flaws[0].starts_with("/m/web.toml:2:5: "), "{flaws:?}");
        assert!(flaws.iter().any(|flaw| flaw.starts_with("/m/web.toml:3:")), "{flaws:?}");
        assert!(flaws.iter().all(|flaw| !flaw.contains('\n')), "{flaws:?}");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z=\\[\\]{}\"'.,# \né0-9]{0,60}") {
            let _ = parse(&text, "x".as_ref());
        }
    }
}
