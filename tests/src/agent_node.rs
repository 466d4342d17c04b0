//! An agent's process: carries out the effects of the agent's logic on its host.

use std::time::Duration;

use agent::logic::{
    Effect, Event, Exit, ExitStatus, KillCause, Launch, LaunchFailure, LaunchFailureKind, LinkId, Settings,
    State,
};
use model::{ContainerId, Timestamp};
use wire::link::{from_agent, from_master};
use wire::v1;

use crate::host::{Container, Host, Stage};
use crate::messages::resources;
use crate::network::{Peer, delay};
use crate::world::{Happening, World};

/// What happens to a container.
#[derive(Clone, Debug)]
pub enum ContainerEvent {
    /// Image and sandbox are there.
    Prepared,
    /// The command runs.
    Started,
    /// It could not be started.
    Failed,
    /// The command ended.
    Exited(Exit),
}

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
    total: String,
    tick: Option<Timestamp>,
    disk_busy_until: Timestamp,
}

impl AgentNode {
    /// A host that has never run an agent.
    pub fn new(index: usize, total: &str) -> AgentNode {
        AgentNode {
            index,
            host: Host::default(),
            state: None,
            process: 0,
            connection: None,
            cut_off_until: Timestamp::ZERO,
            total: total.to_owned(),
            tick: None,
            disk_busy_until: Timestamp::ZERO,
        }
    }

    fn settings(&self) -> Settings {
        let total = resources(&self.total);
        let info = v1::AgentInfo {
            hostname: format!("host{}", self.index),
            port: Some(5051),
            resources: total.to_wire(),
            ..Default::default()
        };
        Settings {
            info,
            total,
            address: format!("10.0.0.{}:5051", self.index + 1),
            host_ip: format!("10.0.0.{}", self.index + 1),
            version: "1.12.0".to_owned(),
            capabilities: vec!["TASK_RESOURCE_LIMITS".to_owned()],
            incarnation: format!("{}.{}", self.index, self.process),
            reconfiguration: agent::logic::Reconfiguration::Equal,
            registration_backoff: Duration::from_secs(1),
            shutdown_grace: Duration::from_secs(5),
            gc_delay: Duration::from_secs(7 * 24 * 3600),
            gc_disk_headroom: 0.1,
            max_completed_frameworks: 50,
            max_completed_executors: 150,
        }
    }
}

impl World {
    pub(crate) fn start_agent(&mut self, index: usize) {
        let seed = self.random.next_u64();
        let node = &mut self.agents[index];
        if node.state.is_some() {
            return;
        }
        node.process += 1;
        node.tick = None;
        node.connection = None;
        node.state = Some(State::new(node.settings(), seed));
        let found = node.host.recovered();
        self.note(|| format!("agent {index} starts"));
        self.step_agent(index, Event::Recovered(Box::new(found)));
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
        let Some(state) = &mut self.agents[index].state else { return };
        let mut out = Vec::new();
        state.step(now, event, &mut out);
        self.note(|| format!("agent {index} <- {told:.500}"));
        for effect in out {
            self.agent_does(index, effect);
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
            Effect::Checkpoint { ticket, write } => {
                let when = self.agents[index]
                    .disk_busy_until
                    .max(self.now + Duration::from_micros(self.random.below(5000)));
                let node = &mut self.agents[index];
                node.disk_busy_until = when;
                node.host.writes.push_back((ticket, write));
                let process = node.process;
                self.at(when, Happening::DiskWrote(index, process));
            }
            Effect::Launch(launch) => self.launch(index, *launch),
            Effect::Reattach { run } => self.reattach(index, &run.container),
            Effect::Kill { container, grace } => self.kill(index, container, grace),
            Effect::Evict { container } => self.kill(index, container, Duration::ZERO),
            Effect::Destroy { container } => drop(self.agents[index].host.containers.remove(&container)),
            Effect::Collect { run } => self.agents[index].host.collect(&run),
            Effect::ForgetAgent => self.agents[index].host.forget_agent(),
            Effect::Warn(text) => self.note(|| format!("agent {index} warns: {text}")),
            Effect::Exit { clean, why } => self.agent_exits(index, clean, &why),
        }
    }

    fn agent_exits(&mut self, index: usize, clean: bool, why: &str) {
        self.note(|| format!("agent {index} exits (clean: {clean}): {why}"));
        if !clean {
            self.broken(format!("agent {index} gave up: {why}"));
        }
        let now = self.now;
        let node = &mut self.agents[index];
        let all = node.host.writes.len();
        node.host.crash(now, all);
        // What it forgot it has forgotten for good.
        node.host.forget_agent();
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
        if let Some(when) = self.network.arrival_at_master(link.0, self.now, &mut self.random) {
            self.at(when, Happening::ToMaster(link.0, body));
        }
    }

    fn dial(&mut self, index: usize) {
        let pause = delay(&mut self.random);
        let process = self.agents[index].process;
        self.after(pause, Happening::AgentDials(index, process));
    }

    pub(crate) fn agent_dials(&mut self, index: usize, process: u64) {
        let now = self.now;
        let node = &self.agents[index];
        if node.process != process || node.state.is_none() || node.connection.is_some() {
            return;
        }
        match &self.master {
            Some(master) if node.cut_off_until <= now => {
                let id = self.network.connect(Peer::Agent(index, process), master.life);
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
        let Some(connection) = self.network.get(id).filter(|c| !c.broken && !c.peer_told) else { return };
        let Peer::Agent(index, process) = connection.peer else { return };
        if self.agents[index].process == process {
            self.step_agent(index, Event::LinkSays { link: LinkId(id), epoch, body });
        }
    }

    pub(crate) fn disk_wrote(&mut self, index: usize, process: u64) {
        let now = self.now;
        let node = &mut self.agents[index];
        if node.process != process || node.state.is_none() {
            return;
        }
        if let Some((ticket, write)) = node.host.writes.pop_front() {
            node.host.apply(now, write);
            self.step_agent(index, Event::Checkpointed { ticket, outcome: Ok(()) });
        }
    }

    fn launch(&mut self, index: usize, launch: Launch) {
        let run = launch.run;
        let key = (run.framework.clone(), run.task.clone());
        if !self.started.insert(key.clone()) {
            self.broken(format!("task {key:?} is started twice"));
        }
        let container = run.container.clone();
        let elsewhere = self.agents.iter().any(|node| {
            node.host.containers.values().any(|c| c.run.task == run.task && c.run.framework == run.framework)
        });
        if elsewhere {
            self.broken(format!("task {key:?} runs twice"));
        }
        self.agents[index]
            .host
            .containers
            .insert(container.clone(), Container { run, stage: Stage::Preparing });
        let prepared = self.within(2);
        let started = prepared + self.within(1);
        if self.percent(8) {
            return self.after(prepared, Happening::Container(index, container, ContainerEvent::Failed));
        }
        self.after(prepared, Happening::Container(index, container.clone(), ContainerEvent::Prepared));
        self.after(started, Happening::Container(index, container.clone(), ContainerEvent::Started));
        let most = if self.percent(30) { 20 } else { 900 };
        let ended = started + self.within(most);
        let status = ExitStatus::Code(i32::from(self.percent(25)));
        let exit = Exit { status, out_of_memory: false, killed: None };
        self.after(ended, Happening::Container(index, container, ContainerEvent::Exited(exit)));
    }

    fn reattach(&mut self, index: usize, container: &ContainerId) {
        let Some(found) = self.agents[index].host.containers.get(container) else { return };
        let event = match &found.stage {
            Stage::Preparing => return,
            Stage::Running => ContainerEvent::Started,
            Stage::Exited(exit) => ContainerEvent::Exited(*exit),
            Stage::Failed(_) => ContainerEvent::Failed,
        };
        let pause = delay(&mut self.random);
        self.after(pause, Happening::Container(index, container.clone(), event));
    }

    fn kill(&mut self, index: usize, container: ContainerId, grace: Duration) {
        let slow = self.percent(20);
        let pause = if slow { grace } else { self.within(1).min(grace) };
        let signal = if slow { 9 } else { 15 };
        let exit = Exit {
            status: ExitStatus::Signal(signal),
            out_of_memory: false,
            killed: Some(KillCause::Requested),
        };
        self.after(pause, Happening::Container(index, container, ContainerEvent::Exited(exit)));
    }

    pub(crate) fn container(&mut self, index: usize, id: &ContainerId, event: ContainerEvent) {
        let Some(container) = self.agents[index].host.containers.get_mut(id) else { return };
        let failure =
            || LaunchFailure { kind: LaunchFailureKind::Failed, message: "no such image".to_owned() };
        let over = matches!(container.stage, Stage::Exited(_) | Stage::Failed(_));
        let event = match event {
            ContainerEvent::Exited(_) if over => match container.stage.clone() {
                Stage::Exited(exit) => Event::ContainerExited { container: id.clone(), exit },
                _ => return,
            },
            ContainerEvent::Failed => {
                container.stage = Stage::Failed(failure());
                Event::ContainerFailed { container: id.clone(), failure: failure() }
            }
            _ if over => return,
            ContainerEvent::Prepared => Event::ContainerPrepared { container: id.clone() },
            ContainerEvent::Started => {
                container.stage = Stage::Running;
                Event::ContainerStarted { container: id.clone(), pid: 4711 }
            }
            ContainerEvent::Exited(exit) => {
                container.stage = Stage::Exited(exit);
                Event::ContainerExited { container: id.clone(), exit }
            }
        };
        self.step_agent(index, event);
    }
}
