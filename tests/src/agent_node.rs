//! An agent's process: carries out the effects of the agent's logic on its host.

use std::time::Duration;

use agent::logic::{Effect, Event, LinkId, Reconfiguration, Settings, State, Ticket, Write};
use model::{Resources, Timestamp};
use wire::link::{from_agent, from_master};
use wire::v1;

use crate::detectors::Seeker;
use crate::faults::Fault;
use crate::host::Host;
use crate::messages::resources;
use crate::network::{Peer, delay};
use crate::postman::Postman;
use crate::world::{Happening, World};

/// A host and, while it runs, its agent.
pub struct AgentNode {
    /// Index in the world.
    pub index: usize,
    /// What survives the process.
    pub host: Host,
    /// The real logic, while the process runs.
    pub state: Option<State>,
    /// Number of the process.
    pub process: u64,
    /// Its link, as far as it knows.
    pub connection: Option<u64>,
    /// It can't reach the master before this.
    pub cut_off_until: Timestamp,
    /// What it owes its schedulers.
    pub postman: Postman,
    /// Its disk refuses every write before this.
    pub disk_broken_until: Timestamp,
    /// Its disk takes seconds for a write before this.
    pub disk_slow_until: Timestamp,
    total: Resources,
    /// Its host may be given more while it is down.
    growing: bool,
    tick: Option<Timestamp>,
    disk_busy_until: Timestamp,
    /// The disk refused to keep the id of this process.
    nameless: bool,
    /// The highest epoch that this process has heard.
    heard: u64,
    /// It was told to end all that runs here.
    pub leaving: bool,
}

impl AgentNode {
    /// A host that has never run an agent, and that may grow.
    pub fn new(index: usize, total: &str, growing: bool) -> AgentNode {
        AgentNode {
            index,
            growing,
            host: Host::default(),
            state: None,
            process: 0,
            connection: None,
            cut_off_until: Timestamp::ZERO,
            postman: Postman::default(),
            disk_broken_until: Timestamp::ZERO,
            disk_slow_until: Timestamp::ZERO,
            total: resources(total),
            tick: None,
            disk_busy_until: Timestamp::ZERO,
            nameless: false,
            heard: 0,
            leaving: false,
        }
    }

    /// All that the host has.
    pub fn total(&self) -> Resources {
        self.total.clone()
    }

    fn settings(&self) -> Settings {
        let mut settings = settings(self.index, self.process, &self.total);
        if self.growing {
            settings.reconfiguration = Reconfiguration::Additive;
        }
        settings
    }

    /// What could not write the first id that it was given has none, and nothing of what it wrote after that is found.
    fn stays_nameless(&mut self) {
        if !self.host.is_named() {
            self.host.forget_agent();
        }
    }
}

/// Settings of a process as the product has them by default, with an address for each host.
pub fn settings(index: usize, process: u64, total: &Resources) -> Settings {
    let info = v1::AgentInfo {
        hostname: format!("host{index}"),
        port: Some(5051),
        resources: total.to_wire(),
        ..Default::default()
    };
    let number = index + 1;
    let ip = format!("10.{}.{}.{}", number >> 16, (number >> 8) & 255, number & 255);
    Settings {
        info,
        total: total.clone(),
        address: format!("{ip}:5051"),
        host_ip: ip,
        version: "1.12.0".to_owned(),
        capabilities: vec!["TASK_RESOURCE_LIMITS".to_owned()],
        incarnation: format!("{index}.{process}"),
        reconfiguration: Reconfiguration::Equal,
        registration_backoff: Duration::from_secs(1),
        shutdown_grace: Duration::from_secs(5),
        gc_delay: Duration::from_secs(7 * 24 * 3600),
        gc_disk_headroom: 0.1,
        max_completed_frameworks: 50,
        max_completed_executors: 150,
    }
}

impl World {
    pub(crate) fn start_agent(&mut self, index: usize) {
        let seed = self.random.next_u64();
        let node = &mut self.agents[index];
        if node.state.is_some() {
            return;
        }
        self.grow(index);
        let node = &mut self.agents[index];
        node.process += 1;
        node.tick = None;
        node.connection = None;
        node.nameless = false;
        (node.heard, node.leaving) = (0, false);
        node.state = Some(State::new(node.settings(), seed));
        let repeated = std::mem::replace(&mut node.postman, Postman::starts(&node.host)).repeated;
        let found = node.host.recovered();
        self.repeated += repeated;
        self.note(|| format!("agent {index} starts"));
        self.step_agent(index, Event::Recovered(Box::new(found)));
    }

    /// Now and then a host has more than before when its agent starts again.
    fn grow(&mut self, index: usize) {
        let node = &self.agents[index];
        if !(self.chaotic && node.growing && node.process > 0 && self.percent(15)) {
            return;
        }
        let more = ["cpus:1;mem:512", "disk:100;ports:[32000-32009]", "mem:64"][self.pick(3)];
        self.agents[index].total.add(&resources(more));
        self.faults.add(Fault::Grown);
        self.note(|| format!("host {index} has {more} more"));
    }

    /// The process ends at once; some of its last writes are on disk.
    pub fn crash_agent(&mut self, index: usize) {
        let now = self.now;
        let pending = self.agents[index].host.writes.len() as u64;
        let done = usize::try_from(self.random.below(pending + 1)).expect("small");
        self.agents[index].host.crash(now, done);
        self.agent_ended(index);
    }

    /// The process ended; it is started again after a while.
    fn agent_ended(&mut self, index: usize) {
        self.faults.add(Fault::AgentKilled);
        self.note(|| format!("agent {index} ends"));
        self.agents[index].state = None;
        for connection in self.network.standing(|peer| matches!(peer, Peer::Agent(i, _) if i == index)) {
            self.break_connection(connection);
        }
        let most = if self.percent(20) { 150 } else { 10 };
        let pause = self.within(most);
        self.after(pause, Happening::AgentStarts(index));
    }

    /// Lets an agent take in an event.
    pub fn step_agent(&mut self, index: usize, event: Event) {
        let now = self.now;
        let told = if self.tracing { format!("{event:?}") } else { String::new() };
        let node = &mut self.agents[index];
        let Some(state) = &mut node.state else { return };
        let mut out = Vec::new();
        node.postman.hears(&event);
        let shows = may_show(&event);
        state.step(now, event, &mut out);
        if shows {
            node.show_unwritten();
        }
        self.note(|| format!("agent {index} <- {told:.500}"));
        for effect in out {
            let node = &mut self.agents[index];
            if let Err(why) = node.postman.does(now, &effect, &node.host) {
                self.broken(format!("agent {index}: {why}"));
            }
            self.agent_does(index, effect);
        }
        let node = &mut self.agents[index];
        if let Err(why) = node.postman.rests(now) {
            self.broken(format!("agent {index}: {why}"));
        }
        let node = &mut self.agents[index];
        let Some(wakeup) = node.state.as_ref().and_then(State::next_wakeup).map(|at| at.max(now)) else {
            return;
        };
        if node.tick.is_none_or(|tick| wakeup < tick) {
            node.tick = Some(wakeup);
            let process = node.process;
            self.at(wakeup, Happening::AgentTick(index, process));
        }
    }

    pub(crate) fn agent_tick(&mut self, index: usize, process: u64) {
        let now = self.now;
        let node = &mut self.agents[index];
        if node.process == process && node.tick == Some(now) {
            node.tick = None;
            self.step_agent(index, Event::Tick);
        }
    }

    fn agent_does(&mut self, index: usize, effect: Effect) {
        match effect {
            Effect::Connect => self.dial(index),
            Effect::Reconnect { link } => {
                self.note(|| format!("agent {index} gives up link {}", link.0));
                self.break_connection(link.0);
                self.agents[index].connection = None;
                self.dial(index);
            }
            Effect::ToMaster { link, body } => self.send_to_master(index, link, body),
            Effect::Checkpoint { ticket, write } => self.write_to_disk(index, ticket, write),
            Effect::Launch(launch) => self.launch(index, *launch),
            Effect::Reattach { run } => self.reattach(index, &run.container),
            Effect::Kill { container, grace } => self.kill(index, container, grace),
            Effect::Evict { container } => self.kill(index, container, Duration::ZERO),
            Effect::Destroy { container } => self.destroy(index, &container),
            Effect::Collect { run } => self.agents[index].host.collect(&run),
            Effect::ForgetAgent => self.agents[index].host.forget_agent(),
            Effect::Warn(text) => self.note(|| format!("agent {index} warns: {text}")),
            Effect::Exit { clean, why } => self.agent_exits(index, clean, &why),
        }
    }

    fn agent_exits(&mut self, index: usize, clean: bool, why: &str) {
        self.note(|| format!("agent {index} exits (clean: {clean}): {why}"));
        if !clean && !self.agents[index].nameless {
            self.broken(format!("agent {index} gave up: {why}"));
        }
        let now = self.now;
        let node = &mut self.agents[index];
        let all = node.host.writes.len();
        node.host.crash(now, all);
        if clean {
            // What was still being written is forgotten as well.
            node.host.forget_agent();
        } else {
            node.stays_nameless();
        }
        // What it said last arrives, then the connection closes.
        let last = node.connection.take();
        node.state = None;
        if let Some(id) = last
            && let Some(when) = self.network.arrival_at_master(id, self.now, &mut self.random)
        {
            self.at(when, Happening::EndsAtMaster(id));
            self.at(when, Happening::EndsAtPeer(id));
        }
        let pause = self.within(30) + Duration::from_secs(5);
        self.after(pause, Happening::AgentStarts(index));
    }

    fn send_to_master(&mut self, index: usize, link: LinkId, body: Box<from_agent::Body>) {
        if self.agents[index].connection != Some(link.0) {
            return;
        }
        let Some(when) = self.network.arrival_at_master(link.0, self.now, &mut self.random) else {
            return self.faults.add(Fault::Dropped);
        };
        self.faults.travels(self.now, when);
        // A sender that is not sure repeats itself at once.
        if self.chaotic && self.percent(1) {
            self.faults.add(Fault::Duplicated);
            self.at(when, Happening::ToMaster(link.0, body.clone()));
        }
        self.at(when, Happening::ToMaster(link.0, body));
    }

    fn dial(&mut self, index: usize) {
        // As agents are not to overrun a new master.
        let pause = delay(&mut self.random) + self.within(1);
        let process = self.agents[index].process;
        self.after(pause, Happening::AgentDials(index, process));
    }

    pub(crate) fn agent_dials(&mut self, index: usize, process: u64) {
        let now = self.now;
        let node = &self.agents[index];
        if node.process != process || node.state.is_none() || node.connection.is_some() {
            return;
        }
        let reaches = node.cut_off_until <= now;
        match self.dials(Seeker::Agent(index)) {
            Some(life) if reaches => {
                let id = self.network.connect(Peer::Agent(index, process), life);
                self.agents[index].connection = Some(id);
                self.step_agent(index, Event::LinkUp { link: LinkId(id) });
            }
            _ => {
                let pause = self.within(5) + Duration::from_millis(100);
                self.after(pause, Happening::AgentDials(index, process));
            }
        }
    }

    pub(crate) fn agent_loses(&mut self, index: usize, process: u64, id: u64) {
        let node = &mut self.agents[index];
        if node.process != process || node.connection != Some(id) {
            return;
        }
        node.connection = None;
        self.step_agent(index, Event::LinkLost { link: LinkId(id) });
        self.dial(index);
    }

    pub(crate) fn arrives_at_agent(&mut self, id: u64, epoch: u64, body: Box<from_master::Body>) {
        let Some(connection) = self.network.get(id).filter(|c| !c.broken && !c.peer_told) else {
            return self.faults.add(Fault::Dropped);
        };
        let Peer::Agent(index, process) = connection.peer else { return };
        if self.agents[index].process != process || self.agents[index].connection != Some(id) {
            return;
        }
        self.agents[index].leaving |= matches!(*body, from_master::Body::Shutdown(_));
        self.step_agent(index, Event::LinkSays { link: LinkId(id), epoch, body });
        self.judge_epoch(index, id, epoch);
    }

    /// Once an agent has heard a master, one of a lower epoch is left and not obeyed.
    fn judge_epoch(&mut self, index: usize, id: u64, epoch: u64) {
        let node = &mut self.agents[index];
        let before = node.heard;
        node.heard = before.max(epoch);
        if epoch >= before {
            return;
        }
        self.faults.add(Fault::EpochRefused);
        if self.agents[index].connection == Some(id) {
            self.broken(format!("agent {index} obeys a master of epoch {epoch} after one of epoch {before}"));
        }
    }

    fn write_to_disk(&mut self, index: usize, ticket: Ticket, write: Write) {
        let now = self.now;
        let longest = if self.agents[index].disk_slow_until > now { 10_000_000 } else { 5000 };
        let pause = Duration::from_micros(self.random.below(longest));
        let node = &mut self.agents[index];
        let when = node.disk_busy_until.max(now + pause);
        node.disk_busy_until = when;
        node.host.writes.push_back((ticket, write));
        let process = node.process;
        self.at(when, Happening::DiskWrote(index, process));
    }

    pub(crate) fn disk_wrote(&mut self, index: usize, process: u64) {
        let now = self.now;
        let refuses =
            self.chaotic && (self.agents[index].disk_broken_until > now || self.random.below(300) == 0);
        let node = &mut self.agents[index];
        if node.process != process || node.state.is_none() {
            return;
        }
        let Some((ticket, write)) = node.host.writes.pop_front() else { return };
        let outcome = if refuses {
            node.nameless |= matches!(write, Write::Agent(_));
            self.faults.add(Fault::WriteRefused);
            self.note(|| format!("the disk of agent {index} refuses {ticket:?}"));
            self.agents[index].host.refuse(&write);
            Err("no space left on device".to_owned())
        } else {
            node.host.apply(now, write);
            Ok(())
        };
        self.step_agent(index, Event::Checkpointed { ticket, outcome });
    }

    /// An update that is overdue stays unsent only if its agent forgot it.
    pub(crate) fn check_deadlines(&mut self) {
        let now = self.now;
        let overdue = |node: &AgentNode| {
            node.state.is_some() && node.postman.deadline.is_some_and(|deadline| deadline < now)
        };
        if let Some(node) = self.agents.iter().find(|node| overdue(node)) {
            let (index, deadline) = (node.index, node.postman.deadline);
            self.broken(format!(
                "agent {index} was to send an update again at {deadline:?} and did not wake up"
            ));
        }
    }
}

impl AgentNode {
    /// What is shown of tasks of which nothing is written down.
    fn show_unwritten(&mut self) {
        let Some(state) = &self.state else { return };
        let view = state.view();
        for (id, framework) in view.frameworks.iter().filter(|(_, framework)| !framework.checkpoints()) {
            for (task, row) in &framework.tasks {
                self.postman.shows(&(id.clone(), task.clone()), &row.statuses);
            }
        }
    }
}

/// Whether an event may make an agent show something new of its tasks.
fn may_show(event: &Event) -> bool {
    match event {
        Event::LinkSays { body, .. } => {
            use from_master::Body::{KillTask, RunTask, Shutdown, ShutdownFramework};
            matches!(**body, KillTask(_) | RunTask(_) | Shutdown(_) | ShutdownFramework(_))
        }
        Event::Tick | Event::Checkpointed { .. } | Event::LinkUp { .. } | Event::LinkLost { .. } => false,
        _ => true,
    }
}
