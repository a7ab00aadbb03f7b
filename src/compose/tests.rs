//! Whole files: what they come to, and what is said of those that are wrong.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::machine::{Bytes, HealthAction, Pull, RestartPolicy};

fn read(text: &str) -> Result<(File, Vec<String>), Vec<crate::error::Error>> {
    parse(text, Path::new("c.yaml"), &Variables::default())
}

#[track_caller]
fn service(lines: &str) -> Service {
    let indented: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    let text =
        format!("services:\n  web:\n    image: k\n{indented}volumes: {{data: }}\nsecrets: {{key: {{file: k}}}}\n");
    read(&text).unwrap_or_else(|flaws| panic!("{flaws:?}\n{text}")).0.services.remove(0)
}

#[test]
fn a_service_is_what_it_says() {
    let web = service(
        "command: serve 'a b' --x\nentrypoint: [/bin/app]\nenvironment: [A=1, B]\nmem_limit: 128m\ncpus: 1.5\n\
         restart: unless-stopped\nstop_grace_period: 1m30s\nports: [\"8080:80\", {target: 53, published: 5353, protocol: udp}]\n\
         volumes: [./x:/x:ro, data:/data, {type: bind, source: /y, target: /y, bind: {create_host_path: false}}]\n\
         secrets: [key, {source: key, target: /run/secrets/other}]\nhealthcheck: {interval: 5s, retries: 2}\n\
         x-kraft: {health: \"http:80/h\", health-on-failure: restart, kernel-args: [quiet], ready: \"console:^up\"}\n\
         deploy: {replicas: 3}\nlabels: {tier: front}\nplatform: linux/amd64",
    );
    assert_eq!(web.command.unwrap(), ["serve", "a b", "--x"]);
    assert_eq!(web.entrypoint.unwrap(), ["/bin/app"]);
    assert_eq!(web.environment["A"].as_deref(), Some("1"));
    assert_eq!(web.environment["B"], None);
    assert_eq!((web.memory, web.cpus), (Some(Bytes(128 << 20)), Some(2)));
    assert_eq!(web.limits.cpu_quota.unwrap().to_string(), "150%");
    assert_eq!((web.restart, web.scale), (RestartPolicy::Always, 3));
    assert_eq!(web.stop_grace_period, Some(Duration::from_secs(90)));
    assert_eq!(web.ports.iter().map(ToString::to_string).collect::<Vec<_>>(), ["8080:80/tcp", "5353:53/udp"]);
    assert_eq!(web.volumes[0].source, ShareSource::Path("./x".into(), true));
    assert!(web.volumes[0].read_only);
    assert_eq!(web.volumes[1].source, ShareSource::Volume("data".into(), "".into()));
    assert_eq!(web.volumes[2].source, ShareSource::Path("/y".into(), false));
    assert_eq!(web.secrets.iter().map(|s| s.target.as_str()).collect::<Vec<_>>(), ["key", "other"]);
    let health = web.health.unwrap();
    assert_eq!((health.interval_ms, health.retries, health.on_failure), (5000, 2, HealthAction::Restart));
    assert_eq!((web.own.kernel_args, web.networks, web.attach), (vec!["quiet".to_owned()], None, true));
    assert_eq!(service("cpus: 2").limits.cpu_quota, None);
    assert_eq!(service("working_dir: /srv").working_dir.as_deref(), Some("/srv"));
    assert_eq!(service("healthcheck: {test: [NONE]}").health, None);
    assert_eq!(service("network_mode: none").networks, Some(Vec::new()));
    assert_eq!(service("deploy: {resources: {limits: {memory: 1g, cpus: \"0.5\"}}}").memory, Some(Bytes(1 << 30)));
    assert_eq!(
        service("deploy: {restart_policy: {condition: on-failure, max_attempts: 3}}").restart,
        RestartPolicy::OnFailure(Some(3))
    );
}

#[test]
fn a_network_is_what_it_says() {
    let text = "services: {web: {image: k, networks: {front: {aliases: [www], ipv4_address: 10.9.0.5}}}}\n\
                networks:\n  front:\n    internal: true\n    ipam:\n      config:\n        - subnet: 10.9.0.0/24\n        \
                - {subnet: 'fd00:9::/64', gateway: 'fd00:9::99'}\n  old: {external: {name: lan}}\n";
    let (file, _) = read(text).unwrap();
    let front = &file.networks["front"];
    assert_eq!((front.ipv4.unwrap().to_string(), front.internal), ("10.9.0.1/24".into(), true));
    assert_eq!(front.ipv6.unwrap().to_string(), "fd00:9::99/64");
    assert!(file.networks["old"].external);
    let link = &file.services[0].networks.as_ref().unwrap()[0];
    assert_eq!((link.addresses[0].to_string(), &*link.aliases[0]), ("10.9.0.5".into(), "www"));
}

/// Each with the one error that it has.
#[test]
fn what_is_wrong_is_named_with_its_line_and_key() {
    for (text, why) in [
        ("services: [a]", "c.yaml:1: services: expected a mapping, found a list"),
        ("{}", "c.yaml:1: it has no services"),
        ("services:\n  web: {}", "c.yaml:2: services.web: it has no image"),
        ("services:\n  web:\n    image: k\n    imgae: x", "c.yaml:4: services.web.imgae: there is no such key"),
        (
            "services:\n  web:\n    build: .",
            "c.yaml:3: services.web.build: not supported: kraft compose builds nothing",
        ),
        ("services:\n  web:\n    image: k\n    tmpfs: /x", "c.yaml:4: services.web.tmpfs: not supported"),
        (
            "services:\n  web:\n    image: k\n    ports:\n      - 80:80\n      - 80",
            "c.yaml:6: services.web.ports[1]: it names no port",
        ),
        ("services:\n  web:\n    image: k\n    ports: ['1:x']", "c.yaml:4: services.web.ports[0]: bad port '1:x'"),
        ("services:\n  web:\n    image: k\n    mem_limit: lots", "c.yaml:4: services.web.mem_limit: bad amount 'lots'"),
        (
            "services:\n  web:\n    image: k\n    restart: sometimes",
            "c.yaml:4: services.web.restart: bad restart policy",
        ),
        (
            "services:\n  web:\n    image: k\n    depends_on: [db]",
            "c.yaml:4: services.web.depends_on: there is no service 'db'",
        ),
        (
            "services:\n  a: {image: k, depends_on: [b]}\n  b: {image: k, depends_on: [c]}\n  c: {image: k, depends_on: [b]}",
            "depend on each other in a circle: ",
        ),
        (
            "services:\n  db: {image: k}\n  web:\n    image: k\n    depends_on:\n      db:\n        condition: service_healthy",
            "c.yaml:7: services.web.depends_on: db has no probe",
        ),
        (
            "services:\n  db: {image: k}\n  web:\n    image: k\n    depends_on: {db: {condition: well}}",
            "c.yaml:5: services.web.depends_on.db.condition: unknown condition 'well'",
        ),
        (
            "services:\n  web:\n    image: k\n    healthcheck:\n      test: [CMD, curl, localhost]",
            "c.yaml:5: services.web.healthcheck.test: a test is a command, and none can be run inside of a unikernel",
        ),
        (
            "services:\n  web:\n    image: k\n    volumes: [data:/x]",
            "c.yaml:4: services.web.volumes: there is no volume 'data'",
        ),
        ("services:\n  web:\n    image: k\n    volumes: [/x]", "c.yaml:4: services.web.volumes[0]: bad volume '/x'"),
        (
            "services:\n  web:\n    image: k\n    networks: [front]",
            "c.yaml:4: services.web.networks: there is no network 'front'",
        ),
        (
            "services:\n  web:\n    image: k\n    secrets: [key]",
            "c.yaml:4: services.web.secrets: there is no secret 'key'",
        ),
        (
            "services:\n  web:\n    image: k\n    x-kraft:\n      acel: kvm",
            "c.yaml:5: services.web.x-kraft.acel: there is no such key",
        ),
        ("services:\n  web:\n    image: k\n    labels: {com.docker.compose.x: y}", "c.yaml:4: services.web.labels"),
        ("services:\n  web:\n    image: ${X:?say it}", "c.yaml:3: variable X is needed: say it"),
        (
            "services: {web: {image: k}}\nnetworks:\n  a: {driver: overlay}",
            "c.yaml:3: networks.a.driver: unknown driver 'overlay'",
        ),
        ("services: {web: {image: k}}\nx-kraft: on", "c.yaml:2: x-kraft: unknown word 'on'"),
        ("services:\n  web:\n    image: k\n    scale: 2\n    container_name: x", "there can be one machine only"),
        ("services:\n  web:\n    image: ${NONE:-}", "c.yaml:3: services.web.image: it has no image"),
        (
            "services:\n  web:\n    image: k\n    pull_policy: build",
            "c.yaml:4: services.web.pull_policy: not supported",
        ),
        (
            "services:\n  web:\n    image: k\n    pull_policy: daily",
            "c.yaml:4: services.web.pull_policy: unknown time to pull",
        ),
        (
            "services:\n  web:\n    image: k\n    scale: 4000000000",
            "c.yaml:3: services.web: a service has at most 1000 machines",
        ),
        ("services: {web: {image: k}}\nvolumes:\n  a b:", "c.yaml:3: volumes: 'a b' is no name"),
        ("x-c: &x {a b: {image: k}}\nservices:\n  <<: *x", "c.yaml:1: services: 'a b' is no name of a service"),
    ] {
        let flaws = read(text).expect_err(text);
        assert!(flaws.len() == 1 && flaws[0].to_string().contains(why), "{text}\n{why}\n{flaws:?}");
    }
}

/// A variable without a value is an empty text, and not nothing, which would be passed on from outside.
#[test]
fn an_empty_variable_is_an_empty_text() {
    let web = service("environment:\n  A: \"${NONE:-}\"\n  B: ${NONE:-}\n  C:\ncommand: ${NONE:-}\nrestart: ${NONE:-}");
    let value = |key: &str| web.environment[key].as_deref();
    assert_eq!((value("A"), value("B"), value("C")), (Some(""), Some(""), None));
    assert_eq!((web.command, web.restart), (Some(Vec::new()), RestartPolicy::No));
    assert_eq!(service("pull_policy: if_not_present").pull, Some(Pull::Missing));
}

#[test]
fn what_can_be_done_without_may_be_missing() {
    let text =
        "services:\n  web:\n    image: k\n    depends_on: {gone: {condition: service_started, required: false}}\n";
    let (_, warnings) = read(text).unwrap();
    assert_eq!(warnings, ["c.yaml:4: services.web.depends_on: there is no service 'gone' in the file"]);
}

#[test]
fn ports_are_published_once() {
    let flaws = |text: &str| {
        let (file, _) = read(text).unwrap();
        let flaws = clashing_ports(&file.services.iter().collect::<Vec<_>>());
        flaws.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let two = "services:\n  a: {image: k, ports: ['80:80', '81:81']}\n  b: {image: k, ports: ['127.0.0.1:81:1'],";
    assert_eq!(
        flaws(&format!("{two} scale: 1}}")),
        ["c.yaml:3: services.b.ports: 127.0.0.1:81:1/tcp and 81:81/tcp of a exclude each other"]
    );
    assert_eq!(
        flaws(&format!("{two} scale: 2, depends_on: {{a: {{condition: service_completed_successfully}}}}}}")),
        ["c.yaml:3: services.b.ports: 2 machines cannot all publish 127.0.0.1:81:1/tcp"]
    );
}

#[test]
fn what_is_harmless_is_told() {
    let (_, warnings) = read("services:\n  web:\n    image: k$NONE\n    tty: true\n    annotations: {a: b}").unwrap();
    assert_eq!(
        warnings,
        [
            "c.yaml:3: variable NONE is not set",
            "c.yaml:4: services.web.tty: ignored: a guest's console is not written to",
        ]
    );
}

#[test]
fn profiles_choose() {
    let text = "services:\n  web: {image: k}\n  debug: {image: k, profiles: [dev]}\n  probe: {image: k, profiles: [dev], depends_on: [debug]}\n  late: {image: k, profiles: [ops], depends_on: [debug]}\n";
    let (file, _) = read(text).unwrap();
    let project = Project { name: "p".into(), dir: "/".into(), files: Vec::new(), file, others: Vec::new() };
    let names = |profiles: &[&str], wanted: &[&str]| {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let mut project = project.clone();
        project
            .select(&owned(profiles), &owned(wanted))
            .map(|()| project.file.services.iter().map(|s| s.name.clone()).collect::<Vec<_>>())
    };
    assert_eq!(names(&[], &[]).unwrap(), ["web"]);
    assert_eq!(names(&["dev"], &[]).unwrap(), ["web", "debug", "probe"]);
    // Whoever names a service means its profile.
    assert_eq!(names(&[], &["probe"]).unwrap(), ["web", "debug", "probe"]);
    let flaw = names(&[], &["late"]).unwrap_err();
    assert!(flaw[0].to_string().contains("c.yaml:5: services.late.depends_on: debug has the profiles dev"), "{flaw:?}");
    assert!(names(&[], &["none"]).unwrap_err()[0].to_string().contains("no service 'none'"));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(services:\n  [a-z]{1,3}:\n    image: k\n)?([ ]{0,6}[a-z_${}&*<:\\[\\]\\-\"']{0,12}[:]?[ ]?[^\0]{0,12}\n){0,6}") {
        let _ = read(&text);
    }
}
