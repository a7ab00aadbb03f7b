use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;

use super::*;
use crate::config::Rootfs;

/// A directory of machine files.
struct Scratch(PathBuf);

impl Scratch {
    fn new(files: &[(&str, &str)]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("kraft-config-{}-{count}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        for (name, text) in files {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self(dir)
    }

    fn dirs(&self) -> Dirs {
        Dirs::only(self.0.join("usr")).after(&self.0.join("etc"))
    }

    fn load(&self, name: &str) -> Result<MachineFile, Vec<String>> {
        let shorter = |error: Error| error.to_string().replace(&format!("{}/", self.0.display()), "");
        load(&self.dirs(), &name.parse().unwrap()).map_err(|flaws| flaws.into_iter().map(shorter).collect())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn everything_can_be_said_and_comes_back() {
    let text = r#"
        kernel = "k/web.elf"
        kernel-args = ["a b", "100%%"]
        args = ["-x"]
        memory = "1Gi"
        cpus = 2
        rootfs = "/srv/root"
        rootfs-compress = "zstd"
        ports = ["8080:80", "9000-9001:90-91/udp"]
        networks = ["front", "bridge:br0", { name = "b", ip = ["10.0.0.2/24", "fd00::2"], mac = "02:b0:b0:00:00:01",
                     gateway = "10.0.0.1", dns = ["1.1.1.1"], host = "h", domain = "example.org",
                     aliases = ["www"] }]
        volumes = ["html:/www:ro", "./data:/d", { source = "/a:b", target = "/c", read-only = true, driver = "9p" }]
        mkdir = true
        restart = "on-failure:3"
        stop-timeout = 1.5
        rm = false
        platform = "qemu"
        arch = "x86_64"
        accel = "tcg"
        machine-type = "q35"
        dialect = "linux"
        slice = "tenants.slice"
        sandbox = "strict"
        properties = ["CPUQuota=50%%"]
        memory-max = "2Gi"
        memory-swap-max = "infinity"
        cpu-quota = "150%"
        cpu-weight = "200"
        cpuset-cpus = "0-1"
        io-weight = "50"
        io-read-bandwidth-max = ["/dev/vda:10M"]
        io-write-bandwidth-max = ["/dev/vda:10M"]
        io-read-iops-max = ["/dev/vda:100"]
        io-write-iops-max = ["/dev/vda:100"]
        tasks-max = "64"
        secrets = ["db=db.cred", "tls=encrypted:/etc/tls.cred,as=initrd"]
        on-calendar = ["daily"]
        runtime-max = "1h"
        machined = "no"
        ready = "console:^up 100%%"
        ready-timeout = 5
        health = "http:80/health"
        health-interval = "10s"
        health-timeout = "1s"
        health-retries = 2
        health-start-period = "0.5"
        health-on-failure = "restart"
        [env]
        WHO = "%n"
        N = 3
        [labels]
        tier = "front"
        [unit]
        After = ["a.service", "b.service"]
        Description = "%n is systemd's"
        [service]
        MemoryHigh = "1G"
        [install]
        wanted-by = ["multi-user.target"]
        alias = "a.service"
    "#;
    let files = Scratch::new(&[("etc/web.toml", text)]);
    let machine = files.load("web").unwrap();
    let settings = &machine.settings;
    assert_eq!(settings.kernel.as_deref(), Some(&*files.0.join("etc/k/web.elf")));
    assert_eq!(settings.kernel_args.as_deref(), Some(["a b".to_owned(), "100%".to_owned()].as_slice()));
    assert_eq!(settings.ports.as_ref().map(Vec::len), Some(3));
    assert_eq!(settings.env.as_ref().unwrap()["WHO"], "web");
    assert_eq!(settings.unit.as_ref().unwrap().0["Description"], ["%n is systemd's"]);
    assert_eq!(settings.stop_timeout, Some(std::time::Duration::from_millis(1500)));
    let again = Scratch::new(&[("etc/web.toml", &settings.to_text())]);
    let again = again.load("web").unwrap_or_else(|flaws| panic!("{flaws:?}\n{}", settings.to_text()));
    assert_eq!(again.settings, *settings, "{}", settings.to_text());
    let mut said: Vec<_> = settings.values().into_iter().map(|(key, _)| key).collect();
    let of_image = "image = \"oci:web:v1\"\nentrypoint = []\npull = \"always\"\nrootfs = \"oci:root\"\n";
    let files = Scratch::new(&[("etc/web.toml", of_image)]);
    let settings = files.load("web").unwrap().settings;
    let name = settings.image.as_ref().unwrap().as_str();
    assert_eq!(name, format!("oci:{}:v1", files.0.join("etc/web").display()));
    let again = Scratch::new(&[("etc/web.toml", &settings.to_text())]);
    assert_eq!(again.load("web").unwrap().settings, settings, "{}", settings.to_text());
    said.splice(1..1, settings.values().into_iter().map(|(key, _)| key).filter(|key| *key != "rootfs"));
    let rootfs = settings.rootfs.as_ref().and_then(Rootfs::image).unwrap().as_str();
    assert_eq!(rootfs, format!("oci:{}", files.0.join("etc/root").display()));
    assert_eq!(said, Settings::KEYS, "the test says everything");
}

#[test]
fn a_machine_has_a_kernel_or_an_image() {
    let files = Scratch::new(&[
        ("etc/both.toml", "kernel = \"k\"\n image = \"web\"\n"),
        ("etc/turned.toml", "image = \"web\"\nkernel = \"k\"\n"),
        ("etc/base@.toml", "image = \"web:%n\"\npull = \"always\"\nentrypoint = [\"x\"]\n"),
        ("etc/a.toml", "extends = \"base@\"\nkernel = \"k\"\n"),
        ("etc/a.toml.d/x.toml", "image = \"db\"\n"),
        ("etc/b.toml", "extends = \"base@\"\nkernel = \"k\"\n"),
        ("etc/c.toml", "extends = \"base@\"\n"),
        ("etc/bad.toml", "image = \"\"\npull = \"often\"\n"),
    ]);
    let why = "kernel and image exclude each other, and";
    let error = format!("etc/both.toml:2:10: {why} kernel is there, too: etc/both.toml:1:10");
    assert_eq!(files.load("both").unwrap_err(), [error]);
    let error = format!("etc/turned.toml:2:10: {why} image is there, too: etc/turned.toml:1:9");
    assert_eq!(files.load("turned").unwrap_err(), [error]);
    let what = |name: &str| {
        let settings = files.load(name).unwrap().settings;
        let image = settings.image.map(|image| image.to_string());
        (settings.kernel.is_some(), image, settings.pull, settings.entrypoint.is_some())
    };
    // Across files, what is said later takes the other's place.
    assert_eq!(what("a"), (false, Some("db".into()), None, false));
    assert_eq!(what("b"), (true, None, None, false));
    assert_eq!(what("c"), (false, Some("web:c".into()), Some(crate::machine::Pull::Always), true));
    assert_eq!(
        files.load("bad").unwrap_err(),
        [
            "etc/bad.toml:1:9: image: bad image ''",
            "etc/bad.toml:2:8: pull: unknown time to pull 'often': known are missing, always, never",
        ]
    );
}

#[test]
fn flaws_are_shown_all_at_once_where_they_are() {
    let text = "kernel = 1\nmemry = \"64Mi\"\nports = [\"80:80\", \"x\"]\ncpus = -1\nmemory = \"1.5G\"\n[env]\nA = []\n\
                [unit]\nafter = \"x\"\n[install]\nfor = \"x\"\n";
    let files = Scratch::new(&[("etc/web.toml", text), ("etc/no.toml", "memory = \"1G\"\n")]);
    assert_eq!(
        files.load("web").unwrap_err(),
        [
            "etc/web.toml:1:10: kernel: expected a text, a path, found an integer",
            "etc/web.toml:2:1: unknown key 'memry': did you mean memory?",
            "etc/web.toml:3:19: ports: bad port 'x': it is not [hostIP:]hostPort:port[/tcp|udp]",
            "etc/web.toml:4:8: cpus: expected a number, found -1",
            "etc/web.toml:5:10: memory: bad amount '1.5G': the unit is not one of K M G T Ki Mi Gi Ti",
            "etc/web.toml:7:5: env: expected a text, found an array",
            "etc/web.toml:9:1: unit: 'after' is no directive of a unit: those begin with a capital",
            "etc/web.toml:11:1: install: unknown key 'for' in [install]: known are wanted-by, required-by, upheld-by, alias",
        ]
    );
    assert_eq!(files.load("no").unwrap_err(), ["etc/no.toml:1:1: it has no kernel"]);
    assert_eq!(files.load("db").unwrap_err(), ["no machine file of db: there is no db.toml in etc, usr"]);
}

#[test]
fn later_files_go_before_earlier_ones() {
    let files = Scratch::new(&[
        (
            "usr/base@.toml",
            "kernel = \"base.elf\"\nmemory = \"1G\"\nports = [\"1:1\"]\n[env]\nA = \"base\"\nB = \"base\"\n",
        ),
        ("usr/base@.toml.d/10.toml", "cpus = 2\n"),
        ("etc/web@.toml", "extends = \"base@\"\nports = [\"80%i:80\"]\n[env]\nA = \"%p %i\"\n"),
        ("etc/web@.toml.d/20.toml", "accel = \"tcg\"\ncpus = 3\n"),
        ("usr/web@.toml.d/20.toml", "accel = \"kvm\"\n"),
        ("usr/web@.toml.d/10.toml", "cpus = 4\n"),
        ("etc/web@1.toml.d/x.toml", "kernel = \"one.elf\"\n"),
        ("usr/web@1.toml", "extends = \"web@\"\n"),
        ("etc/x.toml", "kernel = \"/etc\"\n"),
        ("usr/x.toml", "kernel = \"/usr\"\n"),
        ("etc/Bad.toml", ""),
    ]);
    let one = files.load("web@1").unwrap();
    assert_eq!(one.settings.kernel.as_deref(), Some(&*files.0.join("etc/web@1.toml.d/one.elf")));
    assert_eq!(one.settings.ports.as_ref().unwrap()[0].to_string(), "801:80/tcp");
    assert_eq!((one.settings.cpus, one.settings.accel), (Some(3), Some("tcg".parse().unwrap())));
    assert_eq!(one.settings.env.as_ref().unwrap()["A"], "web 1");
    assert_eq!(one.settings.env.as_ref().unwrap()["B"], "base");
    assert!(one.place("cpus").to_string().ends_with("etc/web@.toml.d/20.toml:2:8"), "{}", one.place("cpus"));
    let two = files.load("web@2").unwrap();
    assert_eq!(two.settings.kernel.as_deref(), Some(&*files.0.join("usr/base.elf")));
    assert_eq!(files.load("x").unwrap().settings.kernel.as_deref(), Some(Path::new("/etc")));
    let (names, flaws) = names(&files.dirs());
    assert_eq!(names.iter().map(MachineName::as_str).collect::<Vec<_>>(), ["web@1", "x"]);
    assert_eq!(flaws.len(), 1);
    std::fs::remove_file(files.0.join("etc/x.toml")).unwrap();
    std::os::unix::fs::symlink("/dev/null", files.0.join("etc/x.toml")).unwrap();
    assert!(files.load("x").is_err(), "it is masked");
    let template = check(&files.0.join("etc/web@.toml"), &files.dirs()).unwrap();
    assert_eq!((template.name.as_str(), template.settings.cpus), ("web@1", Some(3)));
}

#[test]
fn what_cannot_be_extended_is_said() {
    let files = Scratch::new(&[
        ("etc/a.toml", "extends = \"b\"\n"),
        ("etc/b.toml", "extends = \"a\"\n"),
        ("etc/c.toml", "extends = \"../x\"\n"),
        ("etc/d.toml", "kernel = \"/k\"\nextends = \"no\"\n"),
        ("etc/e.toml", "kernel = \"/k\"\n"),
        ("etc/e.toml.d/x.toml", "extends = \"a\"\n"),
    ]);
    let first = |name: &str| files.load(name).unwrap_err()[0].clone();
    assert_eq!(first("a"), "etc/b.toml:1:11: cannot extend a: it extends this one, too");
    assert!(first("c").starts_with("etc/c.toml:1:11: cannot extend ../x: bad machine name"), "{}", first("c"));
    assert_eq!(first("d"), "etc/d.toml:2:11: cannot extend no: there is no no.toml");
    assert_eq!(first("e"), "etc/e.toml.d/x.toml:1:1: a drop-in cannot extend another machine file");
}

#[test]
fn a_file_is_read_to_its_end_or_not_at_all() {
    let files = Scratch::new(&[("etc/long.toml", &format!("kernel = \"/k\"\n{}", "#\n".repeat(1 << 19)))]);
    let fifo = files.0.join("etc/fifo.toml");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::os::unix::fs::symlink("/dev/zero", files.0.join("etc/zero.toml")).unwrap();
    for (name, why) in
        [("long", "it is larger than 1Mi"), ("fifo", "it is not a regular file"), ("zero", "it is not a regular file")]
    {
        assert_eq!(files.load(name).unwrap_err(), [format!("cannot read etc/{name}.toml: {why}")]);
    }
}

proptest! {
    #[test]
    fn no_file_makes_it_panic(text in "((kernel|image|ports|env|volumes|networks|unit|install|memory|x) = [\\[\"{]?[a-z0-9:/%@. -]{0,12}[\\]\"}]?\n){0,4}") {
        let files = Scratch::new(&[("etc/web.toml", &text)]);
        match files.load("web") {
            Ok(machine) => prop_assert!(machine.settings.runs().is_some()),
            Err(flaws) => prop_assert!(flaws.iter().all(|flaw| flaw.starts_with("etc/web.toml:")), "{:?}", flaws),
        }
    }
}
