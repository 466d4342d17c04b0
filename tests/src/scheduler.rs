//! Schedulers as careful ones are: they write down what they launch, acknowledge, reconcile, fail over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use master::logic::{CallId, Event, OfferOut, Refused, SchedulerAction, SchedulerEvent, StreamId};
use model::{AgentId, FrameworkId, OfferId, TaskId, TaskState, Timestamp};
use wire::v1;
use wire::v1::task_status::{Reason, Source};

use crate::agent_node::AgentNode;
use crate::detectors::Seeker;
use crate::ends::End;
use crate::faults::Fault;
use crate::master_node::MasterNode;
use crate::messages::{launch, task};
use crate::network::{Peer, delay};
use crate::world::{Happening, World};

/// How long after its launch a task is asked about: calls are not under way for longer.
const SETTLED: Duration = Duration::from_secs(10);

/// What a scheduler knows of a task.
#[derive(Clone, Debug)]
pub struct Known {
    /// Where it was launched.
    pub agent: AgentId,
    /// When.
    pub launched: Timestamp,
    /// The last state heard.
    pub last: Option<TaskState>,
    /// What was heard of its end.
    pub end: End,
}

/// A call on its way.
#[derive(Clone, Debug)]
pub struct Call {
    /// Whose.
    pub scheduler: usize,
    framework: FrameworkId,
    token: String,
    action: SchedulerAction,
    /// Tasks that it launches.
    launches: Vec<TaskId>,
    /// Which of its scheduler's calls it is.
    number: u64,
    /// The process that it goes to, where masters contend.
    pub to: Option<usize>,
}

/// See the module.
pub struct Scheduler {
    /// Its description.
    pub info: v1::FrameworkInfo,
    /// Once it has one.
    pub id: Option<FrameworkId>,
    /// Number of the present subscription.
    pub attempt: u64,
    /// Its connection, and the process at which that ends where masters contend.
    pub connection: Option<u64>,
    at: Option<usize>,
    /// It has seen SUBSCRIBED on it.
    pub subscribed: bool,
    /// It launches nothing more and ends what it has.
    pub ending: bool,
    /// What it launched.
    pub tasks: BTreeMap<TaskId, Known>,
    /// Of these, what it asked to be killed.
    pub unwanted: BTreeSet<TaskId>,
    /// What it would have launched, had the call not been refused.
    refused: BTreeSet<TaskId>,
    launched: u64,
    offers: BTreeMap<OfferId, OfferOut>,
    /// Calls sent, and the latest of them that has arrived.
    called: u64,
    arrived: u64,
}

impl Scheduler {
    /// One that has never subscribed.
    pub fn new(info: v1::FrameworkInfo) -> Scheduler {
        Scheduler {
            info,
            id: None,
            attempt: 0,
            connection: None,
            at: None,
            subscribed: false,
            ending: false,
            tasks: BTreeMap::new(),
            unwanted: BTreeSet::new(),
            refused: BTreeSet::new(),
            launched: 0,
            offers: BTreeMap::new(),
            called: 0,
            arrived: 0,
        }
    }

    /// Its tasks outlive agents, and it may be away for as long as it likes.
    pub fn is_patient(&self) -> bool {
        self.info.checkpoint() && self.info.failover_timeout() >= 1e6
    }

    fn token(&self) -> String {
        format!("token-{}", self.attempt)
    }

    /// Tasks whose end it hasn't heard of.
    pub fn open(&self) -> impl Iterator<Item = (&TaskId, &Known)> {
        self.tasks.iter().filter(|(_, known)| !known.end.heard())
    }
}

impl World {
    /// A scheduler subscribes (again); an older stream of its is given up.
    pub fn subscribe(&mut self, index: usize, pause: Duration) {
        let scheduler = &mut self.schedulers[index];
        scheduler.attempt += 1;
        scheduler.subscribed = false;
        scheduler.offers.clear();
        let attempt = scheduler.attempt;
        self.after(pause, Happening::Subscribes(index, attempt));
    }

    pub(crate) fn subscribes(&mut self, index: usize, attempt: u64) {
        if self.schedulers[index].attempt != attempt {
            return;
        }
        let Some(life) = self.dials(Seeker::Scheduler(index)) else {
            let pause = self.within(5) + Duration::from_millis(100);
            return self.after(pause, Happening::Subscribes(index, attempt));
        };
        self.leaves_another(index, life);
        let id = self.network.connect(Peer::Scheduler(index, attempt), life);
        self.schedulers[index].connection = Some(id);
        self.schedulers[index].at = self.masters.get(&life).and_then(|master| master.process);
        let scheduler = &self.schedulers[index];
        let info = v1::FrameworkInfo { id: scheduler.id.as_ref().map(Into::into), ..scheduler.info.clone() };
        let stream_token = scheduler.token().into();
        let (info, suppressed_roles) = (Box::new(info), Vec::new());
        let stream = StreamId(id);
        self.tell_master(life, Event::Subscribe { stream, stream_token, info, suppressed_roles });
    }

    /// Who goes to another master than the one he comes from closes what he has there.
    fn leaves_another(&mut self, index: usize, life: u64) {
        let former = self.schedulers[index].connection.take();
        let elsewhere = |id: &u64| self.network.get(*id).is_some_and(|connection| connection.life != life);
        if let (Some(former), true) = (former.filter(elsewhere), self.ensemble.is_some()) {
            self.ends_at_peer(former);
        }
    }

    /// The stream of a subscription ended.
    pub(crate) fn stream_ends(&mut self, index: usize, attempt: u64) {
        if self.schedulers[index].attempt == attempt {
            let pause = self.within(5);
            self.subscribe(index, pause);
        }
    }

    pub(crate) fn arrives_at_scheduler(&mut self, id: u64, event: SchedulerEvent) {
        let Some(connection) = self.network.get(id).filter(|c| !c.broken && !c.peer_told) else {
            return self.faults.add(Fault::Dropped);
        };
        let Peer::Scheduler(index, attempt) = connection.peer else { return };
        let life = connection.life;
        if self.schedulers[index].attempt != attempt {
            return;
        }
        self.note(|| format!("scheduler {index} <- {}", describe(&event)));
        match event {
            SchedulerEvent::Subscribed { framework } => {
                self.judge_name(index, &framework);
                let scheduler = &mut self.schedulers[index];
                scheduler.id = Some(framework);
                scheduler.subscribed = true;
                self.reconcile(index);
            }
            SchedulerEvent::Offers(offers) => offers.into_iter().for_each(|offer| self.offered(index, offer)),
            SchedulerEvent::Rescind(offer) => drop(self.schedulers[index].offers.remove(&offer)),
            SchedulerEvent::Update(status) => self.updated(index, life, &status),
            SchedulerEvent::Error(why) if why.contains("removed") => self.forgotten(index, life),
            SchedulerEvent::Error(_)
            | SchedulerEvent::UpdateOperation(_)
            | SchedulerEvent::Failure { .. }
            | SchedulerEvent::Heartbeat => {}
        }
    }

    /// A framework keeps the id that it got, and no two have the same.
    fn judge_name(&mut self, index: usize, framework: &FrameworkId) {
        let mut others = self.schedulers.iter().enumerate().filter(|(other, _)| *other != index);
        let taken = others.any(|(_, other)| other.id.as_ref() == Some(framework));
        let before = self.schedulers[index].id.clone().filter(|before| before != framework);
        if taken || before.is_some() {
            self.broken(format!(
                "scheduler {index} is {framework} now; it was {before:?}, another is so: {taken}"
            ));
        }
    }

    /// It was away too long: its tasks are ended by the master, and it starts anew.
    fn forgotten(&mut self, index: usize, life: u64) {
        let since = self.masters.get(&life).and_then(|master| master.streams.get(&index)?.lost);
        let scheduler = &mut self.schedulers[index];
        scheduler.id = None;
        scheduler.tasks.clear();
        let away = since.map_or(Duration::ZERO, |since| self.now.since(since));
        // One that has ended meanwhile can't be asked any more.
        if self.masters.contains_key(&life) && away.as_secs_f64() < scheduler.info.failover_timeout() {
            self.broken(format!("scheduler {index} was removed although it was away for {away:?} only"));
        }
    }

    fn offered(&mut self, index: usize, offer: OfferOut) {
        let (ending, id) = (self.schedulers[index].ending, offer.offer.id.clone());
        if ending || self.percent(30) {
            let refuse = if ending { Some(120.0) } else { [None, Some(0.0), Some(20.0)][self.pick(3)] };
            let action = SchedulerAction::Decline { offers: vec![id], refuse_seconds: refuse };
            self.call(index, action, Vec::new());
        } else if self.percent(15) {
            // Some think about it for a while, and some forget.
            self.schedulers[index].offers.insert(id, offer);
        } else {
            self.use_offers(index, vec![offer]);
        }
    }

    fn use_offers(&mut self, index: usize, offers: Vec<OfferOut>) {
        let mut launches = Vec::new();
        let mut infos = Vec::new();
        let count = self.random.below(3) + 1;
        let agent = offers[0].offer.agent.clone();
        for _ in 0..count {
            let cpus = i64::try_from(self.random.below(900) + 100).expect("small");
            let mem = i64::try_from(self.random.below(400) + 32).expect("small");
            let scheduler = &mut self.schedulers[index];
            scheduler.launched += 1;
            let id = TaskId::new(format!("{}-t{}", scheduler.info.name, scheduler.launched));
            infos.push(task(id.as_str(), &agent, cpus, mem));
            let known = Known { agent: agent.clone(), launched: self.now, last: None, end: End::Open };
            scheduler.tasks.insert(id.clone(), known);
            launches.push(id);
        }
        let action = SchedulerAction::Accept {
            offers: offers.into_iter().map(|offer| offer.offer.id).collect(),
            operations: vec![launch(infos)],
            refuse_seconds: [None, Some(0.0), Some(1.0)][self.pick(3)],
        };
        self.call(index, action, launches);
    }

    fn updated(&mut self, index: usize, life: u64, status: &v1::TaskStatus) {
        let state = TaskState::from(status.state());
        let id = TaskId::from(&status.task_id);
        let agent = status.agent_id.as_ref().map(AgentId::from);
        let outdated = status.source() == Source::Master && self.is_superseded(life);
        let Scheduler { info, tasks, refused, id: framework, .. } = &mut self.schedulers[index];
        let Some(known) = tasks.get_mut(&id) else {
            // A call that reached a process while that was stopped is refused much later: it had been asked about by then.
            use TaskState::{Killing, Running, Staging, Starting};
            let runs = matches!(state, Staging | Starting | Running | Killing);
            if refused.contains(&id) && status.reason() == Reason::Reconciliation && !runs {
                return;
            }
            return self.broken(format!("scheduler {index} hears of task {id}, which it never launched"));
        };
        known.last = Some(state);
        match known.end.hears(info, status, life) {
            // What is said by a master that was succeeded is no end: its successor may know better.
            Ok(end) if outdated => known.end = if end.heard() { End::Loose(state) } else { end },
            Err(_) if outdated => {}
            Ok(end) => known.end = end,
            Err(why) => {
                let key = framework.clone().map(|framework| (framework, id.clone()));
                let repeats =
                    |node: &AgentNode| key.as_ref().is_some_and(|key| node.host.may_repeat(key, state));
                if !self.agents.iter().any(repeats) {
                    self.broken(format!("task {id} {why}"));
                }
            }
        }
        if let (Some(uuid), Some(agent)) = (&status.uuid, agent) {
            let action = SchedulerAction::Acknowledge { agent, task: id, uuid: uuid.to_vec() };
            self.call(index, action, Vec::new());
        }
    }

    pub(crate) fn scheduler_tick(&mut self, index: usize) {
        let pause = self.within(15) + Duration::from_secs(1);
        self.after(pause, Happening::SchedulerTick(index));
        if !self.schedulers[index].subscribed {
            return;
        }
        if self.percent(40) {
            self.reconcile(index);
        }
        if self.schedulers[index].ending {
            for (task, agent) in self.settled(index) {
                self.call(index, SchedulerAction::Kill { task, agent: Some(agent), grace: None }, Vec::new());
            }
            return;
        }
        let held: Vec<_> = std::mem::take(&mut self.schedulers[index].offers).into_values().collect();
        let agents: Vec<_> = held.iter().map(|offer| offer.offer.agent.clone()).collect();
        match agents.first() {
            Some(first) if agents.iter().all(|agent| agent == first) => self.use_offers(index, held),
            Some(_) if self.percent(50) => self.use_offers(index, held),
            _ => self.whim(index),
        }
    }

    fn whim(&mut self, index: usize) {
        let action = match self.random.below(6) {
            0 => SchedulerAction::Revive { roles: Vec::new() },
            1 => SchedulerAction::Suppress { roles: Vec::new() },
            2 | 3 => {
                let open = self.settled(index);
                if open.is_empty() {
                    return;
                }
                let task = open[self.pick(open.len())].0.clone();
                SchedulerAction::Kill { task, agent: None, grace: Some(Duration::from_secs(2)) }
            }
            4 => SchedulerAction::Reconcile { tasks: Vec::new() },
            _ => SchedulerAction::Request,
        };
        let suppressed = matches!(action, SchedulerAction::Suppress { .. });
        self.call(index, action, Vec::new());
        if suppressed && self.percent(70) {
            self.call(index, SchedulerAction::Revive { roles: Vec::new() }, Vec::new());
        }
    }

    /// Tasks whose end it hasn't heard of and whose launch must have arrived, if it ever does.
    fn settled(&self, index: usize) -> Vec<(TaskId, AgentId)> {
        let old = |known: &Known| self.now.since(known.launched) > SETTLED;
        let open = self.schedulers[index].open().filter(|(_, known)| old(known));
        open.map(|(id, known)| (id.clone(), known.agent.clone())).collect()
    }

    /// Asks about every task whose end it hasn't heard of.
    fn reconcile(&mut self, index: usize) {
        let tasks: Vec<_> =
            self.settled(index).into_iter().map(|(task, agent)| (task, Some(agent))).collect();
        if !tasks.is_empty() {
            self.call(index, SchedulerAction::Reconcile { tasks }, Vec::new());
        }
    }

    /// Sends a call, each on a connection of its own: calls overtake each other, and some never arrive.
    pub fn call(&mut self, index: usize, action: SchedulerAction, launches: Vec<TaskId>) {
        let scheduler = &mut self.schedulers[index];
        let Some(framework) = scheduler.id.clone() else { return };
        scheduler.called += 1;
        if let SchedulerAction::Kill { task, .. } = &action {
            scheduler.unwanted.insert(task.clone());
        }
        let (token, number) = (scheduler.token(), scheduler.called);
        let to = scheduler.at;
        let call = Call { scheduler: index, framework, token, action, launches, number, to };
        if self.chaotic && self.percent(3) {
            self.faults.add(Fault::Dropped);
            self.note(|| format!("lost: {call:?}"));
            return;
        }
        // Whoever waits too long for an answer asks again; only an ACCEPT must not be used twice.
        let once = matches!(call.action, SchedulerAction::Accept { .. });
        if self.chaotic && !once && self.percent(3) {
            let pause = delay(&mut self.random);
            self.faults.add(Fault::Duplicated);
            self.after(pause, Happening::Call(call.clone().into()));
        }
        let pause = delay(&mut self.random);
        self.faults.travels(self.now, self.now + pause);
        self.after(pause, Happening::Call(call.into()));
    }

    pub(crate) fn call_arrives(&mut self, call: Call) {
        let latest = &mut self.schedulers[call.scheduler].arrived;
        if call.number < *latest {
            self.faults.add(Fault::Reordered);
        }
        *latest = call.number.max(*latest);
        let there = match call.to {
            Some(process) => self.node_reached(Seeker::Scheduler(call.scheduler), process),
            None => self.leading(),
        };
        let Some(life) = there else { return self.faults.add(Fault::Dropped) };
        self.last_call += 1;
        let id = CallId(self.last_call);
        let event = Event::Scheduler {
            call: id,
            framework: call.framework.clone(),
            principal: None,
            stream_token: Some(call.token.clone()),
            action: call.action.clone(),
        };
        self.masters
            .get_mut(&life)
            .into_iter()
            .for_each(|master| drop(master.calls.insert(id, call.clone())));
        self.step_master(life, event);
        let waits = |master: &MasterNode| !master.down && master.calls.contains_key(&id);
        if self.masters.get(&life).is_some_and(waits) {
            self.broken(format!("call {id:?} was not answered"));
        }
    }

    /// The master answers a call.
    pub(crate) fn answer(&mut self, life: u64, id: CallId, outcome: Result<(), Refused>) {
        let call = self.masters.get_mut(&life).and_then(|master| master.calls.remove(&id));
        let Some(call) = call else { return };
        if let Err(refused) = outcome {
            self.note(|| format!("refused: {refused:?} {call:?}"));
            // The answer to a scheduler that waits for it gets through.
            let pause = delay(&mut self.random);
            self.after(pause, Happening::Refusal(call.into()));
        }
    }

    /// A refused call launched nothing.
    pub(crate) fn refused(&mut self, call: &Call) {
        for task in &call.launches {
            let scheduler = &mut self.schedulers[call.scheduler];
            scheduler.tasks.remove(task);
            scheduler.refused.insert(task.clone());
        }
    }

    /// A random index below `count`.
    pub fn pick(&mut self, count: usize) -> usize {
        usize::try_from(self.random.below(count as u64)).expect("below a usize")
    }
}

fn describe(event: &SchedulerEvent) -> String {
    match event {
        SchedulerEvent::Offers(offers) => {
            let one = |o: &OfferOut| format!("{} {} {}", o.offer.id, o.offer.agent, o.offer.resources);
            format!("OFFERS {}", offers.iter().map(one).collect::<Vec<_>>().join(", "))
        }
        SchedulerEvent::Update(s) => {
            format!("UPDATE {} {:?} {:?} {:?}", s.task_id.value, s.state(), s.reason(), s.message)
        }
        other => format!("{other:?}"),
    }
}
