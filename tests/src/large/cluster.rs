//! The master of a large cluster, its agents and frameworks, on virtual time: what happens within a hundredth of a second
//! happens at its end. Disks and registry answer at once and messages arrive at once, so that memory holds no more than
//! what is at rest; `seeds` has slow and broken ones.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use agent::logic::{Event as AgentEvent, LinkId as AgentLink};
use master::logic::{
    CallId, Contents, Effect, Event, LinkId, OperatorAction, SchedulerAction, State, StreamId,
};
use model::{AgentId, Resources, TaskState, Timestamp};

use super::fleet::{Fleet, Wishes};
use super::framework::Framework;
use crate::master_node::settings;
use crate::messages::event_of;

/// The grain of time.
const MOMENT: i64 = 10_000;
/// Time passes in steps of at most this length.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Offers that a framework looks at in one moment, so that not all tasks are under way at once.
const OFFERS_AT_ONCE: usize = 50;
/// Rounds of messages in one moment after which something must be turning in circles.
const MOST_AT_ONCE: u32 = 1000;

/// See the module.
pub struct Cluster {
    /// Virtual time.
    pub now: Timestamp,
    /// The real logic.
    pub master: Option<State>,
    /// What survives masters.
    pub registry: Contents,
    /// Hosts and agents.
    pub fleet: Fleet,
    /// Those who use it.
    pub frameworks: Vec<Framework>,
    /// Hosts from and to which nothing gets through.
    pub silent: BTreeSet<usize>,
    /// Agents that ended by themselves.
    pub exited: usize,
    /// Steps of the master, and the longest of them since it was last told.
    pub steps: u64,
    longest: Duration,
    dialing: BTreeSet<usize>,
    links: BTreeMap<u64, usize>,
    inbox: BTreeMap<usize, VecDeque<AgentEvent>>,
    /// Links, streams and calls are numbered together.
    last: u64,
    lives: u64,
}

impl Cluster {
    /// Nothing runs yet.
    pub fn new(agents: usize, total: &Resources, frameworks: usize, tasks: usize) -> Cluster {
        Cluster {
            now: Timestamp::from_micros(1_700_000_000_000_000),
            master: None,
            registry: Contents::default(),
            fleet: Fleet::new(agents, total),
            frameworks: (0..frameworks).map(|n| Framework::new(n, tasks / frameworks)).collect(),
            silent: BTreeSet::new(),
            exited: 0,
            steps: 0,
            longest: Duration::ZERO,
            dialing: BTreeSet::new(),
            links: BTreeMap::new(),
            inbox: BTreeMap::new(),
            last: 0,
            lives: 0,
        }
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// A master takes over; all frameworks subscribe.
    pub fn elect(&mut self) {
        self.lives += 1;
        self.registry.epoch += 1;
        let settings = settings(self.lives, self.registry.epoch);
        self.master = Some(State::new(settings, self.lives, self.now));
        self.tell(Event::Elected(Box::new(self.registry.clone())));
        for at in 0..self.frameworks.len() {
            self.subscribe(at);
        }
    }

    fn subscribe(&mut self, at: usize) {
        let stream = StreamId(self.number());
        let framework = &mut self.frameworks[at];
        framework.stream = stream;
        framework.offers.clear();
        let mut info = framework.info.clone();
        info.id = framework.id.as_ref().map(Into::into);
        let suppressed_roles = if framework.is_full() { vec!["*".to_owned()] } else { Vec::new() };
        let stream_token = framework.token().into();
        self.tell(Event::Subscribe { stream, stream_token, info: Box::new(info), suppressed_roles });
    }

    /// The master's process ends, and with it every connection.
    pub fn lose_master(&mut self) {
        self.master = None;
        for (link, index) in std::mem::take(&mut self.links) {
            self.post(index, AgentEvent::LinkLost { link: AgentLink(link) });
        }
    }

    /// An agent's process starts.
    pub fn start(&mut self, index: usize) {
        let event = self.fleet.start(index);
        self.post(index, event);
    }

    /// An agent's process is killed.
    pub fn kill(&mut self, index: usize) {
        if let Some(link) = self.fleet.kill(index) {
            self.master_loses(link);
        }
    }

    /// The network to a host is gone; whether the master is told that the link broke.
    pub fn cut_off(&mut self, index: usize, told: bool) {
        self.silent.insert(index);
        if let Some(link) = self.fleet.members[index].link.filter(|_| told) {
            self.post(index, AgentEvent::LinkLost { link });
            self.master_loses(link);
        }
    }

    /// The network to a host is back.
    pub fn connect(&mut self, index: usize) {
        self.silent.remove(&index);
    }

    fn master_loses(&mut self, link: AgentLink) {
        if self.links.remove(&link.0).is_some() && self.master.is_some() {
            self.tell(Event::LinkLost { link: LinkId(link.0) });
        }
    }

    fn post(&mut self, index: usize, event: AgentEvent) {
        self.inbox.entry(index).or_default().push_back(event);
    }

    /// A framework calls.
    pub fn call(&mut self, at: usize, action: SchedulerAction) {
        let event = self.as_call(at, action);
        self.tell(event);
    }

    fn as_call(&mut self, at: usize, action: SchedulerAction) -> Event {
        let call = CallId(self.number());
        let framework = &self.frameworks[at];
        let stream_token = Some(framework.token());
        let framework = framework.id.clone().expect("it is subscribed");
        Event::Scheduler { call, framework, principal: None, stream_token, action }
    }

    /// An operator gives an agent up.
    pub fn mark_gone(&mut self, agent: AgentId) {
        let call = CallId(self.number());
        self.tell(Event::Operator { call, action: OperatorAction::MarkAgentGone { agent } });
    }

    /// Lets the master take in an event, and all that follows at once.
    fn tell(&mut self, event: Event) {
        let mut todo = VecDeque::from([event]);
        let mut out = Vec::new();
        while let Some(event) = todo.pop_front() {
            let master = self.master.as_mut().expect("a master leads");
            let started = Instant::now();
            master.step(self.now, event, &mut out);
            self.longest = self.longest.max(started.elapsed());
            self.steps += 1;
            for effect in out.drain(..) {
                self.does(effect, &mut todo);
            }
        }
    }

    fn does(&mut self, effect: Effect, todo: &mut VecDeque<Event>) {
        match effect {
            Effect::Persist { ticket, change } => {
                self.registry.apply(&change);
                todo.push_back(Event::Persisted { ticket, done: true });
            }
            Effect::ToAgent { link, message } => {
                let hearer = self.links.get(&link.0).copied();
                if let Some(index) = hearer.filter(|index| !self.silent.contains(index)) {
                    let (link, epoch) = (AgentLink(link.0), self.registry.epoch);
                    self.post(index, AgentEvent::LinkSays { link, epoch, body: message });
                }
            }
            Effect::CloseLink { link } => {
                if let Some(index) = self.links.remove(&link.0).filter(|index| !self.silent.contains(index)) {
                    self.post(index, AgentEvent::LinkLost { link: AgentLink(link.0) });
                }
            }
            Effect::ToFramework { stream, event } => {
                let at = self.frameworks.iter().position(|framework| framework.stream == stream);
                let at = at.expect("a stream that stands");
                match self.frameworks[at].hears(event, self.lives) {
                    Ok(answer) => todo.extend(answer.map(|action| self.as_call(at, action))),
                    Err(why) => panic!("{why}"),
                }
            }
            Effect::Answer { outcome, .. } => assert_eq!(outcome, Ok(()), "a call is refused"),
            Effect::CloseStream { stream } => panic!("{stream:?} is closed"),
            Effect::StepDown { why } => panic!("the master steps down: {why}"),
            Effect::ToOperators(_) | Effect::ToOperator { .. } => {}
        }
    }

    /// Lets everything happen that is due now.
    fn moment(&mut self) {
        for _ in 0..MOST_AT_ONCE {
            let inbox = std::mem::take(&mut self.inbox);
            for (index, wishes) in self.fleet.turn(self.now, inbox) {
                self.grant(index, wishes);
            }
            self.dial();
            let mut ticks = 0..MOST_AT_ONCE;
            while self.master.as_ref().and_then(State::next_wakeup).is_some_and(|due| due <= self.now)
                && ticks.next().is_some()
            {
                self.tell(Event::Tick);
            }
            let due = self.fleet.next_due().is_some_and(|due| due <= self.now);
            if self.inbox.is_empty() && !due {
                return;
            }
        }
        panic!("time stands still: something asks to be woken at once, again and again");
    }

    fn grant(&mut self, index: usize, wishes: Wishes) {
        if let Some(why) = wishes.broken {
            panic!("host {index}: {why}");
        }
        for (link, body) in wishes.says {
            let stands = self.links.contains_key(&link.0) && !self.silent.contains(&index);
            if stands && self.master.is_some() {
                self.tell(event_of(LinkId(link.0), *body));
            }
        }
        if let Some(link) = wishes.hangs_up.filter(|_| !self.silent.contains(&index)) {
            self.master_loses(link);
        }
        self.exited += usize::from(wishes.exits.is_some());
        if wishes.dials {
            self.dialing.insert(index);
        }
    }

    /// Links up all who want to, and can.
    fn dial(&mut self) {
        if self.master.is_none() {
            return;
        }
        let able: Vec<usize> = self.dialing.difference(&self.silent).copied().collect();
        for index in able {
            self.dialing.remove(&index);
            if self.fleet.members[index].state.is_none() {
                continue;
            }
            let link = self.number();
            self.links.insert(link, index);
            self.post(index, AgentEvent::LinkUp { link: AgentLink(link) });
        }
    }

    /// Frameworks look at some of their offers; whether any have more.
    fn use_offers(&mut self) -> bool {
        for at in 0..self.frameworks.len() {
            for _ in 0..OFFERS_AT_ONCE {
                let full = self.frameworks[at].is_full();
                let Some(action) = self.frameworks[at].use_next() else { break };
                self.call(at, action);
                if !full && self.frameworks[at].is_full() {
                    self.call(at, SchedulerAction::Suppress { roles: Vec::new() });
                }
            }
        }
        self.frameworks.iter().any(|framework| !framework.offers.is_empty())
    }

    /// Lets time pass until something is so.
    pub fn until(&mut self, what: &str, limit: Duration, holds: impl Fn(&Cluster) -> bool) {
        let end = self.now + limit;
        loop {
            self.moment();
            let busy = self.master.is_some() && self.use_offers() || !self.inbox.is_empty();
            if holds(self) {
                return;
            }
            let master = self.master.as_ref().and_then(State::next_wakeup);
            let due = [master, self.fleet.next_due()].into_iter().flatten().min().unwrap_or(end);
            let next = if busy { self.now } else { due.clamp(self.now, self.now + LONGEST_PAUSE) };
            self.now = Timestamp::from_micros((next.micros() / MOMENT + 1) * MOMENT);
            assert!(self.now < end, "not within {limit:?} of virtual time: {what}\n{}", self.shown());
        }
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.until("time passes", time + Duration::from_secs(3600), |cluster| cluster.now >= end);
    }

    /// How many tasks are in a state, as far as their frameworks heard.
    pub fn count(&self, state: TaskState) -> usize {
        self.frameworks.iter().map(|framework| framework.count(state)).sum()
    }

    /// What frameworks and master say.
    pub fn shown(&self) -> String {
        let states = TaskState::ALL.into_iter().map(|state| (state, self.count(state)));
        let heard: Vec<_> = states.filter(|(_, count)| *count > 0).collect();
        let Some(master) = &self.master else { return format!("heard {heard:?}; no master") };
        format!(
            "heard {heard:?}; {} agents, {} unreachable, {} gone, {} tasks, {} unreachable, {} offers",
            master.agents.len(),
            master.unreachable.len(),
            master.gone.len(),
            master.tasks.len(),
            master.unreachable_tasks.len(),
            master.offers.len()
        )
    }

    /// The longest step of the master since this was last asked.
    pub fn longest(&mut self) -> Duration {
        std::mem::take(&mut self.longest)
    }
}
