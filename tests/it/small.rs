//! File systems of a test's own, to be filled or made read-only.

use std::path::PathBuf;
use std::process::Command;

/// A small file system, mounted until this is dropped.
#[derive(Debug)]
pub struct Small {
    pub dir: PathBuf,
}

impl Small {
    /// Mounts one, with these options of a tmpfs.
    pub fn on(dir: PathBuf, options: &str) -> Self {
        let small = Self { dir };
        small.mount(&["-t", "tmpfs", "-o", options, "tmpfs"]);
        small
    }

    /// Calls mount(8) on it.
    pub fn mount(&self, args: &[&str]) {
        assert!(Command::new("mount").args(args).arg(&self.dir).status().unwrap().success(), "mount {args:?}");
    }

    /// Leaves no room for one more byte.
    pub fn fill(&self) {
        use std::io::Write as _;
        let mut file = std::fs::File::create(self.dir.join("ballast")).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            let piece = vec![b'x'; size];
            let end = loop {
                if let Err(end) = file.write_all(&piece) {
                    break end;
                }
            };
            assert_eq!(end.kind(), std::io::ErrorKind::StorageFull);
        }
    }

    /// Takes the ballast away again.
    pub fn make_room(&self) {
        std::fs::remove_file(self.dir.join("ballast")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.dir).status();
    }
}
