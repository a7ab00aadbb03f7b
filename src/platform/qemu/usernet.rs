//! What QEMU tells of its own network's connections (`info usernet`), as text for people. Pure.
//!
//! ```text
//! Hub -1 (hostnet0):
//!   Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
//!   TCP[ESTABLISHED]   14       127.0.0.1  8080       10.0.2.15    80     0     0
//!   TCP[HOST_FORWARD]  11       127.0.0.1  8080       10.0.2.15    80     0     0
//! ```

use crate::platform::Connection;

/// The connections that came from the host, to the guest's ports, and are there or on their way.
pub(super) fn connections(text: &str) -> Vec<Connection> {
    text.lines().filter_map(connection).collect()
}

fn connection(line: &str) -> Option<Connection> {
    let (state, rest) = line.trim_start().strip_prefix("TCP[")?.split_once(']')?;
    let established = match state {
        "ESTABLISHED" => true,
        "SYN_SENT" | "SYN_RCVD" => false,
        _ => return None,
    };
    // Numbers that are wide leave no space before them, so it is counted from the end.
    let port = rest.split_whitespace().rev().nth(2)?.parse().ok()?;
    Some(Connection { port, established })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_qemu_says() {
        let text = "Hub -1 (hostnet0):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n  \
                    TCP[SYN_SENT]      15       127.0.0.1  8080       10.0.2.15    80     0     0\r\n  \
                    TCP[ESTABLISHED]   14       127.0.0.1  8080       10.0.2.15    81     0     0\r\n  \
                    TCP[TIME_WAIT]     16       127.0.0.1  8080       10.0.2.15    82     0     0\r\n  \
                    TCP[HOST_FORWARD]  11               *  8080       10.0.2.15    80     0     0\r\n  \
                    UDP[236 sec]        9       10.0.2.15 50000        10.0.2.3    53     0     0\r\n";
        let connection = |port, established| Connection { port, established };
        assert_eq!(connections(text), [connection(80, false), connection(81, true)]);
    }

    proptest! {
        #[test]
        fn nothing_panics(text: String) {
            connections(&text);
            connections(&format!("TCP[ESTABLISHED]{text}"));
        }
    }
}
