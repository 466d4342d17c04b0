//! What the registry keeps: which agents are admitted, unreachable or gone. Pure data and its changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{AgentId, Timestamp};
use wire::v1;

use super::identity::Identity;

/// All that survives a master.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    /// How often a master has become leader of this registry; bumped before anything is read by it.
    pub epoch: u64,
    /// Agents that belong to the cluster.
    pub admitted: BTreeMap<AgentId, Arc<v1::AgentInfo>>,
    /// Agents that did not answer, and since when.
    pub unreachable: BTreeMap<AgentId, Timestamp>,
    /// Agents declared gone, and when.
    pub gone: BTreeMap<AgentId, Timestamp>,
    /// Who registered the agents that belong to the cluster or don't answer, where that was proved.
    pub owners: BTreeMap<AgentId, Arc<Identity>>,
}

/// One change, small enough for one transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// An agent is new, came back, or changed its info; and whose it is, when that is news.
    Admit(AgentId, Arc<v1::AgentInfo>, Option<Arc<Identity>>),
    /// An agent left for good, or was unreachable and is known to have ended.
    Remove(AgentId),
    /// An agent doesn't answer.
    MarkUnreachable(AgentId, Timestamp),
    /// An agent was declared gone.
    MarkGone(AgentId, Timestamp),
    /// Old entries of the unreachable and gone lists.
    Prune {
        /// No longer listed as unreachable.
        unreachable: Vec<AgentId>,
        /// No longer listed as gone.
        gone: Vec<AgentId>,
    },
}

impl Contents {
    /// Applies a change.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Admit(agent, info, owner) => {
                self.unreachable.remove(agent);
                self.admitted.insert(agent.clone(), info.clone());
                self.owners.extend(owner.clone().map(|owner| (agent.clone(), owner)));
            }
            Change::Remove(agent) => {
                self.admitted.remove(agent);
                self.unreachable.remove(agent);
                self.owners.remove(agent);
            }
            Change::MarkUnreachable(agent, since) => {
                self.admitted.remove(agent);
                self.unreachable.insert(agent.clone(), *since);
            }
            Change::MarkGone(agent, at) => {
                self.admitted.remove(agent);
                self.unreachable.remove(agent);
                self.owners.remove(agent);
                self.gone.insert(agent.clone(), *at);
            }
            Change::Prune { unreachable, gone } => {
                self.unreachable.retain(|agent, _| !unreachable.contains(agent));
                self.owners.retain(|agent, _| !unreachable.contains(agent));
                self.gone.retain(|agent, _| !gone.contains(agent));
            }
        }
    }
}
