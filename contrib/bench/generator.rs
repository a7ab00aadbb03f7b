//! How long a boot waits for the generator.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{RUNS, figure, median, timed};

const FILES: usize = 500;

/// Times the generator over many machine files, the way that the service manager runs it.
pub fn measure(kraft: &str) {
    // Where units are generated to is a tmpfs, too.
    let dir = PathBuf::from(format!("/run/kraft-bench-generator-{}", std::process::id()));
    let machines = dir.join("config/machines");
    std::fs::create_dir_all(&machines).expect("a directory can be made");
    let generator = dir.join("kraft-generator");
    std::os::unix::fs::symlink(kraft, &generator).expect("a link can be made");
    let run = || {
        let units = dir.join("units");
        let _ = std::fs::remove_dir_all(&units);
        std::fs::create_dir(&units).expect("a directory can be made");
        timed(|| generate(&generator, &dir.join("config"), &units))
    };
    let none = median(RUNS, run);
    for number in 0..FILES {
        let text = format!(
            "kernel = \"/srv/kernels/{number}.elf\"\nmemory = \"128Mi\"\nkernel-args = [\"--id\", \"{number}\"]\n\
             ports = [\"127.0.0.1:{}:80\"]\nnetworks = [\"front\"]\nvolumes = [\"/srv/www:/www:ro\"]\n\n\
             [env]\nMODE = \"production\"\n\n[unit]\nAfter = \"network-online.target\"\n\n[install]\n",
            10_000 + number
        );
        std::fs::write(machines.join(format!("web-{number}.toml")), text).expect("a file can be written");
    }
    let many = median(RUNS, run);
    figure("generator, 500 machine files", many, "ms", &format!("budget 200; without files: {none:.2} ms"));
    let _ = std::fs::remove_dir_all(&dir);
}

fn generate(generator: &Path, config: &Path, units: &Path) {
    let mut command = Command::new(generator);
    command.args([units; 3]).env("KRAFT_CONFIG_DIR", config).env("SYSTEMD_SCOPE", "system").stdin(Stdio::null());
    assert!(command.status().is_ok_and(|status| status.success()), "the generator failed");
}
