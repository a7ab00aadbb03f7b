use std::net::IpAddr;

use serde_json::{Value, json};

use super::element::Owner;
use super::table::{self, Table, Transaction};
use super::{published, rules};
use crate::error::Kind;
use crate::machine::{Kernel, KernelKind, MachineId, MachineName, Manager, Port, Record, SCHEMA, Spec};
use crate::network::Network;

fn network(name: &str, bridge: &str, ipv4: &str, ipv6: Option<&str>, internal: bool) -> Network {
    Network {
        schema: crate::network::SCHEMA,
        name: name.parse().unwrap(),
        id: MachineId::from_bytes([1; 16]),
        bridge: bridge.into(),
        ipv4: Some(ipv4.parse().unwrap()),
        ipv6: ipv6.map(|net| net.parse().unwrap()),
        internal,
        labels: std::collections::BTreeMap::new(),
        created: jiff::Timestamp::UNIX_EPOCH,
    }
}

fn machine(name: &str, id: u8, ports: &[&str]) -> Record {
    let spec = Spec {
        kernel: Kernel::new("/srv/web.elf", KernelKind::Unikraft),
        ports: ports.iter().flat_map(|text| Port::parse(text).unwrap()).collect(),
        ..Spec::example(name)
    };
    let id = MachineId::from_bytes([id; 16]);
    Record { schema: SCHEMA, id, created: jiff::Timestamp::UNIX_EPOCH, manager: Manager::Local, stale: false, spec }
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Every machine runs.
fn there(_: &MachineName, _: MachineId) -> crate::error::Result<bool> {
    Ok(true)
}

fn commands(transaction: &Transaction) -> Vec<Value> {
    let value: Value = serde_json::from_str(&transaction.to_json()).unwrap();
    value["nftables"].as_array().unwrap().clone()
}

/// A table as nft lists it after these transactions, without deletions.
fn listed(transactions: &[&Transaction]) -> Table {
    let mut objects: Vec<Value> = Vec::new();
    for add in transactions.iter().flat_map(|transaction| commands(transaction)).map(|command| command["add"].clone()) {
        if let Some(element) = add.get("element") {
            let named = |object: &Value| ["set", "map"].iter().any(|kind| object[kind]["name"] == element["name"]);
            let set = objects.iter_mut().find(|object| named(object)).unwrap();
            let set = set.as_object_mut().unwrap().values_mut().next().unwrap();
            let mut all = set["elem"].as_array().cloned().unwrap_or_default();
            all.extend(element["elem"].as_array().unwrap().iter().cloned());
            set["elem"] = json!(all);
        } else if add.is_object() {
            objects.push(add);
        }
    }
    Table::parse(&json!({"nftables": objects}).to_string()).unwrap()
}

#[test]
fn a_network_is_elements() {
    let net = network("lan", "kr-lan", "10.88.0.1/24", Some("fd00:88::1/64"), false);
    let first = table::up(None, &net);
    let added: Vec<Value> =
        commands(&first).into_iter().filter(|command| !command["add"]["element"].is_null()).collect();
    let id = "01".repeat(16);
    let element = |name: &str, key: Value| {
        let elem = json!([{"elem": {"val": key, "comment": format!("lan {id}")}}]);
        json!({"add": {"element": {"family": "inet", "table": "kraft", "name": name, "elem": elem}}})
    };
    let v4 = json!({"prefix": {"addr": "10.88.0.0", "len": 24}});
    let v6 = json!({"prefix": {"addr": "fd00:88::", "len": 64}});
    assert_eq!(
        added,
        [
            element("bridges", json!("kr-lan")),
            element("hairpin4", json!({"concat": ["kr-lan", v4]})),
            element("hairpin6", json!({"concat": ["kr-lan", v6]})),
            element("masquerade4", v4),
            element("masquerade6", v6),
            element("within", json!({"concat": ["kr-lan", "kr-lan"]})),
        ]
    );
    // The second time, there is nothing to do.
    assert!(table::up(Some(&listed(&[&first])), &net).is_empty());
}

#[test]
fn an_internal_network_is_not_let_out() {
    let transaction = table::up(None, &network("lan", "kr-lan", "10.88.0.1/24", None, true)).to_json();
    assert!(transaction.contains(r#""name":"internal","table":"kraft"}}}"#), "{transaction}");
    assert!(!transaction.contains(r#""len":24}},"name":"masquerade4""#), "{transaction}");
}

#[test]
fn rules_that_somebody_changed_are_made_anew() {
    let net = network("lan", "kr-lan", "10.88.0.1/24", None, false);
    let mut first = table::up(None, &net);
    first.push(json!({"add": {"rule": {"family": "inet", "table": "kraft", "chain": "forward", "expr": []}}}));
    let again = commands(&table::up(Some(&listed(&[&first])), &net));
    assert_eq!(again[0], json!({"add": {"table": {"family": "inet", "name": "kraft"}}}));
    assert_eq!(again.iter().filter(|command| !command["flush"].is_null()).count(), 5);
    assert!(again.iter().all(|command| command["add"]["element"].is_null()));
}

#[test]
fn ports_are_elements_of_maps() {
    let web = machine("web", 2, &["127.0.0.1:8080:80", "8081:80", "[2001:db8::1]:53:5353/udp"]);
    let elements = published::elements(&web, &ips(&["10.88.0.2", "fd00:88::2"])).unwrap();
    let shown: Vec<String> = elements
        .iter()
        .map(|element| format!("{} {} {}", element.set, element.key["concat"], element.data.as_ref().unwrap()))
        .collect();
    assert_eq!(
        shown,
        [
            r#"at4_host ["127.0.0.1",6,8080] "10.88.0.2""#,
            r#"at4_port ["127.0.0.1",6,8080] 80"#,
            r#"any4_host [6,8081] "10.88.0.2""#,
            r#"any4_port [6,8081] 80"#,
            r#"any6_host [6,8081] "fd00:88::2""#,
            r#"any6_port [6,8081] 80"#,
            r#"at6_host ["2001:db8::1",17,53] "fd00:88::2""#,
            r#"at6_port ["2001:db8::1",17,53] 5353"#,
        ]
    );
    assert_eq!(
        elements[0].to_add(),
        json!([
            {"elem": {"val": {"concat": ["127.0.0.1", 6, 8080]}, "comment": format!("web {}", "02".repeat(16))}},
            "10.88.0.2"
        ])
    );
    let error = published::elements(&web, &ips(&["10.88.0.2"])).unwrap_err();
    assert_eq!(error.to_string(), "port [2001:db8::1]:53:5353/udp leads nowhere: the machine has no IPv6 address");
    let error = published::elements(&machine("web", 2, &["[::1]:1:1"]), &ips(&["fd00:88::2"])).unwrap_err();
    assert_eq!(error.to_string(), "port [::1]:1:1/tcp leads nowhere: what is sent to ::1 never leaves the host");
}

#[test]
fn publishing_is_idempotent_and_never_takes_another_s() {
    let base = table::up(None, &network("lan", "kr-lan", "10.88.0.1/24", None, false));
    let web = machine("web", 2, &["127.0.0.1:8080:80", "8081:80"]);
    let wanted = published::elements(&web, &ips(&["10.88.0.2"])).unwrap();
    let first = published::publish(&listed(&[&base]), &web, &wanted, there).unwrap();
    let table = listed(&[&base, &first]);
    assert!(published::publish(&table, &web, &wanted, there).unwrap().is_empty());
    let holders: Vec<String> =
        published::holders(&table).iter().map(|(name, _, port)| format!("{name} {port}")).collect();
    assert_eq!(holders, ["web 8081:80/tcp", "web 127.0.0.1:8080:80/tcp"]);

    // At another address, what leads to the old one goes in the same transaction.
    let moved = published::elements(&web, &ips(&["10.88.0.3"])).unwrap();
    let again = commands(&published::publish(&table, &web, &moved, there).unwrap());
    let verbs: Vec<_> =
        again.iter().map(|command| command.as_object().unwrap().keys().next().unwrap().as_str()).collect();
    assert_eq!(verbs, ["delete", "delete", "add", "add"]);

    for port in ["8080:81", "127.0.0.1:8081:80"] {
        let other = machine("other", 3, &[port]);
        let wanted = published::elements(&other, &ips(&["10.88.0.9"])).unwrap();
        let error = published::publish(&table, &other, &wanted, there).unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict);
        assert!(error.to_string().contains("/tcp is taken: machine web has "), "{error}");
        // It died and was not swept: all that it had goes with what is in the way, once.
        let gone = commands(&published::publish(&table, &other, &wanted, |_, _| Ok(false)).unwrap());
        let deleted = gone.iter().filter(|command| !command["delete"].is_null());
        let count =
            deleted.map(|command| command["delete"]["element"]["elem"].as_array().unwrap().len()).sum::<usize>();
        assert_eq!(count, 4);
    }
    let another = Owner::machine(&"web".parse().unwrap(), MachineId::from_bytes([9; 16]));
    assert!(published::unpublish(&table, &another).is_empty());
    let owner = Owner::machine(&"web".parse().unwrap(), web.id);
    assert_eq!(commands(&published::unpublish(&table, &owner)).len(), 4);
}

#[test]
fn the_last_network_takes_the_table_with_it() {
    let (lan, other) =
        (network("lan", "kr-lan", "10.88.0.1/24", None, false), network("dmz", "kr-dmz", "10.89.0.1/24", None, false));
    let base = table::up(None, &lan);
    let second = table::up(Some(&listed(&[&base])), &other);
    let web = machine("web", 2, &["8080:80"]);
    let both = listed(&[&base, &second]);
    let ports = published::elements(&web, &ips(&["10.88.0.2"])).unwrap();
    let ports = published::publish(&both, &web, &ports, there).unwrap();
    let gone = commands(&table::down(&listed(&[&base, &second, &ports]), &lan));
    let sets: Vec<&str> = gone.iter().filter_map(|command| command["delete"]["element"]["name"].as_str()).collect();
    assert_eq!(sets, ["any4_host", "any4_port", "bridges", "hairpin4", "masquerade4", "within"]);
    let all = commands(&table::down(&listed(&[&base]), &lan));
    assert_eq!(all, [json!({"delete": {"table": {"family": "inet", "name": "kraft"}}})]);
}

#[test]
fn what_nft_says_of_others_is_passed_over() {
    let table = Table::parse(r#"{"nftables":[{"metainfo":{}},{"set":{"name":"x","elem":["a",{"elem":{"val":1}}]}}]}"#);
    assert!(table.unwrap().elements.is_empty());
    assert!(Table::parse("nft: ?").is_err());
    assert_eq!(rules::rules().len(), 24);
}
