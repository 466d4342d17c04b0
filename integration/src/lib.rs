//! What integration tests are made of: clusters of real processes, a real registry, images, clients, and a look at
//! what is left behind.
//!
//! Everything here fails a test by panicking with what was tried; [`OrFail`] puts the words to it.

#![forbid(unsafe_code)]

pub mod canary;
pub mod certificates;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod disk;
pub mod docs;
pub mod ensemble;
pub mod eventually;
pub mod facts;
pub mod freezer;
pub mod http2;
pub mod images;
pub mod job;
pub mod leftovers;
pub mod masters;
pub mod network;
pub mod place;
pub mod proxy;
pub mod registry;
pub mod routes;
pub mod scheduler;
pub mod task;
pub mod trace;
pub mod vitals;
pub mod zookeeper;

use std::fmt::{Debug, Display};
use std::path::Path;

pub use clock::{HostClock, WallClock};
pub use cluster::{Cluster, Options};
pub use disk::Disk;
pub use ensemble::Ensemble;
pub use eventually::{eventually, within};
pub use job::{Daemon, Ended, Job};
pub use masters::Masters;
pub use network::{Host, Network};
pub use proxy::Proxy;
pub use registry::Registry;
pub use scheduler::Scheduler;
pub use trace::Fault;

/// Fails a test with words.
pub trait OrFail<T> {
    /// The value, or a panic that says what could not be done.
    #[track_caller]
    fn or_fail(self, what: impl Display) -> T;
}

impl<T, E: Debug> OrFail<T> for Result<T, E> {
    fn or_fail(self, what: impl Display) -> T {
        match self {
            Ok(value) => value,
            Err(error) => panic!("{what}: {error:?}"),
        }
    }
}

impl<T> OrFail<T> for Option<T> {
    fn or_fail(self, what: impl Display) -> T {
        match self {
            Some(value) => value,
            None => panic!("{what}: there is none"),
        }
    }
}

/// Whether a test can run here: as root, with these programs. Where not it says so aloud; on CI that is a failure.
#[must_use]
pub fn able(test: &str, programs: &[&str]) -> bool {
    let test = test.trim_end_matches("::here");
    let absent = |program: &&&str| {
        !["/usr/bin", "/usr/sbin", "/bin", "/sbin"].iter().any(|d| Path::new(d).join(program).exists())
    };
    let why = if !rustix::process::geteuid().is_root() {
        "containers need root".to_owned()
    } else if let Some(program) = programs.iter().find(absent) {
        format!("{program} is not installed")
    } else {
        return true;
    };
    assert!(std::env::var_os("CI").is_none(), "{test} can't be skipped on CI: {why}");
    println!("SKIPPED: {test}: {why}");
    false
}

/// Ends a test, aloud, where it can't run: `needs!("docker-registry", "skopeo");`
#[macro_export]
macro_rules! needs {
    ($($program:expr),* $(,)?) => {
        fn here() {}
        if !$crate::able(std::any::type_name_of_val(&here), &[$($program),*]) {
            return;
        }
    };
}
