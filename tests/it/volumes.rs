//! Volumes: the same files on both sides, at once.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::keeper::{Keeper, under_both};
use crate::lab::{DEADLINE, Lab, Said, Who, guest, kraft, process_ends};
use crate::wire::{free_ports, get, inside, loopback};

under_both! {
    both_sides_see_changes_at_once,
    a_source_that_is_gone_is_told_before_the_start,
    a_link_leads_nowhere_out_of_a_volume,
    twenty_machines_share_one,
    a_full_volume_is_the_guest_s_to_see,
    a_dead_virtiofsd_ends_the_machine,
}

/// A directory of the host's for one story.
struct Dir(PathBuf);

impl Dir {
    fn new(lab: &Lab, name: &str) -> Self {
        // What people may call a directory, and QEMU's options are made of.
        let path = PathBuf::from(format!("/tmp/{}", lab.name(&format!("{name} a,b,,c=\"d\"'[e]"))));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn at(&self, below: &str) -> PathBuf {
        self.0.join(below)
    }

    fn write(&self, below: &str, text: &str) {
        std::fs::write(self.at(below), text).unwrap();
    }

    fn read(&self, below: &str) -> String {
        std::fs::read_to_string(self.at(below)).unwrap_or_else(|e| panic!("{below}: {e}"))
    }

    fn volume(&self, rest: &str) -> String {
        format!("{}:{rest}", self.0.display())
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A Linux guest with a shell on a port of the host's.
struct Linux<'a> {
    lab: &'a Lab,
    short: &'a str,
    port: u16,
}

impl<'a> Linux<'a> {
    fn start(keeper: Keeper, lab: &'a Lab, short: &'a str, options: &[&str]) -> Self {
        let [port] = free_ports();
        let (publish, initrd) = (format!("127.0.0.1:{port}:80"), guest("linux.cpio"));
        let mut all = vec!["-M", "192Mi", "--initrd", &initrd, "-p", &publish];
        all.extend(options);
        lab.start_guest("linux", short, keeper.has_units(), &all, &["console=ttyS0", "quiet"]).ok();
        lab.until_console(short, "guest: ready");
        Self { lab, short, port }
    }

    /// Runs a script in the guest: its exit status and what it printed.
    #[track_caller]
    fn sh(&self, script: &str) -> (i32, String) {
        let said = inside((loopback(1), self.port), script);
        (said.code, said.out)
    }

    #[track_caller]
    fn ok(&self, script: &str) -> String {
        let (status, text) = self.sh(script);
        assert_eq!(status, 0, "{script}: {text}");
        text
    }
}

fn volume_names(lab: &Lab) -> Vec<String> {
    lab.kraft(["volume", "ls", "-q"]).ok().lines().map(str::to_owned).collect()
}

/// Calls `kraft volume`.
fn volume<const N: usize>(lab: &Lab, args: [&str; N]) -> Said {
    lab.kraft(["volume"].into_iter().chain(args))
}

fn both_sides_see_changes_at_once(keeper: Keeper) {
    both_sides(keeper, &keeper.lab("live"), &[]);
}

/// Its files belong to another user than the one who runs it. In a store of its own, as the root file system of the lab
/// (an overlay) cannot map owners.
#[test]
fn both_sides_of_a_confined_machine_see_changes() {
    both_sides(Keeper::Systemd, &Lab::new("confined").with_store(), &["--sandbox", "strict"]);
}

fn both_sides(keeper: Keeper, lab: &Lab, options: &[&str]) {
    let (html, fixed) = (Dir::new(lab, "html"), Dir::new(lab, "fixed"));
    html.write("index.html", "one");
    html.write("plain", "plain");
    std::os::unix::fs::symlink("plain", html.at("by-host")).unwrap();
    fixed.write("kept", "as it was");
    let named = lab.name("data");
    volume(lab, ["rm", "-f", &named]).ok();
    // The one inside another comes first here, and is mounted after it all the same.
    let (inside, at, read_only) = (format!("{named}:/www/data"), html.volume("/www"), fixed.volume("/fixed:ro"));
    let all = [&["-v", &*inside, "-v", &*at, "-v", &*read_only], options].concat();
    let linux = Linux::start(keeper, lab, "web", &all);

    // The root is the initrd's, with the volumes in it.
    linux.ok("test -e /init && grep -q ' /www 9p ' /proc/mounts && grep -q ' /www/data 9p ' /proc/mounts");
    assert_eq!(get((loopback(1), linux.port), "/www/index.html"), "one");
    html.write("index.html", "two, longer");
    assert_eq!(get((loopback(1), linux.port), "/www/index.html"), "two, longer");
    html.write("new", "from the host");
    assert_eq!(linux.ok("cat /www/new /www/by-host"), "from the hostplain");
    std::fs::remove_file(html.at("new")).unwrap();
    assert_eq!(linux.sh("cat /www/new").0, 1);

    linux.ok(
        "cd /www; echo guest >mine; chmod 644 mine; ln -s mine by-guest; mkdir -p d; mv plain d/; echo x >>index.html",
    );
    assert_eq!((html.read("mine"), html.read("by-guest")), ("guest\n".into(), "guest\n".into()));
    assert_eq!((html.read("d/plain"), html.read("index.html")), ("plain".into(), "two, longerx\n".into()));
    assert_eq!(std::fs::read_link(html.at("by-guest")).unwrap(), Path::new("mine"));
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let mine = html.at("mine").metadata().unwrap();
    assert_eq!((mine.permissions().mode() & 0o777, mine.uid()), (0o644, 0));

    let data = lab.state().join("volumes").join(&named).join("data");
    linux.ok("echo kept >/www/data/file");
    assert_eq!(std::fs::read_to_string(data.join("file")).unwrap(), "kept\n");
    assert!(!html.at("data/file").exists());

    // The guest's root may mount it as it likes: it is the host that refuses.
    let tried = "mount -o remount,rw /fixed; umount /fixed; mount -t 9p -o trans=virtio,version=9p2000.L,rw fs3 /fixed";
    for try_it in
        ["echo x >/fixed/kept", "echo x >/fixed/new", "rm /fixed/kept", "chmod 0 /fixed/kept", "mkdir /fixed/d"]
    {
        let (status, said) = linux.sh(&format!("{tried}; cat /fixed/kept >/dev/null || exit 0; {try_it}"));
        assert!(status != 0 && said.contains("Read-only file system"), "{try_it}: {said}");
    }
    assert_eq!(std::fs::read_dir(&fixed.0).unwrap().count(), 1);
    assert_eq!(fixed.read("kept"), "as it was");

    let shown = json!([inside, at, read_only]);
    assert_eq!(lab.ps("web")["volumes"], shown);
    let kept = &lab.inspect("web")["record"]["spec"]["volumes"];
    assert_eq!((&kept[0]["volume"], &kept[2]["read_only"]), (&json!(named), &json!(true)), "{kept}");

    // What is in a volume outlives its machines.
    let error = volume(lab, ["rm", &named]).fails(125);
    assert_eq!(error, format!("cannot remove volume {named}: machines use it: {}", lab.name("web")));
    lab.kraft(["rm", "--force", &lab.name("web")]).ok();
    assert!(data.join("file").exists());
    volume(lab, ["rm", &named]).ok();
    assert!(!data.exists());
}

fn create(keeper: Keeper, lab: &Lab, short: &str, options: &[&str]) -> Said {
    let (name, tiny) = (lab.name(short), guest("tiny"));
    let mut args = vec!["create", "--dialect", "linux", "--name", &name];
    args.extend(keeper.has_units().then_some("--systemd"));
    args.extend(options);
    args.push(&tiny);
    lab.kraft(args)
}

fn a_source_that_is_gone_is_told_before_the_start(keeper: Keeper) {
    let lab = keeper.lab("missing");
    let dir = Dir::new(&lab, "dir");
    let at = format!("{}/deep/er:/www", dir.0.display());
    let shown = format!("cannot share {}/deep/er", dir.0.display());
    let (error, hint) = create(keeper, &lab, "m", &["-v", &at]).fails_with_hint(127);
    assert_eq!(error, format!("{shown}: it does not exist"));
    assert!(hint.contains("--mkdir"), "{hint}");
    dir.write("deep", "");
    let error = create(keeper, &lab, "m", &["-v", &dir.volume("/www").replacen(':', "/deep:", 1)]).fails(125);
    assert_eq!(error, format!("cannot share {}/deep: it is not a directory", dir.0.display()));
    std::fs::remove_file(dir.at("deep")).unwrap();
    create(keeper, &lab, "m", &["-v", &at, "--mkdir"]).ok();
    assert!(dir.at("deep/er").is_dir());
    std::fs::remove_dir(dir.at("deep/er")).unwrap();
    let error = lab.kraft(["start", &lab.name("m")]).fails(127);
    assert!(error.ends_with(&format!("{shown}: it does not exist")), "{error}");
    assert!(lab.processes().is_empty(), "{:?}", lab.processes());
    std::fs::create_dir(dir.at("deep/er")).unwrap();
    lab.kraft(["start", &lab.name("m")]).ok();
}

fn a_link_leads_nowhere_out_of_a_volume(keeper: Keeper) {
    let lab = keeper.lab("link");
    let name = lab.name("v");
    volume(&lab, ["rm", "-f", &name]).ok();
    // A name with a path below it is somebody's directory rather than a volume to be made.
    let (error, hint) = create(keeper, &lab, "m", &["-v", &format!("{name}/sub:/x")]).fails_with_hint(127);
    assert_eq!((error, hint), (format!("no such volume: {name}"), format!("the path is './{name}/sub'")));
    volume(&lab, ["create", &name]).ok();
    let data = lab.state().join("volumes").join(&name).join("data");
    let below = format!("{name}/sub/dir:/x");
    let error = create(keeper, &lab, "m", &["-v", &below]).fails(127);
    assert_eq!(error, format!("cannot share volume {name}/sub/dir: it does not exist"));
    create(keeper, &lab, "m", &["-v", &below, "--mkdir"]).ok();
    assert!(data.join("sub/dir").is_dir());
    // A guest with the whole volume puts a link there, to where it may not look.
    std::fs::remove_dir_all(data.join("sub")).unwrap();
    std::fs::create_dir(data.join("sub")).unwrap();
    for target in ["/etc", "../../../..", "/proc/self/root"] {
        std::os::unix::fs::symlink(target, data.join("sub/dir")).unwrap();
        let error = lab.kraft(["start", &lab.name("m")]).fails(125);
        let why = format!("cannot share volume {name}/sub/dir: a symbolic link on the way leaves the volume");
        assert!(error.ends_with(&why), "{target}: {error}");
        std::fs::remove_file(data.join("sub/dir")).unwrap();
    }
    std::fs::create_dir(data.join("inside")).unwrap();
    std::os::unix::fs::symlink("../inside", data.join("sub/dir")).unwrap();
    lab.kraft(["start", &lab.name("m")]).ok();
    lab.kraft(["rm", "--force", &lab.name("m")]).ok();
    volume(&lab, ["rm", &name]).ok();
}

fn twenty_machines_share_one(keeper: Keeper) {
    let lab = keeper.lab("share");
    let name = lab.name("v");
    volume(&lab, ["rm", "-f", &name]).ok();
    let at = format!("{name}:/x");
    let names: Vec<String> = (0..20).map(|n| format!("m{n}")).collect();
    // All at once: one of them makes the volume.
    std::thread::scope(|scope| {
        for short in &names {
            scope.spawn(|| lab.start_tiny(short, keeper.has_units(), &["--dialect", "linux", "-v", &at], &[]).ok());
        }
    });
    let shown: Value = serde_json::from_str(&volume(&lab, ["inspect", &name]).ok()).unwrap();
    assert_eq!(shown[0]["machines"].as_array().unwrap().len(), 20, "{shown}");
    assert!(!volume(&lab, ["prune"]).ok().contains(&name));
    let all = names.iter().map(|short| lab.name(short));
    lab.kraft(["rm".to_owned(), "--force".into()].into_iter().chain(all)).ok();
    volume(&lab, ["rm", &name]).ok();
}

fn a_full_volume_is_the_guest_s_to_see(keeper: Keeper) {
    let lab = keeper.lab("full");
    let dir = Dir::new(&lab, "small");
    let small = dir.0.to_str().unwrap();
    lab.call("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", small]).ok();
    let linux = Linux::start(keeper, &lab, "web", &["-v", &dir.volume("/w")]);
    let (status, said) = linux.sh("dd if=/dev/zero of=/w/big bs=64k count=64");
    assert!(status != 0 && said.contains("No space left on device"), "{status}: {said}");
    linux.ok("rm /w/big; echo fits >/w/small");
    assert_eq!(dir.read("small"), "fits\n");
    assert_eq!(lab.state_of("web"), "running");
    lab.kraft(["rm", "--force", &lab.name("web")]).ok();
    lab.call("umount", [small]).ok();
}

fn a_dead_virtiofsd_ends_the_machine(keeper: Keeper) {
    let lab = keeper.lab("vfs");
    if !Path::new("/usr/libexec/virtiofsd").exists() && Path::new("/usr/lib/qemu/virtiofsd").exists() {
        let at = Dir::new(&lab, "dir").volume("/w:virtiofs");
        let systemd = keeper.has_units();
        let (error, hint) =
            lab.start_tiny("m", systemd, &["--dialect", "linux", "-v", &at, "--mkdir"], &[]).fails_with_hint(126);
        assert!(error.ends_with(": virtiofsd is not installed") && hint.contains("leave out"), "{error} {hint}");
        crate::skip!("there is only the virtiofsd of QEMU 7, which is another program");
    }
    let (dir, fixed) = (Dir::new(&lab, "dir"), Dir::new(&lab, "fixed"));
    dir.write("file", "one");
    fixed.write("kept", "as it was");
    let (at, read_only) = (dir.volume("/w:virtiofs"), fixed.volume("/fixed:ro,virtiofs"));
    let linux = Linux::start(keeper, &lab, "web", &["-v", &at, "-v", &read_only]);
    dir.write("file", "two");
    assert_eq!(linux.ok("cat /w/file; echo guest >/w/mine; ln -s mine /w/link"), "two");
    assert_eq!((dir.read("mine"), dir.read("link")), ("guest\n".into(), "guest\n".into()));
    dir.write("file", "three");
    assert_eq!(linux.ok("cat /w/file"), "three");
    let (status, said) = linux.sh("mount -o remount,rw /fixed; echo x >/fixed/kept; echo x >/fixed/new");
    assert!(status != 0 && said.contains("Read-only file system"), "{said}");
    assert_eq!(std::fs::read_dir(&fixed.0).unwrap().count(), 1);

    let of_runner = |runner: u64| servers().into_iter().filter(move |(_, parent)| u64::from(*parent) == runner);
    let runner = lab.ps("web")["pid"].as_u64().unwrap();
    let pids: Vec<u32> = of_runner(runner).map(|(pid, _)| pid).collect();
    assert_eq!(pids.len(), 2, "{pids:?}");
    crate::lab::kill(pids[0].into(), nix::sys::signal::Signal::SIGKILL);
    let event = lab.until_event("web", "die", 1);
    assert!(event["exit"]["detail"].as_str().unwrap_or_default().contains("virtiofsd of"), "{event}");
    assert!(process_ends(pids[1], DEADLINE));
    assert_eq!(lab.kraft(["wait", &lab.name("web")]).code, 134);
    assert_eq!(lab.state_of("web"), "errored");

    if keeper.has_units() {
        // It sees the host's files, which a strict machine does not.
        assert_eq!(lab.inspect("web")["record"]["spec"]["sandbox"], "compatible");
        let why = "by virtiofs in a strict sandbox";
        let error = lab.kraft(["update", "--sandbox", "strict", &lab.name("web")]).fails(125);
        assert!(error.contains(why), "{error}");
        let asked = ["--sandbox", "strict", "--dialect", "linux", "-v", &at];
        let error = lab.start_tiny("asked", true, &asked, &[]).fails(125);
        assert!(error.contains(why), "{error}");
    }

    // A runner that is killed takes them with it, too; and a stop is no failure.
    lab.kraft(["start", &lab.name("web")]).ok();
    lab.until_console(linux.short, "guest: ready");
    let runner = lab.ps("web")["pid"].as_u64().unwrap();
    let pids: Vec<u32> = of_runner(runner).map(|(pid, _)| pid).collect();
    crate::lab::kill(runner, nix::sys::signal::Signal::SIGKILL);
    for pid in pids {
        assert!(process_ends(pid, DEADLINE));
    }
    lab.until_event("web", "die", 2);
    assert_eq!(lab.kraft(["wait", &lab.name("web")]).code, 137);
    lab.kraft(["start", &lab.name("web")]).ok();
    lab.kraft(["stop", &lab.name("web")]).ok();
    assert_eq!(lab.state_of("web"), "exited");
    assert_eq!(linux.lab.inspect("web")["exit"]["reason"], "stopped");
}

/// All virtiofsd, and whose children they are.
fn servers() -> Vec<(u32, u32)> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
    let parent = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        let parent = rest.split_whitespace().nth(1)?.parse().ok()?;
        (name == "virtiofsd").then_some((pid, parent))
    };
    pids.filter_map(parent).collect()
}

#[test]
fn named_volumes_are_made_listed_and_removed() {
    let lab = Lab::new("vol-rules").with_store();
    assert_eq!(volume_names(&lab), Vec::<String>::new());
    let made_up = volume(&lab, ["create"]).ok().trim().to_owned();
    assert_eq!(volume(&lab, ["create", "--driver", "virtiofs", "html"]).ok(), "html\n");
    assert_eq!(volume(&lab, ["create", "html"]).fails(125), "volume html already exists");
    for bad in ["a/b", "..", ".x", "Html", "a\nb", "a,b", "a:b", "", "-", "\"", &"a".repeat(300)] {
        assert_eq!(volume(&lab, ["create", bad]).code, 125, "{bad}");
        assert_eq!(volume(&lab, ["rm", "--", bad]).code, 125, "{bad}");
    }
    assert_eq!(volume_names(&lab).len(), 2);
    let tiny = guest("tiny");
    let name = lab.name("m");
    let create = |volumes: &[&str]| {
        let mut args = vec!["create", "-q", "--dialect", "linux", "--name", &name];
        args.extend(volumes.iter().flat_map(|volume| ["-v", volume]));
        args.push(&tiny);
        lab.kraft(args)
    };
    // A machine's own word goes before the volume's, which needs its program.
    let installed = Path::new("/usr/libexec/virtiofsd").exists();
    let by_volume = if installed { "html:/www2" } else { "html:/www2:9p" };
    create(&["html:/www:ro,9p", "logs:/log", by_volume]).ok();
    // One that was made for a machine that there is not goes again.
    assert_eq!(create(&["fresh:/x"]).fails_with_hint(125).0, format!("machine {name} already exists"));
    assert!(!volume_names(&lab).contains(&"fresh".to_owned()));
    let kept = &lab.inspect("m")["record"]["spec"]["volumes"];
    let usual = if installed { "virtiofs" } else { "9p" };
    assert_eq!((&kept[0]["driver"], &kept[2]["driver"]), (&json!("9p"), &json!(usual)), "{kept}");
    let table = volume(&lab, ["ls"]).ok();
    let row = table.lines().find(|line| line.starts_with("html ")).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!((row[1], row[3]), ("virtiofs", &*name), "{table}");
    let error = lab.kraft(["volume", "rm", "html", "none", &made_up]);
    assert_eq!((error.code, &*error.out), (125, &*format!("{made_up}\n")));
    assert!(error.err.contains(&format!("cannot remove volume html: machines use it: {name}")), "{}", error.err);
    assert!(error.err.contains("no such volume: none"), "{}", error.err);
    volume(&lab, ["rm", "-f", "none"]).ok();
    volume(&lab, ["create", "spare"]).ok();
    assert_eq!(volume(&lab, ["prune"]).ok(), "spare\n");
    lab.kraft(["rm", &name]).ok();
    assert_eq!(volume_names(&lab), ["html", "logs"]);
    assert_eq!(volume(&lab, ["prune"]).ok(), "html\nlogs\n");
    assert_eq!(std::fs::read_dir(lab.state().join("volumes")).unwrap().count(), 0);
}

/// Of a machine that is made with a volume and the removal of that volume, one gets an error.
#[test]
fn a_volume_is_not_taken_from_under_a_new_machine() {
    let lab = Lab::new("vol-race").with_store();
    let (name, tiny) = (lab.name("m"), guest("tiny"));
    let mut kept = 0;
    for round in 0..40 {
        volume(&lab, ["create", "v"]).ok();
        let create = ["create", "-q", "--dialect", "linux", "--name", &name, "-v", "v/below:/x", "--mkdir", &tiny];
        let (made, removed) = std::thread::scope(|scope| {
            let made = scope.spawn(|| lab.kraft(create));
            let removed = volume(&lab, ["rm", "v"]);
            (made.join().unwrap(), removed)
        });
        let (there, known) = (volume_names(&lab) == ["v"], lab.state_of("m") == "created");
        assert_eq!((made.code == 0, removed.code == 0), (known, !there), "round {round}: {made:?} {removed:?}");
        // A machine has its volume, and a volume that was removed has no machine.
        assert_eq!(known, there, "round {round}: {made:?} {removed:?}");
        let refused = if known { removed } else { made };
        assert_eq!(refused.err.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{}", refused.err);
        kept += usize::from(known);
        lab.kraft(["rm", &name]);
        volume(&lab, ["rm", "-f", "v"]).ok();
    }
    println!("{kept} of 40 machines were made");
}

#[test]
fn a_user_s_volume_needs_no_root() {
    let lab = Lab::of("vol-user", Who::Tester);
    let name = lab.name("v");
    volume(&lab, ["rm", "-f", &name]).ok();
    let [port] = free_ports();
    let (publish, initrd, at) = (format!("127.0.0.1:{port}:80"), guest("linux.cpio"), format!("{name}:/w"));
    let mut options = vec!["-M", "192Mi", "--initrd", &initrd, "-p", &publish, "-v", &at];
    let other = format!("{name}2");
    let at = format!("{other}:/v:virtiofs");
    let virtiofs = Path::new("/usr/libexec/virtiofsd").exists();
    if virtiofs {
        options.extend(["-v", &at]);
    }
    lab.start_guest("linux", "m", true, &options, &["console=ttyS0", "quiet"]).ok();
    lab.until_console("m", "guest: ready");
    let linux = Linux { lab: &lab, short: "m", port };
    linux
        .ok("cd /w; echo mine >file; chmod 644 file; mkdir -p closed/in/it; ln -s file link; cat link; chmod 0 closed");
    let data = lab.state().join("volumes").join(&name).join("data");
    if virtiofs {
        linux.ok("cd /v; echo mine >file; cat file");
        assert_eq!(
            std::fs::read_to_string(lab.state().join("volumes").join(&other).join("data/file")).unwrap(),
            "mine\n"
        );
    }
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(data.join("file").metadata().unwrap().uid(), crate::lab::uid_of("tester"));
    lab.kraft(["rm", "--force", &lab.name("m")]).ok();
    // What a guest closes is no obstacle.
    volume(&lab, ["rm", &name]).ok();
    volume(&lab, ["rm", "-f", &other]).ok();
    assert_eq!(volume_names(&lab), Vec::<String>::new());
}

#[test]
fn the_doctor_removes_what_is_half_made() {
    let lab = Lab::new("vol-half").with_store();
    let half = [
        "volumes/.new-0123456789abcdef0123456789abcdef",
        "machines/.gone-0123456789abcdef0123456789abcdef",
        "rootfs/.new-0123456789abcdef0123456789abcdef",
    ]
    .map(|path| lab.state().join(path));
    for path in &half {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    }
    std::fs::create_dir_all(half[0].join("data")).unwrap();
    std::fs::create_dir_all(half[1].join("below")).unwrap();
    std::fs::write(&half[2], "0707").unwrap();
    lab.kraft(["doctor", "--fix"]).ok();
    for path in &half {
        assert!(!path.exists(), "{}", path.display());
    }
}

#[test]
fn kill_9_leaves_a_volume_whole_or_gone() {
    let lab = Lab::new("vol-kill").with_store();
    let shelf = lab.state().join("volumes");
    let mut seed = jiff::Timestamp::now().as_nanosecond() as u64;
    println!("seed {seed}");
    // What an undisturbed one takes here and now.
    let begun = std::time::Instant::now();
    volume(&lab, ["create", "v"]).ok();
    let whole = begun.elapsed();
    volume(&lab, ["rm", "v"]).ok();
    let mut in_time = 0;
    for round in 0..200 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let moment = whole.mul_f64(((seed >> 33) % 1_500) as f64 / 1_000.0);
        let there = shelf.join("v").exists();
        let verb = if there { "rm" } else { "create" };
        if there {
            for n in 0..50 {
                std::fs::create_dir_all(shelf.join(format!("v/data/{n}/below"))).unwrap();
            }
        }
        let mut command = lab.command(kraft(), ["volume", verb, "v"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        in_time += usize::from(!process_ends(child.id(), moment));
        child.kill().unwrap();
        child.wait().unwrap();
        if shelf.join("v").exists() {
            let shown: Value = serde_json::from_str(&volume(&lab, ["inspect", "v"]).ok()).unwrap();
            assert_eq!(shown[0]["problem"], Value::Null, "round {round}: {verb} after {moment:?}");
            if there {
                assert_eq!(std::fs::read_dir(shelf.join("v/data")).unwrap().count(), 50, "round {round}");
            } else {
                assert!(shelf.join("v/data").is_dir(), "round {round}");
            }
        }
    }
    println!("{in_time} of 200 died before they were done");
    assert!(in_time > 20, "too few died before they were done");
    volume(&lab, ["rm", "-f", "v"]).ok();
    assert_eq!(std::fs::read_dir(shelf).unwrap().count(), 0);
}
