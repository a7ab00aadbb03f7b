//! placeholder
use std::path::Path;
pub enum Kvm {
    Usable,
    Unusable(String),
}
pub fn probe_cached(_: &Path) -> Kvm {
    Kvm::Unusable("x".into())
}
