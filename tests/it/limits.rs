//! What a machine may take of its host: directives of its unit, changed while it runs, refused where they would end it.
//! That they hold is shown by tests/lab/vm-tests, where there are all controllers.

use crate::lab::{Lab, Who, guest};

const ALL: [&str; 16] = [
    "--memory-max",
    "300M",
    "--memory-swap-max",
    "1G",
    "--cpu-quota",
    "20%",
    "--cpu-weight",
    "30",
    "--cpuset-cpus",
    "0",
    "--io-weight",
    "40",
    "--io-read-iops-max",
    "/:50",
    "--pids-limit",
    "77",
];

/// Properties and what they are to be.
#[track_caller]
fn assert_set(lab: &Lab, short: &str, expected: &[(&str, &str)]) {
    for (property, value) in expected {
        assert_eq!(lab.property(short, property), *value, "{property}");
    }
}

#[test]
fn limits_are_directives_of_the_unit_and_change_while_it_runs() {
    let lab = Lab::new("limits");
    let name = lab.name("web");
    lab.run_tiny("web", &ALL, &["tick=100"]);
    let all = [
        ("MemoryMax", "314572800"),
        ("MemorySwapMax", "1073741824"),
        ("CPUQuotaPerSecUSec", "200ms"),
        ("CPUWeight", "30"),
        ("AllowedCPUs", "0"),
        ("IOWeight", "40"),
        ("IOReadIOPSMax", "/ 50"),
        ("TasksMax", "77"),
        ("MemoryAccounting", "yes"),
        ("IOAccounting", "yes"),
        ("TasksAccounting", "yes"),
    ];
    assert_set(&lab, "web", &all);
    let shown = lab.inspect("web");
    assert_eq!(shown["limits"]["memory-max"][0], "300Mi");
    assert_eq!(shown["limits"]["io-read-iops-max"][0], "/:50");
    assert_eq!(shown["record"]["spec"]["limits"]["cpu_quota"], "20%");
    assert_eq!(lab.ps("web")["limits"], shown["limits"]);
    let long = lab.kraft(["ps", "--long", "--no-trunc", "-f", &format!("name={name}")]).ok();
    assert!(long.contains("cpu-quota=20%"), "{long}");

    let pid = lab.property("web", "MainPID");
    let args = [
        "update",
        "--memory-max",
        "400M",
        "--cpus-limit",
        "0.5",
        "--cpu-weight",
        "auto",
        "--io-read-iops-max",
        "auto",
        "--device-write-bps",
        "/:1M",
        &name,
    ];
    let said = lab.kraft(args);
    assert_eq!((said.code, &*said.err), (0, ""), "nothing waits for a restart: {}", said.err);
    let changed = [
        ("MemoryMax", "419430400"),
        ("CPUQuotaPerSecUSec", "500ms"),
        ("CPUWeight", "[not set]"),
        ("IOReadIOPSMax", ""),
        ("IOWriteBandwidthMax", "/ 1048576"),
        ("TasksMax", "77"),
    ];
    assert_set(&lab, "web", &changed);
    assert_eq!(lab.property("web", "MainPID"), pid);

    lab.systemctl(["restart", &lab.unit("web")]).ok();
    assert_set(&lab, "web", &changed);
    // Only the record has it now.
    lab.systemctl(["stop", &lab.property("web", "Slice")]).ok();
    lab.kraft(["start", &name]).ok();
    assert_set(&lab, "web", &changed);
}

#[test]
fn a_machine_without_limits_has_room_for_its_guest() {
    let lab = Lab::new("room");
    let name = lab.name("web");
    lab.run_tiny("web", &["--accel", "tcg"], &[]);
    let most = || lab.property("web", "MemoryMax").parse::<u64>().unwrap();
    let first = most();
    assert!(first >= (64 + 256) << 20, "{first}");
    assert_eq!(lab.inspect("web")["limits"]["memory-max"][0].as_str().unwrap(), format!("{}Mi", first >> 20));
    // A larger guest has more at once, as systemd itself may be asked to restart it.
    lab.kraft(["update", "--memory", "512Mi", &name]).ok();
    assert!(most() >= first + (448 << 20), "{}", most());
    lab.systemctl(["restart", &lab.unit("web")]).ok();
    assert_eq!(lab.state_of("web"), "running");
    // A smaller one has less with its next units.
    lab.kraft(["update", "--memory", "64Mi", &name]).ok();
    lab.kraft(["restart", &name]).ok();
    assert_eq!(most(), first);
    // What a person sets as a property wins, until a limit takes its place.
    lab.kraft(["update", "--property", "MemoryMax=600M", &name]).ok();
    assert_eq!(most(), 600 << 20);
    lab.kraft(["update", "--memory-max", "500M", &name]).ok();
    assert_eq!(most(), 500 << 20);
    assert_eq!(lab.inspect("web")["record"]["spec"]["properties"].as_array().map_or(0, Vec::len), 0);
    lab.kraft(["update", "--memory-max", "infinity", &name]).ok();
    assert_eq!(lab.property("web", "MemoryMax"), "infinity");
}

#[test]
fn what_would_end_the_guest_is_refused_and_changes_nothing() {
    let lab = Lab::new("toolittle");
    let (name, kernel) = (lab.name("web"), guest("tiny"));
    let run = |options: &[&str]| {
        let args = ["run", "--systemd", "-d", "--name", &name].into_iter().chain(options.iter().copied());
        lab.kraft(args.chain([&*kernel]))
    };
    for (options, said) in [
        (
            ["--memory-max", "65Mi"],
            "--memory-max 65Mi would end the guest: its memory (64Mi) and its VMM (48Mi) need at least 112Mi",
        ),
        (["--tasks-max", "4"], "--tasks-max 4 would end the guest: its VMM needs at least 6"),
        (["--cpuset-cpus", "8000"], "there is no processor 8000"),
        (["--io-read-iops-max", "/dev/nonexistent:5"], "cannot limit what goes to /dev/nonexistent"),
    ] {
        assert!(run(&options).fails(125).contains(said), "{options:?}");
    }
    for options in [["--cpu-quota", "0%"], ["--cpus-limit", "0"], ["--cpu-weight", "0"], ["--memory-max", "much"]] {
        assert_eq!(run(&options).code, 125, "{options:?}");
    }
    assert_eq!(lab.leaks(), Vec::<String>::new());

    lab.run_tiny("web", &["--memory-max", "200M"], &[]);
    let before = lab.inspect("web");
    for options in [
        vec!["--tasks-max", "100", "--memory-max", "70M"],
        vec!["--tasks-max", "100", "--memory", "190Mi"],
        vec!["--memory-max", "300M", "--tasks-max", "3"],
    ] {
        let args = ["update"].into_iter().chain(options.iter().copied()).chain([&*name]);
        assert!(lab.kraft(args).fails(125).contains("would end the guest"), "{options:?}");
    }
    assert_eq!(lab.inspect("web")["record"], before["record"]);
    assert_set(&lab, "web", &[("MemoryMax", "209715200")]);
    assert_eq!(lab.state_of("web"), "running");
}

#[test]
fn limits_need_systemd() {
    let lab = Lab::new("unlimited");
    let name = lab.name("web");
    let (error, hint) = lab.start_tiny("web", false, &["--cpu-quota", "20%"], &[]).fails_with_hint(125);
    assert!(error.contains("limits are enforced by systemd") && hint.contains("--systemd"), "{error} {hint}");
    assert_eq!(lab.leaks(), Vec::<String>::new());
    lab.start_tiny("web", false, &["--memory-max", "auto"], &[]).ok();
    assert!(lab.kraft(["update", "--tasks-max", "99", &name]).fails(125).contains("limits are enforced by systemd"));
    assert_eq!(lab.ps("web")["limits"], serde_json::json!({}));
}

#[test]
fn limits_of_a_person_s_machine() {
    let lab = Lab::of("own-limits", Who::Tester);
    lab.run_tiny("web", &["--memory-max", "300M", "--cpu-quota", "200%"], &[]);
    assert_set(&lab, "web", &[("MemoryMax", "314572800"), ("CPUQuotaPerSecUSec", "2s")]);
    lab.kraft(["update", "--cpu-quota", "infinity", &lab.name("web")]).ok();
    assert_set(&lab, "web", &[("CPUQuotaPerSecUSec", "infinity")]);
}
