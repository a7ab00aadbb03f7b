//! Networks: bridges of ours on the host, the addresses on them, and the taps that machines are connected by.
//!
//! ```text
//! record    a network as it is kept              networks   all of them on disk, and the locks
//! pool      which subnet it gets                 manage     create, up, down, remove, prune
//! request   what is typed behind --network       allocate   which address and MAC a machine gets
//! bridge    the bridge and its addresses         tap        what connects a machine to it
//! connect   a machine's start and end            mark       how ours are told from others'
//! netlink   the kernel's interfaces              switches   the kernel's switches
//! nft       the packet filter                    resolver   machines' names
//! orphans   what nobody is left to take away
//! ```

mod allocate;
mod bridge;
mod connect;
mod manage;
mod mark;
mod netlink;
mod networks;
pub mod nft;
mod orphans;
mod pool;
mod record;
mod request;
pub mod resolver;
mod switches;
mod tap;

pub use allocate::{MOST, settle};
pub use bridge::{Live, State};
pub use connect::{Connection, connect, disconnect};
pub use manage::{InUse, Keep, Member, Wanted, create, down, live, members, prune, remove, up};
pub use netlink::Counters;
pub use networks::Networks;
pub use orphans::orphans;
pub use record::{Network, SCHEMA};
pub use request::resolve;
pub use tap::taps;
