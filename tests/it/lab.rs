//! One test's world: how it calls kraft and systemd, waits for what it names, and what it must not leave behind.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard, mpsc};
use std::time::Instant;

use serde_json::Value;

pub use crate::wait::{DEADLINE, Said, code_of, finish, kill, process_ends, until_change};

/// Who the machines of a test belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Root, the system manager.
    Root,
    /// The user `tester`, the user manager.
    Tester,
}

/// One test's world. All its machines have names that begin with its own.
#[derive(Debug)]
pub struct Lab {
    prefix: String,
    who: Who,
    env: Vec<(String, String)>,
    /// What happened before is another test's.
    began: jiff::Timestamp,
    /// Directories of this world alone, if it has its own.
    own: Option<PathBuf>,
    _turn: Turn,
}

/// Tests run side by side, but for those that shake the service manager itself.
static MANAGER: RwLock<()> = RwLock::new(());

#[derive(Debug)]
enum Turn {
    Beside { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

impl Lab {
    /// A world for the test of this name, for root's machines.
    pub fn new(test: &str) -> Self {
        Self::of(test, Who::Root)
    }

    /// The same for somebody's machines.
    pub fn of(test: &str, who: Who) -> Self {
        // A test that failed poisons nothing.
        Self::begin(test, who, Turn::Beside { _guard: MANAGER.read().unwrap_or_else(|e| e.into_inner()) })
    }

    /// A world that no other test is beside: for what disturbs the service manager, the bus or the whole store.
    pub fn alone(test: &str, who: Who) -> Self {
        Self::begin(test, who, Turn::Alone { _guard: MANAGER.write().unwrap_or_else(|e| e.into_inner()) })
    }

    fn begin(test: &str, who: Who, turn: Turn) -> Self {
        assert!(std::env::var_os("KRAFT_LAB").is_some(), "run by tests/run, in its lab");
        assert_own_name(&format!("t-{test}-"));
        let began = jiff::Timestamp::now();
        let mut lab = Self { prefix: format!("t-{test}-"), who, env: Vec::new(), began, own: None, _turn: turn };
        lab.remove_all();
        lab.began = jiff::Timestamp::now();
        lab
    }

    /// The same with one more variable in the environment of everything it calls.
    pub fn with_env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// The same with state and runtime directories that no other test has: all that is in them is this test's.
    pub fn with_store(mut self) -> Self {
        // Short, as a control socket's path is at most 107 bytes.
        let own = PathBuf::from(format!("/tmp/it/{}", self.prefix.trim_end_matches('-')));
        let dirs = [("KRAFT_STATE_DIR", own.join("s")), ("KRAFT_RUNTIME_DIR", own.join("r"))];
        for (key, dir) in &dirs {
            self = self.with_env(key, dir.to_str().expect("it is ASCII"));
        }
        // An earlier run that failed left them.
        self.remove_all();
        let _ = std::fs::remove_dir_all(&own);
        for (_, dir) in &dirs {
            std::fs::create_dir_all(dir).expect("/tmp is writable");
        }
        self.own = Some(own);
        self
    }

    /// A file of this world's own, which needs [`with_store`](Self::with_store), with this content.
    pub fn file(&self, name: &str, content: &[u8]) -> String {
        let dir = self.own.as_ref().expect("the world has directories of its own").join("f");
        let path = dir.join(name);
        std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(&path, content)).expect("/tmp is writable");
        path.to_str().expect("it is ASCII").to_owned()
    }

    /// The same, a program.
    pub fn program(&self, dir: &str, name: &str, content: &str) -> String {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.own.as_ref().expect("the world has directories of its own").join(dir);
        std::fs::create_dir_all(&path).expect("/tmp is writable");
        std::fs::write(path.join(name), content).expect("/tmp is writable");
        let all = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path.join(name), all).expect("the file is ours");
        path.to_str().expect("it is ASCII").to_owned()
    }

    /// A machine's name in this world.
    pub fn name(&self, short: &str) -> String {
        format!("{}{short}", self.prefix)
    }

    /// A machine's unit.
    pub fn unit(&self, short: &str) -> String {
        format!("kraft-{}.service", self.name(short))
    }

    /// Where machines of this world are kept, and their runtime files.
    pub fn state(&self) -> PathBuf {
        self.directory("KRAFT_STATE_DIR", "/var/lib/kraft", "/home/tester/.local/state/kraft")
    }

    /// Where their runtime files are.
    pub fn runtime(&self) -> PathBuf {
        self.directory("KRAFT_RUNTIME_DIR", "/run/kraft", &format!("{}/kraft", self.user_runtime()))
    }

    fn directory(&self, variable: &str, root: &str, tester: &str) -> PathBuf {
        if let Some((_, value)) = self.env.iter().find(|(key, _)| key == variable) {
            return value.into();
        }
        match self.who {
            Who::Root => root.into(),
            Who::Tester => tester.into(),
        }
    }

    /// Where their manager keeps the files of transient units.
    pub fn transient(&self) -> PathBuf {
        match self.who {
            Who::Root => "/run/systemd/transient".into(),
            Who::Tester => format!("{}/systemd/transient", self.user_runtime()).into(),
        }
    }

    fn user_runtime(&self) -> String {
        format!("/run/user/{}", uid_of("tester"))
    }

    /// A command that runs as this world's owner.
    pub fn command<S: AsRef<OsStr>>(&self, program: impl AsRef<OsStr>, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = match self.who {
            Who::Root => Command::new(program.as_ref()),
            Who::Tester => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid=tester", "--regid=tester", "--init-groups", "--reset-env", "env"]);
                command.arg(format!("XDG_RUNTIME_DIR={}", self.user_runtime()));
                command.args(self.env.iter().map(|(key, value)| format!("{key}={value}")));
                command.arg(program.as_ref());
                command
            }
        };
        command.args(args).stdin(Stdio::null());
        command.envs(self.env.iter().map(|(key, value)| (key, value)));
        command.env_remove("RUST_BACKTRACE").current_dir("/");
        command
    }

    /// Runs a program to its end.
    pub fn call<S: AsRef<OsStr>>(&self, program: impl AsRef<OsStr>, args: impl IntoIterator<Item = S>) -> Said {
        finish(self.command(program, args), DEADLINE)
    }

    /// Runs kraft to its end.
    pub fn kraft<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Said {
        self.call(kraft(), args)
    }

    /// Runs kraft to its end with a variable set.
    pub fn kraft_with<S: AsRef<OsStr>>(&self, key: &str, value: &str, args: impl IntoIterator<Item = S>) -> Said {
        let mut command = self.command(kraft(), args);
        command.env(key, value);
        finish(command, DEADLINE)
    }

    /// Runs systemctl, for the owner's manager.
    pub fn systemctl<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Said {
        let mut all: Vec<std::ffi::OsString> = Vec::new();
        if self.who == Who::Tester {
            all.push("--user".into());
        }
        all.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self.call("systemctl", all)
    }

    /// One property of a machine's unit.
    pub fn property(&self, short: &str, property: &str) -> String {
        self.systemctl(["show", "-P", property, &self.unit(short)]).ok().trim().to_owned()
    }

    /// `kraft run --systemd -d` of the tiny guest.
    #[track_caller]
    pub fn run_tiny(&self, short: &str, options: &[&str], words: &[&str]) {
        self.start_tiny(short, true, options, words).ok();
    }

    /// `kraft run -d` of the tiny guest, with or without systemd.
    pub fn start_tiny(&self, short: &str, systemd: bool, options: &[&str], words: &[&str]) -> Said {
        self.start_guest("tiny", short, systemd, options, words)
    }

    /// `kraft run -d` of any guest, with or without systemd.
    pub fn start_guest(&self, kernel: &str, short: &str, systemd: bool, options: &[&str], words: &[&str]) -> Said {
        let (name, guest) = (self.name(short), guest(kernel));
        let mut args = vec!["run", "-d", "--name", &name];
        if systemd {
            args.push("--systemd");
        }
        args.extend(options);
        args.push(&guest);
        args.extend(words);
        self.kraft(args)
    }

    /// What `kraft ps -o json` shows of one machine; null if there is none.
    pub fn ps(&self, short: &str) -> Value {
        let all: Value = serde_json::from_str(&self.kraft(["ps", "-o", "json"]).ok()).expect("ps speaks JSON");
        let name = self.name(short);
        all.as_array().and_then(|all| all.iter().find(|machine| machine["name"] == *name).cloned()).unwrap_or_default()
    }

    /// The machine's state, by ps.
    pub fn state_of(&self, short: &str) -> String {
        self.ps(short)["state"].as_str().unwrap_or("absent").to_owned()
    }

    /// What `kraft inspect` shows of one machine.
    pub fn inspect(&self, short: &str) -> Value {
        let all: Value = serde_json::from_str(&self.kraft(["inspect", &self.name(short)]).ok()).expect("JSON");
        all[0].clone()
    }

    /// Reads what a program prints until a line satisfies `wanted`; returns all lines up to it.
    #[track_caller]
    pub fn until_line(&self, mut command: Command, what: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("it can be started");
        let stdout = child.stdout.take().expect("it was piped");
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { break };
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        let deadline = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        let found = loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let found = wanted(&line);
                    seen.push(line);
                    if found {
                        break true;
                    }
                }
                Err(_) => break false,
            }
        };
        let _ = child.kill();
        let _ = child.wait();
        assert!(found, "{what} did not come within {DEADLINE:?}; seen:\n{}", seen.join("\n"));
        seen
    }

    /// A command that follows what the journal has of a machine's unit, the manager's own lines too, since the test began.
    pub fn journal(&self, short: &str) -> Command {
        let flag = match self.who {
            Who::Root => "--unit",
            Who::Tester => "--user-unit",
        };
        let since = format!("--since=@{}", self.began.as_second());
        self.command("journalctl", ["--follow", "--lines=all", "--output=cat", &since, flag, &self.unit(short)])
    }

    /// Waits until the guest's console has a line.
    #[track_caller]
    pub fn until_console(&self, short: &str, wanted: &str) -> Vec<String> {
        let command = self.command(kraft(), ["logs", "-f", &self.name(short)]);
        self.until_line(command, &format!("the console line '{wanted}'"), |line| line.contains(wanted))
    }

    /// Waits until the `count`-th event of this kind since the test began; returns that event.
    #[track_caller]
    pub fn until_event(&self, short: &str, kind: &str, count: usize) -> Value {
        let name = self.name(short);
        let began = self.began.to_string();
        let command = self.command(kraft(), ["events", "-o", "json", "--since", &began, &name]);
        let seen = std::cell::Cell::new(0);
        let lines = self.until_line(command, &format!("event {count} of kind {kind} of {short}"), |line| {
            let event: Value = serde_json::from_str(line).unwrap_or_default();
            if event["event"] == kind {
                seen.set(seen.get() + 1);
            }
            seen.get() == count
        });
        lines.last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default()
    }

    /// The events of this kind so far, since the test began.
    pub fn events(&self, short: &str, kind: &str) -> Vec<Value> {
        let (began, now) = (self.began.to_string(), jiff::Timestamp::now().to_string());
        let args = ["events", "-o", "json", "--since", &began, "--until", &now, &self.name(short)];
        let text = self.kraft(args).ok();
        let events = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("events speak JSON"));
        events.filter(|event| event["event"] == kind).collect()
    }

    /// Waits until nothing is left of this world's machines, where that comes after what could be waited for.
    #[track_caller]
    pub fn until_gone(&self) {
        let directories = [self.transient(), self.state().join("machines"), self.runtime()];
        until_change(&directories, "everything to be gone", || self.leaks().is_empty());
    }

    /// The living processes whose command line names one of this world's machines.
    pub fn processes(&self) -> Vec<(u32, String)> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").expect("/proc is there").flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if line.contains(&self.prefix) && pid != std::process::id() {
                found.push((pid, line));
            }
        }
        found
    }

    fn remove_all(&self) {
        let names = self.kraft(["ps", "-q"]).out;
        let ours: Vec<&str> = names.lines().filter(|name| name.starts_with(&self.prefix)).collect();
        if !ours.is_empty() {
            self.kraft(["rm", "--force"].into_iter().chain(ours)).ok();
        }
        let networks = self.kraft(["net", "ls", "-q"]).out;
        let ours: Vec<&str> = networks.lines().filter(|name| name.starts_with(&self.prefix)).collect();
        if !ours.is_empty() {
            self.kraft(["net", "rm"].into_iter().chain(ours)).ok();
        }
    }

    /// Nobody else makes a machine in its store now.
    pub fn is_alone_in_its_store(&self) -> bool {
        self.own.is_some() || matches!(self._turn, Turn::Alone { .. })
    }

    /// Everything that is left of this world's machines.
    pub fn leaks(&self) -> Vec<String> {
        self.leaks_of("")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let journal = self.call("journalctl", ["-o", "short-precise", "-n", "60", "--no-pager"]);
            eprintln!("the journal's end:\n{}", journal.out);
            self.remove_all();
            return;
        }
        self.remove_all();
        let leaks = self.leaks();
        if let Some(own) = &self.own {
            let _ = std::fs::remove_dir_all(own);
        }
        assert!(leaks.is_empty(), "left behind:\n{}", leaks.join("\n"));
    }
}

/// Worlds are told apart by how their machines' names begin: no test's is another's, or the beginning of it.
fn assert_own_name(prefix: &str) {
    static USED: Mutex<Vec<(String, Option<String>)>> = Mutex::new(Vec::new());
    let test = std::thread::current().name().map(str::to_owned);
    let mut used = USED.lock().unwrap_or_else(|e| e.into_inner());
    let clash = used.iter().find(|(other, by)| {
        (other.starts_with(prefix) || prefix.starts_with(other.as_str())) && (*by != test || test.is_none())
    });
    assert!(clash.is_none(), "the name {prefix} is taken: {clash:?}");
    used.push((prefix.to_owned(), test));
}

/// The program under test.
pub fn kraft() -> PathBuf {
    std::env::var_os("KRAFT_BIN").map_or_else(|| env!("CARGO_BIN_EXE_kraft").into(), PathBuf::from)
}

/// A guest made from the tree's sources: `tiny`, `tiny32`; `net`, `net-unikraft`, `net-unikraft-old`; and `linux` with its
/// RAM disk `linux.cpio`. The last two are `vmlinux` and `initramfs` of the directory that `tests/guests/linux/build` prints,
/// put beside the others by tests/run.
pub fn guest(name: &str) -> String {
    let dir = std::env::var("KRAFT_GUESTS").expect("tests/run says where the guests are");
    let path = Path::new(&dir).join(name);
    assert!(path.exists(), "guest {} is missing", path.display());
    path.display().to_string()
}

/// A test that cannot be had here: printed, counted by tests/run, and no success that hides it.
#[macro_export]
macro_rules! skip {
    ($why:expr) => {{
        eprintln!("SKIP {}: {}", std::thread::current().name().unwrap_or("?"), $why);
        if let Some(file) = std::env::var_os("KRAFT_SKIPS") {
            use std::io::Write as _;
            let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).expect("skips are counted");
            writeln!(file, "{}: {}", std::thread::current().name().unwrap_or("?"), $why).expect("skips are counted");
        }
        return;
    }};
}

/// A user's number.
pub fn uid_of(user: &str) -> u32 {
    nix::unistd::User::from_name(user).ok().flatten().map_or(0, |user| user.uid.as_raw())
}

/// Words, each once.
pub fn set<'a>(words: impl IntoIterator<Item = &'a str>) -> std::collections::BTreeSet<String> {
    words.into_iter().map(str::to_owned).collect()
}
