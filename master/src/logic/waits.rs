//! What waits for the registry, as data under the ticket of its write.

use std::sync::Arc;

use model::{AgentId, Timestamp};
use wire::v1;

use super::event::{AgentHello, CallId, LinkId, ReportedTask};

/// What is to be done once a write is on disk. Nothing of it shows before.
#[derive(Clone, Debug)]
pub enum After {
    /// A new agent is admitted.
    Register {
        /// Its new id.
        agent: AgentId,
        /// Its link; none when that was lost meanwhile.
        link: Option<LinkId>,
        /// What it said.
        hello: Box<AgentHello>,
    },
    /// A known, recovered, unreachable or unknown agent with an id is (re)admitted, or its info changed.
    Reregister {
        /// Its id.
        agent: AgentId,
        /// Its link; none when that was lost meanwhile.
        link: Option<LinkId>,
        /// What it said.
        report: Box<Report>,
    },
    /// An agent left.
    Remove {
        /// Which.
        agent: AgentId,
        /// Why.
        cause: Cause,
        /// The registration that waits for this removal: a new agent at the same address.
        then: Option<Box<(LinkId, AgentHello)>>,
    },
    /// An agent doesn't answer.
    Unreachable {
        /// Which.
        agent: AgentId,
        /// Since when.
        since: Timestamp,
    },
    /// An agent was declared gone.
    Gone {
        /// Which.
        agent: AgentId,
        /// When.
        at: Timestamp,
        /// Who waits for the answer.
        call: CallId,
    },
    /// Old entries are dropped.
    Prune {
        /// No longer listed as unreachable.
        unreachable: Vec<AgentId>,
        /// No longer listed as gone.
        gone: Vec<AgentId>,
    },
}

/// Why an agent is removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// Another one registered at its address.
    Replaced,
    /// It said so.
    Unregistered,
}

impl Cause {
    /// As statuses of its tasks say it.
    pub fn text(self) -> &'static str {
        match self {
            Cause::Replaced => "a new agent registered at the same address",
            Cause::Unregistered => "the agent unregistered",
        }
    }
}

/// What a returning agent says.
#[derive(Clone, Debug)]
pub struct Report {
    /// Who it is.
    pub hello: AgentHello,
    /// What it runs.
    pub tasks: Vec<ReportedTask>,
    /// For whom.
    pub frameworks: Vec<Arc<v1::FrameworkInfo>>,
    /// What it ran.
    pub completed: Vec<ReportedTask>,
}
