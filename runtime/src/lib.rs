//! One command in one Linux container, and the small process that keeps it.
//!
//! The crate knows nothing of Mesos, tasks or schedulers. It has two halves:
//!
//! * the **caller's half** ([`Runtime`]): check the host ([`Runtime::probe`]), start a container
//!   ([`Runtime::launch`]), find the ones of an earlier life again ([`Runtime::recover`],
//!   [`Runtime::connect`]) and remove what is left of one ([`Runtime::cleanup`]);
//! * the **keeper's half** ([`supervise_main`]): one single-threaded process per container, which
//!   prepares it, starts it through libcontainer, waits, kills, and writes the exit record. It
//!   outlives the caller.
//!
//! Between them lies a Unix socket in the container's runtime folder with the messages of
//! [`protocol`], which does no I/O itself and so suits a blocking or an asynchronous caller.
//!
//! # Use
//!
//! ```no_run
//! use runtime::{ContainerId, ContainerSpec, Isolation, Rootfs, Runtime, RuntimeConfig};
//!
//! // First thing in `main`, before any thread exists:
//! if std::env::args().nth(1).as_deref() == Some("supervise") {
//!     runtime::supervise_main();
//! }
//! let config = RuntimeConfig::new("/run/tepui");
//! let host = Runtime::probe(&config, &Isolation::default())?;
//! for missing in &host.missing {
//!     eprintln!("{missing}");
//! }
//! let runtime = Runtime::new(config, host)?;
//! let mut spec = ContainerSpec::new(ContainerId::new("c1")?, vec!["/bin/true".into()]);
//! spec.rootfs = Rootfs::Directory("/srv/rootfs".into());
//! let mut keeper = runtime.launch(&spec)?;
//! let started = keeper.wait_started()?;
//! let record = keeper.wait_exit()?;
//! println!("{} ended: {:?}", started.pid, record.status);
//! runtime.cleanup(&spec.id)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What lies where
//!
//! ```text
//! <runtime_dir>/containers/<id>/      0700
//!     keeper.sock   where it listens (0600), peers are checked by uid and pid namespace
//!     keeper.log    its warnings; locked while it lives
//!     exit.json     the exit record, written by rename before the exit is reported
//! <runtime_dir>/mnt/                  where each container is put together, in a mount namespace of its own;
//!                                     on the host nothing is ever mounted there
//! <cgroups_root>/<id>                 the container's cgroup, in each hierarchy that is used
//! <cgroups_root>/keepers              the keepers' own
//! ```
#![deny(unsafe_code)]

pub mod cgroups;
mod config;
mod ending;
#[doc(hidden)]
pub mod fuzzing;
mod host;
#[allow(unsafe_code)]
pub mod init;
mod isolators;
mod kernel;
mod launch;
mod lifecycle;
mod liveness;
mod plan;
pub mod protocol;
mod recover;
mod spec;
mod supervisor;
mod trial;

pub use cgroups::{DeviceIo, IoCounts, Pressure, PressureLine, Statistics};
pub use config::RuntimeConfig;
pub use ending::{Ending, Exit, ExitRecord, Failure, FailureKind, KillReason, Stage};
pub use host::{Host, Missing, ProbeError};
pub use kernel::first::go_first;
pub use launch::{KeeperHandle, LaunchError, Runtime, Started};
#[doc(hidden)]
pub use liveness::announce as announce_start;
pub use recover::{CleanupError, Found, FoundContainer};
pub use spec::{
    Capability, ContainerId, ContainerSpec, Controller, HugetlbLimit, IdRange, InvalidId, IoMax, Isolation,
    Limits, Rlimit, Rootfs, RotateBy, Rotation, SandboxMount,
};
pub use supervisor::supervise_main;
