//! Agents by the ten thousand: each with its real logic and a host of its own, stepped on all processors at once. What
//! they do to each other goes through the master only, so the order in which they are stepped decides nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use agent::logic::{Effect, Event, Exit, ExitStatus, KillCause, LinkId, State};
use model::random::Random;
use model::{ContainerId, Resources, Timestamp};
use wire::link::from_agent;

use crate::agent_node::settings;
use crate::containers::ContainerEvent;
use crate::host::Host;

/// Turns of fewer agents than this are not worth another thread.
const WORTH_A_THREAD: usize = 64;

/// A host, and its agent while that runs.
pub struct Member {
    index: usize,
    /// Disk and containers.
    pub host: Host,
    /// The real logic.
    pub state: Option<State>,
    /// Its link, as far as it knows.
    pub link: Option<LinkId>,
    total: Resources,
    process: u64,
    random: Random,
    later: BTreeMap<(Timestamp, u64), (ContainerId, ContainerEvent)>,
    planned: u64,
    due: Option<Timestamp>,
    /// Containers that were ever started here.
    pub launched: u64,
}

/// What an agent wants of the world after its turn.
#[derive(Default)]
pub struct Wishes {
    /// To be linked with the master that leads.
    pub dials: bool,
    /// To end a link.
    pub hangs_up: Option<LinkId>,
    /// To say these to the master, in order.
    pub says: Vec<(LinkId, Box<from_agent::Body>)>,
    /// It has ended.
    pub exits: Option<String>,
    /// What must never be.
    pub broken: Option<String>,
}

/// See the module.
pub struct Fleet {
    /// All of them, by index.
    pub members: Vec<Member>,
    agenda: BTreeSet<(Timestamp, usize)>,
    threads: usize,
}

impl Member {
    fn new(index: usize, total: &Resources) -> Member {
        Member {
            index,
            host: Host::default(),
            state: None,
            link: None,
            total: total.clone(),
            process: 0,
            random: Random::new(index as u64),
            later: BTreeMap::new(),
            planned: 0,
            due: None,
            launched: 0,
        }
    }

    fn start(&mut self) -> Event {
        self.process += 1;
        self.link = None;
        let settings = settings(self.index, self.process, &self.total);
        self.state = Some(State::new(settings, self.random.next_u64()));
        Event::Recovered(Box::new(self.host.recovered()))
    }

    fn plan(&mut self, when: Timestamp, container: ContainerId, event: ContainerEvent) {
        self.planned += 1;
        self.later.insert((when, self.planned), (container, event));
    }

    fn within(&mut self, time: Duration) -> Duration {
        time.mul_f64(self.random.unit())
    }

    /// Takes in what happened to it and what is due.
    fn turn(&mut self, now: Timestamp, mut todo: VecDeque<Event>) -> Wishes {
        let mut wishes = Wishes::default();
        while let Some(entry) = self.later.first_entry().filter(|entry| entry.key().0 <= now) {
            let (container, event) = entry.remove();
            todo.extend(self.host.happens(&container, event));
        }
        if self.state.as_ref().and_then(State::next_wakeup).is_some_and(|due| due <= now) {
            todo.push_back(Event::Tick);
        }
        let (mut out, launched) = (Vec::new(), self.launched);
        while let Some(event) = todo.pop_front() {
            let Some(state) = &mut self.state else { break };
            match &event {
                Event::LinkUp { link } => self.link = Some(*link),
                Event::LinkLost { link } if self.link == Some(*link) => {
                    self.link = None;
                    wishes.dials = true;
                }
                _ => {}
            }
            state.step(now, event, &mut out);
            for effect in out.drain(..) {
                self.does(now, effect, &mut todo, &mut wishes);
            }
        }
        if self.launched > launched
            && let Err(why) = self.host.holds(&self.total, |_| false)
        {
            wishes.broken = Some(why);
        }
        wishes
    }

    fn does(&mut self, now: Timestamp, effect: Effect, todo: &mut VecDeque<Event>, wishes: &mut Wishes) {
        match effect {
            Effect::Connect => wishes.dials = true,
            Effect::Reconnect { link } => {
                self.link = None;
                (wishes.dials, wishes.hangs_up) = (true, Some(link));
            }
            Effect::ToMaster { link, body } if self.link == Some(link) => wishes.says.push((link, body)),
            Effect::ToMaster { .. } | Effect::Warn(_) => {}
            Effect::Checkpoint { ticket, write } => {
                self.host.apply(now, write);
                todo.push_back(Event::Checkpointed { ticket, outcome: Ok(()) });
            }
            Effect::Launch(launch) => {
                if !self.host.has(&launch.run) {
                    wishes.broken = Some(format!("{:?} is started but it is not on disk", launch.run));
                }
                let container = launch.run.container.clone();
                self.launched += 1;
                self.host.begins(launch.run, launch.task);
                let started = now + self.within(Duration::from_secs(2));
                self.plan(started, container, ContainerEvent::Started);
            }
            Effect::Reattach { run } => {
                if let Some(event) = self.host.last_of(&run.container) {
                    self.plan(now, run.container.clone(), event);
                }
            }
            Effect::Kill { container, .. } | Effect::Evict { container } => {
                let killed = Some(KillCause::Requested);
                let exit = Exit { status: ExitStatus::Signal(15), out_of_memory: false, killed };
                self.plan(now, container, ContainerEvent::Exited(exit));
            }
            Effect::Destroy { container } => drop(self.host.containers.remove(&container)),
            Effect::Collect { run } => self.host.collect(&run),
            Effect::ForgetAgent => self.host.forget_agent(),
            Effect::Exit { why, .. } => {
                self.state = None;
                (wishes.hangs_up, wishes.exits) = (self.link.take(), Some(why));
            }
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        let container = self.later.keys().next().map(|key| key.0);
        let agent = self.state.as_ref().and_then(State::next_wakeup);
        container.into_iter().chain(agent).min()
    }
}

impl Fleet {
    /// So many hosts, all alike; no agent runs.
    pub fn new(count: usize, total: &Resources) -> Fleet {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let members = (0..count).map(|index| Member::new(index, total)).collect();
        Fleet { members, agenda: BTreeSet::new(), threads }
    }

    /// An agent's process starts; its first event.
    pub fn start(&mut self, index: usize) -> Event {
        self.members[index].start()
    }

    /// An agent's process is killed. Its containers go on.
    pub fn kill(&mut self, index: usize) -> Option<LinkId> {
        let member = &mut self.members[index];
        member.state = None;
        member.link.take()
    }

    /// Every container that runs on these hosts ends within a time: one in ten with an error.
    pub fn end_all(&mut self, now: Timestamp, within: Duration, hosts: impl Iterator<Item = usize>) {
        for index in hosts {
            let member = &mut self.members[index];
            let all: Vec<ContainerId> = member.host.live().map(|c| c.run.container.clone()).collect();
            for container in all {
                let code = i32::from(member.random.below(10) == 0);
                let exit = Exit { status: ExitStatus::Code(code), out_of_memory: false, killed: None };
                let when = now + member.within(within);
                member.plan(when, container, ContainerEvent::Exited(exit));
            }
            self.book(index);
        }
    }

    /// When something happens by itself.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.agenda.first().map(|entry| entry.0)
    }

    /// Gives a turn to all to whom something happened, and to those for whom something is due; what they want, by index.
    pub fn turn(
        &mut self,
        now: Timestamp,
        mut inbox: BTreeMap<usize, VecDeque<Event>>,
    ) -> Vec<(usize, Wishes)> {
        for (_, index) in self.agenda.iter().take_while(|entry| entry.0 <= now) {
            inbox.entry(*index).or_default();
        }
        let touched: Vec<usize> = inbox.keys().copied().collect();
        let wishes = self.spread(now, inbox.into_iter().collect());
        touched.into_iter().for_each(|index| self.book(index));
        wishes
    }

    fn spread(&mut self, now: Timestamp, work: Vec<(usize, VecDeque<Event>)>) -> Vec<(usize, Wishes)> {
        if work.len() < WORTH_A_THREAD {
            return work.into_iter().map(|(at, todo)| (at, self.members[at].turn(now, todo))).collect();
        }
        let size = work.len().div_ceil(self.threads);
        let (mut rest, mut begin) = (&mut self.members[..], 0);
        let mut work = work.into_iter().peekable();
        std::thread::scope(|scope| {
            let mut parts = Vec::new();
            while work.peek().is_some() {
                let part: Vec<_> = work.by_ref().take(size).collect();
                let end = part.last().map_or(begin, |last| last.0 + 1);
                let (own, others) = std::mem::take(&mut rest).split_at_mut(end - begin);
                let turn = move |(at, todo): (usize, _)| (at, own[at - begin].turn(now, todo));
                parts.push(scope.spawn(move || part.into_iter().map(turn).collect::<Vec<_>>()));
                (rest, begin) = (others, end);
            }
            parts.into_iter().flat_map(|part| part.join().expect("no turn panics")).collect()
        })
    }

    /// Writes down when a member's next turn is due.
    fn book(&mut self, index: usize) {
        let member = &mut self.members[index];
        let due = member.next_due();
        if member.due != due {
            if let Some(before) = member.due {
                self.agenda.remove(&(before, index));
            }
            self.agenda.extend(due.map(|due| (due, index)));
            member.due = due;
        }
    }
}
