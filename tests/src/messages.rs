//! What the services do between the logic of master and agents: link messages to events, infos and hellos.

use std::sync::Arc;

use master::logic::{AgentHello, Event, LinkId, ReportedTask};
use model::{AgentId, FrameworkId, Milli, Resource, Resources, TaskState};
use wire::link::from_agent::Body;
use wire::v1;

/// A message of an agent as the master's event.
pub fn event_of(link: LinkId, body: Body) -> Event {
    match body {
        Body::Register(m) => {
            let info = m.agent.expect("agents say who they are");
            let hello = hello(info, m.version, m.address, m.capabilities, m.incarnation).into();
            Event::AgentRegisters { link, hello }
        }
        Body::Reregister(m) => {
            let info = m.agent.expect("agents say who they are");
            let agent = AgentId::from(info.id.as_ref().expect("an agent that comes back has an id"));
            let hello = hello(info, m.version, m.address, m.capabilities, m.incarnation).into();
            let tasks = m.tasks.into_iter().map(reported).collect();
            let frameworks = m.frameworks.into_iter().map(Arc::new).collect();
            let completed = m.completed.into_iter().map(reported).collect();
            Event::AgentReregisters { link, agent, hello, tasks, frameworks, completed }
        }
        Body::Status(m) => {
            let latest = m.latest_state().into();
            let status = Box::new(m.status.expect("a status update has a status"));
            Event::TaskUpdate { link, framework: FrameworkId::new(m.framework_id), status, latest }
        }
        Body::Pong(_) => Event::Pong { link },
        Body::Unregister(_) => Event::AgentUnregisters { link },
    }
}

fn hello(
    mut info: v1::AgentInfo,
    version: String,
    address: String,
    capabilities: Vec<String>,
    incarnation: String,
) -> AgentHello {
    let total = Resources::from_wire(&info.resources).expect("agents have valid resources");
    info.id = None;
    AgentHello { version, info, total, address, capabilities, incarnation, proof: Default::default() }
}

fn reported(task: v1::Task) -> ReportedTask {
    let resources = Resources::from_wire(&task.resources).expect("tasks have valid resources");
    let unacknowledged =
        task.status_update_state.is_some().then(|| TaskState::from(task.status_update_state()));
    ReportedTask::new(task, resources, unacknowledged)
}

/// Resources as texts write them.
pub fn resources(text: &str) -> Resources {
    model::resources::parse(text, &model::Role::any()).expect("tests write valid resources")
}

/// A command task.
pub fn task(id: &str, agent: &AgentId, cpus: i64, mem: i64) -> v1::TaskInfo {
    let resources: Resources = [
        Resource::scalar("cpus", Milli::from_millis(cpus)),
        Resource::scalar("mem", Milli::from_millis(mem * 1000)),
    ]
    .into_iter()
    .collect();
    v1::TaskInfo {
        name: id.to_owned(),
        task_id: v1::TaskId { value: id.to_owned() },
        agent_id: agent.into(),
        resources: resources.to_wire(),
        command: Some(v1::CommandInfo { value: Some("true".to_owned()), ..Default::default() }),
        ..Default::default()
    }
}

/// A LAUNCH of these tasks.
pub fn launch(task_infos: Vec<v1::TaskInfo>) -> v1::offer::Operation {
    let mut operation = v1::offer::Operation::default();
    operation.set_type(v1::offer::operation::Type::Launch);
    operation.launch = Some(v1::offer::operation::Launch { task_infos });
    operation
}

/// A framework with these capabilities.
pub fn framework_info(
    name: &str,
    capabilities: &[v1::framework_info::capability::Type],
) -> v1::FrameworkInfo {
    v1::FrameworkInfo {
        user: "nobody".to_owned(),
        name: name.to_owned(),
        checkpoint: Some(true),
        capabilities: capabilities
            .iter()
            .map(|&c| v1::framework_info::Capability { r#type: Some(c.into()) })
            .collect(),
        ..Default::default()
    }
}
