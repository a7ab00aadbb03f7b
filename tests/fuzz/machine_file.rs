//! Machine files.

use proptest::prelude::*;

use kraft::config::{self, Dirs};

const WHOLE: &str = r#"
kernel = "k/web.elf"
kernel-args = ["a b", "100%%"]
memory = "1Gi"
cpus = 2
ports = ["8080:80", "[::1]:9000-9001:90-91/udp"]
networks = ["front", { name = "b", ip = ["10.0.0.2/24", "fd00::2"], mac = "02:b0:b0:00:00:01", dns = ["1.1.1.1"] }]
volumes = ["html:/www:ro", { source = "/a:b", target = "/c", read-only = true, driver = "9p" }]
restart = "on-failure:3"
stop-timeout = 1.5
[env]
WHO = "%n"
[unit]
After = ["a.service", "b.service"]
[install]
wanted-by = ["multi-user.target"]
"#;

proptest! {
    #![proptest_config(crate::config())]

    /// What is read says where each flaw is, on one line; what has none comes back from what is written of it.
    #[test]
    fn any_file_is_read_or_refused(text in crate::damaged(vec![WHOLE.as_bytes().to_vec()])) {
        let dir = std::env::temp_dir().join(format!("kraft-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (path, again) = (dir.join("web.toml"), dir.join("again.toml"));
        std::fs::write(&path, &text).unwrap();
        let dirs = Dirs::only(&dir);
        match config::check(&path, &dirs) {
            Err(flaws) => {
                prop_assert!(!flaws.is_empty());
                for flaw in flaws {
                    prop_assert!(!flaw.to_string().contains('\n'), "{:?}", flaw);
                }
            }
            Ok(file) => {
                let text = file.settings.to_text();
                std::fs::write(&again, &text).unwrap();
                match config::check(&again, &dirs) {
                    Ok(read) => prop_assert_eq!(read.settings.to_text(), text),
                    Err(flaws) => prop_assert!(false, "{:?}\n{}", flaws, text),
                }
            }
        }
    }
}
