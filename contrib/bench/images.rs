//! What a pull takes: an image of 200 MiB in four layers from a registry on loopback, beside skopeo, which copies the same
//! into a layout of its own. Both check every digest. Needs docker-registry and skopeo.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use super::{call, compare, middle, settle, timed};

/// Pulls of each; the median counts.
const RUNS: usize = 7;
/// Pulls that do not count.
const WARM_UP: usize = 1;
const LAYERS: u64 = 4;
const LAYER: usize = 50 << 20;
const NAME: &str = "localhost:15000/bench:v1";

pub(super) fn measure(kraft: &str, guest: &str) {
    runs(kraft, guest);
    let dir = std::env::temp_dir().join("bench-images");
    let _ = std::fs::remove_dir_all(&dir);
    let layout = dir.join("layout");
    make(&layout);
    let data = dir.join("data");
    let config = format!(
        "version: 0.1\nlog: {{accesslog: {{disabled: true}}, level: info}}\n\
         storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:15000'}}\n",
        data.display()
    );
    std::fs::write(dir.join("config.yml"), config).unwrap();
    let mut registry = Command::new("docker-registry");
    registry.arg("serve").arg(dir.join("config.yml")).stdin(Stdio::null()).stdout(Stdio::null());
    let mut registry = registry.stderr(Stdio::piped()).spawn().expect("docker-registry is installed");
    let mut lines = BufReader::new(registry.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("listening on")), "the registry does not start");
    std::thread::spawn(move || lines.for_each(drop));
    let there = format!("docker://{NAME}");
    let from = format!("oci:{}:v1", layout.display());
    call("skopeo", &["copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false", &from, &there]);

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..WARM_UP + RUNS {
        ours.push(timed(|| pull(kraft, &dir)));
        std::fs::remove_dir_all(dir.join("state")).unwrap();
        let to = format!("oci:{}:v1", dir.join("copy").display());
        theirs.push(timed(|| call("skopeo", &["copy", "--quiet", "--src-tls-verify=false", &there, &to])));
        std::fs::remove_dir_all(dir.join("copy")).unwrap();
        if round < WARM_UP {
            (ours, theirs) = (Vec::new(), Vec::new());
        }
    }
    compare("pull of 200 MiB", middle(ours), "ms", "skopeo copy", middle(theirs));
    // One that is there: its name is asked for, and nothing fetched.
    pull(kraft, &dir);
    let again = super::median(super::RUNS, || timed(|| pull(kraft, &dir)));
    let inspect = ["inspect", "--raw", "--tls-verify=false", &there];
    let asked = super::median(super::RUNS, || timed(|| call("skopeo", &inspect)));
    compare("pull of what is there", again, "ms", "skopeo inspect --raw", asked);
    let _ = registry.kill();
    let _ = registry.wait();
    std::fs::remove_dir_all(dir).unwrap();
}

/// What a machine costs that is made of an image that is there, beside one of the same kernel's file: each with another
/// machine that has it, so that neither is unpacked or copied.
fn runs(kraft: &str, guest: &str) {
    const IMAGE: &str = "bench-run:v1";
    call(kraft, &["pkg", "build", "-n", IMAGE, "-k", guest]);
    let kinds = [("bench-kept-image", IMAGE), ("bench-kept-file", guest)];
    for (name, what) in kinds {
        call(kraft, &["create", "--quiet", "--name", name, what]);
    }
    let mut taken = [Vec::new(), Vec::new()];
    for round in 0..2 * super::RUNS {
        for at in [round % 2, (round + 1) % 2] {
            settle();
            let name = format!("bench-image-{round}-{at}");
            let args = ["run", "-d", "--quiet", "--name", &name, kinds[at].1];
            taken[at].push(timed(|| call(kraft, &args)));
            call(kraft, &["rm", "--force", &name]);
        }
    }
    let [image, file] = taken.map(middle);
    compare("run of an image that is there", image, "ms", "run of its kernel", file);
    for (name, _) in kinds {
        call(kraft, &["rm", name]);
    }
    call(kraft, &["pkg", "rm", IMAGE]);
    call(kraft, &["pkg", "prune"]);
}

fn pull(kraft: &str, dir: &Path) {
    let mut command = Command::new(kraft);
    command.args(["pkg", "pull", "--quiet", NAME]).stdin(Stdio::null()).stdout(Stdio::null());
    command.env("KRAFT_STATE_DIR", dir.join("state")).env("KRAFT_RUNTIME_DIR", dir.join("run"));
    assert!(command.status().is_ok_and(|status| status.success()), "the pull failed");
}

/// An image of layers that do not compress. Their content is no archive, which nobody looks at here.
fn make(layout: &Path) {
    let blobs = layout.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |content: &[u8], media_type: &str| {
        let mut sum = Command::new("sha256sum");
        let mut sum = sum.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        sum.stdin.take().unwrap().write_all(content).unwrap();
        let text = String::from_utf8(sum.wait_with_output().unwrap().stdout).unwrap();
        let digest = &text[..64];
        std::fs::write(blobs.join(digest), content).unwrap();
        format!(r#"{{"mediaType":"{media_type}","digest":"sha256:{digest}","size":{}}}"#, content.len())
    };
    let layer = |number: u64| {
        let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut bytes = Vec::with_capacity(LAYER);
        while bytes.len() < LAYER {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        put(&bytes, "application/vnd.oci.image.layer.v1.tar")
    };
    let layers: Vec<String> = (1..=LAYERS).map(layer).collect();
    let config = br#"{"architecture":"amd64","os":"qemu","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let config = put(config, "application/vnd.oci.image.config.v1+json");
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{media_type}","config":{config},"layers":[{}]}}"#,
        layers.join(",")
    );
    let mut entry = put(manifest.as_bytes(), media_type);
    entry.pop();
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{entry},"annotations":{{"org.opencontainers.image.ref.name":"v1"}}}}]}}"#
    );
    std::fs::write(layout.join("index.json"), index).unwrap();
    std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}
