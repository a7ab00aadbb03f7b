//! `${VAR}` in a text, as Compose has it.
//!
//! ```text
//! $VAR, ${VAR}        its value; an error if it is not set
//! ${VAR:-TEXT}        TEXT if it is not set or empty     ${VAR-TEXT}   if it is not set
//! ${VAR:+TEXT}        TEXT if it is set and not empty    ${VAR+TEXT}   if it is set
//! ${VAR:?TEXT}        an error that says TEXT if it is not set or empty   ${VAR?TEXT}   if it is not set
//! $$                  a dollar sign
//! ```
//!
//! A TEXT may have variables in it.

use crate::error::{Error, Result};

/// What variables there are.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// How deep a text may be in another.
const DEEPEST: u32 = 16;
/// Far more than any value is long.
const LONGEST: usize = 1 << 20;

/// The text with the variables' values in it.
///
/// # Errors
/// When a variable is not set, or what stands there is none.
pub(super) fn interpolate(text: &str, variables: Variables<'_>) -> Result<String> {
    let mut rest = text;
    let whole = expand(&mut rest, variables, 0)?;
    Ok(whole)
}

/// Reads to the end, or to the `}` that closes a text in another.
fn expand(rest: &mut &str, variables: Variables<'_>, depth: u32) -> Result<String> {
    let mut out = String::new();
    while let Some(next) = rest.chars().next() {
        if depth > 0 && next == '}' {
            break;
        }
        *rest = &rest[next.len_utf8()..];
        if next != '$' {
            out.push(next);
            continue;
        }
        match rest.chars().next() {
            Some('$') => {
                *rest = &rest[1..];
                out.push('$');
            }
            Some('{') => {
                *rest = &rest[1..];
                out.push_str(&braced(rest, variables, depth)?);
            }
            Some(c) if begins_name(c) => {
                let name = take_name(rest);
                out.push_str(&variables(name).ok_or_else(|| not_set(name))?);
            }
            _ => return Err(Error::new("a '$' is not followed by a variable").with_hint("a plain one is written '$$'")),
        }
        if out.len() > LONGEST {
            return Err(Error::new("it is too long"));
        }
    }
    Ok(out)
}

fn braced(rest: &mut &str, variables: Variables<'_>, depth: u32) -> Result<String> {
    if depth == DEEPEST {
        return Err(Error::new(format!("there are more than {DEEPEST} variables in one another")));
    }
    if !rest.starts_with(begins_name) {
        return Err(Error::new("a '${' is not followed by a variable's name"));
    }
    let name = take_name(rest);
    let unclosed = || Error::new(format!("the '${{{name}' has no '}}'"));
    let (colon, after) = match rest.strip_prefix(':') {
        Some(after) => (true, after),
        None => (false, *rest),
    };
    let value = variables(name);
    let Some(operator) = after.chars().next() else { return Err(unclosed()) };
    if operator == '}' && !colon {
        *rest = &after[1..];
        return value.ok_or_else(|| not_set(name));
    }
    if !['-', '+', '?'].contains(&operator) {
        return Err(Error::new(format!("what stands behind '${{{name}' is none of :- - :+ + :? ?")));
    }
    *rest = &after[1..];
    // What is not taken need not be there: its variables count as empty.
    let is_there = value.as_ref().is_some_and(|value| !(colon && value.is_empty()));
    let is_taken = is_there == (operator == '+');
    let nothing = |_: &str| Some(String::new());
    let text = expand(rest, if is_taken { variables } else { &nothing }, depth + 1)?;
    *rest = rest.strip_prefix('}').ok_or_else(unclosed)?;
    match (operator, value) {
        ('+', _) => Ok(if is_there { text } else { String::new() }),
        (_, Some(value)) if is_there => Ok(value),
        ('?', _) if text.is_empty() => Err(not_set(name)),
        ('?', _) => Err(Error::new(format!("variable {name} is not set: {text}"))),
        _ => Ok(text),
    }
}

fn begins_name(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

fn take_name<'a>(rest: &mut &'a str) -> &'a str {
    let end = rest.find(|c: char| !begins_name(c) && !c.is_ascii_digit()).unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    *rest = after;
    name
}

fn not_set(name: &str) -> Error {
    Error::new(format!("variable {name} is not set"))
        .with_hint(format!("`{name}=VALUE kraft ...` sets it, `${{{name}:-VALUE}}` gives it a value where it is not"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<String> {
        let variables = |name: &str| match name {
            "A" => Some("a: b".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        interpolate(text, &variables)
    }

    #[test]
    fn variables_have_their_values() {
        for (text, expected) in [
            ("plain", "plain"),
            ("$A/${A}", "a: b/a: b"),
            ("$$A $${A}", "$A ${A}"),
            ("${EMPTY}|${EMPTY-x}|${EMPTY:-x}", "||x"),
            ("${NONE-x}${NONE:-${A}}", "xa: b"),
            ("${A+y}${NONE+y}${EMPTY+y}${EMPTY:+z}", "yy"),
            ("${A:-${NONE}}", "a: b"),
            ("${A?no}${NONE:-}", "a: b"),
            ("é}$A", "é}a: b"),
        ] {
            assert_eq!(of(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_variable_is_told() {
        for (text, expected) in [
            ("$NONE", "variable NONE is not set"),
            ("${EMPTY:?give one}", "variable EMPTY is not set: give one"),
            ("${NONE?}", "variable NONE is not set"),
            ("${A", "the '${A' has no '}'"),
            ("${A:-x", "the '${A' has no '}'"),
            ("${A:}", "what stands behind '${A' is none of :- - :+ + :? ?"),
            ("${}", "a '${' is not followed by a variable's name"),
            ("a $", "a '$' is not followed by a variable"),
            ("$1", "a '$' is not followed by a variable"),
        ] {
            assert_eq!(of(text).unwrap_err().to_string(), expected, "{text}");
        }
        assert!(of(&"${NONE:-".repeat(40)).is_err());
    }
}
