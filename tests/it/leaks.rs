//! What is left of machines and networks in the host's network, its packet filter and its mounts, as other programs see
//! them.

use std::process::{Command, Stdio};

use serde_json::Value;

/// Interfaces, rules and mounts that bear a name that begins so.
pub fn of(named: &str) -> Vec<String> {
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
