//! The head of an HTTP answer (RFC 9112), as far as its status, read as it comes. Pure.

/// A longer head is none.
const LONGEST: usize = 16 << 10;

/// What is known of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is more to come.
    More,
    /// It is complete, with this status.
    Status(u16),
    /// It is none.
    Bad,
}

/// An answer's head as far as it came.
#[derive(Debug, Default)]
pub(super) struct Head {
    bytes: Vec<u8>,
}

impl Head {
    /// Whether not one byte came.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes in what came.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Progress {
        let room = LONGEST - self.bytes.len().min(LONGEST);
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        loop {
            let Some(end) = end_of(&self.bytes) else {
                let hopeless = self.bytes.len() >= LONGEST || !may_begin(&self.bytes);
                return if hopeless { Progress::Bad } else { Progress::More };
            };
            match status(&self.bytes[..end]) {
                // An interim answer: the other one follows.
                Some(100..=199) => drop(self.bytes.drain(..end)),
                Some(status) => return Progress::Status(status),
                None => return Progress::Bad,
            }
        }
    }
}

const VERSION: &[u8] = b"HTTP/1.";

fn may_begin(bytes: &[u8]) -> bool {
    let length = bytes.len().min(VERSION.len());
    bytes[..length] == VERSION[..length]
}

/// Where the empty line ends.
fn end_of(bytes: &[u8]) -> Option<usize> {
    let crlf = memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4);
    let lf = memchr::memmem::find(bytes, b"\n\n").map(|at| at + 2);
    crlf.into_iter().chain(lf).min()
}

/// The status in `HTTP/1.1 200 OK`.
fn status(head: &[u8]) -> Option<u16> {
    let rest = head.strip_prefix(VERSION)?;
    let [minor, b' ', a, b, c, b' ' | b'\r' | b'\n', ..] = rest else { return None };
    if ![minor, a, b, c].iter().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let digit = |byte: &u8| u16::from(byte - b'0');
    Some(digit(a) * 100 + digit(b) * 10 + digit(c)).filter(|status| (100..=599).contains(status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn answers() {
        for (text, progress) in [
            ("", Progress::More),
            ("HTTP/1.1 200 OK\r\n", Progress::More),
            ("HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody", Progress::Status(200)),
            ("HTTP/1.0 503\n\n", Progress::Status(503)),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 None\r\n\r\n", Progress::Status(204)),
            ("HTTP/1.1 100 Continue\r\n\r\n", Progress::More),
            ("SSH-2.0-x\r\n", Progress::Bad),
            ("HTTP/2 200\r\n\r\n", Progress::Bad),
            ("HTTP/1.1 20\r\n\r\n", Progress::Bad),
            ("HTTP/1.1 999 No\r\n\r\n", Progress::Bad),
            ("HTTP/1.1 2000 No\r\n\r\n", Progress::Bad),
        ] {
            assert_eq!(Head::default().feed(text.as_bytes()), progress, "{text:?}");
        }
        let mut endless = Head::default();
        assert_eq!(endless.feed(b"HTTP/1.1 200 OK\r\n"), Progress::More);
        let more = vec![b'x'; LONGEST];
        assert_eq!(endless.feed(&more), Progress::Bad);
        assert!(endless.bytes.len() <= LONGEST);
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_they_come(status in 200u16..600, cut in 0usize..40) {
            let text = format!("HTTP/1.1 {status} X\r\nServer: y\r\n\r\n");
            let cut = cut.min(text.len());
            let mut head = Head::default();
            let first = head.feed(&text.as_bytes()[..cut]);
            prop_assert_eq!(first == Progress::More, cut < text.len());
            prop_assert_eq!(head.feed(&text.as_bytes()[cut..]), Progress::Status(status));
        }

        #[test]
        fn nothing_panics(pieces: Vec<Vec<u8>>) {
            let mut head = Head::default();
            for piece in pieces {
                head.feed(&piece);
            }
        }
    }
}
