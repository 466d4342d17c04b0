//! A framework with tens of thousands of tasks: takes what it is offered, acknowledges, and keeps books.

use std::collections::VecDeque;

use master::logic::{OfferOut, SchedulerAction, SchedulerEvent, StreamId};
use model::{AgentId, FrameworkId, Milli, OfferId, TaskId, TaskState};
use wire::v1;
use wire::v1::framework_info::capability::Type as Capability;

use crate::ends::End;
use crate::messages::{framework_info, launch, task};

/// What each task takes.
const CPUS: i64 = 1000;
const MEM: i64 = 1024;
/// Tasks launched on one offer, and the CPUs that they take.
const PER_OFFER: usize = 5;
const LEAST: i64 = 5 * CPUS;

/// What is known of a task.
pub struct Known {
    /// Where it was launched.
    pub agent: AgentId,
    /// The last state heard.
    pub last: TaskState,
    /// What was heard of its end.
    pub end: End,
}

/// See the module.
pub struct Framework {
    /// As it describes itself.
    pub info: v1::FrameworkInfo,
    /// Once it has one.
    pub id: Option<FrameworkId>,
    /// Its stream.
    pub stream: StreamId,
    /// Its tasks, by number.
    pub tasks: Vec<Known>,
    /// Offers it has not looked at yet.
    pub offers: VecDeque<OfferOut>,
    /// Updates heard.
    pub heard: u64,
    wanted: usize,
    counts: [usize; TaskState::ALL.len()],
}

impl Framework {
    /// One that wants to run so many tasks. Every fifth knows nothing of partitions.
    pub fn new(number: usize, wanted: usize) -> Framework {
        let capabilities: &[Capability] =
            if number.is_multiple_of(5) { &[] } else { &[Capability::PartitionAware] };
        let info = framework_info(&format!("f{number}"), capabilities);
        Framework {
            info: v1::FrameworkInfo { failover_timeout: Some(1e6), ..info },
            id: None,
            stream: StreamId(0),
            tasks: Vec::new(),
            offers: VecDeque::new(),
            heard: 0,
            wanted,
            counts: [0; TaskState::ALL.len()],
        }
    }

    /// What its calls must name.
    pub fn token(&self) -> String {
        format!("token-{}", self.stream.0)
    }

    /// How many of its tasks are in a state, as far as it heard.
    pub fn count(&self, state: TaskState) -> usize {
        self.counts[state as usize]
    }

    /// Whether it launches nothing more.
    pub fn is_full(&self) -> bool {
        self.tasks.len() == self.wanted
    }

    /// Tasks by state, as far as it heard.
    pub fn in_state(&self, state: TaskState) -> impl Iterator<Item = (usize, &Known)> {
        self.tasks.iter().enumerate().filter(move |(_, known)| known.last == state)
    }

    /// The name of a task by its number.
    pub fn task_id(&self, number: usize) -> TaskId {
        TaskId::new(format!("{}-{number}", self.info.name))
    }

    /// Takes in an event of the master of this life; the call that answers it, if any.
    ///
    /// # Errors
    /// It may not be told this.
    pub fn hears(&mut self, event: SchedulerEvent, life: u64) -> Result<Option<SchedulerAction>, String> {
        match event {
            SchedulerEvent::Subscribed { framework } => self.id = Some(framework),
            SchedulerEvent::Offers(offers) => self.offers.extend(offers),
            SchedulerEvent::Rescind(id) => self.offers.retain(|offer| offer.offer.id != id),
            SchedulerEvent::Update(status) => return self.updated(&status, life),
            SchedulerEvent::Failure { .. } | SchedulerEvent::Heartbeat => {}
            other => return Err(format!("{} hears {other:?}", self.info.name)),
        }
        Ok(None)
    }

    fn updated(&mut self, status: &v1::TaskStatus, life: u64) -> Result<Option<SchedulerAction>, String> {
        let name = &status.task_id.value;
        let number = name.rsplit_once('-').and_then(|(_, number)| number.parse::<usize>().ok());
        let known = number.and_then(|number| self.tasks.get_mut(number));
        let known = known.ok_or(format!("{} hears of {name}, which it never launched", self.info.name))?;
        self.heard += 1;
        let state = TaskState::from(status.state());
        known.end = known.end.hears(&self.info, status, life).map_err(|why| format!("task {name} {why}"))?;
        self.counts[known.last as usize] -= 1;
        self.counts[state as usize] += 1;
        known.last = state;
        let agent = status.agent_id.as_ref().map(AgentId::from);
        Ok(status.uuid.as_ref().zip(agent).map(|(uuid, agent)| SchedulerAction::Acknowledge {
            agent,
            task: TaskId::from(&status.task_id),
            uuid: uuid.to_vec(),
        }))
    }

    /// Uses the next offer; once it has all its tasks it wants none.
    pub fn use_next(&mut self) -> Option<SchedulerAction> {
        let offer = self.offers.pop_front()?.offer;
        let fits = offer.resources.cpus() >= Milli::from_millis(LEAST);
        let room = if fits { PER_OFFER.min(self.wanted - self.tasks.len()) } else { 0 };
        if room == 0 {
            return Some(decline(offer.id));
        }
        let mut infos = Vec::with_capacity(room);
        for _ in 0..room {
            infos.push(task(self.task_id(self.tasks.len()).as_str(), &offer.agent, CPUS, MEM));
            self.counts[TaskState::Staging as usize] += 1;
            let agent = offer.agent.clone();
            self.tasks.push(Known { agent, last: TaskState::Staging, end: End::Open });
        }
        let (offers, operations) = (vec![offer.id], vec![launch(infos)]);
        Some(SchedulerAction::Accept { offers, operations, refuse_seconds: Some(0.0) })
    }
}

fn decline(offer: OfferId) -> SchedulerAction {
    SchedulerAction::Decline { offers: vec![offer], refuse_seconds: Some(0.0) }
}
