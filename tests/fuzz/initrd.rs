//! The first bytes of a RAM disk.

use std::path::Path;

use kraft::image::initrd;
use proptest::prelude::*;

fn heads() -> Vec<Vec<u8>> {
    let magics: [&[u8]; 9] = [
        b"070701",
        b"070702",
        b"070707",
        b"\xc7\x71",
        b"\x1f\x8b\x08",
        b"\x28\xb5\x2f\xfd",
        b"\xfd7zXZ\0",
        b"\x04\x22\x4d\x18",
        b"# syntax=docker/dockerfile:1\nFROM scratch\n",
    ];
    magics.iter().map(|magic| [magic, [0; 64].as_slice()].concat()).collect()
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn any_head_is_told_or_refused(head in crate::damaged(heads()), name in "[a-zA-Z./]{0,12}") {
        match initrd::parse(&head, Path::new(&name)) {
            Ok(format) => prop_assert!(!format.to_string().is_empty()),
            Err(error) => prop_assert!(error.hint().is_some() && !error.to_string().contains('\n')),
        }
    }
}
