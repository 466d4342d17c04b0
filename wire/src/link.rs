//! Messages and gRPC service of the agent link, and what both of its ends have to agree on.

pub use crate::generated::tepui::link::v1::*;

/// Version of the link's messages. Fields are only added, so both ends of different versions understand each
/// other within one version; it changes when that ends.
pub const PROTOCOL_VERSION: u32 = 1;

/// Largest message from an agent, in bytes: a [`Reregister`] carries all of its tasks.
pub const MAX_FROM_AGENT: usize = 64 << 20;

/// Largest message from a master, in bytes: a [`RunTask`] carries a task and its framework.
pub const MAX_FROM_MASTER: usize = 16 << 20;

impl FromMaster {
    /// What the master of this epoch says.
    pub fn new(epoch: u64, body: impl Into<from_master::Body>) -> Self {
        FromMaster { epoch, body: Some(body.into()) }
    }
}

/// Lets each message of a direction be put into its envelope with `into()`.
macro_rules! bodies {
    ($module:ident: $($message:ident),+) => {
        $(impl From<$message> for $module::Body {
            fn from(message: $message) -> Self {
                $module::Body::$message(message)
            }
        })+
    };
}

bodies!(from_agent: Register, Reregister, Status, Pong, Unregister);
bodies!(from_master: Registered, Refused, RunTask, KillTask, Acknowledge, Ping);
bodies!(from_master: UpdateFramework, ShutdownFramework, ReconcileTasks, Shutdown);

impl<B: Into<from_agent::Body>> From<B> for FromAgent {
    fn from(body: B) -> Self {
        FromAgent { body: Some(body.into()) }
    }
}
