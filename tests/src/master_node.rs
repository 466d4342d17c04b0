//! The master's process: carries out the effects of the master's logic, and checks them.

use std::time::Duration;

use master::logic::{
    Agent, Audited, CallId, Effect, Event, LinkId, OperatorEvent, Refused, SchedulerEvent, Settings, State,
    StreamId, Table,
};
use model::{AgentId, MasterId, Timestamp};
use wire::link::{from_agent, from_master};

use crate::faults::Fault;
use crate::messages::event_of;
use crate::mirror::Mirror;
use crate::network::Peer;
use crate::world::{Happening, World};

/// A running master.
pub struct MasterNode {
    /// The real logic.
    pub state: State,
    /// Which of the masters that were.
    pub life: u64,
    /// The registry refused a write: nothing more may come of it.
    pub down: bool,
    /// It has said that it steps down.
    pub stepped_down: bool,
    tick: Option<Timestamp>,
    audited: Audited,
    fitting: Table<AgentId, Agent>,
}

impl MasterNode {
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
    /// A master takes over.
    pub fn elect(&mut self) {
        if self.master.is_some() {
            return;
        }
        self.lives += 1;
        let life = self.lives;
        self.registry.contents.epoch += 1;
        let mut settings = settings(life, self.registry.contents.epoch);
        settings.offer_timeout = self.seed.is_multiple_of(3).then_some(Duration::from_secs(30));
        settings.agent_removal_interval = self.seed.is_multiple_of(5).then_some(Duration::from_secs(20));
        let state = State::new(settings, self.random.next_u64(), self.now);
        self.note(|| format!("master {life} elected"));
        self.master = Some(MasterNode {
            state,
            life,
            down: false,
            stepped_down: false,
            tick: None,
            audited: Audited::default(),
            fitting: Table::new(),
        });
        self.mirror = Mirror::default();
        self.step_master(Event::Elected(Box::new(self.registry.contents.clone())));
        // Half of the worlds are watched from the first moment, the others from some later one.
        let pause = if self.seed.is_multiple_of(2) { Duration::ZERO } else { self.within(300) };
        self.after(pause, Happening::OperatorWatches(life));
    }

    pub(crate) fn operator_watches(&mut self, life: u64) {
        if self.master.as_ref().is_some_and(|master| master.life == life) {
            // Numbers of connections are given by the network; this one is no connection.
            self.step_master(Event::Watch { stream: StreamId(u64::MAX) });
        }
    }

    fn operator_hears(&mut self, event: OperatorEvent) {
        let Some(master) = &self.master else { return };
        if let Err(why) = self.mirror.hear(&event, &master.state) {
            self.broken(format!("an operator hears {event:?}: {why}"));
        }
    }

    /// The master dies. Of the writes under way some are done all the same.
    pub fn crash_master(&mut self) {
        if self.master.take().is_none() {
            return;
        }
        self.faults.add(Fault::MasterKilled);
        self.note(|| "master dies".to_owned());
        let done = usize::try_from(self.random.below(self.registry.pending() + 1)).expect("small");
        self.registry.crash(done);
        for connection in self.network.standing(|_| true) {
            self.break_connection(connection);
        }
        self.calls.clear();
        // The next one knows nothing of those who are away.
        self.schedulers.iter_mut().for_each(|scheduler| scheduler.away_since = None);
        let pause = self.within(60);
        self.after(pause, Happening::Elected);
    }

    /// Lets the master take in an event.
    pub fn step_master(&mut self, event: Event) {
        let now = self.now;
        let Some(master) = &mut self.master else { return };
        let told = if self.tracing { format!("{event:?}") } else { String::new() };
        let mut out = Vec::new();
        master.state.step(now, event, &mut out);
        let audited = self.steps.is_multiple_of(self.audit_every);
        let checked = if audited { master.audit() } else { Ok(()) };
        let compared = audited && !master.down;
        self.note(|| format!("master <- {}", shorten(told)));
        if let Err(why) = checked {
            self.broken(why);
        }
        if compared
            && let Err(why) = self.registry.agrees_with(&self.master.as_ref().expect("it stepped").state)
        {
            self.broken(why);
        }
        for effect in out {
            self.carry_out(effect);
        }
        if let Some(master) = &self.master
            && audited
            && let Err(why) = self.mirror.agrees(&master.state)
        {
            self.broken(format!("what an operator was told is not so: {why}"));
        }
        self.plan_master_tick();
    }

    /// A master that stepped down ends.
    pub(crate) fn master_ends(&mut self, life: u64) {
        if self.master.as_ref().is_some_and(|master| master.life == life) {
            self.crash_master();
        }
    }

    fn plan_master_tick(&mut self) {
        let now = self.now;
        let Some(master) = &mut self.master else { return };
        let Some(wakeup) = master.state.next_wakeup().map(|at| at.max(now)) else { return };
        if master.tick.is_none_or(|tick| wakeup < tick) {
            master.tick = Some(wakeup);
            let life = master.life;
            self.at(wakeup, Happening::MasterTick(life));
        }
    }

    pub(crate) fn master_tick(&mut self, life: u64) {
        let now = self.now;
        let Some(master) = self.master.as_mut().filter(|master| master.life == life) else { return };
        if master.tick == Some(now) {
            master.tick = None;
            self.step_master(Event::Tick);
        }
    }

    pub(crate) fn arrives_at_master(&mut self, id: u64, body: from_agent::Body) {
        let life = self.master.as_ref().map(|master| master.life);
        let stands =
            self.network.get(id).is_some_and(|c| !c.broken && !c.master_told && Some(c.life) == life);
        if stands {
            self.step_master(event_of(LinkId(id), body));
        } else {
            self.faults.add(Fault::Dropped);
        }
    }

    pub(crate) fn master_loses(&mut self, life: u64, peer: Peer, id: u64) {
        if self.master.as_ref().is_none_or(|master| master.life != life) {
            return;
        }
        if let Peer::Scheduler(index, _) = peer
            && self.schedulers[index].stream == id
        {
            self.schedulers[index].away_since = Some(self.now);
        }
        self.step_master(match peer {
            Peer::Agent(..) => Event::LinkLost { link: LinkId(id) },
            Peer::Scheduler(..) => Event::StreamLost { stream: StreamId(id) },
        });
    }

    fn carry_out(&mut self, effect: Effect) {
        let master = self.master.as_mut().expect("only a master does something");
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
            Effect::Persist { ticket, change } => self.write_registry(ticket, change),
            Effect::ToAgent { link, message } => self.send_to_agent(link, message),
            Effect::CloseLink { link } => self.close_connection(link.0),
            Effect::ToFramework { stream, event } => self.send_to_scheduler(stream, event),
            Effect::CloseStream { stream } => self.close_connection(stream.0),
            Effect::ToOperator { event, .. } => self.operator_hears(event),
            Effect::ToOperators(event) => self.operator_hears(event),
            Effect::Answer { call, outcome } => self.answer_checked(call, outcome),
            Effect::StepDown { .. } => {}
        }
    }

    /// An operator is told that an agent is gone once that is written.
    fn answer_checked(&mut self, call: CallId, outcome: Result<(), Refused>) {
        if let Some(agent) = self.asked_gone.remove(&call)
            && outcome.is_ok()
            && !self.registry.contents.gone.contains_key(&agent)
        {
            self.broken(format!("agent {agent} is said to be gone but the registry doesn't know"));
        }
        self.answer(call, outcome);
    }

    fn send_to_agent(&mut self, link: LinkId, message: Box<from_master::Body>) {
        if let Err(why) = self.registry.lets_agent_hear(link, &message) {
            self.broken(why);
        }
        let epoch = self.registry.contents.epoch;
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

    fn send_to_scheduler(&mut self, stream: StreamId, event: SchedulerEvent) {
        if let Err(why) = self.registry.lets_framework_hear(&event) {
            self.broken(why);
        }
        if let (SchedulerEvent::Subscribed { .. }, Some(connection)) = (&event, self.network.get(stream.0))
            && let Peer::Scheduler(index, _) = connection.peer
        {
            self.schedulers[index].stream = stream.0;
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
