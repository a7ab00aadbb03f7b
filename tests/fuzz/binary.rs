//! Programs, libraries and ld.so's cache, which are made up by whoever made the file.

use kraft::image::binary::look_at;
use proptest::prelude::*;

/// A dynamic program: an interpreter, one segment, a dynamic section that needs a library and has a RUNPATH.
fn program() -> Vec<u8> {
    let strings = b"\0libc.so.6\0$ORIGIN/../lib\0";
    let interpreter = b"/lib64/ld-linux-x86-64.so.2\0";
    let head = 64 + 3 * 56;
    let strings_at = head + interpreter.len() as u64;
    let dynamic_at = (strings_at + strings.len() as u64).next_multiple_of(8);
    let dynamic = [1, 1, 29, 11, 5, strings_at, 10, strings.len() as u64, 0x6fff_fffb, 0x0800_0000, 0, 0];
    let end = dynamic_at + 8 * dynamic.len() as u64;
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(16, 0);
    out.extend([3, 62, 1, 0].map(u16::to_le_bytes).concat());
    out.extend([0x1000, 64, 0].map(u64::to_le_bytes).concat());
    out.extend([0; 4]);
    out.extend([64, 56, 3, 64, 0, 0].map(u16::to_le_bytes).concat());
    let segments = [(3, head, interpreter.len() as u64), (1, 0, end), (2, dynamic_at, 8 * dynamic.len() as u64)];
    for (kind, at, size) in segments {
        out.extend([kind, 4_u32].map(u32::to_le_bytes).concat());
        out.extend([at, at, at, size, size, 8].map(u64::to_le_bytes).concat());
    }
    out.extend(interpreter);
    out.extend(strings);
    out.resize(dynamic_at as usize, 0);
    out.extend(dynamic.map(u64::to_le_bytes).concat());
    out
}

/// Both formats of the cache, one behind the other, with one library each.
fn cache() -> Vec<u8> {
    let mut out = b"ld.so-1.7.0\0".to_vec();
    out.extend([1, 3, 0, 0].map(u32::to_le_bytes).concat());
    out.resize(32, 0);
    out.extend(b"glibc-ld.so.cache1.1");
    out.extend([1, 29, 2, 0, 0, 0, 0].map(u32::to_le_bytes).concat());
    out.extend([0x303, 72, 82, 0, 0, 0].map(u32::to_le_bytes).concat());
    out.extend(b"libc.so.6\0/lib/libc.so.6\0");
    out
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn whatever_they_say_is_an_answer(
        made in crate::damaged(vec![program(), cache()]),
        any in proptest::collection::vec(any::<u8>(), 0..512),
    ) {
        for bytes in [made, any] {
            look_at(&bytes);
        }
    }
}
