//! Callers without manners: random calls and link messages with ids that are stale, foreign, doubled or made up.
//! Nothing they say may break what the master holds together, nor stop it.

use std::time::Duration;

use master::logic::{
    AgentHello, CallId, Effect, Event, LinkId, OperatorAction, ReportedTask, SchedulerAction, SchedulerEvent,
    State, StreamId, Ticket,
};
use model::random::Random;
use model::{AgentId, FrameworkId, OfferId, TaskId, TaskState, Timestamp};
use wire::v1;
use wire::v1::framework_info::capability::Type as Capability;

use crate::master_node::settings;
use crate::messages::{framework_info, launch, resources, task};
use crate::mirror::Mirror;

/// Steps of each mob.
const STEPS: u64 = 15_000;
/// Ids are drawn from this many of each kind, so that they meet.
const FEW: u64 = 6;

struct Mob {
    state: State,
    now: Timestamp,
    random: Random,
    calls: u64,
    offers: Vec<OfferId>,
    writes: Vec<Ticket>,
    answers: u64,
    /// What operators are told, all of them the same.
    mirror: Mirror,
}

impl Mob {
    fn new(seed: u64) -> Mob {
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        let mut settings = settings(1, 1);
        settings.max_completed_tasks = 3;
        settings.max_completed_frameworks = 2;
        settings.max_unreachable_tasks = 3;
        settings.offer_timeout = Some(Duration::from_secs(20));
        settings.max_watchers = 2;
        settings.agent_removal_interval = seed.is_multiple_of(2).then_some(Duration::from_secs(7));
        let mut mob = Mob {
            state: State::new(settings, seed, now),
            now,
            random: Random::new(seed),
            calls: 0,
            offers: Vec::new(),
            writes: Vec::new(),
            answers: 0,
            mirror: Mirror::default(),
        };
        mob.step(Event::Elected(Box::default()));
        mob
    }

    fn step(&mut self, event: Event) {
        let mut out = Vec::new();
        self.state.step(self.now, event, &mut out);
        for effect in out {
            match effect {
                Effect::ToOperators(event) | Effect::ToOperator { event, .. } => {
                    if let Err(why) = self.mirror.hear(&event, &self.state) {
                        panic!("an operator hears {event:?}: {why}");
                    }
                }
                Effect::Persist { ticket, .. } => self.writes.push(ticket),
                Effect::Answer { .. } => self.answers += 1,
                Effect::ToFramework { event: SchedulerEvent::Offers(offers), .. } => {
                    self.offers.extend(offers.into_iter().map(|offer| offer.offer.id));
                }
                _ => {}
            }
        }
        let surplus = self.offers.len().saturating_sub(40);
        self.offers.drain(..surplus);
    }

    fn unwatched(&mut self) -> Result<(), String> {
        self.mirror = Mirror::default();
        Ok(())
    }

    fn few(&mut self) -> u64 {
        self.random.below(FEW)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    fn agent(&mut self) -> AgentId {
        let number = self.random.below(FEW * 2);
        AgentId::new(format!("m1-S{number}"))
    }

    fn framework(&mut self) -> FrameworkId {
        let number = self.few();
        FrameworkId::new(format!("m1-{number:04}"))
    }

    fn task(&mut self) -> TaskId {
        TaskId::new(format!("t{}", self.few()))
    }

    fn offer(&mut self) -> OfferId {
        let count = self.offers.len() as u64;
        match usize::try_from(self.random.below(count + 1)) {
            Ok(at) if at < self.offers.len() => self.offers[at].clone(),
            _ => OfferId::from("made up"),
        }
    }

    fn state_of_task(&mut self) -> TaskState {
        TaskState::ALL[usize::try_from(self.random.below(14)).expect("small")]
    }

    fn link(&mut self) -> LinkId {
        LinkId(self.few())
    }

    fn hello(&mut self) -> AgentHello {
        let total = ["cpus:8;mem:8192", "cpus:8;mem:8192;gpus:1", "cpus:7;mem:8192;ports:[1-9]"];
        let total = resources(total[usize::try_from(self.random.below(3)).expect("small")]);
        let number = self.few();
        AgentHello {
            version: if self.chance(3) { "x".to_owned() } else { "1.0.0".to_owned() },
            info: v1::AgentInfo {
                hostname: format!("h{}", if self.chance(90) { 0 } else { number }),
                resources: total.to_wire(),
                ..Default::default()
            },
            total,
            address: format!("10.0.0.1:{number}"),
            capabilities: Vec::new(),
            proof: Default::default(),
            incarnation: format!("{}", self.random.below(2)),
        }
    }

    fn reported(&mut self, agent: &AgentId) -> (ReportedTask, v1::FrameworkInfo) {
        let (framework, id) = (self.framework(), self.task());
        let uses = resources("cpus:0.1;mem:10").allocated_to(Some(&model::Role::any()));
        let mut message = v1::Task {
            task_id: (&id).into(),
            framework_id: (&framework).into(),
            agent_id: agent.into(),
            resources: uses.to_wire(),
            ..Default::default()
        };
        message.set_state(self.state_of_task().into());
        let unacknowledged = self.chance(50).then(|| self.state_of_task());
        let mut info = framework_info("f", &[]);
        info.id = if self.chance(95) { Some((&framework).into()) } else { None };
        (ReportedTask::new(message, uses, unacknowledged), info)
    }

    fn link_event(&mut self) -> Event {
        let link = self.link();
        match self.random.below(12) {
            0 | 1 => Event::AgentRegisters { link, hello: Box::new(self.hello()) },
            2..5 => {
                let agent = self.agent();
                let count = self.random.below(4);
                let (tasks, infos): (Vec<_>, Vec<_>) = (0..count).map(|_| self.reported(&agent)).unzip();
                let frameworks = infos.into_iter().map(Into::into).collect();
                let completed = (0..self.random.below(3)).map(|_| self.reported(&agent).0).collect();
                let hello = Box::new(self.hello());
                Event::AgentReregisters { link, agent, hello, tasks, frameworks, completed }
            }
            5 => Event::AgentUnregisters { link },
            6..9 => {
                let mut status = v1::TaskStatus { task_id: (&self.task()).into(), ..Default::default() };
                status.set_state(self.state_of_task().into());
                status.uuid = self.chance(90).then(|| vec![1; 16].into());
                let (framework, latest) = (self.framework(), self.state_of_task());
                Event::TaskUpdate { link, framework, status: Box::new(status), latest }
            }
            9 => Event::Pong { link },
            _ => Event::LinkLost { link },
        }
    }

    fn scheduler_event(&mut self) -> Event {
        let stream = StreamId(self.few());
        match self.random.below(20) {
            0 => Event::StreamLost { stream },
            3 => {
                // Operators have streams of their own.
                let stream = StreamId(1000 + stream.0);
                self.step(Event::StreamLost { stream });
                Event::Watch { stream }
            }
            1 | 2 => {
                let capabilities: &[Capability] = if self.chance(50) {
                    &[Capability::PartitionAware, Capability::GpuResources]
                } else {
                    &[]
                };
                let mut info = framework_info("f", capabilities);
                info.id = if self.chance(70) { Some((&self.framework()).into()) } else { None };
                info.checkpoint = Some(self.chance(50));
                info.failover_timeout = [None, Some(30.0), Some(-1.0), Some(f64::NAN)]
                    [usize::try_from(self.random.below(4)).expect("small")];
                let stream_token = format!("token-{}", stream.0).into();
                // A stream's number is never used again while it stands.
                self.step(Event::StreamLost { stream });
                Event::Subscribe { stream, stream_token, info: Box::new(info), suppressed_roles: Vec::new() }
            }
            _ => {
                self.calls += 1;
                let (framework, token) = (self.framework(), self.few());
                let stream_token = self.chance(95).then(|| {
                    let own = self.state.frameworks.get(&framework).and_then(|row| row.stream_token.clone());
                    own.map_or_else(|| format!("token-{token}"), |token| token.to_string())
                });
                Event::Scheduler {
                    call: CallId(self.calls),
                    framework,
                    principal: None,
                    stream_token,
                    action: self.action(),
                }
            }
        }
    }

    fn action(&mut self) -> SchedulerAction {
        let refuse_seconds = [None, Some(0.0), Some(f64::NAN), Some(1e300), Some(-1.0), Some(2.0)]
            [usize::try_from(self.random.below(6)).expect("small")];
        match self.random.below(100) {
            0 => SchedulerAction::Teardown,
            1..40 => {
                let count = self.random.below(3);
                let offers: Vec<_> = (0..count).map(|_| self.offer()).collect();
                let known =
                    offers.first().and_then(|id| self.state.offers.get(id)).map(|offer| offer.agent.clone());
                let agent = known.unwrap_or_else(|| self.agent());
                let cpus =
                    [100, 0, -5, 4000, 1_000_000][usize::try_from(self.random.below(5)).expect("small")];
                let tasks =
                    (0..self.random.below(3)).map(|_| task(self.task().as_str(), &agent, cpus, 64)).collect();
                SchedulerAction::Accept { offers, operations: vec![launch(tasks)], refuse_seconds }
            }
            40..55 => SchedulerAction::Decline { offers: vec![self.offer(), self.offer()], refuse_seconds },
            55..60 => SchedulerAction::Revive { roles: Vec::new() },
            60..63 => SchedulerAction::Suppress { roles: vec!["*".to_owned()] },
            63..75 => {
                let agent = self.chance(50).then(|| self.agent());
                SchedulerAction::Kill { task: self.task(), agent, grace: None }
            }
            75..77 => {
                let capabilities: &[Capability] =
                    if self.chance(50) { &[Capability::PartitionAware] } else { &[] };
                let mut info = framework_info("f", capabilities);
                info.checkpoint = Some(self.chance(50));
                info.role = Some(if self.chance(50) { "*" } else { "other" }.to_owned());
                let suppressed_roles = if self.chance(30) { vec!["*".to_owned()] } else { Vec::new() };
                SchedulerAction::UpdateFramework { info: Box::new(info), suppressed_roles }
            }
            77 => SchedulerAction::Message { agent: self.agent(), executor: "e".into() },
            78 => SchedulerAction::Shutdown { agent: self.agent(), executor: self.task().as_str().into() },
            79 => {
                let operation = v1::scheduler::call::reconcile_operations::Operation {
                    operation_id: v1::OperationId { value: "o".to_owned() },
                    agent_id: Some((&self.agent()).into()),
                    resource_provider_id: None,
                };
                SchedulerAction::ReconcileOperations { operations: vec![operation] }
            }
            80..90 => {
                SchedulerAction::Acknowledge { agent: self.agent(), task: self.task(), uuid: vec![1; 16] }
            }
            _ => {
                let count = self.random.below(4);
                let one = |mob: &mut Mob| (mob.task(), mob.chance(50).then(|| mob.agent()));
                SchedulerAction::Reconcile { tasks: (0..count).map(|_| one(self)).collect() }
            }
        }
    }

    fn anything(&mut self) -> Event {
        match self.random.below(100) {
            0..40 => self.link_event(),
            40..80 => self.scheduler_event(),
            80..90 if !self.writes.is_empty() => {
                let at = usize::try_from(self.random.below(self.writes.len() as u64)).expect("small");
                Event::Persisted { ticket: self.writes.swap_remove(at), done: true }
            }
            90 => {
                self.calls += 1;
                let action = if self.chance(20) {
                    OperatorAction::Teardown { framework: self.framework() }
                } else {
                    OperatorAction::MarkAgentGone { agent: self.agent() }
                };
                Event::Operator { call: CallId(self.calls), action }
            }
            _ => {
                let most = if self.chance(5) { 100_000 } else { 2_000 };
                self.now = self.now + Duration::from_millis(self.random.below(most));
                Event::Tick
            }
        }
    }
}

#[test]
fn nothing_that_is_said_breaks_the_master() {
    // More of them with SIM_MOBS.
    let mobs = std::env::var("SIM_MOBS").ok().and_then(|mobs| mobs.parse().ok()).unwrap_or(4);
    for seed in 0..mobs {
        let mut mob = Mob::new(seed);
        let mut busy = 0;
        for number in 0..STEPS {
            let event = mob.anything();
            let told = event.clone();
            mob.step(event);
            busy += u64::from(!mob.state.tasks.is_empty());
            // Nobody is told while nobody watches.
            let told_all = mob.state.watchers() > 0;
            let mirrored = if told_all { mob.mirror.agrees(&mob.state) } else { mob.unwatched() };
            if let Err(why) = mob.state.audit().and(mirrored) {
                panic!("seed {seed}, step {number}: {why}\nafter {told:?}");
            }
        }
        assert!(busy > STEPS / 50, "seed {seed}: hardly ever a task, so little was tried ({busy} steps)");
    }
}
