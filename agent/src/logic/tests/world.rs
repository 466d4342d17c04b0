//! An agent with nothing real around it: what it does is written down, one line each.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use model::{ContainerId, FrameworkId, Resources, Role, Timestamp};
use wire::link::from_agent;
use wire::link::from_master::Body;
use wire::{link, v1};

use crate::logic::{
    Effect, Event, Exit, ExitStatus, KillCause, LinkId, Recovered, Run, Settings, State, Ticket, Write,
};

/// The agent, its clock, and what it did.
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    pub(crate) link: LinkId,
    /// Checkpoints that were asked for and not answered.
    pub(crate) writes: Vec<(Ticket, Write)>,
    /// Launched containers, in order.
    pub(crate) launched: Vec<Arc<Run>>,
    /// The statuses it sent, in order.
    pub(crate) sent: Vec<link::Status>,
    /// The last registration it sent.
    pub(crate) hello: Option<from_agent::Body>,
    /// Answer checkpoints at once.
    pub(crate) disk: bool,
    log: String,
}

pub(crate) fn settings() -> Settings {
    let total = model::resources::parse("cpus:4;mem:1024;ports:[31000-31009]", &Role::any()).unwrap();
    Settings {
        info: v1::AgentInfo {
            hostname: "a1".to_owned(),
            port: Some(5051),
            resources: total.to_wire(),
            ..Default::default()
        },
        total,
        address: "10.0.0.1:5051".to_owned(),
        host_ip: "10.0.0.1".to_owned(),
        version: "1.0.0".to_owned(),
        capabilities: vec!["MULTI_ROLE".to_owned()],
        incarnation: "i1".to_owned(),
        reconfiguration: crate::logic::Reconfiguration::Equal,
        registration_backoff: Duration::from_secs(1),
        shutdown_grace: Duration::from_secs(5),
        gc_delay: Duration::from_secs(1000),
        gc_disk_headroom: 0.1,
        max_completed_frameworks: 2,
        max_completed_executors: 2,
    }
}

pub(crate) fn framework(id: &str, checkpoint: bool) -> v1::FrameworkInfo {
    v1::FrameworkInfo {
        user: "u".to_owned(),
        name: id.to_owned(),
        id: Some(v1::FrameworkId { value: id.to_owned() }),
        checkpoint: Some(checkpoint),
        ..Default::default()
    }
}

pub(crate) fn with_killing(mut info: v1::FrameworkInfo) -> v1::FrameworkInfo {
    let mut capability = v1::framework_info::Capability::default();
    capability.set_type(v1::framework_info::capability::Type::TaskKillingState);
    info.capabilities.push(capability);
    info
}

pub(crate) fn task(id: &str) -> v1::TaskInfo {
    let resources: Resources = model::resources::parse("cpus:1;mem:64", &Role::any()).unwrap();
    v1::TaskInfo {
        name: id.to_owned(),
        task_id: v1::TaskId { value: id.to_owned() },
        agent_id: v1::AgentId { value: "A-S0".to_owned() },
        resources: resources.to_wire(),
        command: Some(v1::CommandInfo { value: Some("true".to_owned()), ..Default::default() }),
        ..Default::default()
    }
}

pub(crate) const FINISHED: Exit = Exit { status: ExitStatus::Code(0), out_of_memory: false, killed: None };
pub(crate) const TERMINATED: Exit =
    Exit { status: ExitStatus::Signal(15), out_of_memory: false, killed: Some(KillCause::Requested) };

impl World {
    /// An agent that has recovered `found`.
    pub(crate) fn recovered(found: Recovered) -> World {
        World::with(settings(), found)
    }

    /// The same, with other settings.
    pub(crate) fn with(settings: Settings, found: Recovered) -> World {
        let mut world = World {
            state: State::new(settings, 1),
            now: Timestamp::from_micros(1_000_000_000),
            link: LinkId(0),
            writes: Vec::new(),
            launched: Vec::new(),
            sent: Vec::new(),
            hello: None,
            disk: true,
            log: String::new(),
        };
        world.give(Event::Recovered(Box::new(found)));
        world
    }

    /// A new agent that has registered as A-S0.
    pub(crate) fn registered() -> World {
        let mut world = World::recovered(Recovered::default());
        world.join();
        world.told();
        world
    }

    /// Links up and registers.
    pub(crate) fn join(&mut self) {
        self.link = LinkId(self.link.0 + 1);
        self.give(Event::LinkUp { link: self.link });
        assert!(self.hello.is_some(), "it registers at once");
        self.accept_registration();
    }

    pub(crate) fn accept_registration(&mut self) {
        self.says(link::Registered {
            agent_id: "A-S0".to_owned(),
            master_id: "M".to_owned(),
            ping_timeout_seconds: 75.0,
            protocol: link::PROTOCOL_VERSION,
        });
    }

    pub(crate) fn says(&mut self, body: impl Into<Body>) {
        self.says_at(1, body);
    }

    pub(crate) fn says_at(&mut self, epoch: u64, body: impl Into<Body>) {
        let body = Box::new(body.into());
        self.give(Event::LinkSays { link: self.link, epoch, body });
    }

    pub(crate) fn run(&mut self, framework: &v1::FrameworkInfo, task: v1::TaskInfo) {
        self.says(link::RunTask { framework: Some(framework.clone()), task: Some(task) });
    }

    pub(crate) fn kill(&mut self, task: &str, grace: Option<f64>) {
        self.says(link::KillTask {
            framework_id: "F".to_owned(),
            task_id: task.to_owned(),
            grace_period_seconds: grace,
        });
    }

    /// Acknowledges the last status that was sent.
    pub(crate) fn acknowledge(&mut self) {
        let last = self.sent.last().expect("something was sent").clone();
        let status = last.status.expect("a status");
        self.says(link::Acknowledge {
            framework_id: last.framework_id,
            task_id: status.task_id.value,
            uuid: status.uuid.unwrap_or_default(),
        });
    }

    pub(crate) fn container(&self) -> ContainerId {
        self.launched.last().expect("something was launched").container.clone()
    }

    pub(crate) fn prepared(&mut self) {
        let container = self.container();
        self.give(Event::ContainerPrepared { container });
    }

    pub(crate) fn started(&mut self) {
        let container = self.container();
        self.give(Event::ContainerStarted { container, pid: 42 });
    }

    pub(crate) fn exited(&mut self, exit: Exit) {
        let container = self.container();
        self.give(Event::ContainerExited { container, exit });
    }

    /// A running task t of framework F whose updates so far are acknowledged.
    pub(crate) fn running(checkpoint: bool) -> World {
        let mut world = World::registered();
        world.run(&framework("F", checkpoint), task("t"));
        world.started();
        world.acknowledge();
        world.acknowledge();
        world.told();
        world
    }

    /// Answers the oldest checkpoint.
    pub(crate) fn saved(&mut self, outcome: Result<(), String>) {
        let (ticket, _) = self.writes.remove(0);
        self.give(Event::Checkpointed { ticket, outcome });
    }

    /// Lets time pass, waking it whenever it wants to be woken.
    pub(crate) fn pass(&mut self, seconds: f64) {
        let end = self.now + Duration::from_secs_f64(seconds);
        while let Some(due) = self.state.next_wakeup().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.give(Event::Tick);
            assert!(self.state.next_wakeup() != Some(due), "it does not ask for the same moment again");
        }
        self.now = end;
    }

    pub(crate) fn give(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.state.step(self.now, event, &mut effects);
        for effect in effects {
            self.note(&effect);
            match effect {
                Effect::Checkpoint { ticket, write } if !self.disk => self.writes.push((ticket, write)),
                Effect::Checkpoint { ticket, .. } => {
                    self.give(Event::Checkpointed { ticket, outcome: Ok(()) });
                }
                Effect::Launch(launch) => self.launched.push(launch.run.clone()),
                Effect::ToMaster { body, .. } => match *body {
                    from_agent::Body::Status(status) => self.sent.push(status),
                    other => self.hello = Some(other),
                },
                _ => {}
            }
        }
    }

    fn note(&mut self, effect: &Effect) {
        let line = match effect {
            Effect::ToMaster { body, .. } => said(body),
            Effect::Checkpoint { write, .. } => format!("write {}", written(write)),
            Effect::Launch(launch) => format!("launch {} grace {:?}", launch.run.task, launch.grace),
            Effect::Reattach { run } => format!("reattach {}", run.task),
            Effect::Kill { container, grace } => format!("kill {} grace {grace:?}", self.name(container)),
            Effect::Evict { container } => format!("evict {}", self.name(container)),
            Effect::Destroy { container } => format!("destroy {}", self.name(container)),
            Effect::Collect { run } => format!("collect {}", run.task),
            Effect::Warn(text) => format!("warn {text}"),
            Effect::Exit { clean, why } => format!("exit clean={clean} {why}"),
            other => format!("{other:?}"),
        };
        writeln!(self.log, "{line}").expect("a string takes all");
    }

    /// The task in a container, since ids of containers are random.
    fn name(&self, container: &ContainerId) -> String {
        let run = self.launched.iter().find(|run| run.container == *container);
        run.map_or_else(|| container.to_string(), |run| run.task.to_string())
    }

    /// What was done since the last look.
    pub(crate) fn told(&mut self) -> String {
        std::mem::take(&mut self.log)
    }

    pub(crate) fn told_so_far(&self) -> &str {
        &self.log
    }

    pub(crate) fn framework_is_live(&self, id: &str) -> bool {
        self.state.view().frameworks.contains_key(&FrameworkId::new(id))
    }
}

fn said(body: &from_agent::Body) -> String {
    match body {
        from_agent::Body::Register(_) => "say register".to_owned(),
        from_agent::Body::Reregister(message) => {
            let tasks: Vec<String> = message
                .tasks
                .iter()
                .map(|t| {
                    let head = t.status_update_state.map_or("-", |_| t.status_update_state().as_str_name());
                    format!("{} {} head {head}", t.task_id.value, t.state().as_str_name())
                })
                .collect();
            let frameworks: Vec<&str> = message.frameworks.iter().map(|f| f.name.as_str()).collect();
            let past: Vec<&str> = message.completed.iter().map(|t| t.task_id.value.as_str()).collect();
            let past = if past.is_empty() { String::new() } else { format!(" after {past:?}") };
            format!("say reregister {tasks:?} of {frameworks:?} epoch {}{past}", message.epoch)
        }
        from_agent::Body::Status(message) => {
            let status = message.status.as_ref().expect("a status");
            let mut line = format!(
                "say {} {} {}",
                status.task_id.value,
                status.state().as_str_name(),
                status.source().as_str_name()
            );
            if status.reason.is_some() {
                write!(line, " {}", status.reason().as_str_name()).expect("a string takes all");
            }
            if let Some(text) = &status.message {
                write!(line, " '{text}'").expect("a string takes all");
            }
            if message.latest_state() != status.state() {
                write!(line, " latest {}", message.latest_state().as_str_name()).expect("a string takes all");
            }
            line
        }
        from_agent::Body::Pong(pong) => format!("say pong {}", pong.sequence),
        from_agent::Body::Unregister(_) => "say unregister".to_owned(),
    }
}

fn written(write: &Write) -> String {
    match write {
        Write::Agent(info) => format!("agent {}", info.id.as_ref().map_or("-", |id| id.value.as_str())),
        Write::Framework { info, .. } => format!("framework {}", info.name),
        Write::Task { run, .. } => format!("task {}", run.task),
        Write::Update { run, status } => format!("update {} {}", run.task, status.state().as_str_name()),
        Write::Acknowledged { run, .. } => format!("acknowledged {}", run.task),
        Write::Done { run } => format!("done {}", run.task),
    }
}
