//! Secrets: what a guest is given, what it is given by, and that nobody else has seen it.

use std::path::Path;

use crate::keeper::{Keeper, under_both};
use crate::lab::{Lab, Who, guest};

under_both! {
    a_guest_reads_its_secrets,
    a_secret_that_is_missing_is_named,
}

/// FNV-1a, as the tiny guest prints it.
fn hash(secret: &str) -> String {
    let hash = secret.bytes().fold(2_166_136_261u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619));
    format!("{} bytes, hash {hash:08x}", secret.len())
}

fn a_guest_reads_its_secrets(keeper: Keeper) {
    let lab = keeper.lab("secretread").with_store();
    let (db, empty) = (lab.file("db,c", b"sesame"), lab.file("empty", b""));
    let db = format!("db={db}");
    for machine in ["microvm", "q35", "pc"] {
        let options = ["--machine", machine, "--secret", &db, "--secret", &format!("none={empty}")];
        keeper.run(&lab, machine, &options, &["secret=db", "secret=none", "secret=other"]);
        lab.until_console(machine, &format!("tiny: secret db in fw_cfg: {}", hash("sesame")));
        lab.until_console(machine, "tiny: secret none in fw_cfg: 0 bytes");
        lab.until_console(machine, "tiny: no secret other");
    }
    // A kernel of Unikraft's kind reads its root file system.
    let root = Path::new(&lab.file("empty", b"")).with_file_name("root");
    std::fs::create_dir_all(root.join("etc")).unwrap();
    let said = lab.start_guest("tiny32", "bare", keeper == Keeper::Systemd, &["--secret", &db], &[]);
    assert!(said.fails(125).contains("from the root file system, and it has none"));
    let start = |short: &str, options: &[&str]| {
        let options = [&["--rootfs", root.to_str().unwrap(), "--secret"], options].concat();
        lab.start_guest("tiny32", short, keeper == Keeper::Systemd, &options, &["secret=db"]).ok();
    };
    start("disk", &[&db]);
    lab.until_console("disk", &format!("tiny: secret db in the RAM disk: {}", hash("sesame")));
    start("asked", &[&format!("{db},as=fw_cfg")]);
    lab.until_console("asked", &format!("tiny: secret db in fw_cfg: {}", hash("sesame")));
}

fn a_secret_that_is_missing_is_named(keeper: Keeper) {
    let lab = keeper.lab("secretmissing").with_store();
    let (name, path) = (lab.name("web"), lab.file("token", b"sesame"));
    let large = lab.file("large", &vec![b'x'; (1 << 20) - 5]);
    let refused = |secrets: &[&str]| {
        let options: Vec<&str> = secrets.iter().flat_map(|secret| ["--secret", secret]).collect();
        lab.start_tiny("web", keeper == Keeper::Systemd, &options, &[])
    };
    let error = refused(&["token=/nonexistent/token"]).fails(127);
    assert!(error.ends_with("secret token: /nonexistent/token is not there"), "{error}");
    assert!(refused(&["no-such-secret"]).fails(127).contains("no-such-secret is in none of /etc/credstore, "));
    assert!(refused(&["token=/tmp"]).fails(125).ends_with("secret token: /tmp is not a regular file"));
    let (token, large) = (format!("token={path}"), format!("large={large}"));
    let error = refused(&[&token, &large]).fails(125);
    assert!(error.contains("secret large is too large: all of a machine's have at most 1Mi"), "{error}");
    let spaced = format!("token={}", lab.file("a token", b"sesame"));
    if keeper == Keeper::Systemd {
        assert!(refused(&[&spaced]).fails(125).ends_with("its path holds a space or a backslash"));
    }
    assert!(refused(&[&token, &token]).fails(125).contains("secret token: it is there twice"));
    assert_eq!(lab.leaks(), Vec::<String>::new());

    keeper.run(&lab, "web", &["--secret", &token], &["secret=token"]);
    std::fs::remove_file(&path).unwrap();
    for verb in ["restart", "start"] {
        let error = lab.kraft([verb, &name]);
        match verb {
            // It goes on rather than not to come back.
            "restart" => assert!(error.fails(127).ends_with(&format!("secret token: {path} is not there"))),
            _ => drop(error.ok()),
        }
        assert_eq!(lab.state_of("web"), "running");
    }
    lab.kraft(["stop", &name]).ok();
    assert!(lab.kraft(["start", &name]).fails(127).ends_with(&format!("secret token: {path} is not there")));
    lab.file("token", b"another");
    lab.kraft(["start", &name]).ok();
    lab.until_console("web", &format!("tiny: secret token in fw_cfg: {}", hash("another")));
}

/// The first of these files in which `needle` is, or in a file below which it is.
fn grep(needle: &str, files: &[&Path]) -> Option<String> {
    let contains = |path: &Path| {
        std::fs::read(path).is_ok_and(|bytes| bytes.windows(needle.len()).any(|window| window == needle.as_bytes()))
    };
    files.iter().find_map(|path| match std::fs::symlink_metadata(path).ok()? {
        found if found.is_dir() => {
            let below: Vec<_> = std::fs::read_dir(path).ok()?.flatten().map(|entry| entry.path()).collect();
            grep(needle, &below.iter().map(AsRef::as_ref).collect::<Vec<_>>())
        }
        found if found.is_file() => contains(path).then(|| path.display().to_string()),
        _ => None,
    })
}

#[test]
fn a_secret_is_nowhere_else() {
    let lab = Lab::new("secrethidden").with_store();
    // Put together here, so that it does not stand in this program's own command line or in a file of a test's.
    let secret: String = (0..4).map(|n| format!("x{}y{}", n * 7 + 3, std::process::id())).collect();
    let path = lab.file("plain", secret.as_bytes());
    let sealed = format!("{path}.cred");
    lab.call("systemd-creds", ["setup"]);
    lab.call("systemd-creds", ["encrypt", "--name=sealed", &path, &sealed]).ok();
    let secrets = [format!("plain={path}"), format!("sealed=encrypted:{sealed}"), format!("file={path},as=initrd")];
    let options: Vec<&str> = secrets.iter().flat_map(|secret| ["--secret", secret]).collect();
    let words = ["secret=plain", "secret=sealed", "secret=file"];
    lab.run_tiny("web", &options, &words);
    lab.systemctl(["restart", &lab.unit("web")]).ok();
    for (name, place) in [("plain", "fw_cfg"), ("sealed", "fw_cfg"), ("file", "the RAM disk")] {
        lab.until_console("web", &format!("tiny: secret {name} in {place}: {}", hash(&secret)));
    }
    let mut seen = 0;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let (line, environment) = (entry.path().join("cmdline"), entry.path().join("environ"));
        seen += usize::from(environment.exists());
        assert_eq!(grep(&secret, &[&line, &environment]), None);
    }
    assert!(seen > 5, "{seen} processes");
    let units = ["/run/systemd/transient", "/run/systemd/generator", "/run/systemd/units", "/etc/systemd"];
    let (state, runtime) = (lab.state(), lab.runtime());
    let places: Vec<&Path> = units.iter().map(Path::new).chain([state.as_path(), &runtime]).collect();
    assert_eq!(grep(&secret, &places), None);
    let journal = lab.call("journalctl", ["--no-pager", "-o", "json", "--all", "-n", "20000"]).ok();
    assert!(journal.contains(&lab.name("web")) && !journal.contains(&secret));
    // What looks for it can find it.
    assert_eq!(grep(&secret, &[Path::new(&path).parent().unwrap()]), Some(path));
}

#[test]
fn a_secret_is_found_where_systemd_looks() {
    let lab = Lab::new("secretstore");
    let name = "t-secretstore-token";
    std::fs::create_dir_all("/run/credstore").unwrap();
    std::fs::write(format!("/run/credstore/{name}"), "from the store").unwrap();
    lab.run_tiny("web", &["--secret", name], &[&format!("secret={name}")]);
    lab.until_console("web", &format!("tiny: secret {name} in fw_cfg: {}", hash("from the store")));
    std::fs::remove_file(format!("/run/credstore/{name}")).unwrap();
    // systemd itself finds that it is gone, and the sweep says which.
    assert_ne!(lab.systemctl(["restart", &lab.unit("web")]).code, 0);
    assert_eq!(lab.state_of("web"), "failed");
    let detail = lab.inspect("web")["exit"]["detail"].clone();
    assert_eq!(detail, format!("secret {name}: /run/credstore/{name} is not there"));
}

#[test]
fn a_user_s_secrets() {
    let lab = Lab::of("usersecret", Who::Tester);
    let path = "/home/tester/t-usersecret-token";
    lab.call("sh", ["-c", &format!("umask 077; printf sesame >{path}")]).ok();
    lab.run_tiny("web", &["--secret", &format!("token={path}")], &["secret=token"]);
    lab.until_console("web", &format!("tiny: secret token in fw_cfg: {}", hash("sesame")));
    let name = lab.name("lone");
    let said = lab.kraft(["create", "--secret", "token=/etc/shadow", "--name", &name, &guest("tiny")]);
    assert!(said.fails(125).contains("cannot read secret token: /etc/shadow: Permission denied"));
    std::fs::remove_file(path).unwrap();
}
