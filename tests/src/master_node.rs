//! The master's process: carries out the effects of the master's logic, and checks them.

use std::collections::BTreeMap;
use std::time::Duration;

use master::logic::{
    Agent, Audited, CallId, Contents, Effect, Event, LinkId, OperatorEvent, Refused, SchedulerEvent,
    Settings, State, StreamId, Table,
};
use model::{AgentId, MasterId, Timestamp};
use wire::link::{from_agent, from_master};

use crate::books::Books;
use crate::election::Batch;
use crate::faults::Fault;
use crate::messages::event_of;
use crate::mirror::Mirror;
use crate::network::{Connection, Peer};
use crate::scheduler::Call;
use crate::world::{Happening, World};

/// A running master.
pub struct MasterNode {
    /// The real logic.
    pub state: State,
    /// Which of the masters that were.
    pub life: u64,
    /// Which of those that contend, if it isn't alone.
    pub process: Option<usize>,
    /// What all that it says carries.
    pub epoch: u64,
    /// What it wants the ensemble to write at the end of this step.
    pub writes: Batch,
    /// What it knows to be written.
    pub books: Books,
    /// What an operator who watches has been told.
    pub mirror: Mirror,
    /// Calls that have no answer yet.
    pub calls: BTreeMap<CallId, Call>,
    /// Agents that operators want to be gone.
    pub asked_gone: BTreeMap<CallId, AgentId>,
    /// Of each scheduler that it took.
    pub streams: BTreeMap<usize, Subscribed>,
    /// The registry refused a write: nothing more may come of it.
    pub down: bool,
    /// It has said that it steps down.
    pub stepped_down: bool,
    tick: Option<Timestamp>,
    audited: Audited,
    fitting: Table<AgentId, Agent>,
}

/// The last stream of a scheduler that a master accepted.
#[derive(Clone, Copy, Default)]
pub struct Subscribed {
    /// Its number.
    pub stream: u64,
    /// When the master was told that such a stream ended.
    pub lost: Option<Timestamp>,
}

impl MasterNode {
    /// One that takes over what it found in the registry.
    pub fn new(state: State, (life, process): (u64, Option<usize>), found: Contents) -> MasterNode {
        MasterNode {
            state,
            life,
            process,
            epoch: found.epoch,
            writes: Batch::new(),
            books: Books::new(found),
            mirror: Mirror::default(),
            calls: BTreeMap::new(),
            asked_gone: BTreeMap::new(),
            streams: BTreeMap::new(),
            down: false,
            stepped_down: false,
            tick: None,
            audited: Audited::default(),
            fitting: Table::new(),
        }
    }

    /// Whether all that the master holds fits together.
    fn audit(&mut self) -> Result<(), String> {
        self.state.audit_since(&mut self.audited)?;
        let mut changed = self.state.agents.iter().filter(|(id, row)| {
            self.fitting.get(*id).is_none_or(|before| !std::sync::Arc::ptr_eq(before, row))
        });
        if let Some((agent, _)) = changed.find(|(id, _)| !self.state.fits(id)) {
            return Err(format!("more is used and offered of agent {agent} than it has"));
        }
        self.fitting = self.state.agents.clone();
        Ok(())
    }
}

/// Settings as the product has them by default.
pub fn settings(life: u64, epoch: u64) -> Settings {
    Settings {
        // Each tenure has its own: a process that leads again doesn't know what ids it gave before.
        master: MasterId::new(format!("m{life}")),
        epoch,
        agent_ping_timeout: Duration::from_secs(15),
        max_agent_ping_timeouts: 5,
        agent_reregister_timeout: Duration::from_secs(600),
        allocation_interval: Duration::from_secs(1),
        heartbeat_interval: Duration::from_secs(15),
        offer_timeout: None,
        max_completed_frameworks: 50,
        max_completed_tasks: 1000,
        max_unreachable_tasks: 1000,
        root_submissions: true,
        domain: None,
        require_agent_domain: false,
        agent_removal_interval: None,
        recovery_agent_removal_limit: 1.0,
        max_watchers: 1000,
        registry_gc_interval: Duration::from_secs(15 * 60),
        registry_max_agent_age: Duration::from_secs(14 * 24 * 3600),
        registry_max_agent_count: 102_400,
    }
}

impl World {
    /// A master that is alone takes over.
    pub fn elect(&mut self) {
        if self.masters.is_empty() && self.ensemble.is_none() {
            self.registry.contents.epoch += 1;
            self.lead(None, self.registry.contents.clone());
        }
    }

    /// A master begins to lead with what it found in the registry.
    pub fn lead(&mut self, process: Option<usize>, found: Contents) {
        self.lives += 1;
        let life = self.lives;
        let mut settings = settings(life, found.epoch);
        settings.offer_timeout = self.seed.is_multiple_of(3).then_some(Duration::from_secs(30));
        settings.agent_removal_interval = self.seed.is_multiple_of(5).then_some(Duration::from_secs(20));
        let state = State::new(settings, self.random.next_u64(), self.now);
        self.note(|| format!("master {life} elected"));
        self.masters.insert(life, MasterNode::new(state, (life, process), found.clone()));
        self.step_master(life, Event::Elected(Box::new(found)));
        // Half of the worlds are watched from the first moment, the others from some later one.
        let pause = if self.seed.is_multiple_of(2) { Duration::ZERO } else { self.within(300) };
        self.after(pause, Happening::OperatorWatches(life));
    }

    /// The master that has the highest epoch.
    pub fn leader(&self) -> Option<&MasterNode> {
        self.masters.values().max_by_key(|master| master.epoch)
    }

    /// Its life.
    pub fn leading(&self) -> Option<u64> {
        self.leader().map(|master| master.life)
    }

    /// Lets the leading master take in an event.
    pub fn tell_leader(&mut self, event: Event) {
        let Some(life) = self.leading() else { return };
        self.tell_master(life, event);
    }

    /// Lets a master take in an event, once it is not stopped any more.
    pub fn tell_master(&mut self, life: u64, event: Event) {
        let later = Happening::MasterHears(life, event.into());
        match (self.sleeps_until(&later), later) {
            (Some(until), later) => self.at(until, later),
            (None, Happening::MasterHears(life, event)) => self.step_master(life, *event),
            (None, _) => {}
        }
    }

    pub(crate) fn operator_watches(&mut self, life: u64) {
        // Numbers of connections are given by the network; this one is no connection.
        self.step_master(life, Event::Watch { stream: StreamId(u64::MAX) });
    }

    fn operator_hears(&mut self, life: u64, event: OperatorEvent) {
        let Some(master) = self.masters.get_mut(&life) else { return };
        if let Err(why) = master.mirror.hear(&event, &master.state) {
            self.broken(format!("an operator hears {event:?}: {why}"));
        }
    }

    /// The leading master dies. Of the writes under way some are done all the same.
    pub fn kill_leader(&mut self) {
        let Some(life) = self.leading() else { return };
        self.faults.add(Fault::MasterKilled);
        self.note(|| "master dies".to_owned());
        let done = usize::try_from(self.random.below(self.registry.pending() + 1)).expect("small");
        self.registry.crash(done);
        self.masters.remove(&life);
        for connection in self.network.leading_to(life) {
            self.break_connection(connection);
        }
        let pause = self.within(60);
        self.after(pause, Happening::Elected);
    }

    /// Lets a master take in an event.
    pub fn step_master(&mut self, life: u64, event: Event) {
        let now = self.now;
        let Some(master) = self.masters.get_mut(&life) else { return };
        let told = if self.tracing { format!("{event:?}") } else { String::new() };
        let mut out = Vec::new();
        master.state.step(now, event, &mut out);
        let audited = self.steps.is_multiple_of(self.audit_every);
        let checked = if audited { master.audit() } else { Ok(()) };
        let booked = if audited && !master.down { master.books.agrees_with(&master.state) } else { Ok(()) };
        self.note(|| format!("master {life} <- {}", shorten(told)));
        if let Err(why) = checked.and(booked) {
            self.broken(why);
        }
        if !out.is_empty() && !self.may_act(life) {
            return;
        }
        for effect in out {
            self.carry_out(life, effect);
        }
        self.flush(life);
        if let Some(master) = self.masters.get(&life)
            && audited
            && let Err(why) = master.mirror.agrees(&master.state)
        {
            self.broken(format!("what an operator was told is not so: {why}"));
        }
        self.plan_master_tick(life);
    }

    /// A master that stepped down ends.
    pub(crate) fn master_ends(&mut self, life: u64) {
        if self.masters.contains_key(&life) {
            self.kill_leader();
        }
    }

    fn plan_master_tick(&mut self, life: u64) {
        let now = self.now;
        let Some(master) = self.masters.get_mut(&life) else { return };
        let Some(wakeup) = master.state.next_wakeup().map(|at| at.max(now)) else { return };
        if master.tick.is_none_or(|tick| wakeup < tick) {
            master.tick = Some(wakeup);
            self.at(wakeup, Happening::MasterTick(life));
        }
    }

    pub(crate) fn master_tick(&mut self, life: u64) {
        let now = self.now;
        let Some(master) = self.masters.get_mut(&life) else { return };
        if master.tick.is_some_and(|tick| tick <= now) {
            master.tick = None;
            self.step_master(life, Event::Tick);
        }
    }

    pub(crate) fn arrives_at_master(&mut self, id: u64, body: from_agent::Body) {
        let stands = |c: &&Connection| !c.broken && !c.master_told && self.masters.contains_key(&c.life);
        match self.network.get(id).filter(stands) {
            Some(_) if self.has_seen_newer(id, &body) => {
                self.faults.add(Fault::EpochRefused);
                self.close_connection(id);
            }
            Some(&Connection { life, .. }) => self.step_master(life, event_of(LinkId(id), body)),
            None => self.faults.add(Fault::Dropped),
        }
    }

    /// A master doesn't take an agent that has obeyed a newer one.
    fn has_seen_newer(&self, id: u64, body: &from_agent::Body) -> bool {
        let from_agent::Body::Reregister(message) = body else { return false };
        let master = self.network.get(id).and_then(|connection| self.masters.get(&connection.life));
        master.is_some_and(|master| message.epoch > master.epoch)
    }

    pub(crate) fn master_loses(&mut self, life: u64, peer: Peer, id: u64) {
        let Some(master) = self.masters.get_mut(&life) else { return };
        if let Peer::Scheduler(index, _) = peer
            && let Some(subscribed) = master.streams.get_mut(&index).filter(|last| last.stream == id)
        {
            subscribed.lost = Some(self.now);
        }
        let event = match peer {
            Peer::Agent(..) => Event::LinkLost { link: LinkId(id) },
            Peer::Scheduler(..) => Event::StreamLost { stream: StreamId(id) },
        };
        self.step_master(life, event);
    }

    fn carry_out(&mut self, life: u64, effect: Effect) {
        let master = self.masters.get_mut(&life).expect("only a master does something");
        if let Effect::StepDown { why } = &effect {
            if !master.down || std::mem::replace(&mut master.stepped_down, true) {
                self.broken(format!("the master stepped down: {why}"));
            }
            return;
        }
        if master.down {
            return self.broken(format!("the registry failed and the master goes on with {effect:?}"));
        }
        match effect {
            Effect::Persist { ticket, change } if master.process.is_some() => {
                master.writes.push((ticket, change));
            }
            Effect::Persist { ticket, change } => self.write_registry(life, ticket, change),
            Effect::ToAgent { link, message } => self.send_to_agent(life, link, message),
            Effect::CloseLink { link } => self.close_connection(link.0),
            Effect::ToFramework { stream, event } => self.send_to_scheduler(life, stream, event),
            Effect::CloseStream { stream } => self.close_connection(stream.0),
            Effect::ToOperator { event, .. } => self.operator_hears(life, event),
            Effect::ToOperators(event) => self.operator_hears(life, event),
            Effect::Answer { call, outcome } => self.answer_checked(life, call, outcome),
            Effect::StepDown { .. } => {}
        }
    }

    /// An operator is told that an agent is gone once that is written.
    fn answer_checked(&mut self, life: u64, call: CallId, outcome: Result<(), Refused>) {
        let Some(master) = self.masters.get_mut(&life) else { return };
        if let Some(agent) = master.asked_gone.remove(&call)
            && outcome.is_ok()
            && !master.books.contents.gone.contains_key(&agent)
        {
            self.broken(format!("agent {agent} is said to be gone but the registry doesn't know"));
        }
        self.answer(life, call, outcome);
    }

    fn send_to_agent(&mut self, life: u64, link: LinkId, message: Box<from_master::Body>) {
        let Some(master) = self.masters.get_mut(&life) else { return };
        let epoch = master.epoch;
        if let Err(why) = master.books.lets_agent_hear(link, &message) {
            self.broken(why);
        }
        let Some(when) = self.network.arrival_at_peer(link.0, self.now, &mut self.random) else {
            return self.faults.add(Fault::Dropped);
        };
        self.faults.travels(self.now, when);
        // A sender that is not sure repeats itself at once.
        if self.chaotic && self.percent(1) {
            self.faults.add(Fault::Duplicated);
            self.at(when, Happening::ToAgent(link.0, epoch, message.clone()));
        }
        self.at(when, Happening::ToAgent(link.0, epoch, message));
    }

    fn send_to_scheduler(&mut self, life: u64, stream: StreamId, event: SchedulerEvent) {
        let Some(master) = self.masters.get_mut(&life) else { return };
        let told = master.books.lets_framework_hear(&event);
        if let (SchedulerEvent::Subscribed { .. }, Some(connection)) = (&event, self.network.get(stream.0))
            && let Peer::Scheduler(index, _) = connection.peer
        {
            master.streams.entry(index).or_default().stream = stream.0;
        }
        if let Err(why) = told {
            self.broken(why);
        }
        if let Some(when) = self.network.arrival_at_peer(stream.0, self.now, &mut self.random) {
            self.faults.travels(self.now, when);
            self.at(when, Happening::ToScheduler(stream.0, event.into()));
        }
    }
}

fn shorten(mut text: String) -> String {
    const MOST: usize = 700;
    if text.len() > MOST {
        let end = (0..=MOST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}
