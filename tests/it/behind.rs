//! A start right behind the end of a life: it waits until that is over and swept, and is not taken back by it.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::mpsc;

use crate::keeper::{Keeper, everywhere};
use crate::lab::{DEADLINE, Lab, Who, guest};

everywhere! {
    no_start_is_lost_behind_an_end,
}

/// The end is recorded while the runner lives still, and its unit is active.
fn no_start_is_lost_behind_an_end(keeper: Keeper) {
    let lab = keeper.lab("behind");
    // A policy, as the sweep of an end keeps systemd from going by it.
    let name = lab.name("web");
    keeper.run(&lab, "web", &["--restart", "on-failure"], &["exit=0"]);
    for life in 1..=12 {
        lab.until_event("web", "die", life);
        lab.kraft(["start", &name]).ok();
        lab.until_event("web", "start", life + 1);
    }
    lab.until_event("web", "die", 13);
    assert_eq!(lab.kraft(["wait", &name]).code, 0);
    assert_eq!(lab.state_of("web"), "exited");
}

/// Opens a pipe for writing, which waits for its reader.
fn reader_comes(pipe: &Path) -> std::fs::File {
    let (done, opened) = mpsc::channel();
    let path = pipe.to_owned();
    std::thread::spawn(move || done.send(OpenOptions::new().write(true).open(path)));
    opened.recv_timeout(DEADLINE).expect("nobody reads the pipe").unwrap()
}

#[test]
fn a_start_that_waits_for_an_end_is_not_taken_back_by_its_sweep() {
    // A reload of the manager holds up everybody.
    let lab = Lab::alone("unswept", Who::Root);
    let (name, unit, tiny) = (lab.name("web"), lab.unit("web"), guest("tiny"));
    let pipe = Path::new("/tmp").join(lab.name("pipe"));
    let _ = std::fs::remove_file(&pipe);
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Before its sweep, an end takes as long as somebody writes.
    let dir = Path::new("/run/systemd/system").join(format!("{unit}.d"));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("slow.conf"), format!("[Service]\nExecStop=/bin/cat {}\n", pipe.display())).unwrap();
    let create =
        ["create", "--systemd", "--restart", "on-failure", "--sandbox", "off", "--name", &name, &tiny, "exit=0"];
    lab.kraft(create).ok();
    lab.systemctl(["daemon-reload"]).ok();
    lab.kraft(["start", &name]).ok();
    let held = reader_comes(&pipe);
    assert_eq!(lab.property("web", "ActiveState"), "deactivating");
    lab.systemctl(["start", "--no-block", &unit]).ok();
    std::thread::scope(|scope| {
        let started = scope.spawn(|| lab.kraft(["start", &name]));
        drop(held);
        lab.until_event("web", "start", 2);
        drop(reader_comes(&pipe));
        started.join().unwrap().ok();
    });
    std::fs::remove_dir_all(&dir).unwrap();
    lab.systemctl(["daemon-reload"]).ok();
    lab.kraft(["rm", "--force", &name]).ok();
    std::fs::remove_file(&pipe).unwrap();
}
