//! How kernels take their command line apart: the algorithms themselves, carried over step by step, oddities included.
//! What is written here is read back by them before it is given to a kernel.

/// What a kernel makes of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) words: Vec<Vec<u8>>,
    /// The line ends inside of quotes, or behind a backslash: what is put behind it would belong to its last word.
    pub(super) open: bool,
}

/// Unikraft: `uk_argnparse()` of `lib/ukargparse/argparse.c`, the same from 0.13 on.
///
/// Quotes of both kinds are taken away wherever they are. A backslash outside of quotes makes the next character an
/// ordinary one; in double quotes it does so with `"` and `\` alone; in single quotes it is itself. A word of which
/// nothing is left, like `""`, is no word at all.
pub(super) fn unikraft(line: &[u8]) -> Words {
    let mut buffer = line.to_vec();
    let mut starts = Vec::new();
    let (mut after_space, mut after_escape, mut quote) = (true, false, None);
    let mut i = 0;
    while let Some(&byte) = buffer.get(i).filter(|byte| **byte != 0) {
        let mut regular = true;
        match byte {
            b' ' | b'\r' | b'\n' | b'\t' | 0x0b if quote.is_none() && !after_escape => {
                buffer[i] = 0;
                after_space = true;
                regular = false;
            }
            b'\'' | b'"' => {
                if after_escape && quote.is_none() {
                    // Escaped, so an ordinary one.
                } else if after_escape && byte == b'"' {
                    buffer.remove(i - 1);
                    i -= 1;
                    after_escape = false;
                } else if quote.is_none() {
                    quote = Some(byte);
                    buffer.remove(i);
                    continue;
                } else if quote == Some(byte) {
                    quote = None;
                    buffer.remove(i);
                    continue;
                }
            }
            _ => {}
        }
        if regular {
            if after_space {
                starts.push(i);
                after_space = false;
                after_escape = false;
            }
            if buffer[i] == b'\\' && quote != Some(b'\'') {
                if after_escape {
                    buffer.remove(i);
                    i -= 1;
                }
                after_escape = !after_escape;
            } else if after_escape {
                if quote.is_none() {
                    buffer.remove(i - 1);
                    i -= 1;
                }
                after_escape = false;
            }
        }
        i += 1;
    }
    let word = |start: usize| buffer[start..].iter().copied().take_while(|byte| *byte != 0).collect();
    Words { words: starts.into_iter().map(word).collect(), open: quote.is_some() || after_escape }
}

/// Linux: `next_arg()` of `lib/cmdline.c`, until the line is empty, with names and values put together again as for the
/// environment and the arguments of init (`repair_env_string()` of `init/main.c`).
///
/// Double quotes keep spaces together. They are taken away around a whole word and around a whole value, and stay where
/// they are anywhere else. Nothing escapes anything.
pub(super) fn linux(line: &[u8]) -> Words {
    let mut words = Vec::new();
    let mut open = false;
    let mut rest = skip_spaces(line);
    while !rest.is_empty() {
        let quoted = rest[0] == b'"';
        let args = &rest[usize::from(quoted)..];
        let (mut in_quotes, mut equals, mut end) = (quoted, 0, 0);
        while end < args.len() && (in_quotes || !is_space(args[end])) {
            if equals == 0 && args[end] == b'=' {
                equals = end;
            }
            in_quotes ^= args[end] == b'"';
            end += 1;
        }
        open = in_quotes;
        words.push(put_together(&args[..end], equals, quoted));
        rest = skip_spaces(args.get(end + 1..).unwrap_or_default());
    }
    Words { words, open }
}

/// A name and its value, without the quotes that the kernel takes away.
fn put_together(arg: &[u8], equals: usize, quoted: bool) -> Vec<u8> {
    // Both removals look at the same last byte, and the first leaves a NUL there.
    let mut end = arg.len();
    let ends_in_quote = arg.last() == Some(&b'"');
    let value_quoted = equals > 0 && arg.get(equals + 1) == Some(&b'"');
    if ends_in_quote && (value_quoted || quoted) {
        end -= 1;
    }
    if value_quoted {
        let value = arg.get(equals + 2..end).unwrap_or_default();
        return [&arg[..=equals], value].concat();
    }
    arg[..end].to_vec()
}

/// The kernel's own idea of a space, byte by byte: that of Latin-1, with its no-break space.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r' | 0xa0)
}

fn skip_spaces(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.iter().take_while(|byte| is_space(**byte)).count()..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(words: Words) -> Vec<String> {
        words.words.into_iter().map(|word| String::from_utf8(word).unwrap()).collect()
    }

    /// The vectors of Unikraft's own `lib/ukargparse/tests/test_ukargparse_parse.c`.
    #[test]
    fn unikraft_as_its_own_tests_have_it() {
        let split = |line: &str| texts(unikraft(line.as_bytes()));
        assert_eq!(split("some/path/file -test 1 --test-this"), ["some/path/file", "-test", "1", "--test-this"]);
        assert!(split("").is_empty());
        assert_eq!(split("some\t\t\n\t\tseparated\n\t\t  \n  string"), ["some", "separated", "string"]);
        assert_eq!(
            split("\"\targ_a\" ' arg_b' \"arg'c\" arg_d'' arg\"_\"e\"'\""),
            ["\targ_a", " arg_b", "arg'c", "arg_d", "arg_e'"]
        );
        let line = r#"\' \" "arg0\"" "\"arg1 '-'\""-" \\ arg2\"" '" \\ \" \''"' \a\b\"\c\" "\a\b\"\c\"" '\a\b\"\c\"' '\'a\' a\ b \"#;
        let words = [
            r"'",
            r#"""#,
            r#"arg0""#,
            r#""arg1 '-'"- \ arg2""#,
            r#"" \\ \" \""#,
            r#"ab"c""#,
            r#"\a\b"\c""#,
            r#"\a\b\"\c\""#,
            r"\a'",
            r"a b",
            r"\",
        ];
        assert_eq!(split(line), words);
        assert_eq!(split(r#""" '' x"#), ["x"]);
        assert!(unikraft(b"'a").open && unikraft(b"a\\").open && !unikraft(b"'a'").open);
    }

    #[test]
    fn linux_keeps_what_it_does_not_take_away() {
        let split = |line: &str| texts(linux(line.as_bytes()));
        assert_eq!(split(r#" a="b c"  "d=e f" g"h i"j k="""#), ["a=b c", "d=e f", r#"g"h i"j"#, "k="]);
        assert_eq!(split(r#""" x"#), ["", "x"]);
        assert_eq!(split(r#"a="b"c"d" '"' '"#), [r#"a=b"c"d"#, r#"'"' '"#]);
        assert_eq!(linux("a\u{e0}b".as_bytes()).words.len(), 2, "the second byte of à is a space in Latin-1");
        assert!(linux(br#"a="b c"#).open && !linux(br#"a="b" c"#).open);
    }
}
