//! The rules, their chains, and the sets and maps that they look into: the same on every host. Pure.

use serde_json::{Value, json};

use super::table::{NAME, Transaction};

/// The bridges of all networks.
pub(super) const BRIDGES: &str = "bridges";
/// Those that nothing is forwarded into or out of.
pub(super) const INTERNAL: &str = "internal";
/// Pairs of interfaces that are one and the same bridge: what crosses it passes here where bridged packets are
/// filtered, too (`br_netfilter`).
pub(super) const WITHIN: &str = "within";

/// The priorities that nft calls raw, dstnat, srcnat and filter: the last two words are not taken in every hook.
const CHAINS: [(&str, &str, &str, i32); 5] = [
    ("guard", "filter", "prerouting", -300),
    ("prerouting", "nat", "prerouting", -100),
    ("output", "nat", "output", -100),
    ("postrouting", "nat", "postrouting", 100),
    ("forward", "filter", "forward", 0),
];

/// What is called differently in the two families.
struct Family {
    digit: char,
    protocol: &'static str,
    address: &'static str,
    nfproto: &'static str,
}

const FAMILIES: [Family; 2] = [
    Family { digit: '4', protocol: "ip", address: "ipv4_addr", nfproto: "ipv4" },
    Family { digit: '6', protocol: "ip6", address: "ipv6_addr", nfproto: "ipv6" },
];

/// Has the table hold our chains with our rules, and our sets. What is in the sets stays.
pub(super) fn install(transaction: &mut Transaction) {
    transaction.push(json!({"add": {"table": {"family": "inet", "name": NAME}}}));
    for (name, kind, hook, priority) in CHAINS {
        let chain = json!({"family": "inet", "table": NAME, "name": name, "type": kind, "hook": hook,
            "prio": priority, "policy": "accept"});
        transaction.push(json!({"add": {"chain": chain}}));
    }
    for set in sets() {
        transaction.push(json!({"add": set}));
    }
    for (name, ..) in CHAINS {
        transaction.push(json!({"flush": {"chain": {"family": "inet", "table": NAME, "name": name}}}));
    }
    for (chain, expr) in rules() {
        transaction.push(json!({"add": {"rule": {"family": "inet", "table": NAME, "chain": chain, "expr": expr}}}));
    }
}

fn sets() -> Vec<Value> {
    let set = |name: &str, of: Value| json!({"set": {"family": "inet", "table": NAME, "name": name, "type": of}});
    let intervals = |name: String, of: Value| json!({"set": {"family": "inet", "table": NAME, "name": name, "type": of, "flags": ["interval"]}});
    let map = |name: String, of: Value, to: &str| json!({"map": {"family": "inet", "table": NAME, "name": name, "type": of, "map": to}});
    let mut sets =
        vec![set(BRIDGES, json!("ifname")), set(INTERNAL, json!("ifname")), set(WITHIN, json!(["ifname", "ifname"]))];
    for Family { digit, address, .. } in FAMILIES {
        sets.push(intervals(format!("masquerade{digit}"), json!(address)));
        sets.push(intervals(format!("hairpin{digit}"), json!(["ifname", address])));
        let keys =
            [("at", json!([address, "inet_proto", "inet_service"])), ("any", json!(["inet_proto", "inet_service"]))];
        for (where_, key) in keys {
            sets.push(map(format!("{where_}{digit}_host"), key.clone(), address));
            sets.push(map(format!("{where_}{digit}_port"), key, "inet_service"));
        }
    }
    sets
}

/// Chain and expressions of every rule, as nft lists them.
pub(super) fn rules() -> Vec<(String, Value)> {
    let accept = || json!({"accept": null});
    let drop = || json!({"drop": null});
    let masquerade = || json!({"masquerade": null});
    let loopback = || json!({"prefix": {"addr": "127.0.0.0", "len": 8}});
    let from_us = || is(meta("iifname"), set(BRIDGES));
    let to_us = || is(meta("oifname"), set(BRIDGES));
    let translated = || has(ct("status"), json!("dnat"));

    let mut rules = Vec::new();
    let mut rule = |chain: &str, expr: Vec<Value>| rules.push((chain.to_owned(), Value::Array(expr)));
    rule("guard", vec![from_us(), is(payload("ip", "daddr"), loopback()), drop()]);
    rule("guard", vec![from_us(), is(payload("ip", "saddr"), loopback()), drop()]);

    // What is published on a loopback address is for this host, whatever other interfaces route.
    rule("prerouting", vec![is(payload("ip", "daddr"), loopback()), json!({"return": null})]);
    for chain in ["prerouting", "output"] {
        // What is on its way to another host is not ours, though its port be the same.
        rule(chain, vec![is_not(fib("daddr"), json!("local")), json!({"return": null})]);
        for family in FAMILIES {
            let Family { digit, protocol, nfproto, .. } = family;
            let transport = || vec![meta("l4proto"), payload("th", "dport")];
            let mut at = vec![payload(protocol, "daddr")];
            at.extend(transport());
            rule(chain, vec![dnat(protocol, &format!("at{digit}"), &json!(at))]);
            let any = dnat(protocol, &format!("any{digit}"), &json!(transport()));
            rule(chain, vec![is(meta("nfproto"), json!(nfproto)), any]);
        }
    }

    for Family { digit, protocol, .. } in FAMILIES {
        let source = || payload(protocol, "saddr");
        let elsewhere = is_not(meta("oifname"), set(BRIDGES));
        rule("postrouting", vec![is(source(), set(&format!("masquerade{digit}"))), elsewhere, masquerade()]);
        let same_network = is(concat(&[meta("oifname"), source()]), set(&format!("hairpin{digit}")));
        rule("postrouting", vec![translated(), same_network, masquerade()]);
    }
    // A guest cannot answer a loopback address, and one on an internal network has no route to the others.
    rule("postrouting", vec![to_us(), translated(), is(fib("saddr"), json!("local")), masquerade()]);

    rule("forward", vec![is(concat(&[meta("iifname"), meta("oifname")]), set(WITHIN)), accept()]);
    rule("forward", vec![is(meta("iifname"), set(INTERNAL)), drop()]);
    rule("forward", vec![is(meta("oifname"), set(INTERNAL)), drop()]);
    rule("forward", vec![has(ct("state"), json!(["established", "related"])), accept()]);
    rule("forward", vec![to_us(), translated(), accept()]);
    rule("forward", vec![to_us(), drop()]);
    rules
}

fn dnat(protocol: &str, maps: &str, key: &Value) -> Value {
    let to = |what: &str| json!({"map": {"key": {"concat": key}, "data": format!("@{maps}_{what}")}});
    json!({"dnat": {"family": protocol, "addr": to("host"), "port": to("port")}})
}

fn compare(op: &str, left: Value, right: Value) -> Value {
    json!({"match": {"op": op, "left": left, "right": right}})
}

fn is(left: Value, right: Value) -> Value {
    compare("==", left, right)
}

fn is_not(left: Value, right: Value) -> Value {
    compare("!=", left, right)
}

fn has(left: Value, right: Value) -> Value {
    compare("in", left, right)
}

fn set(name: &str) -> Value {
    json!(format!("@{name}"))
}

fn meta(key: &str) -> Value {
    json!({"meta": {"key": key}})
}

fn ct(key: &str) -> Value {
    json!({"ct": {"key": key}})
}

fn payload(protocol: &str, field: &str) -> Value {
    json!({"payload": {"protocol": protocol, "field": field}})
}

fn fib(address: &str) -> Value {
    json!({"fib": {"result": "type", "flags": [address]}})
}

fn concat(parts: &[Value]) -> Value {
    json!({"concat": parts})
}
