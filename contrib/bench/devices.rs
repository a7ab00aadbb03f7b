//! What ports, networks and volumes cost: at the start, beside QEMU alone with the same devices, and in bytes a second.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, TcpStream};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::{call, figure, middle, output, settle, timed};

/// Runs of each start; the median counts.
const RUNS: usize = 15;
/// What the guest sends.
const BYTES: usize = 64 << 20;
const NETWORK: &str = "bench";
const TAP: &str = "bench-tap";
const PORT: u16 = 18080;

/// The programs.
pub(super) struct Devices {
    pub(super) kraft: String,
    pub(super) guest: String,
}

/// A device: what it is called, how kraft is asked for it, how QEMU is.
struct Device {
    name: &'static str,
    kraft: Vec<String>,
    qemu: Vec<String>,
}

impl Devices {
    pub(super) fn measure(&self) {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let shared = std::env::temp_dir().join("bench-volume");
        std::fs::create_dir_all(&shared).expect("a directory can be made");
        let shared = shared.display();
        call(&self.kraft, &["net", "create", NETWORK]);
        call("ip", &["tuntap", "add", "dev", TAP, "mode", "tap"]);
        call("ip", &["link", "set", TAP, "up"]);
        let user = format!("-netdev user,id=n0,hostfwd=tcp::{PORT}-:80 -device virtio-net-pci,netdev=n0,romfile=");
        let tap =
            format!("-netdev tap,id=n0,ifname={TAP},script=no,downscript=no -device virtio-net-pci,netdev=n0,romfile=");
        let disk = format!(
            "-fsdev local,id=fs1,path={shared},security_model=mapped-xattr -device virtio-9p-pci,fsdev=fs1,mount_tag=fs1"
        );
        let devices = [
            Device { name: "nothing", kraft: Vec::new(), qemu: Vec::new() },
            Device { name: "a port", kraft: words(&format!("-p {PORT}:80")), qemu: words(&user) },
            Device { name: "a network", kraft: words(&format!("--network {NETWORK}")), qemu: words(&tap) },
            Device {
                name: "a network and a port",
                kraft: words(&format!("--network {NETWORK} -p {PORT}:80")),
                qemu: words(&tap),
            },
            Device { name: "a volume", kraft: words(&format!("-v {shared}:/data")), qemu: words(&disk) },
        ];
        self.starts(&devices);
        self.fifty();
        self.speed("its own network", &["-p", &format!("{PORT}:80")], || IpAddr::from([127, 0, 0, 1]), PORT);
        let vhost =
            if std::path::Path::new("/dev/vhost-net").exists() { "a tap, vhost" } else { "a tap, no vhost here" };
        self.speed(vhost, &["--network", NETWORK], || self.address(), 80);
        call(&self.kraft, &["net", "rm", NETWORK]);
        call("ip", &["link", "del", TAP]);
        std::fs::remove_dir_all(shared.to_string()).expect("it was made above");
    }

    /// What a start costs while others are on the network: each of fifty beside those before it.
    fn fifty(&self) {
        let names: Vec<String> = (0..50).map(|number| format!("bench-fifty-{number}")).collect();
        let mut taken = Vec::new();
        for name in &names {
            let options = ["run", "-d", "--quiet", "--dialect", "unikraft", "--network", NETWORK, "--name", name];
            settle();
            taken.push(timed(|| call(&self.kraft, &[options.as_slice(), &[&self.guest]].concat())));
        }
        let (first, last) = (middle(taken[..5].to_vec()), middle(taken[45..].to_vec()));
        super::compare("start at 50 on a network", last, "ms", "at 5", first);
        let rm: Vec<&str> = ["rm", "--force"].into_iter().chain(names.iter().map(String::as_str)).collect();
        call(&self.kraft, &rm);
    }

    fn starts(&self, devices: &[Device]) {
        let mut ours = vec![Vec::new(); devices.len()];
        let mut theirs = vec![Vec::new(); devices.len()];
        // Alternating, so that whatever else the machine does hits all of them.
        for _ in 0..RUNS {
            for (at, device) in devices.iter().enumerate() {
                settle();
                ours[at].push(self.kraft_run(&device.kraft));
                theirs[at].push(self.qemu(&device.qemu));
            }
        }
        let ours: Vec<f64> = ours.into_iter().map(middle).collect();
        let theirs: Vec<f64> = theirs.into_iter().map(middle).collect();
        for (at, device) in devices.iter().enumerate() {
            figure(
                &format!("kraft run -d with {}", device.name),
                ours[at],
                "ms",
                &format!("QEMU alone: {:.2} ms", theirs[at]),
            );
        }
        for (at, device) in devices.iter().enumerate().skip(1) {
            let alone = theirs[at] - theirs[0];
            figure(
                &format!("{} adds", device.name),
                ours[at] - ours[0],
                "ms",
                &format!("to QEMU alone: {alone:.2} ms"),
            );
        }
    }

    fn kraft_run(&self, options: &[String]) -> f64 {
        let mut args =
            vec!["run", "-d", "--quiet", "--machine", "q35", "--dialect", "unikraft", "--name", "bench-device"];
        args.extend(options.iter().map(String::as_str));
        args.push(&self.guest);
        let taken = timed(|| call(&self.kraft, &args));
        call(&self.kraft, &["rm", "--force", "bench-device"]);
        taken
    }

    /// The same QEMU without kraft, until it says that its guest runs.
    fn qemu(&self, devices: &[String]) -> f64 {
        let socket = std::env::temp_dir().join("bench-device.sock");
        let listener = UnixListener::bind(&socket).expect("a socket can be made");
        let monitor = format!("socket,id=monitor,path={}", socket.display());
        let mut args = vec!["-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg", "-cpu", "max"];
        args.extend(["-machine", "q35,usb=off,vmport=off", "-smp", "1", "-m", "64M", "-kernel", &self.guest]);
        args.extend(["-chardev", &monitor, "-mon", "chardev=monitor,mode=control", "-device", "pvpanic"]);
        args.extend(["-device", "virtio-rng-pci", "-sandbox"]);
        args.push("on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
        args.extend(devices.iter().map(String::as_str));
        let mut qemu: Option<Child> = None;
        let taken = timed(|| {
            let child =
                Command::new("qemu-system-x86_64").args(&args).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
            qemu = Some(child.expect("QEMU can be run"));
            let (mut monitor, _) = listener.accept().expect("QEMU connects");
            let ask = br#"{"execute":"qmp_capabilities"}{"execute":"query-status"}"#;
            monitor.write_all(ask).expect("QEMU listens");
            let running = BufReader::new(monitor).lines().map_while(Result::ok).any(|line| line.contains("running"));
            assert!(running, "QEMU never ran its guest");
        });
        if let Some(mut qemu) = qemu {
            qemu.kill().expect("it is our child");
            qemu.wait().expect("it is our child");
        }
        std::fs::remove_file(socket).expect("the socket was ours");
        taken
    }

    /// How fast the guest sends to the host.
    fn speed(&self, way: &str, options: &[&str], address: impl Fn() -> IpAddr, port: u16) {
        let mut args = vec!["run", "-d", "--quiet", "--dialect", "unikraft", "--name", "bench-speed"];
        args.extend(options);
        args.push(&self.guest);
        call(&self.kraft, &args);
        let mut log = Command::new(&self.kraft)
            .args(["logs", "-f", "bench-speed"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("kraft can be run");
        let lines = BufReader::new(log.stdout.take().expect("it is piped")).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.contains("net: up")), "the guest is on its network");
        log.kill().expect("it is our child");
        log.wait().expect("it is our child");
        let mut stream = TcpStream::connect((address(), port)).expect("the guest serves");
        let begun = Instant::now();
        write!(stream, "GET /bytes/{BYTES} HTTP/1.0\r\n\r\n").expect("the guest listens");
        let received = std::io::copy(&mut stream, &mut std::io::sink()).expect("the guest sends");
        let seconds = begun.elapsed().as_secs_f64();
        assert!(received as usize >= BYTES, "the guest sent {received} bytes");
        figure(&format!("guest to host by {way}"), BYTES as f64 / seconds / 1e6, "MB/s", "");
        call(&self.kraft, &["rm", "--force", "bench-speed"]);
    }

    fn address(&self) -> IpAddr {
        let text = output(&self.kraft, &["inspect", "bench-speed"]);
        let at = text.find("\"ipv4\": \"").expect("it has an address") + 9;
        let address: String = text[at..].chars().take_while(|c| *c != '/' && *c != '"').collect();
        address.parse().expect("it is an address")
    }
}
