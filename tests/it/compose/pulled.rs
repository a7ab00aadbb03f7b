//! Services whose image is a registry's: when it is fetched, and what a newer one does.

use super::Project;
use crate::keeper::Keeper;
use crate::lab::{Lab, guest};
use crate::registry::Registry;

#[test]
fn images_are_fetched_as_the_file_says() {
    if !Registry::is_installed() {
        crate::skip!("docker-registry is not installed");
    }
    let registry = Registry::start("compose");
    let lab = registry.trusted_by(Lab::new("pullcompose")).with_store();
    registry.let_in(&lab).ok();
    let image = format!("{}/app:v1", registry.name);
    let publish = |word: &str| {
        lab.kraft(["pkg", "build", "-n", &image, "-k", &guest("tiny"), "--", word, "tick=100"]).ok();
        lab.kraft(["pkg", "push", &image]).ok();
        lab.kraft(["pkg", "rm", "--force", &image]).ok();
    };
    let pinned = |said: String| said.strip_prefix(&format!("{image}@sha256:")).map(str::to_owned).unwrap();
    let file = |policy: &str| {
        format!(
            "services:\n  app: {{image: \"{image}\", network_mode: none{policy}}}\n  file: {{image: {}, network_mode: none}}\n",
            guest("tiny")
        )
    };
    publish("id=one");
    let project = Project::new(&lab, &file(""));
    let local = Keeper::Local;

    // Nothing is fetched where that is not to be, and the image is missed.
    for options in [&["--pull", "never"][..], &["--dry-run"]] {
        let error = project.up(local, options).fails(127);
        assert!(error.contains(":2: services.app: ") && error.contains("is not here"), "{error}");
    }
    project.write(&file(", pull_policy: never"));
    assert!(project.up(local, &[]).fails(127).contains("is not here"));
    assert_eq!(project.call(&["pull"]).ok(), "");
    assert_eq!(project.state("app"), "absent");

    // It comes by `pull`, and is there then.
    project.write(&file(""));
    let first = pinned(project.call(&["pull", "-q"]).ok());
    project.write(&file(", pull_policy: never"));
    project.up(local, &["app"]).ok();
    lab.until_console(&project.machine("app"), "id=one");

    // A newer one is another image, for who asks.
    publish("id=two");
    project.write(&file(", pull_policy: missing"));
    let second = pinned(project.call(&["pull", "app"]).ok());
    assert_ne!(first, second);
    project.write(&file(", pull_policy: always"));
    publish("id=three");
    assert!(project.up(local, &["app"]).ok().contains("changed "));
    lab.until_console(&project.machine("app"), "id=three");
    assert_eq!(project.up(local, &["app"]).ok(), format!("unchanged {}\n", lab.name(&project.machine("app"))));

    // What cannot be fetched is told with its place, and changes nothing.
    project.write(&file(", pull_policy: always").replace("app:v1", "none:v1"));
    let error = project.up(local, &["app"]).fails(127);
    assert!(error.contains(":2: services.app: ") && error.contains("none:v1"), "{error}");
    assert_eq!(project.state("app"), "running");
    project.write(&file(""));
    project.call(&["down"]).ok();
    assert_eq!(lab.leaks(), Vec::<String>::new());
}
