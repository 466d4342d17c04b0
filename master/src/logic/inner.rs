//! Private bookkeeping of the logic: counters, timers, waits and indexes. Views don't show it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use model::{AgentId, FrameworkId, OfferId, Resources, TaskId, Timestamp};

use super::event::{LinkId, StreamId, Ticket};
use super::history::Unclaimed;
use super::identity::Identity;
use super::removals::Removals;
use super::timers::{Key, Timers};
use super::waits::After;
use crate::allocator::Allocator;

/// How tables name a task.
pub(super) type TaskKey = (FrameworkId, TaskId);

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Inner {
    /// `Elected` has been seen.
    pub(super) elected: bool,
    /// The registry failed: nothing is done any more.
    pub(super) stepped_down: bool,
    /// What ids are made of.
    pub(super) counters: Counters,
    /// What is due when.
    pub(super) timers: Timers,
    /// What waits for which write.
    pub(super) waiting: BTreeMap<Ticket, After>,
    /// Agents of which a change is being written.
    pub(super) transitions: BTreeMap<AgentId, Ticket>,
    /// Links whose registration is being written.
    pub(super) joining: BTreeMap<LinkId, Ticket>,
    /// New agents that are being written, by address.
    pub(super) admitting: BTreeMap<String, Ticket>,
    /// Registered agents by link.
    pub(super) links: BTreeMap<LinkId, AgentId>,
    /// Registered agents by address.
    pub(super) addresses: BTreeMap<String, AgentId>,
    /// Who registered which agent, where that was proved.
    pub(super) owners: BTreeMap<AgentId, Arc<Identity>>,
    /// Pings of registered agents.
    pub(super) pings: BTreeMap<AgentId, Pings>,
    /// Streams of operators that watch, oldest first.
    pub(super) watchers: BTreeSet<StreamId>,
    /// Agents that are to be marked unreachable.
    pub(super) removals: Removals,
    /// Agents that said that they leave while another change of them is being written.
    pub(super) leaving: BTreeSet<AgentId>,
    /// How many agents the registry had when this master began to lead.
    pub(super) recovered_at_first: usize,
    /// Connected frameworks by stream.
    pub(super) streams: BTreeMap<StreamId, FrameworkId>,
    /// Timers of frameworks that are away. They may be years off, so the ones that mean nothing any more are taken back.
    pub(super) failovers: BTreeMap<FrameworkId, Key>,
    /// Rows of `tasks` by agent.
    pub(super) tasks_of_agent: BTreeMap<AgentId, BTreeSet<TaskKey>>,
    /// Rows of `unreachable_tasks` by agent.
    pub(super) unreachable_of_agent: BTreeMap<AgentId, BTreeSet<TaskKey>>,
    /// Rows of `unreachable_tasks` by framework, oldest first (may name rows that are gone).
    pub(super) unreachable_order: BTreeMap<FrameworkId, VecDeque<(TaskId, Timestamp)>>,
    /// Rows of `offers` by framework.
    pub(super) offers_of_framework: BTreeMap<FrameworkId, BTreeSet<OfferId>>,
    /// Tasks that agents run although their framework was told that they ended, or has another task of that id: they
    /// are killed, their updates are acknowledged here, and until they end their resources count as used.
    pub(super) ghosts: BTreeMap<AgentId, BTreeMap<TaskKey, Resources>>,
    /// Ended tasks of frameworks that nobody has spoken of since this master leads.
    pub(super) unclaimed: Unclaimed,
    /// Agents whose free resources changed in this step.
    pub(super) touched: BTreeSet<AgentId>,
    /// Who gets offers.
    pub(super) allocator: Allocator,
}

/// The last number given, of each kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    pub(super) agent: u64,
    pub(super) framework: u64,
    pub(super) offer: u64,
    pub(super) ticket: u64,
    pub(super) pings: u64,
}

/// Pings of one agent.
#[derive(Clone, Debug, Default)]
pub(super) struct Pings {
    /// Tells the timers of this registration from older ones.
    pub(super) generation: u64,
    /// Number of the last ping.
    pub(super) sequence: u64,
    /// The last ping was not answered yet.
    pub(super) unanswered: bool,
}

impl Inner {
    pub(super) fn new(now: Timestamp, allocation_interval: Duration) -> Inner {
        Inner {
            elected: false,
            stepped_down: false,
            counters: Counters::default(),
            timers: Timers::default(),
            waiting: BTreeMap::new(),
            transitions: BTreeMap::new(),
            joining: BTreeMap::new(),
            admitting: BTreeMap::new(),
            links: BTreeMap::new(),
            addresses: BTreeMap::new(),
            owners: BTreeMap::new(),
            pings: BTreeMap::new(),
            watchers: BTreeSet::new(),
            removals: Removals::default(),
            leaving: BTreeSet::new(),
            recovered_at_first: 0,
            streams: BTreeMap::new(),
            failovers: BTreeMap::new(),
            tasks_of_agent: BTreeMap::new(),
            unreachable_of_agent: BTreeMap::new(),
            unreachable_order: BTreeMap::new(),
            offers_of_framework: BTreeMap::new(),
            ghosts: BTreeMap::new(),
            unclaimed: Unclaimed::default(),
            touched: BTreeSet::new(),
            allocator: Allocator::new(now, allocation_interval),
        }
    }
}
