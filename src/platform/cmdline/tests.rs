//! Lines as they are written, and as models of their readers read them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::machine::{Arch, Kernel, KernelKind};

fn spec(dialect: Dialect) -> Spec {
    let kernel = Kernel { dialect: Some(dialect), ..Kernel::new("/k/web.elf", KernelKind::Pvh) };
    Spec { kernel, ..Spec::example("web") }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

fn interface(need: Need) -> Interface<'static> {
    let ip = IpConfig {
        ipv4: Some("172.30.0.2/24".parse().unwrap()),
        gateways: vec!["172.30.0.1".parse().unwrap()],
        dns: vec!["172.30.0.1".parse().unwrap(), "9.9.9.9".parse().unwrap()],
        host: Some("web".into()),
        domain: Some("lab".into()),
        ..IpConfig::default()
    };
    Interface { ip: Cow::Owned(ip), need }
}

fn mounted(tag: &'static str, target: &'static str) -> Mounted<'static> {
    Mounted { tag: tag.into(), target, read_only: false, driver: ShareDriver::NineP }
}

fn line(spec: &Spec, told: &Told<'_>) -> Result<String> {
    command_line(spec, told, Loader::Names(10))
}

fn written(spec: &Spec, told: &Told<'_>) -> String {
    line(spec, told).unwrap()
}

fn error(spec: &Spec, told: &Told<'_>) -> String {
    line(spec, told).unwrap_err().to_string()
}

fn parameters(names: &[(&str, u64)]) -> Option<BTreeMap<String, u64>> {
    Some(names.iter().map(|(name, count)| (name.to_string(), *count)).collect())
}

#[test]
fn unikraft_is_told_of_everything() {
    let mut spec = spec(Dialect::Unikraft);
    assert_eq!(written(&spec, &Told::default()), "");
    spec.app_args = strings(&["/server", "two words", "say \"hi\"", r"it's a \"]);
    assert_eq!(written(&spec, &Told::default()), r#"/server "two words" 'say "hi"' 'it'"'"'s a \'"#);
    spec.kernel_args = strings(&["debug.gdbcon=1"]);
    spec.initrd = Some("/root.cpio".into());
    spec.env = env(&[("A", "b c"), ("LIST", "[1]"), ("NONE", "")]);
    let told = Told {
        interfaces: vec![Interface { ip: Cow::Owned(IpConfig::default()), need: Need::Must }, interface(Need::Must)],
        mounts: vec![mounted("fs1", "/www/data"), mounted("fs2", "/www")],
    };
    assert_eq!(
        written(&spec, &told),
        "debug.gdbcon=1 netdev.ip=::::: netdev.ip=172.30.0.2/24:172.30.0.1:172.30.0.1:9.9.9.9:web:lab \
         vfs.fstab=[ \"initrd0:/:extract:::\" \"fs2:/www:9pfs:::mkmp\" \"fs1:/www/data:9pfs:::mkmp\" ] \
         env.vars=[ \"A=b c\" \"NONE=\" ] env.vars=LIST=[1] \
         -- /server \"two words\" 'say \"hi\"' 'it'\"'\"'s a \\'"
    );
    assert_eq!(command_line(&spec, &told, Loader::Nameless).unwrap(), format!("web {}", written(&spec, &told)));
}

#[test]
fn what_is_added_is_followed_by_a_separator() {
    let mut spec = spec(Dialect::Unikraft);
    spec.env = env(&[("A", "1")]);
    assert_eq!(written(&spec, &Told::default()), "env.vars=[ \"A=1\" ] --");
    spec.env.clear();
    spec.kernel_args = strings(&["/server"]);
    assert_eq!(written(&spec, &Told::default()), "/server");
}

#[test]
fn unikraft_refuses_what_would_be_lost() {
    let nothing = Told::default();
    let told = Told { interfaces: vec![interface(Need::Must)], mounts: vec![mounted("fs1", "/a:b")] };
    let mut spec = spec(Dialect::Unikraft);
    let begin = "cannot give";
    spec.app_args = strings(&[""]);
    assert_eq!(
        error(&spec, &nothing),
        format!("{begin} an empty argument to a kernel of dialect unikraft: it leaves such out")
    );
    spec.app_args = strings(&["a", "--"]);
    assert!(error(&spec, &nothing).contains("it takes that for the end of its own"));
    spec.app_args.clear();
    assert!(error(&spec, &told).contains("'/a:b' to a kernel of dialect unikraft: it holds a colon"));
    spec.env = env(&[("[A", "1]")]);
    assert!(error(&spec, &nothing).contains("it would be taken for a list"));
    spec.env = env(&[("A", "1")]);
    for (typed, why) in [
        ("a.b='x", "left open"),
        ("a.b=[ x", "a list in them is left open"),
        ("a.b=\\", "left open"),
        ("--", "behind it is the application's"),
        ("/server", "it takes parameters alone"),
    ] {
        spec.kernel_args = strings(&[typed]);
        assert!(error(&spec, &nothing).contains(why), "{typed}: {}", error(&spec, &nothing));
    }
    spec.kernel_args = strings(&["a.b=[ x", "y ]", "help"]);
    assert!(line(&spec, &nothing).is_ok());
    spec.kernel_args = vec!["a.b=c".into(); 60];
    assert!(error(&spec, &nothing).contains("of which it reads 60"));
    spec.kernel_args = vec![format!("a.b={}", "x".repeat(4096))];
    assert!(error(&spec, &nothing).contains("of at most 4084"));
    spec.kernel_args.clear();
    spec.initrd = Some("/root.cpio".into());
    let root = Told { mounts: vec![mounted("fs1", "/")], ..nothing };
    assert!(error(&spec, &root).contains("both an initial RAM disk and fs1 at /"));
}

#[test]
fn what_is_known_of_the_parameters_counts() {
    let told = Told { interfaces: vec![interface(Need::Must)], mounts: vec![mounted("fs1", "/www")] };
    let mut spec = spec(Dialect::Unikraft);
    spec.kernel.parameters = parameters(&[("env.vars", 1), ("vfs.fstab", 2)]);
    assert_eq!(
        error(&spec, &told),
        "cannot give an address to a kernel of dialect unikraft: it was built without netdev.ip"
    );
    let may = Told { interfaces: vec![interface(Need::May)], ..Told::default() };
    assert_eq!(written(&spec, &may), "");
    spec.initrd = Some("/root.cpio".into());
    assert_eq!(written(&spec, &may), "vfs.fstab=[ \"initrd0:/:extract:::\" ] --");
    let told = Told { mounts: vec![mounted("fs1", "/a"), mounted("fs2", "/b")], ..Told::default() };
    assert!(error(&spec, &told).ends_with("its vfs.fstab takes at most 2, not 3"));
    spec.env = env(&[("A", "1"), ("B", "2")]);
    assert!(error(&spec, &may).ends_with("its env.vars takes at most 1, not 2"));
    spec.kernel.abilities.ninep = Some(false);
    assert!(
        error(&spec, &Told { mounts: vec![mounted("fs1", "/a")], ..Told::default() }).ends_with("built without 9P")
    );
}

#[test]
fn old_unikraft_has_less_to_offer() {
    let mut spec = spec(Dialect::UnikraftOld);
    spec.app_args = strings(&["/app"]);
    let told = Told { interfaces: vec![interface(Need::Must)], mounts: vec![mounted("fs1", "/")] };
    assert_eq!(
        written(&spec, &told),
        "netdev.ipv4_addr=172.30.0.2 netdev.ipv4_subnet_mask=255.255.255.0 netdev.ipv4_gw_addr=172.30.0.1 \
         vfs.rootfs=9pfs vfs.rootdev=fs1 -- /app"
    );
    let mut two = Told { interfaces: vec![interface(Need::Must), interface(Need::Must)], ..Told::default() };
    assert!(written(&spec, &two).starts_with("\"netdev.ipv4_addr=172.30.0.2 172.30.0.2\" \"netdev.ipv4_subnet_mask="));
    two.interfaces[1].ip.to_mut().gateways.clear();
    assert!(error(&spec, &two).ends_with("for every interface or for none"));
    let below = Told { mounts: vec![mounted("fs1", "/www")], ..Told::default() };
    assert!(error(&spec, &below).contains("dialect unikraft-old: it has one mount alone"));
    spec.env = env(&[("A", "1")]);
    assert!(error(&spec, &Told::default()).ends_with("unikraft-old: it knows of none"));
    // 0.14 to 0.16.0 had the newer parameters for all but addresses.
    let known = [("vfs.fstab", 16), ("env.vars", 8), ("netdev.ipv4_addr", 1)];
    spec.kernel.parameters = parameters(&known);
    spec.initrd = Some("/root.cpio".into());
    assert_eq!(
        written(&spec, &below),
        "vfs.fstab=[ \"initrd0:/:initrd:::\" \"fs1:/www:9pfs:::mkmp\" ] env.vars=[ \"A=1\" ] -- /app"
    );
}

#[test]
fn linux_is_told_in_its_own_words() {
    let mut spec = spec(Dialect::Linux);
    assert_eq!(written(&spec, &Told::default()), "console=ttyS0");
    spec.arch = Arch::Arm64;
    assert_eq!(written(&spec, &Told::default()), "console=ttyAMA0");
    spec.kernel_args = strings(&["console=hvc0", "quiet"]);
    spec.env = env(&[("A", "b c"), ("B", "")]);
    spec.app_args = strings(&["single", "", "a=b c"]);
    let mut data = mounted("fs1", "/my data:\"1\"");
    data.read_only = true;
    let told = Told {
        interfaces: vec![interface(Need::Must), interface(Need::May)],
        mounts: vec![data, Mounted { driver: ShareDriver::Virtiofs, ..mounted("fs2", "/é") }],
    };
    assert_eq!(
        written(&spec, &told),
        "console=hvc0 quiet ip=172.30.0.2::172.30.0.1:255.255.255.0:web.lab:eth0:off:172.30.0.1:9.9.9.9 \
         ip=172.30.0.2::172.30.0.1:255.255.255.0:web.lab:eth1:off:172.30.0.1:9.9.9.9 \
         systemd.mount-extra=fs1:/my\\x20data\\x3a\\x221\\x22:9p:trans=virtio,version=9p2000.L,ro \
         systemd.mount-extra=fs2:/\\xc3\\xa9:virtiofs:rw A=\"b c\" B= -- single \"\" a=\"b c\""
    );
}

#[test]
fn linux_refuses_what_would_be_lost() {
    let nothing = Told::default();
    let refused = |change: &dyn Fn(&mut Spec)| {
        let mut spec = spec(Dialect::Linux);
        change(&mut spec);
        error(&spec, &nothing)
    };
    let variable = |key: &'static str, value: &'static str| refused(&|spec| spec.env = env(&[(key, value)]));
    assert!(variable("A", "one \" two").contains("'A=one \\\" two' to a kernel of dialect linux: it cannot be quoted"));
    assert!(variable("a.b", "1").contains("module's parameter"));
    assert!(variable("root", "1").contains("a parameter of the kernel's own"));
    assert!(refused(&|spec| spec.app_args = strings(&["--"])).contains("it ends init's arguments"));
    assert!(refused(&|spec| spec.app_args = vec!["x".into(); 33]).contains("at most 32"));
    assert!(refused(&|spec| spec.kernel_args = strings(&["a=\"b"])).contains("left open"));
    assert!(refused(&|spec| spec.kernel_args = strings(&["--"])).contains("is init's"));
    assert!(refused(&|spec| spec.kernel_args = vec!["x".repeat(2047)]).contains("of at most 2047"));
    let many = |spec: &mut Spec| spec.env = (0..32).map(|n| (format!("V{n}"), String::new())).collect();
    assert!(refused(&many).contains("at most 31 variables"));
}

#[test]
fn of_addresses_there_is_ipv4_alone() {
    for dialect in [Dialect::Unikraft, Dialect::UnikraftOld, Dialect::Linux] {
        let mut both = interface(Need::Must);
        both.ip.to_mut().ipv6 = Some("fd00::2/64".parse().unwrap());
        both.ip.to_mut().gateways.insert(0, "fd00::1".parse().unwrap());
        let told = Told { interfaces: vec![both.clone()], ..Told::default() };
        assert!(written(&spec(dialect), &told).contains("172.30.0.1"));
        both.ip.to_mut().ipv4 = None;
        let told = Told { interfaces: vec![both.clone()], ..Told::default() };
        assert!(error(&spec(dialect), &told).contains(&format!("address fd00::2/64 to a kernel of dialect {dialect}")));
        let mut named = interface(Need::Must);
        named.ip.to_mut().host = Some("a b".into());
        let told = Told { interfaces: vec![named], ..Told::default() };
        assert!(error(&spec(dialect), &told).contains("host name 'a b'"));
    }
}

#[test]
fn a_plain_kernel_gets_what_was_typed() {
    let mut spec = spec(Dialect::Plain);
    spec.kernel_args = strings(&["a", "'b"]);
    spec.app_args = strings(&["two words", "", "it's"]);
    let may = Told { interfaces: vec![interface(Need::May)], ..Told::default() };
    assert_eq!(written(&spec, &may), "a 'b -- \"two words\" \"\" \"it's\"");
    let must = Told { interfaces: vec![interface(Need::Must)], ..Told::default() };
    let refused = line(&spec, &must).unwrap_err();
    assert!(refused.to_string().starts_with("cannot give an address to a kernel of dialect plain"));
    assert!(refused.hint().unwrap().contains("--dialect unikraft"));
    assert!(error(&spec, &Told { mounts: vec![mounted("fs1", "/a")], ..Told::default() }).contains("a mount at /a"));
    spec.env = env(&[("A", "1")]);
    assert!(error(&spec, &may).contains("an environment"));
}

/// What a Unikraft kernel ends up with: the values of its parameters, and the application's arguments, by
/// `uk_boot_early_init_parse_cmdl()` and `uk_libparam_parse()`.
fn boot(line: &str) -> (Vec<(String, String)>, Vec<String>) {
    let line = format!("/k/web.elf {line}");
    let argv: Vec<String> =
        split::unikraft(line.as_bytes()).words.into_iter().take(60).map(|w| String::from_utf8(w).unwrap()).collect();
    let (mut values, mut list, mut stop) = (Vec::new(), None::<String>, None);
    for (index, word) in argv.iter().enumerate().skip(1) {
        let (name, mut value) = match &list {
            Some(name) => (name.clone(), word.as_str()),
            None if word == "--" => {
                stop = Some(index);
                break;
            }
            None => {
                let Some((prefix, rest)) = word.split_once('.') else { continue };
                let (name, value) = rest.split_once('=').unwrap_or((rest, ""));
                (format!("{prefix}.{name}"), value)
            }
        };
        let mut in_list = list.is_some();
        if !in_list && let Some(rest) = value.strip_prefix('[') {
            in_list = true;
            value = rest;
            list = Some(name.clone());
            if value.is_empty() {
                continue;
            }
        }
        if in_list && let Some(rest) = value.strip_suffix(']') {
            list = None;
            value = rest;
            if value.is_empty() {
                continue;
            }
        }
        values.push((name, value.to_owned()));
    }
    match stop {
        Some(stop) if stop > 1 => (values, argv[stop + 1..].to_vec()),
        Some(_) | None => (Vec::new(), argv[1..].to_vec()),
    }
}

/// What Linux's init ends up with: its environment and its arguments, by `unknown_bootoption()` and `set_init_arg()`.
fn init(line: &str) -> (Vec<String>, Vec<String>) {
    let words: Vec<String> =
        split::linux(line.as_bytes()).words.into_iter().map(|w| String::from_utf8(w).unwrap()).collect();
    let stop = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let variable =
        |word: &&String| word.split_once('=').is_some_and(|(name, _)| !name.contains('.') && name != "console");
    let arguments = words[stop..].iter().skip(1).take_while(|word| *word != "--").cloned().collect();
    (words[..stop].iter().filter(variable).cloned().collect(), arguments)
}

fn hostile() -> impl Strategy<Value = String> {
    let pieces = vec![
        " ", "\t", "\n", "'", "\"", "\\", "[", "]", "=", "--", ":", ",", ".", "a", "B", ".=[", "é", "à", "\u{a0}", "$",
        "#", "%",
    ];
    prop::collection::vec(prop::sample::select(pieces), 0..8).prop_map(|pieces| pieces.concat())
}

fn hostile_env() -> impl Strategy<Value = BTreeMap<String, String>> {
    let key = hostile().prop_filter("a name", |key| !key.is_empty() && !key.contains('='));
    prop::collection::btree_map(prop_oneof![Just("KEY".to_owned()), key], hostile(), 0..4)
}

proptest! {
    #[test]
    fn all_arrives_in_unikraft_or_is_refused(
        env in hostile_env(),
        app_args in prop::collection::vec(hostile(), 0..4),
        typed in prop::collection::vec(hostile(), 0..2),
        target in hostile(),
    ) {
        let target = format!("/{target}");
        let mount = Mounted { tag: "fs1".into(), target: &target, read_only: false, driver: ShareDriver::NineP };
        let told = Told { mounts: vec![mount], ..Told::default() };
        let spec = Spec { env, app_args, kernel_args: typed.clone(), ..spec(Dialect::Unikraft) };
        if let Ok(line) = line(&spec, &told) {
            let (values, arguments) = boot(&line);
            prop_assert_eq!(&arguments, &spec.app_args);
            let of = |name: &str| values.iter().filter(|(n, _)| n == name).map(|(_, v)| v.clone()).collect::<Vec<_>>();
            prop_assert_eq!(of("vfs.fstab"), [format!("fs1:{target}:9pfs:::mkmp")]);
            let mut wanted: Vec<_> = spec.env.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let mut arrived = of("env.vars");
            wanted.sort();
            arrived.sort();
            prop_assert_eq!(arrived, wanted);
        } else if typed.is_empty() && !target.contains(':') {
            // Nothing else is refused for its characters.
            let excused = spec.app_args.iter().any(String::is_empty) || spec.env.iter().any(|(k, v)| k.starts_with('[') && v.ends_with(']'));
            prop_assert!(excused);
        }
    }

    #[test]
    fn all_arrives_in_linux_or_is_refused(
        env in hostile_env(),
        app_args in prop::collection::vec(hostile(), 0..4),
    ) {
        let spec = Spec { env, app_args, ..spec(Dialect::Linux) };
        if let Ok(line) = line(&spec, &Told::default()) {
            let (variables, arguments) = init(&line);
            prop_assert_eq!(&arguments, &spec.app_args);
            let wanted: Vec<_> = spec.env.iter().map(|(key, value)| format!("{key}={value}")).collect();
            prop_assert_eq!(variables, wanted);
        } else {
            let text = spec.app_args.iter().chain(spec.env.keys()).chain(spec.env.values());
            prop_assert!(text.clone().any(|text| text.contains('"') || text.contains("--") || text.contains('.')));
        }
    }

    #[test]
    fn no_line_makes_the_readers_panic(line in "[ -~\u{e0}\t]{0,64}", bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = (split::unikraft(line.as_bytes()), split::linux(line.as_bytes()));
        let _ = (split::unikraft(&bytes), split::linux(&bytes));
    }
}
