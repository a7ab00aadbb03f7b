//! Settings -> the text of a machine file.

use toml::{Table, Value};

use super::keys::Settings;

impl Settings {
    /// A machine file that says this and nothing else.
    pub fn to_text(&self) -> String {
        let (tables, plain): (Vec<_>, Vec<_>) = self.values().into_iter().partition(|(_, value)| is_table(value));
        let mut text = String::new();
        for (key, value) in plain {
            text.push_str(&one(key, value));
        }
        for (key, value) in tables {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&one(key, value));
        }
        text
    }
}

/// What is written under a heading of its own.
fn is_table(value: &Value) -> bool {
    match value {
        Value::Table(_) => true,
        Value::Array(list) => list.iter().all(Value::is_table) && !list.is_empty(),
        _ => false,
    }
}

fn one(key: &str, value: Value) -> String {
    let table = Table::from_iter([(key.to_owned(), value)]);
    // A table of values that TOML has can always be written.
    toml::to_string(&table).unwrap_or_default()
}
