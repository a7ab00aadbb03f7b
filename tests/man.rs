//! The manual: a page for every verb, its SYNOPSIS and OPTIONS as the command line has them, every command in it (and
//! in the README) one that exists, and roff that the formatter does not complain about.
//!
//! `KRAFT_BLESS=1 cargo test --test man` rewrites what is between the markers. The prose is a person's.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stderr, reason = "a test")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use clap::{Arg, ArgAction, Command};

/// The pages that are no verb's.
const OTHER_PAGES: [&str; 7] = [
    "kraft.1.md",
    "kraft-machine.toml.5.md",
    "kraft-kraftfile.5.md",
    "kraft-users.7.md",
    "kraft.machine.5.md",
    "kraft-generator.8.md",
    "kraft.service.8.md",
];
/// The sections of a verb's page, in their order.
const SECTIONS: [&str; 7] = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "EXAMPLES", "SEE ALSO"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page_of(verb: &str) -> PathBuf {
    root().join("man").join(format!("kraft-{verb}.1.md"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The whole command line, with what clap itself adds.
fn command() -> Command {
    let mut command = kraft::cli::command();
    command.build();
    command
}

/// What a person is to know of.
fn verbs(command: &Command) -> Vec<&Command> {
    command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help").collect()
}

fn pages() -> BTreeSet<String> {
    let entries = std::fs::read_dir(root().join("man")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_verb_has_a_page_and_every_page_a_verb() {
    let command = command();
    let mut expected: BTreeSet<String> =
        verbs(&command).iter().map(|v| format!("kraft-{}.1.md", v.get_name())).collect();
    expected.extend(OTHER_PAGES.map(str::to_owned));
    assert_eq!(pages(), expected);
    let (front, readme) = (read(&root().join("man/kraft.1.md")), read(&root().join("README.md")));
    for verb in verbs(&command) {
        let (name, page) = (verb.get_name(), read(&page_of(verb.get_name())));
        assert!(page.starts_with(&format!("# kraft-{name}(1)\n\n## NAME\n\nkraft-{name} - ")), "{name}: how it begins");
        let sections: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(sections, SECTIONS, "{name}");
        assert!(readme.contains(&format!("`{name}`")), "the README does not name {name}");
        assert!(front.contains(&format!("**kraft-{name}**(1)")), "kraft(1) does not name kraft-{name}(1)");
    }
}

#[test]
fn what_is_generated_is_current() {
    let command = command();
    let mut stale = Vec::new();
    let mut hold = |path: &Path, what: &str, text: &str| {
        let page = read(path);
        let (begin, end) = (format!("<!-- BEGIN {what} -->\n"), format!("<!-- END {what} -->\n"));
        let (Some(from), Some(to)) = (page.find(&begin), page.find(&end)) else {
            panic!("{}: no markers of {what}", path.display());
        };
        let expected = format!("{}{begin}\n{text}\n{}", &page[..from], &page[to..]);
        if page != expected {
            if std::env::var_os("KRAFT_BLESS").is_some() {
                std::fs::write(path, expected).unwrap();
            } else {
                stale.push(format!("{} {what}", path.strip_prefix(root()).unwrap().display()));
            }
        }
    };
    for verb in verbs(&command) {
        let path = page_of(verb.get_name());
        let below = verbs(verb);
        if below.is_empty() {
            hold(&path, "SYNOPSIS", &synopsis(verb));
            hold(&path, "OPTIONS", &options(verb, |arg| !arg.is_global_set()));
        } else {
            hold(&path, "SYNOPSIS", &below.iter().map(|verb| synopsis(verb)).collect::<Vec<_>>().join("\n"));
            let own = arguments(verb, |arg| !arg.is_global_set());
            let parts = below.iter().map(|verb| part(verb));
            let all: Vec<String> = (!own.is_empty()).then_some(own).into_iter().chain(parts).collect();
            hold(&path, "OPTIONS", &all.join("\n"));
        }
    }
    let front = root().join("man/kraft.1.md");
    hold(&front, "OPTIONS", &options(&command, |_| true));
    hold(&front, "COMMANDS", &commands(&command));
    assert!(stale.is_empty(), "stale, KRAFT_BLESS=1 rewrites: {}", stale.join(", "));
}

/// `Usage: kraft run [OPTIONS] <KERNEL>` with the words that stand for something in italics.
fn synopsis(verb: &Command) -> String {
    if verb.has_subcommands() {
        return verbs(verb).into_iter().map(synopsis).collect::<Vec<_>>().join("\n");
    }
    let usage = verb.clone().render_usage().to_string();
    let usage = usage.trim().strip_prefix("Usage: ").unwrap();
    let name = verb.get_bin_name().unwrap();
    let mut out = format!("**{name}**");
    let mut word = String::new();
    for c in usage.strip_prefix(name).unwrap().chars().chain([' ']) {
        if c.is_ascii_uppercase() || (c == '-' && !word.is_empty() && !word.ends_with('-')) {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            write!(out, "*{word}*").unwrap();
            word.clear();
        }
        if !matches!(c, '<' | '>') {
            out.push(c);
        }
    }
    format!("{}\n", out.trim_end())
}

/// A verb of a verb: what it is for and its options.
fn part(verb: &Command) -> String {
    let about = escaped(&verb.get_about().unwrap().to_string());
    format!("### {}\n\n{about}.\n\n{}", verb.get_bin_name().unwrap(), options(verb, |arg| !arg.is_global_set()))
}

fn commands(command: &Command) -> String {
    let mut out = String::new();
    for verb in verbs(command) {
        writeln!(out, "#### **kraft-{}**(1)\n\n{}\n", verb.get_name(), escaped(&verb.get_about().unwrap().to_string()))
            .unwrap();
    }
    out.trim_end().to_owned() + "\n"
}

fn options(command: &Command, wanted: impl Fn(&Arg) -> bool + Copy) -> String {
    let mut out = String::new();
    // Those of a verb's own verbs, each under its name and what it does.
    for verb in verbs(command).into_iter().filter(|_| command.get_name() != "kraft") {
        let about =
            verb.get_long_about().or(verb.get_about()).unwrap_or_else(|| panic!("{}: no help", verb.get_name()));
        let (name, about) = (verb.get_bin_name().unwrap(), escaped(&about.to_string()));
        writeln!(out, "### {name}\n\n{about}.\n\n{}", options(verb, wanted)).unwrap();
    }
    out.push_str(&arguments(command, wanted));
    if out.is_empty() { "None of its own.\n".into() } else { out.trim_end().to_owned() + "\n" }
}

/// Those that a verb has itself.
fn arguments(command: &Command, wanted: impl Fn(&Arg) -> bool) -> String {
    let mut out = String::new();
    let wanted =
        |arg: &&Arg| !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str()) && wanted(arg);
    for arg in command.get_arguments().filter(wanted) {
        let help = arg.get_long_help().or(arg.get_help()).unwrap_or_else(|| panic!("{}: no help", arg.get_id()));
        writeln!(out, "#### {}\n\n{}.\n", term(arg), escaped(&help.to_string())).unwrap();
        let values: Vec<String> = arg.get_possible_values().iter().map(|v| format!("**{}**", v.get_name())).collect();
        let default: Vec<&str> = arg.get_default_values().iter().map(|value| value.to_str().unwrap()).collect();
        let mut more = Vec::new();
        if takes_value(arg) && !values.is_empty() {
            more.push(format!("One of {}", values.join(", ")));
        }
        if takes_value(arg) && !default.is_empty() {
            more.push(format!("The default is **{}**", escaped(&default.join(" "))));
        }
        if !more.is_empty() {
            writeln!(out, "{}.\n", more.join(". ")).unwrap();
        }
    }
    if out.is_empty() { out } else { out.trim_end().to_owned() + "\n" }
}

/// `**-n**, **--name** *NAME*`, or `*MACHINE*...`
fn term(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    let value = names.iter().map(|name| in_italics(name)).collect::<Vec<_>>().join(" ");
    if arg.is_positional() {
        let several = if matches!(arg.get_action(), ArgAction::Append) { "..." } else { "" };
        return format!("{value}{several}");
    }
    let mut spellings: Vec<String> = Vec::new();
    spellings.extend(arg.get_short().map(|short| format!("**-{short}**")));
    spellings.extend(arg.get_long().map(|long| format!("**--{long}**")));
    spellings.extend(arg.get_visible_aliases().unwrap_or_default().iter().map(|alias| format!("**--{alias}**")));
    let spellings = spellings.join(", ");
    if takes_value(arg) { format!("{spellings} {value}") } else { spellings }
}

/// What stands for something in italics, what is typed as it is in bold: `on-failure[:N]|always`.
fn in_italics(value: &str) -> String {
    if value.chars().any(|c| c.is_ascii_lowercase()) { format!("**{value}**") } else { format!("*{value}*") }
}

/// Text of clap's as markdown. A full stop is added by whoever ends a sentence with it.
fn escaped(text: &str) -> String {
    text.trim_end_matches('.').replace('\\', "\\\\").replace('*', "\\*").replace('<', "\\<")
}

#[test]
fn the_formatter_has_no_complaints() {
    let found = |program: &str| Process::new(program).arg("--version").output().is_ok();
    let formatter: &[&str] = if Process::new("mandoc").output().is_ok() {
        &["mandoc", "-T", "lint", "-W", "warning"]
    } else if found("groff") {
        &["groff", "-man", "-Tutf8", "-ww", "-z"]
    } else {
        return skip("neither mandoc nor groff is installed");
    };
    for name in pages() {
        let roff = convert(&read(&root().join("man").join(&name))).unwrap_or_else(|e| panic!("{name}: {e}"));
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name.trim_end_matches(".md"));
        std::fs::write(&file, roff).unwrap();
        let output = Process::new(formatter[0]).args(&formatter[1..]).arg(&file).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        // Where a page is from and how wide its lines are is no fault of the page.
        let faults: Vec<&str> = said.lines().filter(|line| !line.contains("missing date")).collect();
        assert!(faults.is_empty(), "{name}: {}", faults.join("\n"));
    }
}

/// Counted by tests/run.
fn skip(why: &str) {
    eprintln!("SKIP {}: {why}", std::thread::current().name().unwrap());
    if let Some(file) = std::env::var_os("KRAFT_SKIPS") {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
        std::io::Write::write_fmt(&mut file, format_args!("{}: {why}\n", std::thread::current().name().unwrap()))
            .unwrap();
    }
}

/// contrib/md2man on a text.
fn convert(markdown: &str) -> Result<String, String> {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("page-{}-{count}.md", std::process::id()));
    std::fs::write(&file, markdown).unwrap();
    let output = Process::new("awk").arg("-f").arg(root().join("contrib/md2man")).arg(&file).output().unwrap();
    std::fs::remove_file(&file).unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn markdown_becomes_roff() {
    let page = "# kraft-x(1)\n\n<!-- no -->\n## NAME\n\nkraft-x - do **x**\nand *y-y*\n\n.dot `a*b\\` it's\n\n\
                #### **-n** *N*\n\nOne \\*.\n\nTwo <https://example.org/a-b>.\n\n## END\n\n- one\n  more\n- two\n\n\
                ```\n$ kraft x\n.y\n```\n";
    let expected = ".TH \"KRAFT\\-X\" 1 \"\" \"kraft\" \"kraft manual\"\n.SH NAME\n\
                    kraft\\-x \\- do \\fBx\\fR and \\fIy\\-y\\fR\n.PP\n\\&.dot \\fBa*b\\e\\fR it\\(aqs\n\
                    .TP\n\\fB\\-n\\fR \\fIN\\fR\nOne *.\n.IP\nTwo https://example.org/a\\-b.\n\
                    .SH END\n.IP \\(bu 2\none more\n.IP \\(bu 2\ntwo\n.PP\n.RS 4\n.nf\n$ kraft x\n\\&.y\n.fi\n.RE\n";
    assert_eq!(convert(page).unwrap(), expected);
    for (bad, why) in [
        ("text", "expected"),
        ("# kraft-x(1)\n\n| a | table |", "no such markdown"),
        ("# kraft-x(1)\n\n**bold", "without its end"),
        ("# kraft-x(1)\n\n```\nblock", "without its end"),
    ] {
        let error = convert(bad).unwrap_err();
        assert!(error.contains(why), "{bad}: {error}");
    }
}

#[test]
fn commands_in_the_manual_and_the_readme_exist() {
    let command = command();
    let mut wrong = Vec::new();
    let mut found = 0;
    let manual = pages().into_iter().map(|name| root().join("man").join(name));
    for path in manual.chain([root().join("README.md")]) {
        for typed in commands_in(&read(&path)) {
            found += 1;
            if let Err(why) = check(&command, &typed) {
                wrong.push(format!("{}: `{typed}`: {why}", path.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(found > 50, "found only {found} commands");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What begins with `kraft ` in code: inline, or behind a prompt.
fn commands_in(page: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut block = false;
    for line in page.lines() {
        if line.starts_with("```") {
            block = !block;
        } else if block {
            let typed = line.strip_prefix("$ ").or(line.strip_prefix("# ")).unwrap_or_default();
            commands.extend(typed.split(['|', ';', '&', '(']).map(|part| part.trim().to_owned()));
        } else {
            commands.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    commands.retain(|typed| typed.starts_with("kraft "));
    commands
}

/// Whether there is such a verb, and whether it has these flags. What is behind the kernel is the guest's.
fn check(command: &Command, typed: &str) -> Result<(), String> {
    let mut words = typed.split_whitespace().skip(1).take_while(|word| *word != "--");
    let mut current = command;
    while let Some(word) = words.next() {
        if word.starts_with('-') {
            // What follows a flag that takes a value is that value, whatever it looks like.
            if takes_value(flag(current, word)?) && !word.contains('=') {
                words.next();
            }
        } else if current.has_subcommands() {
            match word {
                "VERB" | "runner" => return Ok(()),
                name => current = current.find_subcommand(name).ok_or_else(|| format!("no verb {name}"))?,
            }
        }
    }
    Ok(())
}

fn flag<'a>(command: &'a Command, typed: &str) -> Result<&'a Arg, String> {
    let typed = typed.split('=').next().unwrap();
    let is_it = |arg: &&Arg| match typed.strip_prefix("--") {
        Some(long) => arg.get_long_and_visible_aliases().is_some_and(|all| all.contains(&long)),
        None => typed.chars().nth(1).is_some_and(|c| arg.get_short() == Some(c)),
    };
    command.get_arguments().find(is_it).ok_or_else(|| format!("no flag {typed}"))
}

fn takes_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}
