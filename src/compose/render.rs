//! A tree as YAML again: what `config` shows. Pure.

use serde_norway::{Mapping, Value as Yaml};

use super::node::{Node, Value};
use super::project::Project;
use crate::error::{Error, Result};

/// The tree as text, under the project's name, with the services that are left in it.
pub(super) fn text(root: &Node, project: &Project) -> Result<String> {
    let mut top = Mapping::new();
    top.insert("name".into(), project.name.as_str().into());
    for (key, node) in root.entries() {
        match key.text.as_str() {
            "name" | "version" => continue,
            "services" => {
                let mut services = Mapping::new();
                for (key, node) in node.entries() {
                    if project.file.services.iter().any(|service| service.name == key.text) {
                        services.insert(key.text.as_str().into(), yaml(node));
                    }
                }
                top.insert("services".into(), Yaml::Mapping(services));
            }
            other => drop(top.insert(other.into(), yaml(node))),
        }
    }
    serde_norway::to_string(&Yaml::Mapping(top)).map_err(|e| Error::new(e.to_string()))
}

fn yaml(node: &Node) -> Yaml {
    match &node.value {
        _ if node.is_null() => Yaml::Null,
        Value::Scalar { text, plain: true } => plain(text),
        // Read again it is to say the same.
        Value::Scalar { text, plain: false } => text.replace('$', "$$").into(),
        Value::List(list) => Yaml::Sequence(list.iter().map(yaml).collect()),
        Value::Map(entries) => {
            Yaml::Mapping(entries.iter().map(|(key, node)| (key.text.as_str().into(), yaml(node))).collect())
        }
    }
}

/// What stood without quotes: a number or a truth value where that is written the same way again.
fn plain(text: &str) -> Yaml {
    match text {
        "true" => true.into(),
        "false" => false.into(),
        _ => match text.parse::<i64>() {
            Ok(number) if number.to_string() == text => number.into(),
            _ => text.replace('$', "$$").into(),
        },
    }
}
