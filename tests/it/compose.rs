//! Projects of compose files: up, down and what is between, under each manager.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::keeper::{Keeper, under_both};
use crate::lab::{DEADLINE, Lab, Said, code_of, guest, kill, kraft};
use crate::wire::{free_ports, get, loopback};

mod pulled;
mod turns;

under_both! {
    a_project_comes_and_goes,
    only_what_the_file_changed_is_changed,
    a_condition_that_is_not_met_is_told,
    in_the_foreground_until_somebody_had_enough,
    a_bad_file_changes_nothing,
}

#[test]
fn a_user_s_project_comes_and_goes() {
    a_project_comes_and_goes(Keeper::User);
}

/// A project of one story: its directory, and how kraft is called for it.
struct Project<'a> {
    lab: &'a Lab,
    dir: PathBuf,
    name: String,
}

impl<'a> Project<'a> {
    fn new(lab: &'a Lab, file: &str) -> Self {
        let name = lab.name("p");
        let dir = PathBuf::from(format!("/tmp/{}", lab.name("compose")));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).unwrap();
        let project = Self { lab, dir, name };
        project.write(file);
        // An earlier run that failed left it.
        let _ = project.call(&["down", "--volumes", "--remove-orphans"]);
        project
    }

    fn write(&self, file: &str) {
        std::fs::write(self.dir.join("compose.yaml"), file).unwrap();
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let file = self.dir.join("compose.yaml");
        let first = ["compose", "-p", &self.name, "-f", file.to_str().unwrap()];
        self.lab.command(kraft(), first.iter().chain(args))
    }

    fn call(&self, args: &[&str]) -> Said {
        crate::lab::finish(self.command(args), DEADLINE)
    }

    fn up(&self, keeper: Keeper, options: &[&str]) -> Said {
        let systemd: &[&str] = if keeper.has_units() { &["--systemd"] } else { &[] };
        self.call(&[&["up", "-d"], systemd, options].concat())
    }

    /// What `up` said it did, in the order of the names.
    fn done(&self, keeper: Keeper, options: &[&str]) -> Vec<String> {
        sorted(&self.up(keeper, options).ok())
    }

    fn machine(&self, service: &str) -> String {
        format!("p-{service}-1")
    }

    fn said(&self, all: &[(&str, &str)]) -> Vec<String> {
        let line = |(action, service): &(&str, &str)| format!("{action} {}-{service}-1\n", self.name);
        sorted(&all.iter().map(line).collect::<String>())
    }

    fn state(&self, service: &str) -> String {
        self.lab.state_of(&self.machine(service))
    }

    fn pid(&self, service: &str) -> Value {
        self.lab.ps(&self.machine(service))["pid"].clone()
    }
}

impl Drop for Project<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn sorted(lines: &str) -> Vec<String> {
    let mut lines: Vec<String> = lines.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Two guests and one that has to have done its work before the second starts.
fn three(web: &str, migrate: &str) -> String {
    let tiny = guest("tiny");
    format!(
        "services:\n  web:\n    image: {tiny}\n    network_mode: none\n    x-kraft: {{kernel-args: [{web}]}}\n    depends_on:\n      \
         migrate: {{condition: service_completed_successfully}}\n      db: {{condition: service_started}}\n  \
         db:\n    image: {tiny}\n    network_mode: none\n    restart: always\n    x-kraft: {{kernel-args: [tick=200]}}\n  \
         migrate:\n    image: {tiny}\n    network_mode: none\n    x-kraft: {{kernel-args: [{migrate}]}}\n"
    )
}

fn a_project_comes_and_goes(keeper: Keeper) {
    let lab = keeper.lab("compose");
    let project = Project::new(&lab, &three("lines=1, tick=200", "after=200, exit=0"));
    assert_eq!(project.call(&["config", "--services"]).ok(), "db\nmigrate\nweb\n");
    let all = ["migrate", "db", "web"];
    let said = all.iter().flat_map(|service| [("created", *service), ("started", *service)]).collect::<Vec<_>>();
    assert_eq!(project.done(keeper, &[]), project.said(&said));
    let states = || all.map(|service| project.state(service));
    assert_eq!(states(), ["exited", "running", "running"]);
    assert_eq!(lab.inspect(&project.machine("migrate"))["exit"]["reason"], "finished");

    // Who it is, what it is shown as, and in which order it was started.
    let labels = lab.ps(&project.machine("web"))["labels"].clone();
    assert_eq!(labels["com.docker.compose.project"], *project.name);
    assert_eq!(labels["com.docker.compose.service"], "web");
    let names: Vec<String> = project.call(&["ps", "-q"]).ok().lines().map(str::to_owned).collect();
    assert_eq!(names, ["db", "migrate", "web"].map(|service| lab.name(&project.machine(service))));
    let shown: Value = serde_json::from_str(&lab.kraft(["compose", "ls", "-o", "json"]).ok()).unwrap();
    let row = shown.as_array().unwrap().iter().find(|row| row["name"] == *project.name).unwrap().clone();
    assert_eq!((&row["states"]["running"], &row["states"]["exited"]), (&2.into(), &1.into()));
    if keeper.has_units() {
        let unit = project.machine("web");
        for key in ["After", "Wants"] {
            assert!(lab.property(&unit, key).contains(&lab.unit(&project.machine("db"))), "{key}");
        }
        assert!(lab.property(&unit, "ControlGroup").contains("/kraft-compose:"), "its slice is the project's");
        let web = std::fs::read_to_string(format!("/proc/{}/cgroup", project.pid("web"))).unwrap();
        assert!(web.contains("/kraft-compose:"), "{web}");
    }
    let log = project.call(&["logs", "web", "db"]).ok();
    let prefix = |service: &str| format!("{} ", lab.name(&project.machine(service)));
    assert!(log.lines().any(|line| line.starts_with(&prefix("web")) && line.ends_with("| line 1")), "{log}");
    assert!(log.lines().any(|line| line.starts_with(&prefix("db"))), "{log}");
    let more = lab.name(&project.machine("db"));
    lab.until_line(project.command(&["logs", "-f", "-n", "0"]), "a line of db's", |line| line.starts_with(&more));

    // Nothing differs.
    let pids = || [project.pid("db"), project.pid("web")];
    let before = pids();
    let unchanged = all.map(|service| ("unchanged", service));
    assert_eq!(project.done(keeper, &[]), project.said(&unchanged));
    assert_eq!(pids(), before);

    project.call(&["stop"]).ok();
    assert_eq!(states(), ["exited"; 3]);
    project.call(&["start", "db"]).ok();
    assert_eq!(states(), ["exited", "running", "exited"]);
    project.call(&["start"]).ok();
    assert_eq!(project.state("web"), "running");

    let removed = project.call(&["down"]).ok();
    assert_eq!(sorted(&removed), project.said(&all.map(|service| ("removed", service))));
    assert!(removed.starts_with(&format!("removed {}\n", lab.name(&project.machine("web")))), "{removed}");
    assert_eq!(project.call(&["down"]).ok(), "");
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

fn only_what_the_file_changed_is_changed(keeper: Keeper) {
    let lab = keeper.lab("recompose");
    let project = Project::new(&lab, &three("idle", "exit=0"));
    project.up(keeper, &[]).ok();
    let db = project.pid("db");

    // One VMM is killed, and its policy starts it again; nobody else is touched.
    let web = project.pid("web");
    let vmm = lab.ps(&project.machine("db"))["vmm_pid"].as_u64().unwrap();
    kill(vmm, Signal::SIGKILL);
    lab.until_event(&project.machine("db"), "start", 2);
    assert_eq!((project.state("db"), project.pid("web")), ("running".into(), web.clone()));
    assert!(project.pid("db") != db || !keeper.has_units());

    let db = project.pid("db");
    project.write(&three("tick=100", "exit=0"));
    let said = [("unchanged", "migrate"), ("unchanged", "db"), ("changed", "web"), ("started", "web")];
    assert_eq!(project.done(keeper, &[]), project.said(&said));
    assert_eq!(project.pid("db"), db);
    assert_ne!(project.pid("web"), web);
    lab.until_console(&project.machine("web"), "tick 1");

    // Work that is to be done in another way is done again.
    project.write(&three("tick=100", "lines=1, exit=0"));
    let said = [("changed", "migrate"), ("started", "migrate"), ("unchanged", "db"), ("unchanged", "web")];
    assert_eq!(project.done(keeper, &[]), project.said(&said));
    lab.until_console(&project.machine("migrate"), "line 1");
    assert_eq!(project.pid("db"), db);

    // More of one, fewer of it, and a service that is gone.
    project.write(&three("tick=100", "lines=1, exit=0").replace("  db:\n", "  db:\n    scale: 2\n"));
    project.up(keeper, &[]).ok();
    assert_eq!(lab.state_of("p-db-2"), "running");
    project.write(&three("tick=100", "lines=1, exit=0"));
    assert!(project.up(keeper, &[]).ok().contains(&format!("removed {}", lab.name("p-db-2"))));
    assert_eq!((lab.state_of("p-db-2"), project.pid("db")), ("absent".into(), db));
    let tiny = guest("tiny");
    project.write(&format!(
        "services:\n  other:\n    image: {tiny}\n    network_mode: none\n    x-kraft: {{kernel-args: [idle]}}\n"
    ));
    let said = project.up(keeper, &[]);
    assert!(said.err.contains("machines that the file has no service for"), "{}", said.err);
    said.ok();
    assert_eq!(project.state("db"), "running");
    project.up(keeper, &["--remove-orphans"]).ok();
    assert_eq!((project.state("db"), project.state("other")), ("absent".into(), "running".into()));

    // Without its file it is known by its machines.
    let said = lab.kraft(["compose", "-f", "/nonexistent/compose.yaml", "-p", &project.name, "down"]).ok();
    assert_eq!(said, format!("removed {}\n", lab.name(&project.machine("other"))));
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

fn a_condition_that_is_not_met_is_told(keeper: Keeper) {
    let lab = keeper.lab("uncompose");
    let project = Project::new(&lab, &three("idle", "exit=3"));
    let (web, migrate) = (lab.name(&project.machine("web")), lab.name(&project.machine("migrate")));
    let error = project.up(keeper, &[]).fails(125);
    let why = "(service_completed_successfully), which is errored";
    assert!(error.starts_with(&format!("cannot start {web}: it waits for {migrate} {why}")), "{error}");
    assert_eq!((project.state("web"), project.state("db")), ("created".into(), "running".into()));
    if keeper.has_units() {
        // systemd itself does not start it either, whatever it reads again.
        lab.systemctl(["start", &lab.unit(&project.machine("web"))]);
        assert_eq!(lab.property(&project.machine("web"), "ActiveState"), "inactive");
        assert_eq!(lab.property(&project.machine("web"), "Result"), "exec-condition");
        lab.systemctl(["daemon-reload"]).ok();
        lab.systemctl(["start", &lab.unit(&project.machine("web"))]);
        assert_eq!(lab.property(&project.machine("web"), "ActiveState"), "inactive");
    }
    project.call(&["down"]).ok();
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

fn in_the_foreground_until_somebody_had_enough(keeper: Keeper) {
    let lab = keeper.lab("upcompose");
    let project = Project::new(&lab, &three("tick=100", "exit=0"));
    let systemd: &[&str] = if keeper.has_units() { &["--systemd"] } else { &[] };
    let mut up =
        project.command(&[&["up"], systemd].concat()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(up.stdout.take().unwrap()).lines().map_while(Result::ok);
    let web = lab.name(&project.machine("web"));
    assert!(lines.any(|line| line.starts_with(&web) && line.ends_with("| tick 1")), "its console is shown");
    kill(up.id().into(), Signal::SIGINT);
    let rest: Vec<String> = lines.collect();
    assert!(rest.contains(&format!("stopped {web}")), "{rest:?}");
    assert_eq!(code_of(up.wait().unwrap()), 130);
    assert_eq!((project.state("web"), project.state("db")), ("exited".into(), "exited".into()));
    project.call(&["down"]).ok();

    // It ends with the last of them.
    let tiny = guest("tiny");
    project.write(&format!(
        "services:\n  once:\n    image: {tiny}\n    network_mode: none\n    command: lines=2 exit=0\n"
    ));
    let said = project.call(&[&["up"], systemd].concat()).ok();
    assert!(said.lines().any(|line| line.ends_with("| line 2")), "{said}");
    project.call(&["down"]).ok();
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

fn a_bad_file_changes_nothing(keeper: Keeper) {
    let lab = keeper.lab("miscompose");
    let project = Project::new(&lab, &three("idle", "exit=0"));
    project.up(keeper, &[]).ok();
    let (web, file) = (project.pid("web"), project.dir.join("compose.yaml").display().to_string());
    let good = three("tick=100", "exit=0");
    for (from, to, why) in [
        (
            "    restart: always",
            "    restart: often",
            "compose.yaml:12: services.db.restart: bad restart policy 'often'",
        ),
        ("    restart: always", "    build: .", "compose.yaml:12: services.db.build: not supported"),
        ("    restart: always", "    volumes: [x:/x]", "compose.yaml:12: services.db.volumes: there is no volume 'x'"),
        ("    restart: always", "    limits: 3", "compose.yaml:12: services.db.limits: there is no such key"),
        ("    restart: always", "    ports: [1:2:3:4]", "compose.yaml:12: services.db.ports[0]: bad port"),
        ("  db:\n", "  db: [\n", "compose.yaml:"),
    ] {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good, "{from}");
        project.write(&text);
        let error = project.up(keeper, &[]).fails(125);
        assert!(error.contains(why) && error.starts_with(&file), "{to}: {error}");
    }
    // What only the host tells is told before anything is done, too.
    let tiny = guest("tiny");
    project.write(&good.replacen(&format!("  db:\n    image: {tiny}"), "  db:\n    image: ./none.elf", 1));
    let error = project.up(keeper, &[]).fails(127);
    assert!(error.starts_with(&file) && error.contains("services.db") && error.contains("none.elf"), "{error}");
    assert_eq!((project.pid("web"), project.state("db")), (web, "running".into()));

    // What is somebody else's is in the way.
    project.call(&["down"]).ok();
    lab.start_tiny("p-db-1", keeper.has_units(), &[], &["idle"]).ok();
    project.write(&good);
    let (error, hint) = project.up(keeper, &[]).fails_with_hint(125);
    assert!(error.contains("exists already, and is not project"), "{error}");
    assert!(hint.starts_with("`kraft rm "), "{hint}");
    project.call(&["down"]).ok();
    assert_eq!(project.state("db"), "running");
    lab.kraft(["rm", "-f", &lab.name("p-db-1")]).ok();
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

/// What others wait for is changed under them: they are left alone where its units stay as they are, else started again.
#[test]
fn what_others_wait_for_is_changed() {
    let lab = Lab::new("depcompose");
    let project = Project::new(&lab, &three("idle", "exit=0"));
    let keeper = Keeper::Systemd;
    project.up(keeper, &[]).ok();
    let web = project.pid("web");
    project.write(&three("idle", "exit=0").replace("[tick=200]", "[tick=300]"));
    let said = [("unchanged", "migrate"), ("changed", "db"), ("started", "db"), ("unchanged", "web")];
    assert_eq!(project.done(keeper, &[]), project.said(&said));
    assert_eq!((project.state("db"), project.pid("web")), ("running".into(), web.clone()));
    lab.until_console(&project.machine("db"), "tiny: tick=300");

    let file = three("idle", "exit=0").replace("restart: always", "restart: always\n    stop_grace_period: 3s");
    project.write(&file);
    let again = [("stopped", "web"), ("started", "web")];
    assert_eq!(project.done(keeper, &[]), project.said(&[&said[..], &again].concat()));
    assert_ne!(project.pid("web"), web);
    assert_eq!(lab.property(&project.machine("db"), "TimeoutStopUSec"), "13s");
    assert!(lab.property(&project.machine("web"), "After").contains(&lab.unit(&project.machine("db"))));

    // One that somebody removed is made again, and what waits for it is started again with it.
    lab.kraft(["rm", "-f", &lab.name(&project.machine("db"))]).ok();
    project.up(keeper, &[]).ok();
    assert_eq!((project.state("db"), project.state("web")), ("running".into(), "running".into()));

    // With `restart` it is so in any case.
    let web = project.pid("web");
    project.write(&file.replace("{condition: service_started}", "{condition: service_started, restart: true}"));
    project.up(keeper, &[]).ok();
    project.write(
        &file
            .replace("{condition: service_started}", "{condition: service_started, restart: true}")
            .replace("[tick=200]", "[tick=400]"),
    );
    project.up(keeper, &[]).ok();
    assert_ne!(project.pid("web"), web);
    assert_eq!((project.state("db"), project.state("web")), ("running".into(), "running".into()));
    project.call(&["down"]).ok();
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

/// What a file says comes to be: variables, secrets, limits, volumes; and volumes outlive the machines unless that is said.
#[test]
fn a_file_s_words_become_a_machine_s() {
    let lab = Lab::new("wordcompose");
    let linux = guest("linux");
    let project = Project::new(
        &lab,
        &format!(
            "services:\n  web:\n    image: {linux}\n    network_mode: none\n    entrypoint: [/bin/app]\n    command: --x 'a b'\n    \
             env_file: [vars, {{path: none, required: false}}]\n    environment: {{B: \"${{WORD:-two}}\", C: }}\n    mem_limit: 192m\n    \
             cpus: 1.5\n    secrets: [{{source: key, target: token}}]\n    volumes: [data:/data, ./made/here:/conf:ro]\n    \
             labels: [tier=front]\n    stop_grace_period: 3s\n    x-kraft: {{kernel-args: [quiet], rootfs: {linux}.cpio}}\n\
             volumes: {{data: , kept: {{external: true, name: {kept}}}}}\nsecrets: {{key: {{file: ./key}}}}\n",
            kept = lab.name("kept")
        ),
    );
    std::fs::write(project.dir.join("vars"), "A=one\nB=none\n").unwrap();
    std::fs::write(project.dir.join("key"), "secret").unwrap();
    std::fs::write(project.dir.join(".env"), "WORD=three\n").unwrap();
    let up = project.call(&["up", "--systemd", "--no-start"]).ok();
    let volume = format!("{}_data", project.name);
    assert_eq!(up, format!("created volume {volume}\ncreated {}\n", lab.name("p-web-1")));
    let record = lab.inspect("p-web-1")["record"].clone();
    let spec = &record["spec"];
    assert_eq!(spec["env"], serde_json::json!({ "A": "one", "B": "three" }));
    assert_eq!(spec["app_args"], serde_json::json!(["/bin/app", "--x", "a b"]));
    assert_eq!((&spec["memory"], &spec["cpus"]), (&Value::from(192 << 20), &2.into()));
    assert_eq!((&spec["labels"]["tier"], &spec["stop_timeout_ms"]), (&"front".into(), &3000.into()));
    assert_eq!(spec["limits"]["cpu_quota"], "150%");
    let volumes = spec["volumes"].as_array().unwrap();
    assert_eq!((&volumes[0]["volume"], &volumes[1]["read_only"]), (&volume.as_str().into(), &true.into()));
    assert!(project.dir.join("made/here").is_dir());
    assert!(spec["secrets"][0].as_str().unwrap().starts_with("token="), "{}", spec["secrets"]);
    assert_eq!(lab.state_of("p-web-1"), "created");
    let shown = project.call(&["config"]).ok();
    assert!(shown.contains("B: three") && shown.starts_with(&format!("name: {}\n", project.name)), "{shown}");
    assert!(project.up(Keeper::Local, &["--no-start"]).err.contains("cannot be used with"));
    assert_eq!(project.call(&["up", "--no-start"]).ok(), format!("unchanged {}\n", lab.name("p-web-1")));

    let volumes = || lab.kraft(["volume", "ls", "-q"]).ok();
    assert_eq!(project.call(&["down"]).ok(), format!("removed {}\n", lab.name("p-web-1")));
    assert!(volumes().lines().any(|name| name == volume));
    assert_eq!(project.call(&["down", "--volumes"]).ok(), format!("removed volume {volume}\n"));
    assert!(!volumes().lines().any(|name| name == volume));

    // What is external is not made.
    let text = std::fs::read_to_string(project.dir.join("compose.yaml")).unwrap();
    project.write(&text.replace("[data:/data", "[kept:/data"));
    let error = project.call(&["up", "--systemd", "--no-start"]).fails(127);
    assert!(error.contains("volumes.kept is external") && error.contains(&lab.name("kept")), "{error}");
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

/// Services find each other by name on the project's network, wait until others are healthy, and share a volume.
#[test]
fn services_have_a_network_and_volumes() {
    let lab = Lab::new("netcompose");
    let [port] = free_ports();
    let net = guest("net-unikraft");
    let project = Project::new(
        &lab,
        &format!(
            "services:\n  web:\n    image: {net}\n    ports: [\"127.0.0.1:{port}:80\"]\n    networks: {{default: {{aliases: [www]}}}}\n    \
             x-kraft: {{health: \"http:80/health\"}}\n  client:\n    image: {net}\n    \
             command: fetch=http://web/ fetch=http://www/\n    depends_on: {{web: {{condition: service_healthy}}}}\n"
        ),
    );
    let said = project.up(Keeper::Systemd, &[]).ok();
    let network = format!("{}_default", project.name);
    assert!(said.contains(&format!("created network {network}\n")), "{said}");
    lab.until_console(&project.machine("client"), "fetch http://web/: ");
    lab.until_console(&project.machine("client"), "fetch http://www/: ");
    assert!(!get((loopback(1), port), "/").is_empty());
    assert_eq!(lab.inspect(&project.machine("web"))["record"]["spec"]["ready"], "http:80/health");
    let unchanged = [("unchanged", "web"), ("unchanged", "client")];
    assert_eq!(project.done(Keeper::Systemd, &[]), project.said(&unchanged));
    let said = project.call(&["down"]).ok();
    assert!(said.contains(&format!("removed network {network}\n")), "{said}");
    assert_eq!(lab.leaks(), Vec::<String>::new());

    // A network of that name that is somebody else's stays.
    lab.kraft(["net", "create", &network]).ok();
    let (error, _) = project.up(Keeper::Systemd, &[]).fails_with_hint(125);
    assert!(error.contains("which is not project"), "{error}");
    project.call(&["down"]).ok();
    assert!(lab.kraft(["net", "ls", "-q"]).ok().lines().any(|line| line == network));
    lab.kraft(["net", "rm", &network]).ok();
    assert_eq!(lab.leaks(), Vec::<String>::new());
}
