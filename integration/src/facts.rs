//! The tables of Mesos' facts that the design is built on, where they lie beside the repository.

use crate::docs::repository;

/// The text of a table of them. Where it is not there that is said aloud.
pub fn fact(name: &str) -> Option<String> {
    let path = repository().join("../shared/facts/mesos").join(name);
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        println!("SKIPPED: {name}: {} is not there", path.display());
    }
    text
}
