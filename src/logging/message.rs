//! What our journal lines are about: a `MESSAGE_ID` for each kind of event, the same for ever, so that
//! `journalctl MESSAGE_ID=...` finds all of a kind. `contrib/packaging/kraft.catalog` explains each, for `journalctl -x`.

/// A guest finished with success, or was stopped on request.
pub const EXITED: &str = "3173064896b54912b0eec0cd7b68041a";
/// A guest ended with a code that is not zero.
pub const FAILED: &str = "0ddbc9abedaa44438c75143d564225de";
/// A guest panicked, or it or its VMM broke.
pub const CRASHED: &str = "e36a64e9558249b8a6f80bf7ef5e33d2";
/// The kernel killed the VMM or the runner, as memory ran out.
pub const OUT_OF_MEMORY: &str = "40343398915b46999150dd85b4f161b2";
/// A signal that nobody asked kraft for ended the VMM or the runner.
pub const KILLED: &str = "ad5cb1dadfff4d5cb36ef5ca7673b9ec";
/// The VMM did not answer any more.
pub const UNRESPONSIVE: &str = "16ce2ef7e39c4f47b845214812022878";
/// A guest never ran.
pub const NOT_STARTED: &str = "2bf25d433f13466097474819edc5cd4e";
/// A guest runs.
pub const STARTED: &str = "86c0790e067e4a8e9a08362d223f8d31";
/// A guest that was asked to shut down did not, and was ended.
pub const STOP_TIMED_OUT: &str = "3da2a97d9422443cb3de6ac128cca230";
/// KVM does not work here: the guest's instructions are translated.
pub const TRANSLATED: &str = "24079cf5a76447a7b6d19f1f6bf90b9a";

/// A guest's probes say that it is ill.
pub const UNHEALTHY: &str = "51c2aeb41c2c41698bdd5e530495da2b";
/// A guest that was ill is well again.
pub const HEALTHY: &str = "a2e2a50a5e61405ca585bbfb4e3fb5ad";
/// A guest was stopped because its time (`--runtime-max`) was over.
pub const TIME_OVER: &str = "5e75dc0e4a014d5f9b54c44ee3286e15";

/// All of them.
pub const ALL: &[&str] = &[
    EXITED,
    FAILED,
    CRASHED,
    OUT_OF_MEMORY,
    KILLED,
    UNRESPONSIVE,
    NOT_STARTED,
    STARTED,
    STOP_TIMED_OUT,
    TRANSLATED,
    UNHEALTHY,
    HEALTHY,
    TIME_OVER,
];
