//! What is left of machines and networks: processes, units, files, and what other programs see in the host's network, its
//! packet filter and its mounts.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::lab::{Lab, process_ends};

/// What is on its way out when a test looks for what is left has this long.
const SETTLED: Duration = Duration::from_secs(5);

impl Lab {
    /// Everything that is left of those of its machines whose names begin so.
    pub fn leaks_of(&self, short: &str) -> Vec<String> {
        let named = self.name(short);
        // What was killed takes a moment to die.
        let ended = |pid| process_ends(pid, SETTLED);
        let alive = self.processes().into_iter().filter(|(pid, line)| line.contains(&named) && !ended(*pid));
        let mut leaks: Vec<String> = alive.map(|(pid, line)| format!("process {pid}: {line}")).collect();
        let escaped = named.replace('-', "\\x2d");
        let units = self.systemctl(["list-units", "--all", "--plain", "--no-legend", "--full"]).ok();
        // The mounts of credentials are systemd's own. It hears late that one is gone if many come and go; whether one is
        // there is looked at below.
        let ours =
            |text: &str| (text.contains(&named) || text.contains(&escaped)) && !text.starts_with("run-credentials-");
        leaks.extend(units.lines().filter(|line| ours(line)).map(|line| format!("unit {line}")));
        leaks.extend(of(&named));
        let (machines, networks) = (self.state().join("machines"), self.state().join("networks"));
        let mut directories = vec![self.transient(), machines, networks, self.runtime()];
        directories.extend(cgroups("/sys/fs/cgroup".as_ref()));
        for directory in directories {
            for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                // In a shared store another test may be making a machine just now.
                let staged = (name.starts_with(".new-") || name.starts_with(".gone-"))
                    && (self.is_alone_in_its_store()
                        || std::fs::read_to_string(entry.path().join("machine.toml")).is_ok_and(|text| ours(&text)));
                if ours(&name) || staged {
                    leaks.push(entry.path().display().to_string());
                }
            }
        }
        leaks
    }
}

/// Interfaces, rules and mounts that bear a name that begins so.
fn of(named: &str) -> Vec<String> {
    let mut leaks = Vec::new();
    for link in links() {
        let (name, alias) = (link["ifname"].as_str().unwrap_or_default(), link["ifalias"].as_str().unwrap_or_default());
        if alias.split(' ').any(|word| word.starts_with(named)) {
            leaks.push(format!("interface {name}: {alias}"));
        }
    }
    comments(&rules(), &mut |comment| {
        if comment.starts_with(named) {
            leaks.push(format!("rule of {comment}"));
        }
    });
    let mounts = std::fs::read_to_string("/proc/mounts").expect("/proc is there");
    leaks.extend(mounts.lines().filter(|line| line.contains(named)).map(|line| format!("mount {line}")));
    leaks
}

/// All interfaces.
pub fn links() -> Vec<Value> {
    let text = output("ip", &["-j", "-d", "link"]);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("ip: {e}: {text}"))
}

/// The interfaces with this mark, by name.
pub fn marked(alias: &str) -> Vec<String> {
    let ours = |link: &Value| link["ifalias"].as_str().is_some_and(|theirs| theirs.starts_with(alias));
    links()
        .iter()
        .filter(|link| ours(link))
        .map(|link| link["ifname"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// All rules, sets and maps.
pub fn rules() -> Value {
    serde_json::from_str(&output("nft", &["-j", "list", "ruleset"])).expect("nft speaks JSON")
}

fn comments(value: &Value, found: &mut dyn FnMut(&str)) {
    match value {
        Value::Object(fields) => {
            if let Some(comment) = fields.get("comment").and_then(Value::as_str) {
                found(comment);
            }
            fields.values().for_each(|value| comments(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| comments(value, found)),
        _ => {}
    }
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The directories of cgroups that a manager of ours may have put something in.
fn cgroups(root: &Path) -> Vec<PathBuf> {
    let mut all = vec![root.to_path_buf()];
    let mut next = 0;
    while let Some(dir) = all.get(next).cloned() {
        next += 1;
        let below = std::fs::read_dir(dir).into_iter().flatten().flatten();
        all.extend(below.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
    }
    all
}
