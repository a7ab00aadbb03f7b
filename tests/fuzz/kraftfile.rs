//! Kraftfiles.

use std::path::Path;

use proptest::prelude::*;

use kraft::kraftfile;

const WHOLE: &str = r#"
spec: v0.6
name: web
runtime: {source: "unikraft.org/base", version: latest}
rootfs: &root ./rootfs
cmd: ["/server", "${PORT:-80}", 8]
env: [A=${A}, "B=$$x", C]
volumes:
  - ./data:/data:ro
  - {source: html, destination: /www, driver: 9pfs, readonly: true}
labels: &l {a: b, c: "${NONE-${A}}"}
targets:
  - qemu/x86_64
  - name: small
    plat: fc
    arch: arm64
    kernel: *root
x-more: {<<: *l, d: e}
unikraft: stable
"#;

proptest! {
    #![proptest_config(crate::config())]

    /// What is read is read the same again; what is not says where, on one line.
    #[test]
    fn any_kraftfile_is_read_or_refused(text in crate::damaged(vec![WHOLE.as_bytes().to_vec()])) {
        let text = String::from_utf8_lossy(&text);
        let path = Path::new("/project/Kraftfile");
        let dir = Path::new("/project");
        let variables = |name: &str| matches!(name, "A" | "C").then(|| "a: [${B}".to_owned());
        let read = || kraftfile::parse(&text, path, dir, &variables);
        match read() {
            Err(flaw) => {
                let said = flaw.to_string();
                prop_assert!(said.starts_with("/project/Kraftfile:") && !said.contains('\n'), "{}", said);
                let line = said["/project/Kraftfile:".len()..].split(':').next().unwrap_or_default();
                prop_assert!(line.trim().parse::<u32>().is_ok(), "{}", said);
            }
            Ok(file) => {
                prop_assert!(file.notes.iter().all(|note| !note.contains('\n')));
                prop_assert_eq!(Ok(file), read());
            }
        }
    }
}
