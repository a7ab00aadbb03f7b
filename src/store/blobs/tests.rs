use std::io::Write as _;

use super::super::tests::Scratch;
use super::*;

fn digest_of(content: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(content).into())
}

fn begin(blobs: &Blobs, content: &[u8]) -> NewBlob {
    match blobs.begin(digest_of(content), content.len() as u64).unwrap() {
        Begun::New(new) => *new,
        Begun::There => panic!("it is there already"),
    }
}

fn target(blobs: &Blobs, content: &[u8]) -> Target {
    Target { digest: blobs.put(content).unwrap(), size: content.len() as u64, media_type: "text/plain".into() }
}

fn partial(blobs: &Blobs) -> usize {
    std::fs::read_dir(blobs.dir.join(PARTIAL)).unwrap().count()
}

#[test]
fn content_is_there_when_all_of_it_came() {
    let s = Scratch::new();
    let blobs = s.store.blobs().unwrap();
    let mut new = begin(&blobs, b"content");
    new.write_all(b"cont").unwrap();
    assert_eq!(blobs.open(digest_of(b"content")).unwrap_err().kind(), Kind::NotFound);
    new.write_all(b"ent").unwrap();
    assert_eq!(new.keep().unwrap(), digest_of(b"content"));
    assert_eq!(blobs.read(digest_of(b"content"), 7).unwrap(), b"content");
    assert!(blobs.read(digest_of(b"content"), 6).is_err());
    assert!(matches!(blobs.begin(digest_of(b"content"), 7).unwrap(), Begun::There));
    assert_eq!(partial(&blobs), 0);
    assert_eq!(blobs.put(b"content").unwrap(), digest_of(b"content"));
}

#[test]
fn what_is_wrong_is_named_and_gone() {
    let s = Scratch::new();
    let blobs = s.store.blobs().unwrap();
    let mut new = begin(&blobs, b"content");
    new.write_all(b"coxtent").unwrap();
    let error = new.keep().unwrap_err().to_string();
    assert!(error.contains(&format!("sha256:{}", digest_of(b"content"))), "{error}");
    assert!(error.contains(&format!("sha256:{}", digest_of(b"coxtent"))), "{error}");
    let mut new = begin(&blobs, b"content");
    assert_eq!(new.written(), 0);
    let error = new.write_all(b"contentment").unwrap_err().to_string();
    assert!(error.contains("longer"), "{error}");
    drop(new);
    assert_eq!((partial(&blobs), blobs.all().unwrap().len()), (0, 0));
}

#[test]
fn what_is_incomplete_is_continued() {
    let s = Scratch::new();
    let blobs = s.store.blobs().unwrap();
    let mut new = begin(&blobs, b"content");
    new.write_all(b"cont").unwrap();
    let error = new.keep().unwrap_err().to_string();
    assert!(error.contains("4 of 7 bytes"), "{error}");
    // Killed: nothing was said about it.
    let mut new = begin(&blobs, b"content");
    assert_eq!(new.written(), 4);
    new.write_all(b"e").unwrap();
    drop(new);
    let mut new = begin(&blobs, b"content");
    assert_eq!(new.written(), 5);
    new.write_all(b"nt").unwrap();
    new.keep().unwrap();
    // Longer than it should be: not of the same content.
    std::fs::write(blobs.partial(digest_of(b"ab").to_string()), b"abc").unwrap();
    let mut new = begin(&blobs, b"ab");
    assert_eq!(new.written(), 0);
    new.write_all(b"xx").unwrap();
    new.restart().unwrap();
    new.write_all(b"ab").unwrap();
    new.keep().unwrap();
}

#[test]
fn content_that_was_damaged_is_found_out_and_written_again() {
    let s = Scratch::new();
    let blobs = s.store.blobs().unwrap();
    let digest = blobs.put(b"content").unwrap();
    std::fs::write(blobs.path(digest), b"coxtent").unwrap();
    let error = blobs.read(digest, 100).unwrap_err();
    assert!(error.to_string().contains("was changed"), "{error}");
    std::fs::write(blobs.path(digest), b"").unwrap();
    let mut new = begin(&blobs, b"content");
    new.write_all(b"content").unwrap();
    new.keep().unwrap();
    assert_eq!(blobs.read(digest, 100).unwrap(), b"content");
}

#[test]
fn of_many_who_want_the_same_one_writes() {
    let s = Scratch::new();
    let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let written: usize = std::thread::scope(|scope| {
        let threads = (0..20).map(|_| {
            scope.spawn(|| {
                let blobs = s.store.blobs().unwrap();
                match blobs.begin(digest_of(&content), content.len() as u64).unwrap() {
                    Begun::There => 0,
                    Begun::New(mut new) => {
                        new.write_all(&content).unwrap();
                        new.keep().unwrap();
                        1
                    }
                }
            })
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(written, 1);
    let blobs = s.store.blobs().unwrap();
    assert_eq!((blobs.all().unwrap().len(), partial(&blobs)), (1, 0));
}

#[test]
fn the_next_takes_over_from_one_who_fails() {
    let s = Scratch::new();
    let (began, first) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let s = &s;
        scope.spawn(move || {
            let blobs = s.store.blobs().unwrap();
            let mut new = begin(&blobs, b"content");
            new.write_all(b"con").unwrap();
            began.send(()).unwrap();
        });
        first.recv().unwrap();
        let blobs = s.store.blobs().unwrap();
        let mut new = begin(&blobs, b"content");
        assert_eq!(new.written(), 3);
        new.write_all(b"tent").unwrap();
        new.keep().unwrap();
    });
}

#[test]
fn names_are_given_by_many_at_once() {
    let s = Scratch::new();
    let blobs = s.store.blobs().unwrap();
    assert_eq!(blobs.names().unwrap(), []);
    let targets: Vec<_> = (0..20_u8).map(|number| target(&blobs, &[number])).collect();
    std::thread::scope(|scope| {
        for (number, target) in targets.iter().enumerate() {
            let blobs = &blobs;
            scope.spawn(move || blobs.name(&format!("r/{number}:latest"), target).unwrap());
        }
    });
    assert_eq!(blobs.names().unwrap().len(), 20);
    assert_eq!(blobs.named("r/7:latest").unwrap().as_ref(), Some(&targets[7]));
    blobs.name("r/7:latest", &targets[8]).unwrap();
    assert_eq!(blobs.named("r/7:latest").unwrap().as_ref(), Some(&targets[8]));
    assert_eq!((blobs.unname("r/7:latest").unwrap(), blobs.unname("r/7:latest").unwrap()), (true, false));
    assert_eq!(blobs.names().unwrap().len(), 19);
    let unknown = Target { digest: digest_of(b"never"), size: 5, media_type: String::new() };
    assert_eq!(blobs.name("r/x:latest", &unknown).unwrap_err().kind(), Kind::NotFound);
    let layout = std::fs::read(blobs.dir.join(LAYOUT)).unwrap();
    assert_eq!(layout, LAYOUT_CONTENT);
}

#[test]
fn nothing_is_removed_while_somebody_uses_it() {
    let s = Scratch::new();
    let blobs = s.store.blobs().unwrap();
    let (kept, unused) = (blobs.put(b"kept").unwrap(), blobs.put(b"unused").unwrap());
    drop(begin(&blobs, b"nothing came of it"));
    let mut new = begin(&blobs, b"half");
    new.write_all(b"ha").unwrap();
    drop(new);
    assert!(s.store.try_blobs_alone().unwrap().is_none());
    drop(blobs);
    let alone = s.store.try_blobs_alone().unwrap().unwrap();
    assert_eq!(alone.retain(&BTreeSet::from([kept])).unwrap(), Removed { blobs: 1, bytes: 6 });
    assert_eq!(alone.remove_partial().unwrap(), Removed { blobs: 1, bytes: 2 });
    assert_eq!((alone.size(kept), alone.size(unused)), (Some(4), None));
}

#[test]
fn what_nobody_can_continue_is_swept() {
    let s = Scratch::new();
    let blobs = s.store.blobs().unwrap();
    let mut new = blobs.create().unwrap();
    new.write_all(b"x").unwrap();
    drop(s.store.blobs().unwrap());
    assert_eq!(partial(&blobs), 1);
    // Killed: its lock is gone, its file is not.
    std::fs::write(blobs.partial(".new-killed"), b"x").unwrap();
    drop(s.store.blobs().unwrap());
    assert_eq!(partial(&blobs), 1);
    drop(new);
    assert_eq!(partial(&blobs), 0);
}
