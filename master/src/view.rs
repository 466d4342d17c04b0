//! A published view: the tables of one moment, for readers on other threads.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use model::{AgentId, FrameworkId, OfferId, Role, TaskId, Timestamp};
use wire::v1;

use crate::logic::{Agent, Framework, Offer, State, Table, Tally, Task};

/// The tables of a leading master at one moment. Rows are shared with the state and with other views.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(Default))]
pub struct View {
    /// When this leadership began.
    pub elected: Timestamp,
    /// Registered agents.
    pub agents: Table<AgentId, Agent>,
    /// In the registry, not back since this master leads.
    pub recovered: Table<AgentId, v1::AgentInfo>,
    /// How many agents are marked unreachable.
    pub unreachable: usize,
    /// Subscribed and recovered frameworks.
    pub frameworks: Table<FrameworkId, Framework>,
    /// Removed frameworks, oldest first.
    pub completed_frameworks: VecDeque<Arc<Framework>>,
    /// Tasks on registered agents.
    pub tasks: Table<(FrameworkId, TaskId), Task>,
    /// Tasks on agents that don't answer.
    pub unreachable_tasks: Table<(FrameworkId, TaskId), Task>,
    /// Outstanding offers.
    pub offers: Table<OfferId, Offer>,
    /// What has happened how often.
    pub tally: Tally,
    /// Refusals that stand, by role.
    pub refusals: BTreeMap<Role, usize>,
    /// Operators that watch.
    pub watchers: usize,
    /// Writes of the registry that are under way.
    pub queued_writes: usize,
}

impl View {
    /// The tables as they are now.
    pub fn of(state: &State) -> View {
        View {
            elected: state.elected,
            agents: state.agents.clone(),
            recovered: state.recovered.clone(),
            unreachable: state.unreachable.len(),
            frameworks: state.frameworks.clone(),
            completed_frameworks: state.completed_frameworks.clone(),
            tasks: state.tasks.clone(),
            unreachable_tasks: state.unreachable_tasks.clone(),
            offers: state.offers.clone(),
            tally: state.tally.clone(),
            refusals: state.allocator().refusals().clone(),
            watchers: state.watchers(),
            queued_writes: state.queued_writes(),
        }
    }

    /// Frees some of the rows that nobody else shows. Answers whether there are more.
    pub fn shed(&mut self) -> bool {
        self.tasks.shed()
            || self.agents.shed()
            || self.unreachable_tasks.shed()
            || self.offers.shed()
            || self.recovered.shed()
            || self.frameworks.shed()
    }
}
