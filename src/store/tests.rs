use std::collections::BTreeMap;

use super::*;
use crate::machine::{Reason, RestartPolicy, Spec, Status, StopMode};
use crate::paths::Scope;

pub(crate) struct Scratch {
    pub(crate) store: Store,
    root: PathBuf,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let root = std::env::temp_dir().join(format!("kraft-store-{}", MachineId::from_bytes(random().unwrap())));
        let paths =
            Paths { scope: Scope::User, state: root.join("state"), runtime: root.join("run"), overridden: true };
        Self { store: Store::new(paths), root }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

fn spec(name: &str) -> Spec {
    Spec {
        kernel_args: vec!["a=\"b c\"".into(), "$HOME".into()],
        env: BTreeMap::from([("KEY".into(), "va\nlue".into())]),
        restart: RestartPolicy::OnFailure(Some(3)),
        ..Spec::example(name)
    }
}

pub(super) fn record(name: &str) -> Record {
    Store::new_record(spec(name), Manager::Local).unwrap()
}

#[test]
fn a_record_survives_the_disk() {
    let s = Scratch::new();
    let record = record("web");
    s.store.create(&record).unwrap();
    assert_eq!(s.store.read(&record.spec.name).unwrap(), record);
    assert_eq!(s.store.names().unwrap(), std::slice::from_ref(&record.spec.name));
    s.store.remove(&record.spec.name).unwrap();
    s.store.remove(&record.spec.name).unwrap();
    assert_eq!(s.store.read(&record.spec.name).unwrap_err().kind(), Kind::NoSuchMachine);
    assert_eq!(std::fs::read_dir(s.root.join("state/machines")).unwrap().count(), 0);
}

#[test]
fn one_of_many_gets_the_name() {
    let s = Scratch::new();
    let won: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..32).map(|_| scope.spawn(|| s.store.create(&record("same")).is_ok())).collect();
        threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
    });
    assert_eq!(won, 1);
    assert_eq!(std::fs::read_dir(s.root.join("state/machines")).unwrap().count(), 1);
}

#[test]
fn a_broken_record_names_file_and_line() {
    let s = Scratch::new();
    let record = record("web");
    s.store.create(&record).unwrap();
    let file = s.store.directory(&record.spec.name).join(RECORD);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("cpus = 1", "cpus = \"many\"")).unwrap();
    let error = s.store.read(&record.spec.name).unwrap_err().to_string();
    let line = text.lines().position(|line| line.starts_with("cpus")).unwrap() + 1;
    assert!(error.starts_with(&format!("{}:{line}: ", file.display())), "{error}");
    std::fs::write(&file, b"\xff\xfe").unwrap();
    assert!(s.store.read(&record.spec.name).unwrap_err().to_string().contains(&*file.to_string_lossy()));
    assert_eq!(s.store.names().unwrap().len(), 1);
}

#[test]
fn a_newer_record_is_refused_and_left_alone() {
    let s = Scratch::new();
    let record = record("web");
    s.store.create(&record).unwrap();
    let file = s.store.directory(&record.spec.name).join(RECORD);
    let text = std::fs::read_to_string(&file).unwrap().replace("schema = 1", "schema = 7\nfuture = true");
    std::fs::write(&file, &text).unwrap();
    let error = s.store.read(&record.spec.name).unwrap_err();
    assert!(error.to_string().contains("newer kraft (schema 7"), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn claims_take_turns_and_notice_a_removal() {
    let s = Scratch::new();
    let record = record("web");
    let name = record.spec.name.clone();
    s.store.create(&record).unwrap();
    let first = s.store.claim(&name).unwrap();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| s.store.claim(&name).map(drop));
        s.store.remove(&name).unwrap();
        drop(first);
        assert_eq!(second.join().unwrap().unwrap_err().kind(), Kind::NoSuchMachine);
    });
}

#[test]
fn the_runner_lock_names_its_holder() {
    let s = Scratch::new();
    let record = record("web");
    let name = record.spec.name.clone();
    assert_eq!(s.store.runner(&name).unwrap(), None);
    s.store.create(&record).unwrap();
    let lock = s.store.lock_runner(&name).unwrap();
    assert!(s.store.lock_out_runners(&name).unwrap().is_none());
    drop(lock);
    assert_eq!(s.store.runner(&name).unwrap(), None);
    let locked_out = s.store.lock_out_runners(&name).unwrap();
    assert_eq!(s.store.lock_runner(&name).unwrap_err().kind(), Kind::Conflict);
    s.store.remove(&name).unwrap();
    drop(locked_out);
    assert!(s.store.lock_runner(&name).is_err());
}

#[test]
fn status_and_exit_and_stop_request() {
    let s = Scratch::new();
    let record = record("web");
    let name = &record.spec.name;
    s.store.create(&record).unwrap();
    s.store.make_runtime(name).unwrap();
    assert_eq!(s.store.status(name).unwrap(), None);
    let status = Status::starting(7, Timestamp::now());
    s.store.write_status(name, &status).unwrap();
    assert_eq!(s.store.status(name).unwrap(), Some(status));
    let exit = Exit { at: Timestamp::now(), reason: Reason::Panic, code: 134, detail: "x".into() };
    s.store.write_exit(name, &exit).unwrap();
    assert_eq!(s.store.last_exit(name).unwrap(), Some(exit));
    assert_eq!(s.store.take_stop_request(name), None);
    s.store.request_stop(name, StopMode::Kill).unwrap();
    assert_eq!(s.store.take_stop_request(name), Some(StopRequest { timeout_ms: Some(0), kill: true }));
    assert_eq!(s.store.take_stop_request(name), None);
}

#[test]
fn ids_are_resolved_by_their_beginning_names_first() {
    let s = Scratch::new();
    let (mut one, mut two) = (record("one"), record("two"));
    one.id = "aaaaa000000000000000000000000000".parse().unwrap();
    two.id = "aaaab000000000000000000000000000".parse().unwrap();
    s.store.create(&one).unwrap();
    s.store.create(&two).unwrap();
    let resolve = |text: &str| s.store.resolve(&text.parse().unwrap());
    assert_eq!(resolve("aaaaa").unwrap(), one.spec.name);
    assert_eq!(resolve("two").unwrap(), two.spec.name);
    assert!(resolve("aaaa").unwrap_err().to_string().contains("one, two"));
    assert_eq!(resolve("bbbb").unwrap_err().kind(), Kind::NoSuchMachine);
    s.store.remove(&two.spec.name).unwrap();
    // A name that is not there any more, and by chance the beginning of an id.
    assert_eq!(resolve("aaa").unwrap_err().kind(), Kind::NoSuchMachine);
    assert_eq!(resolve("aaaa").unwrap(), one.spec.name);
}
