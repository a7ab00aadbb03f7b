//! What the sandbox costs at a start: each profile, and what is saved by leaving a directive out of the strict one.

use super::{call, figure, least, middle, settle, timed};

/// Starts of each kind; the median counts, and the fastest is the one that least else was in the way of.
const RUNS: usize = 15;
/// Starts that do not count.
const WARM_UP: usize = 2;

/// What each directive is set to so that it confines nothing.
const WITHOUT: &[&str] = &[
    "SystemCallFilter=",
    "SystemCallArchitectures=",
    "MemoryDenyWriteExecute=no",
    "RestrictNamespaces=no",
    "RestrictRealtime=no",
    "RestrictSUIDSGID=no",
    "LockPersonality=no",
    "ProtectClock=no",
    "ProtectProc=default",
    "ProtectHome=no",
    "PrivateTmp=no",
    "PrivateDevices=no",
    "PrivateNetwork=no",
    "PrivateUsers=no",
    "DevicePolicy=auto",
    "IPAddressDeny=",
    "InaccessiblePaths=",
    "KeyringMode=inherit",
];

/// A way to start a machine: what it is called, and its options.
struct Kind {
    name: String,
    options: Vec<String>,
}

impl Kind {
    fn new(name: &str, profile: &str, without: &[&str]) -> Self {
        let mut options = vec!["--sandbox".to_owned(), profile.to_owned()];
        options.extend(without.iter().flat_map(|property| ["--property".to_owned(), (*property).to_owned()]));
        Self { name: name.to_owned(), options }
    }
}

/// Prints the table.
pub(super) fn measure(kraft: &str, guest: &str) {
    let mut kinds = Vec::from(["off", "compatible", "strict"].map(|profile| Kind::new(profile, profile, &[])));
    kinds.extend(WITHOUT.iter().map(|property| Kind::new(property, "strict", &[property])));
    kinds.push(Kind::new("none of these", "strict", WITHOUT));
    let names: Vec<String> = (0..kinds.len()).map(|number| format!("bench-sandbox-{number}")).collect();
    for (kind, name) in kinds.iter().zip(&names) {
        let mut args = vec!["create", "--quiet", "--systemd", "--accel", "tcg", "--name", name];
        args.extend(kind.options.iter().map(String::as_str));
        args.push(guest);
        call(kraft, &args);
    }
    let mut taken = vec![Vec::new(); kinds.len()];
    // In turns, so that whatever else the machine does hits all of them.
    for round in 0..WARM_UP + RUNS {
        for (name, taken) in names.iter().zip(&mut taken) {
            settle();
            let start = timed(|| call(kraft, &["start", name]));
            call(kraft, &["stop", "--force", name]);
            if round >= WARM_UP {
                taken.push(start);
            }
        }
    }
    let (medians, fastest): (Vec<f64>, Vec<f64>) =
        taken.into_iter().map(|all| (middle(all.clone()), least(&all))).unzip();
    for (number, kind) in kinds.iter().enumerate() {
        let base = if number < 3 { 0 } else { 2 };
        let against = format!(
            "fastest {:.2}; against {}: {:+.2}, fastest {:+.2}",
            fastest[number],
            kinds[base].name,
            medians[number] - medians[base],
            fastest[number] - fastest[base]
        );
        let name = if base == 2 { format!("strict, {}", kind.name) } else { format!("start, {}", kind.name) };
        figure(&name, medians[number], "ms", &against);
    }
    for name in &names {
        call(kraft, &["rm", "--force", name]);
    }
}
