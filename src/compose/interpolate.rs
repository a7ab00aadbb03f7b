//! Variables in a compose file, `$VAR` and `${VAR:-default}` with all their forms, and the files that give them values
//! (`.env`, `env_file`). Pure.

use std::collections::BTreeMap;
use std::path::Path;

use super::node::{Node, Place, Value};
use crate::error::{Error, Result};

/// The deepest nesting of `${A:-${B:-...}}`.
const DEEPEST: usize = 16;

/// The most lines of a value in a file of variables.
const LONGEST: usize = 1000;

/// Where variables have their values from: kraft's own environment goes before the files.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    /// Those that are set.
    pub values: BTreeMap<String, String>,
}

impl Variables {
    fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }
}

/// Puts the values of variables in their places, in every value of a tree. Warnings are about variables that are not set.
///
/// # Errors
/// Everything that is wrong, each with its place.
pub fn interpolate(node: &mut Node, with: &Variables, warnings: &mut Vec<String>) -> Result<(), Vec<Error>> {
    let mut flaws = Vec::new();
    walk(node, with, warnings, &mut flaws);
    if flaws.is_empty() { Ok(()) } else { Err(flaws) }
}

fn walk(node: &mut Node, with: &Variables, warnings: &mut Vec<String>, flaws: &mut Vec<Error>) {
    match &mut node.value {
        Value::Scalar { text, plain } if text.contains('$') => {
            let mut unset = Vec::new();
            match expand(text, with, &mut unset) {
                Ok(expanded) => {
                    // A variable that is empty is an empty text, and not nothing at all.
                    *plain &= !matches!(expanded.as_str(), "" | "~" | "null" | "Null" | "NULL");
                    *text = expanded;
                }
                Err(error) => flaws.push(node.place.error(error)),
            }
            warnings.extend(unset.iter().map(|name| format!("{}: variable {name} is not set", node.place)));
        }
        Value::Scalar { .. } => {}
        Value::List(list) => list.iter_mut().for_each(|node| walk(node, with, warnings, flaws)),
        Value::Map(entries) => entries.iter_mut().for_each(|(_, node)| walk(node, with, warnings, flaws)),
    }
}

/// A text with the values of its variables. `unset` gets the names of those that have none and no default.
///
/// # Errors
/// When a `${` is not closed, a name is none, or `${VAR:?why}` has no value.
pub fn expand(text: &str, with: &Variables, unset: &mut Vec<String>) -> Result<String> {
    expand_at(text, with, unset, 0)
}

fn expand_at(text: &str, with: &Variables, unset: &mut Vec<String>, depth: usize) -> Result<String> {
    let bad = |why: &str| Error::new(format!("bad variable in '{}': {why}", text.escape_debug()));
    if depth > DEEPEST {
        return Err(bad("it is nested too deep"));
    }
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let end = closing(after).ok_or_else(|| bad("a '${' is not closed"))?;
            out.push_str(&braced(&after[..end], with, unset, depth).map_err(|error| match error {
                Braced::Flaw(why) => bad(&why),
                Braced::Error(error) => error,
            })?);
            rest = &after[end + 1..];
        } else {
            let length = name_length(rest);
            if length == 0 {
                return Err(bad("a '$' without a name behind it").with_hint("'$$' stands for '$' itself"));
            }
            let (name, after) = rest.split_at(length);
            out.push_str(value(name, with, unset));
            rest = after;
        }
    }
    out.push_str(rest);
    Ok(out)
}

enum Braced {
    Flaw(String),
    Error(Error),
}

/// What stands between `${` and `}`.
fn braced(inner: &str, with: &Variables, unset: &mut Vec<String>, depth: usize) -> Result<String, Braced> {
    let (name, operation) = inner.split_at(name_length(inner));
    if name.is_empty() {
        return Err(Braced::Flaw(format!("'{}' does not begin with a name", inner.escape_debug())));
    }
    let (empty_counts, operation) = match operation.strip_prefix(':') {
        Some(operation) => (false, operation),
        None => (true, operation),
    };
    let found = with.get(name).filter(|value| empty_counts || !value.is_empty());
    let mut other = |text: &str| expand_at(text, with, unset, depth + 1).map_err(Braced::Error);
    match (operation.chars().next(), operation.get(1..).unwrap_or_default()) {
        (None, _) if empty_counts => Ok(value(name, with, unset).to_owned()),
        (Some('-'), default) => found.map_or_else(|| other(default), |value| Ok(value.to_owned())),
        (Some('+'), instead) => found.map_or_else(|| Ok(String::new()), |_| other(instead)),
        (Some('?'), why) => match found {
            Some(value) => Ok(value.to_owned()),
            None => {
                let why = other(why)?;
                let why = if why.is_empty() { "it is not set".to_owned() } else { why };
                Err(Braced::Error(Error::new(format!("variable {name} is needed: {why}"))))
            }
        },
        _ => Err(Braced::Flaw(format!("'{}' is no form of ${{NAME:-default}}", inner.escape_debug()))),
    }
}

fn value<'a>(name: &str, with: &'a Variables, unset: &mut Vec<String>) -> &'a str {
    with.get(name).unwrap_or_else(|| {
        unset.push(name.to_owned());
        ""
    })
}

fn name_length(text: &str) -> usize {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if begins { text.find(|c| !is_name(c)).unwrap_or(text.len()) } else { 0 }
}

/// Where the brace is that closes the one before this text.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '{' if before == '$' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
        before = c;
    }
    None
}

/// Reads a file of `KEY=VALUE` lines: blank lines, `#` comments, `export`, single quotes (literal), double quotes with
/// `\n` and the like, either of them over several lines. Unquoted and double-quoted values may have variables, of `with` and of the lines before.
///
/// # Errors
/// The line of what is none of these.
pub fn dotenv(text: &str, path: &Path, with: &Variables) -> Result<BTreeMap<String, String>> {
    let mut known = with.clone();
    let mut values = BTreeMap::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let at = |error: Error| Place { path: path.into(), line: index + 1 }.error(error);
        let line = line.trim_start_matches('\u{feff}').trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        let (key, value) = match line.split_once('=') {
            Some((key, value)) => (key.trim_end(), Some(value.trim_start().to_owned())),
            None => (line.trim_end(), None),
        };
        if key.is_empty() || key.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(at(Error::new(format!("'{}' is no name of a variable", key.escape_debug()))));
        }
        let value = match value {
            // Passed on from our own environment, or not at all.
            None => with.get(key).map(str::to_owned),
            Some(mut value) => {
                while is_open(&value) {
                    let next = lines.next().filter(|(line, _)| line - index < LONGEST);
                    let (_, next) = next.ok_or_else(|| at(Error::new("a quote is not closed")))?;
                    value.push('\n');
                    value.push_str(next);
                }
                Some(dotenv_value(value.trim_end(), &known).map_err(at)?)
            }
        };
        if let Some(value) = value {
            // What our own environment says goes before what a file says.
            known.values.entry(key.to_owned()).or_insert_with(|| value.clone());
            values.insert(key.to_owned(), value);
        }
    }
    Ok(values)
}

/// It begins with a quote that is not closed yet.
fn is_open(value: &str) -> bool {
    let Some(quote @ ('\'' | '"')) = value.chars().next() else { return false };
    let mut chars = value.chars().skip(1);
    while let Some(c) = chars.next() {
        match c {
            c if c == quote => return false,
            '\\' if quote == '"' => drop(chars.next()),
            _ => {}
        }
    }
    true
}

fn dotenv_value(text: &str, known: &Variables) -> Result<String> {
    let unclosed = || Error::new("a quote is not closed");
    if let Some(rest) = text.strip_prefix('\'') {
        let (value, behind) = rest.split_once('\'').ok_or_else(unclosed)?;
        return nothing_but_comment(behind).map(|()| value.to_owned());
    }
    let mut unset = Vec::new();
    if let Some(rest) = text.strip_prefix('"') {
        let (mut value, mut chars) = (String::new(), rest.char_indices());
        loop {
            match chars.next() {
                None => return Err(unclosed()),
                Some((at, '"')) => {
                    nothing_but_comment(&rest[at + 1..])?;
                    return expand(&value, known, &mut unset);
                }
                Some((_, '\\')) => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, 'r')) => value.push('\r'),
                    Some((_, 't')) => value.push('\t'),
                    Some((_, '$')) => value.push_str("$$"),
                    Some((_, c)) => value.push(c),
                    None => return Err(unclosed()),
                },
                Some((_, c)) => value.push(c),
            }
        }
    }
    let end = text.find(" #").unwrap_or(text.len());
    expand(text[..end].trim_end(), known, &mut unset)
}

fn nothing_but_comment(text: &str) -> Result<()> {
    let text = text.trim_start();
    if text.is_empty() || text.starts_with('#') {
        return Ok(());
    }
    Err(Error::new(format!("'{}' behind a quoted value", text.escape_debug())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Variables {
        let values = [("A", "1"), ("EMPTY", ""), ("B", "two")];
        Variables { values: values.map(|(k, v)| (k.to_owned(), v.to_owned())).into() }
    }

    #[test]
    fn every_form() {
        for (text, expanded) in [
            ("a$A.b", "a1.b"),
            ("${A}${B}", "1two"),
            ("$$A", "$A"),
            ("${X:-d}${EMPTY:-d}${EMPTY-d}", "dd"),
            ("${X-a ${B}}", "a two"),
            ("${X:-${Y:-${A}}}", "1"),
            ("${A:+yes}${EMPTY:+yes}${EMPTY+set}", "yesset"),
            ("${A:?why}", "1"),
            ("${X}", ""),
        ] {
            assert_eq!(expand(text, &variables(), &mut Vec::new()).unwrap(), expanded, "{text}");
        }
        let mut unset = Vec::new();
        expand("$X ${Y:-} $A", &variables(), &mut unset).unwrap();
        assert_eq!(unset, ["X"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, why) in [
            ("${A", "is not closed"),
            ("$ ", "without a name"),
            ("$1", "without a name"),
            ("${}", "does not begin with a name"),
            ("${A!x}", "is no form of"),
            ("${A:}", "is no form of"),
            ("${X:?set it}", "variable X is needed: set it"),
            ("${X?}", "variable X is needed: it is not set"),
        ] {
            let error = expand(text, &variables(), &mut Vec::new()).expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        let deep = format!("{}{}", "${X:-".repeat(40), "}".repeat(40));
        assert!(expand(&deep, &variables(), &mut Vec::new()).is_err());
    }

    #[test]
    fn files_of_variables() {
        let text = "# c\n\nexport P=q\nQ='$A # x' # y\nR=\"a\\n${B} \\$A\"\nS=$P-${A} # c\nT=a#b\nA\nNOT\nU=\n";
        let read = dotenv(text, Path::new(".env"), &variables()).unwrap();
        let expected =
            [("P", "q"), ("Q", "$A # x"), ("R", "a\ntwo $A"), ("S", "q-1"), ("T", "a#b"), ("A", "1"), ("U", "")];
        assert_eq!(read, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        let read = dotenv("K='a\n b # \n'  # c\nL=\"x\\\"\ny\"\nM=1 \n", Path::new(".env"), &variables()).unwrap();
        let expected = [("K", "a\n b # \n"), ("L", "x\"\ny"), ("M", "1")];
        assert_eq!(read, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        for (text, why) in
            [("a b=1", ".env:1: 'a b' is no name"), ("\nA='x", ".env:2: a quote"), ("A=\"x\" y", "behind")]
        {
            let error = dotenv(text, Path::new(".env"), &variables()).expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
