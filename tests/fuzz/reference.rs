//! Names of images.

use proptest::prelude::*;

use kraft::image::oci::reference::{Reference, parse_registry};

const WHOLE: &str =
    "localhost:5000/a/b_c:v1.2-x@sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn what_is_taken_says_the_same_when_it_is_read_again(
        bytes in crate::damaged(vec![WHOLE.into(), b"docker.io/x".to_vec(), b"[::1]:5000/x".to_vec()]),
    ) {
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(reference) = text.parse::<Reference>() {
            let shown = reference.to_string();
            prop_assert_eq!(&shown.parse::<Reference>().unwrap(), &reference, "{}", shown);
            prop_assert_eq!(&parse_registry(reference.registry()).unwrap(), reference.registry());
            prop_assert!(reference.tag().is_some() || reference.digest().is_some());
            // It is part of a URL and of a path.
            let place = format!("{}/{}", reference.registry(), reference.repository());
            prop_assert!(!place.contains("..") && !place.contains("//") && shown.is_ascii(), "{}", shown);
        }
    }
}
