//! A service as the file has it. What cannot be had from a unikernel, and would be missed, is an error; what makes no
//! difference is told. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::attached;
use super::keys::{KNOWN, UNREAD};
use super::model::{Condition, Dependency, EnvFile, Own, Service};
use super::own;
use super::read::{At, Notes, Unread, words};
use crate::error::Error;
use crate::machine::limits::{Cap, Count, CpuQuota, CpuSet};
use crate::machine::{Bytes, Health, HealthAction, Limit, Limits, Pull, RestartPolicy, parse_duration};

/// The most machines that a service has.
const MOST: u32 = 1000;

/// Reads a service.
pub(super) fn read(name: &str, at: &At<'_>, notes: &mut Notes) -> Option<Service> {
    if !at.is_map() {
        at.flaw(notes, Error::new(format!("expected a mapping, found {}", at.node.kind())));
        return None;
    }
    at.check_keys(notes, KNOWN, UNREAD);
    let image = match at.get("image") {
        Some(image) => image.text(notes)?.to_owned(),
        None if at.get("build").is_some() => return None,
        None => String::new(),
    };
    if image.is_empty() {
        let at = at.get("image").unwrap_or_else(|| at.clone());
        at.flaw(notes, Error::new("it has no image").with_hint("`image` is what `kraft run` takes"));
        return None;
    }
    let text = |key: &str, notes: &mut Notes| at.get(key).and_then(|at| at.text(notes).map(str::to_owned));
    let host = |key: &str, notes: &mut Notes| {
        at.get(key).and_then(|at| at.read(notes, crate::machine::NetworkRequest::host_name))
    };
    let own = own::read(at, notes);
    let mut service = Service {
        name: name.to_owned(),
        place: at.node.place.clone(),
        image,
        pull: at.get("pull_policy").and_then(|at| at.read(notes, pull_policy)),
        working_dir: text("working_dir", notes),
        profiles: at.get("profiles").map(|at| at.texts(notes)).unwrap_or_default(),
        container_name: at.get("container_name").and_then(|at| at.parsed(notes)),
        scale: at.get("scale").and_then(|at| at.number(notes)).unwrap_or(1),
        entrypoint: command(at.get("entrypoint"), notes),
        command: command(at.get("command"), notes),
        environment: at.get("environment").map(|at| environment(&at, notes)).unwrap_or_default(),
        env_files: at.get("env_file").map(|at| env_files(&at, notes)).unwrap_or_default(),
        ports: at.get("ports").map(|at| attached::ports(&at, notes)).unwrap_or_default(),
        volumes: at.get("volumes").map(|at| attached::shares(&at, notes)).unwrap_or_default(),
        networks: attached::links(at, notes),
        hostname: host("hostname", notes),
        domainname: host("domainname", notes),
        dns: at.get("dns").map(|at| attached::dns(&at, notes)).unwrap_or_default(),
        secrets: at.get("secrets").map(|at| attached::secrets(&at, notes)).unwrap_or_default(),
        memory: None,
        cpus: at.get("cpu_count").and_then(|at| at.number(notes)),
        limits: Limits::default(),
        restart: at.get("restart").and_then(|at| at.read(notes, restart)).unwrap_or_default(),
        stop_grace_period: at.get("stop_grace_period").and_then(|at| at.read(notes, parse_duration)),
        depends_on: at.get("depends_on").map(|at| depends_on(&at, notes)).unwrap_or_default(),
        labels: at.get("labels").map(|at| labels(&at, notes)).unwrap_or_default(),
        attach: at.get("attach").and_then(|at| at.boolean(notes)).unwrap_or(true),
        health: None,
        own,
    };
    if let Some(platform) = text("platform", notes) {
        own::platform(&mut service.own, &platform, &at.get("platform").unwrap_or(at.clone()), notes);
    }
    service.health = health(at, &service.own, notes);
    resources(&mut service, at, notes);
    deploy(&mut service, at, notes);
    if service.scale > MOST {
        at.flaw(notes, Error::new(format!("a service has at most {MOST} machines, not {}", service.scale)));
        return None;
    }
    if service.scale > 1 && service.container_name.is_some() {
        at.flaw(notes, Error::new("with a container_name there can be one machine only"));
    }
    Some(service)
}

/// A text as a shell splits it, or a list of words.
fn command(at: Option<At<'_>>, notes: &mut Notes) -> Option<Vec<String>> {
    let at = at?;
    if at.is_list() { Some(at.texts(notes)) } else { at.read(notes, words) }
}

/// The specification's words for when an image is fetched.
fn pull_policy(text: &str) -> Result<Pull, Error> {
    match text {
        "if_not_present" => Ok(Pull::Missing),
        "build" => Err(Error::new("not supported: kraft compose builds nothing")),
        text => text.parse(),
    }
}

fn environment(at: &At<'_>, notes: &mut Notes) -> BTreeMap<String, Option<String>> {
    let mut environment = BTreeMap::new();
    for (key, value, at) in at.assignments(notes) {
        if key.is_empty() || key.contains('\0') {
            at.flaw(notes, Error::new(format!("'{}' is no name of a variable", key.escape_debug())));
        }
        environment.insert(key, value);
    }
    environment
}

fn env_files(at: &At<'_>, notes: &mut Notes) -> Vec<EnvFile> {
    let of = |at: &At<'_>, notes: &mut Notes| {
        let place = at.node.place.clone();
        if !at.is_map() {
            return Some(EnvFile { place, path: at.text(notes)?.into(), required: true });
        }
        at.check_keys(notes, &["path", "required"], &[("format", Unread::Refused("there is one form"))]);
        let Some(path) = at.get("path") else {
            at.flaw(notes, Error::new("it has no path"));
            return None;
        };
        let required = at.get("required").and_then(|at| at.boolean(notes)).unwrap_or(true);
        Some(EnvFile { place, path: PathBuf::from(path.text(notes)?), required })
    };
    if at.is_list() {
        let items = at.items(notes);
        return items.iter().filter_map(|item| of(item, notes)).collect();
    }
    of(at, notes).into_iter().collect()
}

/// Docker's words, and ours: a machine that a person stopped is not started again in either case.
fn restart(text: &str) -> Result<RestartPolicy, Error> {
    match text {
        "unless-stopped" => Ok(RestartPolicy::Always),
        // What a variable without a value comes to.
        "" => Ok(RestartPolicy::No),
        // YAML 1.1 reads an unquoted `no` as a truth value, and so may whoever wrote the file.
        "false" => Ok(RestartPolicy::No),
        text => text.parse(),
    }
}

pub(super) fn labels(at: &At<'_>, notes: &mut Notes) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (key, value, at) in at.assignments(notes) {
        if key.is_empty() {
            at.flaw(notes, Error::new("a label without a key"));
        } else if key.starts_with(super::DOCKER) || key.starts_with("kraft.") {
            at.flaw(notes, Error::new(format!("the label {} is kraft's own", key.escape_debug())));
        }
        labels.insert(key, value.unwrap_or_default());
    }
    labels
}

fn depends_on(at: &At<'_>, notes: &mut Notes) -> Vec<Dependency> {
    let dependency = |service: &str, place| Dependency {
        place,
        service: service.to_owned(),
        condition: Condition::Started,
        required: true,
        restart: false,
    };
    if at.is_list() {
        let items = at.items(notes);
        let text = |item: At<'_>, notes: &mut Notes| Some(dependency(item.text(notes)?, item.node.place.clone()));
        return items.into_iter().filter_map(|item| text(item, notes)).collect();
    }
    let mut all = Vec::new();
    for (key, at) in at.entries(notes) {
        let mut one = dependency(&key.text, at.node.place.clone());
        if !at.node.is_null() {
            at.check_keys(notes, &["condition", "required", "restart"], &[]);
            one.condition = at.get("condition").and_then(|at| at.parsed(notes)).unwrap_or(Condition::Started);
            one.required = at.get("required").and_then(|at| at.boolean(notes)).unwrap_or(true);
            one.restart = at.get("restart").and_then(|at| at.boolean(notes)).unwrap_or(false);
        }
        all.push(one);
    }
    all
}

/// `healthcheck`, whose probe is that of `x-kraft`: nothing can be run inside of a guest.
fn health(service: &At<'_>, own: &Own, notes: &mut Notes) -> Option<Health> {
    let probe = service.get("x-kraft").and_then(|own| own.get("health")).and_then(|at| at.parsed(notes));
    let action: Option<HealthAction> =
        service.get("x-kraft").and_then(|own| own.get("health-on-failure")).and_then(|at| at.parsed(notes));
    let mut health = probe.map(Health::new);
    if let (Some(health), Some(action)) = (&mut health, action) {
        health.on_failure = action;
    }
    let Some(at) = service.get("healthcheck") else { return health };
    let known = ["test", "interval", "timeout", "retries", "start_period", "disable"];
    at.check_keys(notes, &known, &[("start_interval", Unread::Ignored("`interval` holds from the start"))]);
    if at.get("disable").and_then(|at| at.boolean(notes)) == Some(true) {
        return None;
    }
    if let Some(test) = at.get("test") {
        let words = test.texts(notes);
        match words.first().map(String::as_str) {
            Some("NONE") => return None,
            _ if health.is_some() || own.ready.is_some() => {}
            _ => {
                let why = "a test is a command, and none can be run inside of a unikernel";
                test.flaw(
                    notes,
                    Error::new(why)
                        .with_hint("`x-kraft: {health: \"http:PORT/PATH\"}` or `tcp:PORT` is a probe from outside"),
                );
            }
        }
    }
    let milliseconds = |key: &str, notes: &mut Notes| {
        let time = at.get(key).and_then(|at| at.read(notes, parse_duration))?;
        Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    };
    let interval = milliseconds("interval", notes);
    let timeout = milliseconds("timeout", notes);
    let start_period = milliseconds("start_period", notes);
    let retries = at.get("retries").and_then(|at| at.number(notes));
    let Some(health) = &mut health else {
        if at.get("test").is_none() {
            at.flaw(
                notes,
                Error::new("it says how to probe and not what").with_hint("`x-kraft: {health: \"tcp:PORT\"}` does"),
            );
        }
        return None;
    };
    health.interval_ms = interval.unwrap_or(health.interval_ms);
    health.timeout_ms = timeout.unwrap_or(health.timeout_ms);
    health.start_period_ms = start_period.unwrap_or(health.start_period_ms);
    health.retries = retries.unwrap_or(health.retries);
    Some(health.clone())
}

fn resources(service: &mut Service, at: &At<'_>, notes: &mut Notes) {
    let reservation = at.get("mem_reservation").and_then(|at| at.parsed(notes));
    service.memory = at.get("mem_limit").and_then(|at| at.parsed::<Bytes>(notes)).or(reservation);
    if let Some(cpus) = at.get("cpus") {
        processors(service, &cpus, notes);
    }
    if let Some(set) = at.get("cpuset").and_then(|at| at.parsed::<CpuSet>(notes)) {
        service.limits.set(Limit::CpusetCpus(Some(set)));
    }
    if let Some(pids) = at.get("pids_limit") {
        tasks(service, &pids, notes);
    }
}

/// So many processors: as many whole ones as that needs, and the share of them if it is less.
fn processors(service: &mut Service, at: &At<'_>, notes: &mut Notes) {
    let number = |text: &str| {
        let quota = CpuQuota::of_cpus(text)?;
        // 255 is the most that a machine has.
        let whole = quota.microseconds().div_ceil(1_000_000);
        Ok((quota, u32::try_from(whole).unwrap_or(u32::MAX), !quota.microseconds().is_multiple_of(1_000_000)))
    };
    if let Some((quota, whole, is_part)) = at.read(notes, number) {
        service.cpus = service.cpus.or(Some(whole));
        if is_part {
            service.limits.set(Limit::CpuQuota(Some(Cap::At(quota))));
        }
    }
}

fn tasks(service: &mut Service, at: &At<'_>, notes: &mut Notes) {
    match at.text(notes) {
        Some("-1" | "0") => service.limits.set(Limit::TasksMax(Some(Cap::Infinity))),
        Some(_) => {
            if let Some(count) = at.parsed::<Count>(notes) {
                service.limits.set(Limit::TasksMax(Some(Cap::At(count))));
            }
        }
        None => {}
    }
}

fn deploy(service: &mut Service, at: &At<'_>, notes: &mut Notes) {
    const ONE_HOST: &str = "there is one host";
    let Some(at) = at.get("deploy") else { return };
    at.check_keys(
        notes,
        &["replicas", "resources", "restart_policy", "mode"],
        &[
            ("placement", Unread::Ignored(ONE_HOST)),
            ("endpoint_mode", Unread::Ignored(ONE_HOST)),
            ("update_config", Unread::Ignored(ONE_HOST)),
            ("rollback_config", Unread::Ignored(ONE_HOST)),
            ("labels", Unread::Ignored("those of the service count")),
        ],
    );
    if let Some(mode) = at.get("mode")
        && let Some(word) = mode.text(notes)
        && !matches!(word, "replicated" | "global")
    {
        mode.flaw(notes, Error::new(format!("unknown mode '{}': known are replicated, global", word.escape_debug())));
    }
    if let Some(replicas) = at.get("replicas").and_then(|at| at.number(notes)) {
        service.scale = replicas;
    }
    if let Some(resources) = at.get("resources") {
        resources.check_keys(notes, &["limits", "reservations"], &[]);
        if let Some(reserved) = resources.get("reservations") {
            let refused = ("devices", Unread::Refused("a guest has no device of the host's"));
            reserved.check_keys(
                notes,
                &["memory", "cpus"],
                &[refused, ("generic_resources", Unread::Ignored(ONE_HOST))],
            );
            service.memory = service.memory.or(reserved.get("memory").and_then(|at| at.parsed(notes)));
        }
        if let Some(limits) = resources.get("limits") {
            limits.check_keys(notes, &["memory", "cpus", "pids"], &[]);
            service.memory = limits.get("memory").and_then(|at| at.parsed(notes)).or(service.memory);
            if let Some(cpus) = limits.get("cpus") {
                processors(service, &cpus, notes);
            }
            if let Some(pids) = limits.get("pids") {
                tasks(service, &pids, notes);
            }
        }
    }
    if let Some(policy) = at.get("restart_policy") {
        let ignored = Unread::Ignored("kraft waits 100 ms before the first restart, and longer before each next one");
        policy.check_keys(notes, &["condition", "max_attempts"], &[("delay", ignored), ("window", ignored)]);
        let most = policy.get("max_attempts").and_then(|at| at.number(notes));
        let condition = |word: &str| match word {
            "none" => Ok(RestartPolicy::No),
            "on-failure" => Ok(RestartPolicy::OnFailure(most)),
            "any" => Ok(RestartPolicy::Always),
            _ => {
                Err(Error::new(format!("unknown condition '{}': known are none, on-failure, any", word.escape_debug())))
            }
        };
        let given = policy.get("condition").map(|at| at.read(notes, condition));
        service.restart = given.unwrap_or(Some(RestartPolicy::Always)).unwrap_or_default();
    }
}
