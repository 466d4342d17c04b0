//! Our words: typed ids, time, resources, roles, task states, attributes and flags, free of I/O.
//!
//! Everything above the wire speaks these; conversion from and to Mesos' messages lives beside each type.

#![forbid(unsafe_code)]

pub mod attributes;
pub mod domain;
pub mod flags;
pub mod ids;
pub mod random;
pub mod resources;
pub mod role;
pub mod secrets;
pub mod size;
pub mod task_state;
pub mod time;
pub mod user;

pub use ids::{AgentId, ContainerId, ExecutorId, FrameworkId, MasterId, OfferId, TaskId};
pub use resources::{Milli, Resource, Resources};
pub use role::Role;
pub use task_state::TaskState;
pub use time::Timestamp;
