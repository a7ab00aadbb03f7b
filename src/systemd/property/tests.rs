use proptest::prelude::*;

use super::*;

fn one(typed: &str) -> (String, Variant<'static>) {
    let mut all = parse(typed).unwrap_or_else(|e| panic!("{typed}: {e}"));
    assert_eq!(all.len(), 1, "{typed}");
    let property = all.remove(0);
    (property.name, property.value)
}

#[test]
fn what_a_person_types_is_what_the_bus_gets() {
    let cases: Vec<(&str, &str, Variant<'static>)> = vec![
        ("MemoryMax=64M", "MemoryMax", (64u64 << 20).into()),
        ("MemoryMax=infinity", "MemoryMax", u64::MAX.into()),
        ("MemoryMax=50%", "MemoryMaxScale", 2_147_483_648u32.into()),
        ("TasksMax=100", "TasksMax", 100u64.into()),
        ("CPUQuota=50%", "CPUQuotaPerSecUSec", 500_000u64.into()),
        ("CPUQuota=250%", "CPUQuotaPerSecUSec", 2_500_000u64.into()),
        ("CPUWeight=200", "CPUWeight", 200u64.into()),
        ("AllowedCPUs=0-2,9", "AllowedCPUs", vec![7u8, 2].into()),
        ("RuntimeMaxSec=1min 30s", "RuntimeMaxUSec", 90_000_000u64.into()),
        ("TimeoutStartSec=0", "TimeoutStartUSec", u64::MAX.into()),
        ("UMask=0077", "UMask", 0o77u32.into()),
        ("OOMScoreAdjust=-500", "OOMScoreAdjust", (-500i32).into()),
        ("PrivateTmp=yes", "PrivateTmp", true.into()),
        ("User=nobody", "User", "nobody".to_owned().into()),
        ("Environment=A=1 'B=two words'", "Environment", vec!["A=1".to_owned(), "B=two words".to_owned()].into()),
        ("DeviceAllow=/dev/kvm rw", "DeviceAllow", vec![("/dev/kvm".to_owned(), "rw".to_owned())].into()),
        ("IOReadBandwidthMax=/dev/sda 1M", "IOReadBandwidthMax", vec![("/dev/sda".to_owned(), 1_000_000u64)].into()),
        ("RestrictAddressFamilies=~AF_INET", "RestrictAddressFamilies", (false, vec!["AF_INET".to_owned()]).into()),
        ("RestrictAddressFamilies=none", "RestrictAddressFamilies", (true, Vec::<String>::new()).into()),
        ("RestrictNamespaces=yes", "RestrictNamespaces", 0u64.into()),
        ("CapabilityBoundingSet=", "CapabilityBoundingSet", 0u64.into()),
        ("CapabilityBoundingSet=CAP_NET_ADMIN", "CapabilityBoundingSet", (1u64 << 12).into()),
        ("KillSignal=SIGINT", "KillSignal", 2i32.into()),
        ("IPAddressAllow=10.0.0.0/8", "IPAddressAllow", vec![(2i32, vec![10u8, 0, 0, 0], 8u32)].into()),
        ("BindPaths=-/a:/b", "BindPaths", vec![("/a".to_owned(), "/b".to_owned(), true, 16384u64)].into()),
        ("LoadCredential=key:/etc/key", "LoadCredential", vec![("key".to_owned(), "/etc/key".to_owned())].into()),
        ("LogLevelMax=warning", "LogLevelMax", 4i32.into()),
        ("SyslogFacility=daemon", "SyslogFacility", 24i32.into()),
        ("LogExtraFields=A_1=b", "LogExtraFields", vec![b"A_1=b".to_vec()].into()),
        ("AppArmorProfile=-x", "AppArmorProfile", (true, "x".to_owned()).into()),
        ("SocketBindAllow=ipv4:tcp:80-89", "SocketBindAllow", vec![(2i32, 6i32, 10u16, 80u16)].into()),
        ("SocketBindDeny=any", "SocketBindDeny", vec![(0i32, 0i32, 0u16, 0u16)].into()),
        ("SomethingNew=x", "SomethingNew", "x".to_owned().into()),
    ];
    for (typed, name, value) in cases {
        assert_eq!(one(typed), (name.to_owned(), value), "{typed}");
    }
}

#[test]
fn commands_and_limits() {
    let argv = || vec!["/bin/true".to_owned(), "a b".to_owned()];
    let (name, value) = one("ExecStartPre=-/bin/true 'a b'");
    assert_eq!(name, "ExecStartPre");
    assert_eq!(value, vec![("/bin/true".to_owned(), argv(), true)].into());
    let (name, value) = one("ExecStartPre=+/bin/true 'a b'");
    assert_eq!(name, "ExecStartPreEx");
    assert_eq!(value, vec![("/bin/true".to_owned(), argv(), vec!["privileged".to_owned()])].into());
    let names: Vec<_> = parse("LimitNOFILE=10:20").unwrap().into_iter().map(|p| (p.name, p.value)).collect();
    assert_eq!(names, [("LimitNOFILE".to_owned(), 20u64.into()), ("LimitNOFILESoft".to_owned(), 10u64.into())]);
    assert_eq!(time_of("TimeoutSec=5s", "TimeoutStartUSec"), Some(Duration::from_secs(5)));
}

#[test]
fn what_cannot_be_says_why() {
    for (typed, why) in [
        ("MemoryMax", "KEY=VALUE"),
        ("=1", "letters"),
        ("Memory Max=1", "letters"),
        ("MemoryMax=lots", "64M"),
        ("CPUQuota=50", "50%"),
        ("PrivateTmp=perhaps", "yes or no"),
        ("KillSignal=SIGFOO", "not a signal"),
        ("AllowedCPUs=3-1", "no range"),
        ("Environment=A", "NAME=VALUE"),
        ("Environment='A=1", "not closed"),
        ("ExecStartPre=true", "absolute"),
        ("Type=simple", "cannot be changed"),
        ("Slice=x.slice", "cannot be changed"),
        ("KillMode=none", "cannot be changed"),
    ] {
        let error = check_properties(&[typed.to_owned()]).expect_err(typed).to_string();
        assert!(error.contains(why), "{typed}: {error}");
        assert!(error.contains(key_of(typed)), "{typed}: {error}");
    }
    let slice = check_properties(&["Slice=x".into()]).unwrap_err();
    assert!(slice.hint().unwrap().contains("--slice"));
}

fn any_key() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec![
            "MemoryMax",
            "TasksMax",
            "CPUWeight",
            "CPUQuota",
            "AllowedCPUs",
            "DeviceAllow",
            "IOReadBandwidthMax",
            "IODeviceWeight",
            "IPAddressAllow",
            "TimeoutSec",
            "RestartSec",
            "TimerSlackNSec",
            "StartLimitBurst",
            "Nice",
            "CoredumpFilter",
            "UMask",
            "IOSchedulingClass",
            "KillSignal",
            "LogLevelMax",
            "SystemCallFilter",
            "CapabilityBoundingSet",
            "RestrictNamespaces",
            "ExecStartPre",
            "BindPaths",
            "TemporaryFileSystem",
            "LoadCredential",
            "SetCredential",
            "EnvironmentFile",
            "SuccessExitStatus",
            "LimitNICE",
            "LimitCPU",
            "LimitNOFILE",
            "SocketBindAllow",
            "LogExtraFields",
            "ConditionPathExists",
            "Environment",
            "Wants",
            "ManagedOOMMemoryPressureLimit",
        ])
        .prop_map(str::to_owned),
        "[A-Za-z]{0,12}",
    ]
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,40}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_value_panics(key in any_key(), value in "[-~+:!|/%.,0-9a-zA-Z'\"\\\\ é]{0,30}") {
        let _ = parse(&format!("{key}={value}"));
    }
}
