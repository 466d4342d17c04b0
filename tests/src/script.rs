//! The language of scenarios: one command a line, after `> `; what is seen stands below it.
//!
//! ```text
//! > framework f subscribes partition_aware failover=60
//! > agent a registers cpus:4;mem:1024
//! > f accepts m1-O1: t1 cpus:1;mem:64
//! > agent a says f/t1 RUNNING
//! > f acknowledges t1
//! > agent a loses its link
//! > 75s pass
//! ```

use std::time::Duration;

use master::logic::{Event, Identity, LinkId, OperatorAction, Proof, SchedulerAction, StreamId};
use model::time::parse_duration;
use model::{AgentId, ExecutorId, FrameworkId, OfferId, TaskId, TaskState};
use wire::v1;
use wire::v1::framework_info::capability::Type as Capability;

use crate::messages::{framework_info, launch, resources};
use crate::stage::{Cast, Player, Stage};

impl Stage {
    /// Carries out one command.
    pub fn command(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["framework", name, "subscribes", options @ ..] => self.subscribe(name, options),
            ["framework", name, "loses", "its", "stream"] => {
                let stream = self.schedulers.get_mut(*name).and_then(|cast| cast.stream.take());
                self.step(Event::StreamLost { stream: stream.expect("a stream") });
            }
            ["framework", name, "updates", options @ ..] => self.update(name, options),
            ["operator", name, "watches"] => {
                let stream = StreamId(self.next());
                self.operators.insert((*name).to_owned(), stream);
                self.step(Event::Watch { stream });
            }
            ["operator", name, "leaves"] => {
                let stream = self.operators.remove(*name).expect("a stream");
                self.step(Event::StreamLost { stream });
            }
            ["agent", name, words @ ..] => self.agent(name, words),
            ["registry", "waits"] => self.registry_waits = true,
            ["registry", "writes"] => self.registry_writes(true),
            ["registry", "fails"] => self.registry_writes(false),
            ["show", "pings"] => self.verbose = true,
            ["operator", "tears", "down", name] => {
                let framework = self.framework_id(name);
                self.operator(OperatorAction::Teardown { framework });
            }
            ["operator", "marks", name, "gone"] => {
                let agent = self.agent_id(name);
                self.operator(OperatorAction::MarkAgentGone { agent });
            }
            ["master", "restarts", options @ ..] => self.restart(|settings| {
                for option in options {
                    match option.split_once('=') {
                        Some(("id", id)) => settings.master = model::MasterId::new(id),
                        Some(("offer_timeout", time)) => settings.offer_timeout = Some(duration(time)),
                        Some(("completed_frameworks", n)) => {
                            settings.max_completed_frameworks = n.parse().expect("a number");
                        }
                        Some(("root_submissions", no)) => settings.root_submissions = no == "true",
                        Some(("region", name)) => settings.domain = Some(domain(name)),
                        Some(("require_agent_domain", yes)) => settings.require_agent_domain = yes == "true",
                        Some(("removal_interval", time)) => {
                            settings.agent_removal_interval = Some(duration(time));
                        }
                        Some(("watchers", n)) => settings.max_watchers = n.parse().expect("a number"),
                        Some(("recovery_limit", n)) => {
                            settings.recovery_agent_removal_limit = n.parse().expect("a number");
                        }
                        _ => panic!("no such setting: {option}"),
                    }
                }
            }),
            [time, "pass"] => self.pass(duration(time)),
            [name, words @ ..] => self.scheduler(name, words, line),
            [] => panic!("an empty command"),
        }
    }

    fn framework_id(&self, name: &str) -> FrameworkId {
        let known = self.schedulers.get(name).and_then(|cast| cast.id.clone());
        known.unwrap_or_else(|| FrameworkId::from(name))
    }

    fn subscribe(&mut self, name: &str, options: &[&str]) {
        let before = self.schedulers.get(name).cloned();
        let mut info = before.as_ref().map_or_else(|| framework_info(name, &[]), |cast| cast.info.clone());
        let mut id = before.as_ref().and_then(|cast| cast.id.clone());
        let mut suppressed_roles = Vec::new();
        for option in options {
            if describe(&mut info, &mut suppressed_roles, option) {
                continue;
            }
            match option.split_once('=').unwrap_or((option, "")) {
                ("id", "none") => id = None,
                ("id", given) => id = Some(FrameworkId::from(given)),
                _ => panic!("no such option: {option}"),
            }
        }
        let stream = StreamId(self.next());
        let token = format!("token-{}", stream.0);
        let old = before.as_ref().and_then(|cast| cast.stream);
        let cast = Cast {
            info: info.clone(),
            stream: Some(stream),
            token: token.clone(),
            id: id.clone(),
            unacknowledged: before.map(|cast| cast.unacknowledged).unwrap_or_default(),
        };
        if let Some(old) = old {
            let older = Cast { stream: Some(old), ..cast.clone() };
            self.schedulers.insert(format!("{name}-before"), older);
        }
        self.schedulers.insert(name.to_owned(), cast);
        info.id = id.as_ref().map(Into::into);
        let stream_token = token.into();
        self.step(Event::Subscribe { stream, stream_token, info: Box::new(info), suppressed_roles });
    }

    /// UPDATE_FRAMEWORK: as it described itself last, but for these.
    fn update(&mut self, name: &str, options: &[&str]) {
        let cast = self.schedulers.get(name).expect("a framework");
        let mut info = cast.info.clone();
        info.id = cast.id.as_ref().map(Into::into);
        let mut suppressed_roles = Vec::new();
        for option in options {
            assert!(describe(&mut info, &mut suppressed_roles, option), "no such option: {option}");
        }
        self.call(name, SchedulerAction::UpdateFramework { info: Box::new(info), suppressed_roles });
    }

    fn agent(&mut self, name: &str, words: &[&str]) {
        match words {
            ["registers", total, options @ ..] => {
                let count = self.agents.len() + 1;
                let player = self.agents.entry(name.to_owned()).or_insert_with(|| Player {
                    address: format!("10.0.0.{count}:5051"),
                    ..Player::default()
                });
                player.total = (*total).to_owned();
                player.region = option(options, "region").map(str::to_owned);
                player.id = None;
                let mut hello = self.hello(name, option(options, "incarnation").unwrap_or("1"));
                if let Some(address) = option(options, "address") {
                    hello.address = address.to_owned();
                }
                if let Some(version) = option(options, "version") {
                    hello.version = version.to_owned();
                }
                hello.proof = proof(options);
                let link = self.new_link(name);
                self.step(Event::AgentRegisters { link, hello: Box::new(hello) });
            }
            ["re-registers", words @ ..] => self.reregister(name, words),
            ["unregisters"] => {
                let link = self.link_of(name);
                self.step(Event::AgentUnregisters { link });
            }
            ["loses", "its", "link"] => {
                let link = self.link_of(name);
                self.agents.get_mut(name).expect("known").link = None;
                self.step(Event::LinkLost { link });
            }
            ["falls", "silent"] => self.agents.get_mut(name).expect("known").silent = true,
            ["answers", "pings"] => self.agents.get_mut(name).expect("known").silent = false,
            ["says", task, state, rest @ ..] => self.says(name, task, state, rest),
            _ => panic!("no such line of an agent: {words:?}"),
        }
    }

    fn new_link(&mut self, name: &str) -> LinkId {
        let link = LinkId(self.next());
        let player = self.agents.get_mut(name).expect("known");
        if let Some(old) = player.link.replace(link) {
            let older = Player { link: Some(old), silent: true, ..player.clone() };
            self.agents.insert(format!("{name}-before"), older);
        }
        link
    }

    fn link_of(&self, name: &str) -> LinkId {
        self.agents[name].link.unwrap_or_else(|| panic!("{name} has no link"))
    }

    /// `re-registers [incarnation=2] [login=x] [address=10.0.0.1:5051] [hostname=h] [total=cpus:8] [with f/t1 RUNNING cpus:1 [head=STARTING] [said=STARTING+RUNNING], …]`
    fn reregister(&mut self, name: &str, words: &[&str]) {
        let mut parts = words.splitn(2, |word| *word == "with");
        let options = parts.next().unwrap_or_default();
        let reports = parts.next().unwrap_or_default().join(" ");
        let player = self.agents.get_mut(name).expect("known");
        if let Some(total) = option(options, "total") {
            player.total = total.to_owned();
        }
        if let Some(region) = option(options, "region") {
            player.region = Some(region.to_owned()).filter(|region| region != "none");
        }
        let mut hello = self.hello(name, option(options, "incarnation").unwrap_or("1"));
        if let Some(hostname) = option(options, "hostname") {
            hello.info.hostname = hostname.to_owned();
        }
        if let Some(version) = option(options, "version") {
            hello.version = version.to_owned();
        }
        if let Some(address) = option(options, "address") {
            hello.address = address.to_owned();
        }
        hello.proof = proof(options);
        if let Some(zone) = option(options, "zone") {
            hello.info.attributes = model::attributes::parse(&format!("zone:{zone}")).expect("an attribute");
        }
        let mut tasks = Vec::new();
        let (mut frameworks, mut completed) = (Vec::new(), Vec::new());
        for report in reports.split(',').filter(|report| !report.trim().is_empty()) {
            let words: Vec<&str> = report.split_whitespace().collect();
            let (framework, task) = words[0].split_once('/').expect("framework/task");
            let head = option(&words, "head").map(state);
            let mut report = self.reported(name, (framework, task), words[2], state(words[1]), head);
            let said = option(&words, "said").unwrap_or_default().split_terminator('+');
            let agent = self.agent_id(name);
            report.statuses = said.map(|now| status(&agent, task, now).into()).collect();
            if words.contains(&"acknowledged") {
                completed.push(report);
                continue;
            }
            tasks.push(report);
            let cast = &self.schedulers[framework];
            let info = v1::FrameworkInfo { id: cast.id.as_ref().map(Into::into), ..cast.info.clone() };
            frameworks.push(info.into());
        }
        let agent = self.agent_id(name);
        let link = self.new_link(name);
        self.step(Event::AgentReregisters {
            link,
            agent,
            hello: Box::new(hello),
            tasks,
            frameworks,
            completed,
        });
    }

    /// `says f/t1 RUNNING [latest=FINISHED]`
    fn says(&mut self, name: &str, task: &str, now: &str, rest: &[&str]) {
        let (framework, task) = task.split_once('/').expect("framework/task");
        let framework = self.framework_id(framework);
        let latest = option(rest, "latest").map_or_else(|| state(now), state);
        let mut status = status(&self.agent_id(name), task, now);
        if let Some(healthy) = option(rest, "healthy") {
            status.healthy = Some(healthy == "true");
            status.set_reason(v1::task_status::Reason::TaskHealthCheckStatusUpdated);
        }
        let link = self.link_of(name);
        self.step(Event::TaskUpdate { link, framework, status: Box::new(status), latest });
    }

    fn scheduler(&mut self, name: &str, words: &[&str], line: &str) {
        assert!(self.schedulers.contains_key(name), "no such command: {line}");
        let strings = |roles: &[&str]| roles.iter().map(|&role| role.to_owned()).collect::<Vec<_>>();
        let action = match words {
            ["accepts", ..] => accept(line, self),
            ["declines", offers, options @ ..] => SchedulerAction::Decline {
                offers: offers.split(',').map(OfferId::from).collect(),
                refuse_seconds: option(options, "refuse").map(|s| s.parse().expect("seconds")),
            },
            ["revives", roles @ ..] => SchedulerAction::Revive { roles: strings(roles) },
            ["suppresses", roles @ ..] => SchedulerAction::Suppress { roles: strings(roles) },
            ["kills", task, options @ ..] => SchedulerAction::Kill {
                task: TaskId::from(*task),
                agent: option(options, "on").map(|agent| self.agent_id(agent)),
                grace: option(options, "grace").map(duration),
            },
            ["acknowledges", task] => {
                let (agent, uuid) = self.schedulers[name].unacknowledged[*task].clone();
                SchedulerAction::Acknowledge { agent, task: TaskId::from(*task), uuid }
            }
            ["reconciles", "operations", operations @ ..] => SchedulerAction::ReconcileOperations {
                operations: operations.iter().map(|text| self.operation(text)).collect(),
            },
            ["messages", executor, options @ ..] => SchedulerAction::Message {
                agent: self.agent_id(option(options, "on").unwrap_or("a")),
                executor: ExecutorId::from(*executor),
            },
            ["shuts", "down", executor, options @ ..] => SchedulerAction::Shutdown {
                agent: self.agent_id(option(options, "on").unwrap_or("a")),
                executor: ExecutorId::from(*executor),
            },
            ["reconciles", tasks @ ..] => {
                SchedulerAction::Reconcile { tasks: tasks.iter().map(|text| self.question(text)).collect() }
            }
            ["tears", "down"] => SchedulerAction::Teardown,
            ["requests"] => SchedulerAction::Request,
            ["has", "ended", "tasks"] => return self.list_ended(name),
            ["calls", "with", token] => {
                return self.call_with(name, Some((*token).to_owned()), SchedulerAction::Request);
            }
            ["calls", "without", "a", "token"] => {
                return self.call_with(name, None, SchedulerAction::Request);
            }
            _ => panic!("no such command: {line}"),
        };
        self.call(name, action);
    }

    fn operation(&self, text: &str) -> v1::scheduler::call::reconcile_operations::Operation {
        let (id, agent) = text.split_once('@').unwrap_or((text, ""));
        let agent = Some(agent).filter(|agent| !agent.is_empty()).map(|agent| self.agent_id(agent));
        v1::scheduler::call::reconcile_operations::Operation {
            operation_id: v1::OperationId { value: id.to_owned() },
            agent_id: agent.as_ref().map(Into::into),
            resource_provider_id: None,
        }
    }

    fn question(&self, text: &str) -> (TaskId, Option<AgentId>) {
        match text.split_once('@') {
            Some((task, agent)) => (TaskId::from(task), Some(self.agent_id(agent))),
            None => (TaskId::from(text), None),
        }
    }
}

/// `f accepts O1,O2 [refuse=5]: t1 cpus:1;mem:64, t2 on=b cpus:1 …` or `: RESERVE` for another operation.
fn accept(line: &str, stage: &Stage) -> SchedulerAction {
    let (head, tail) = line.split_once(": ").unwrap_or((line, ""));
    let words: Vec<&str> = head.split_whitespace().collect();
    let offers: Vec<OfferId> = words[2].trim_end_matches(':').split(',').map(OfferId::from).collect();
    let operations = match tail.trim() {
        "" => Vec::new(),
        tasks => tasks.split(", ").map(|text| task_operation(text, &words, stage)).collect(),
    };
    SchedulerAction::Accept {
        offers,
        operations,
        refuse_seconds: option(&words, "refuse").map(|seconds| seconds.parse().expect("seconds")),
    }
}

fn task_operation(text: &str, head: &[&str], stage: &Stage) -> v1::offer::Operation {
    let words: Vec<&str> = text.split_whitespace().collect();
    if words[0] == "RESERVE" {
        let mut operation = v1::offer::Operation::default();
        operation.set_type(v1::offer::operation::Type::Reserve);
        operation.id = Some(v1::OperationId { value: "op".to_owned() });
        operation.reserve = Some(Default::default());
        return operation;
    }
    let agent = option(&words, "on").or_else(|| option(head, "on")).unwrap_or("a");
    let mut info = v1::TaskInfo {
        name: words[0].to_owned(),
        task_id: v1::TaskId { value: words[0].to_owned() },
        agent_id: (&stage.agent_id(agent)).into(),
        resources: words
            .get(1)
            .filter(|w| w.contains(':'))
            .map(|w| resources(w).to_wire())
            .unwrap_or_default(),
        command: Some(v1::CommandInfo { value: Some("true".to_owned()), ..Default::default() }),
        ..Default::default()
    };
    if words.contains(&"executor") {
        info.command = None;
        info.executor = Some(Default::default());
    }
    if words.contains(&"group") {
        let mut operation = v1::offer::Operation::default();
        operation.set_type(v1::offer::operation::Type::LaunchGroup);
        operation.launch_group = Some(v1::offer::operation::LaunchGroup {
            task_group: v1::TaskGroupInfo { tasks: vec![info] },
            ..Default::default()
        });
        return operation;
    }
    launch(vec![info])
}

/// What a framework says of itself; false for what is no such option.
fn describe(info: &mut v1::FrameworkInfo, suppressed: &mut Vec<String>, option: &str) -> bool {
    match option.split_once('=').unwrap_or((option, "")) {
        ("partition_aware", _) => capability(info, Capability::PartitionAware),
        ("multi_role", "false") => info.capabilities.retain(|c| c.r#type() != Capability::MultiRole),
        ("multi_role", _) => capability(info, Capability::MultiRole),
        ("role", "none") => info.role = None,
        ("gpus", _) => capability(info, Capability::GpuResources),
        ("region_aware", _) => capability(info, Capability::RegionAware),
        ("failover", seconds) => info.failover_timeout = Some(seconds.parse().expect("seconds")),
        ("checkpoint", yes) => info.checkpoint = Some(yes == "true"),
        ("role", role) => info.role = Some(role.to_owned()),
        ("roles", "") => info.roles.clear(),
        ("roles", roles) => info.roles = roles.split(',').map(str::to_owned).collect(),
        ("suppress", roles) => *suppressed = roles.split(',').map(str::to_owned).collect(),
        ("user", user) => info.user = user.to_owned(),
        ("name", name) => info.name = name.to_owned(),
        ("principal", principal) => info.principal = Some(principal.to_owned()),
        _ => return false,
    }
    true
}

fn capability(info: &mut v1::FrameworkInfo, capability: Capability) {
    if !info.capabilities.iter().any(|c| c.r#type() == capability) {
        info.capabilities.push(v1::framework_info::Capability { r#type: Some(capability.into()) });
    }
}

/// A zone of a region.
pub fn domain(region: &str) -> v1::DomainInfo {
    let text = format!(r#"{{"fault_domain":{{"region":{{"name":"{region}"}},"zone":{{"name":"a"}}}}}}"#);
    model::domain::parse(&text).expect("a domain")
}

fn option<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

/// `login=a`: of a master that takes logins.
fn proof(options: &[&str]) -> Proof {
    let principal = option(options, "login").map(str::to_owned);
    let identity = Identity { principal, ..Default::default() };
    Proof { by_login: identity.principal.is_some(), identity, by_certificate: false }
}

fn duration(text: &str) -> Duration {
    parse_duration(text).expect("a duration")
}

fn state(text: &str) -> TaskState {
    let found = TaskState::ALL.into_iter().find(|state| state.name() == format!("TASK_{text}"));
    found.unwrap_or_else(|| panic!("no such state: {text}"))
}

/// A status as an agent sends it; that of the same task and state has the same uuid.
fn status(agent: &model::AgentId, task: &str, now: &str) -> v1::TaskStatus {
    let mut status = v1::TaskStatus {
        task_id: v1::TaskId { value: task.to_owned() },
        agent_id: Some(agent.into()),
        uuid: Some(format!("{task}-{now}").into_bytes().into()),
        ..Default::default()
    };
    status.set_state(state(now).into());
    status.set_source(v1::task_status::Source::Executor);
    status
}
