//! The first message of a link, checked: nothing of an agent's description is believed that breaks a rule.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use model::{AgentId, Resources, TaskState};
use wire::link::from_agent::Body;
use wire::link::{self, OtherProtocol};
use wire::link::{Register, Reregister};
use wire::v1;

use crate::logic::{AgentHello, Proof, ReportedTask};

const MAX_TEXT: usize = 255;
const MAX_ATTRIBUTES: usize = 1000;
const MAX_CAPABILITIES: usize = 100;
/// All that an agent says of itself: it must fit into one record of the registry, which an ensemble may keep.
const MAX_INFO: usize = 256 << 10;

/// A checked first message.
#[derive(Debug)]
pub struct Hello {
    /// Its id, when it has one.
    pub agent: Option<AgentId>,
    /// Who it is.
    pub hello: Box<AgentHello>,
    /// What it runs.
    pub tasks: Vec<ReportedTask>,
    /// For whom.
    pub frameworks: Vec<Arc<v1::FrameworkInfo>>,
    /// What it ran.
    pub completed: Vec<ReportedTask>,
    /// Highest master epoch it has obeyed.
    pub epoch: u64,
}

/// Why an agent is refused.
#[derive(Debug, thiserror::Error)]
pub enum BadHello {
    /// It began with something else.
    #[error("a link begins with a registration")]
    NoRegistration,
    /// It can't be understood.
    #[error(transparent)]
    Protocol(#[from] OtherProtocol),
    /// A part of its description is missing.
    #[error("the registration has no {0}")]
    Missing(&'static str),
    /// A part of its description breaks a rule.
    #[error("the registration's {what}: {why}")]
    Bad {
        /// Which part.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

fn bad(what: &'static str, why: impl ToString) -> BadHello {
    BadHello::Bad { what, why: why.to_string() }
}

/// Checks the first message of a link.
pub fn of(body: Option<Body>) -> Result<Hello, BadHello> {
    match body {
        Some(Body::Register(message)) => register(message),
        Some(Body::Reregister(message)) => reregister(message),
        _ => Err(BadHello::NoRegistration),
    }
}

fn register(message: Register) -> Result<Hello, BadHello> {
    let Register { version, agent, address, capabilities, checkpointed_resources, incarnation, protocol } =
        message;
    link::check_protocol(protocol)?;
    no_checkpointed(&checkpointed_resources)?;
    let info = agent.ok_or(BadHello::Missing("agent info"))?;
    let hello = described(version, info, address, capabilities, incarnation)?;
    let (tasks, frameworks, completed) = (Vec::new(), Vec::new(), Vec::new());
    Ok(Hello { agent: None, hello, tasks, frameworks, completed, epoch: 0 })
}

fn reregister(message: Reregister) -> Result<Hello, BadHello> {
    link::check_protocol(message.protocol)?;
    no_checkpointed(&message.checkpointed_resources)?;
    let info = message.agent.ok_or(BadHello::Missing("agent info"))?;
    let id: AgentId = info.id.as_ref().ok_or(BadHello::Missing("agent id"))?.into();
    id.check().map_err(|why| bad("agent id", why))?;
    let hello = described(message.version, info, message.address, message.capabilities, message.incarnation)?;
    let tasks = message.tasks.into_iter().map(|task| reported(task, &id)).collect::<Result<_, _>>()?;
    let frameworks = message.frameworks.into_iter().map(framework).collect::<Result<_, _>>()?;
    // What is only shown is no reason to refuse an agent.
    let completed = message.completed.into_iter().take(link::MAX_COMPLETED);
    let completed = completed.filter_map(|task| reported(task, &id).ok()).collect();
    Ok(Hello { agent: Some(id), hello, tasks, frameworks, completed, epoch: message.epoch })
}

/// Reservations and volumes are not supported yet: an agent that has some must not lose them in silence.
fn no_checkpointed(resources: &[v1::Resource]) -> Result<(), BadHello> {
    match resources {
        [] => Ok(()),
        _ => Err(bad(
            "checkpointed resources",
            "dynamic reservations and volumes are not supported by this master",
        )),
    }
}

fn described(
    version: String,
    info: v1::AgentInfo,
    address: String,
    capabilities: Vec<String>,
    incarnation: String,
) -> Result<Box<AgentHello>, BadHello> {
    for (what, text) in [("version", &version), ("hostname", &info.hostname), ("incarnation", &incarnation)] {
        if text.is_empty() || text.len() > MAX_TEXT || text.chars().any(char::is_control) {
            return Err(bad(what, "empty, too long or with control characters"));
        }
    }
    address.parse::<SocketAddr>().map_err(|_| bad("address", "expected ip:port"))?;
    if capabilities.len() > MAX_CAPABILITIES || capabilities.iter().any(|name| name.len() > MAX_TEXT) {
        return Err(bad("capabilities", "too many or too long"));
    }
    if info.attributes.len() > MAX_ATTRIBUTES || info.attributes.iter().any(|a| a.name.len() > MAX_TEXT) {
        return Err(bad("attributes", "too many or too long"));
    }
    let length = prost::Message::encoded_len(&info);
    if length > MAX_INFO {
        return Err(bad(
            "description",
            format!("{length} bytes are more than the {MAX_INFO} that the registry keeps"),
        ));
    }
    let total = Resources::from_wire(&info.resources).map_err(|why| bad("resources", why))?;
    if total.iter().any(|resource| resource.kind.allocated_to.is_some()) {
        return Err(bad("resources", "a total can't be allocated to a role"));
    }
    Ok(Box::new(AgentHello {
        version,
        info,
        total,
        address,
        capabilities,
        incarnation,
        proof: Proof::default(),
    }))
}

/// Decoding leaves bytes where they came in. What a row keeps of a status must not keep the whole message with its data.
pub(super) fn detach(status: &mut v1::TaskStatus) {
    if let Some(uuid) = &mut status.uuid {
        *uuid = Bytes::copy_from_slice(uuid);
    }
}

fn reported(mut task: v1::Task, agent: &AgentId) -> Result<ReportedTask, BadHello> {
    let what = "task";
    model::ids::check(&task.task_id.value).map_err(|why| bad(what, why))?;
    model::ids::check(&task.framework_id.value).map_err(|why| bad(what, why))?;
    let id = task.task_id.value.as_str();
    if task.agent_id.value != agent.as_str() {
        return Err(bad(what, format!("'{id}' is said to be on another agent")));
    }
    let state = |number: i32| v1::TaskState::try_from(number).map(TaskState::from);
    state(task.state).map_err(|_| bad(what, format!("'{id}' has an unknown state")))?;
    let resources =
        Resources::from_wire(&task.resources).map_err(|why| bad(what, format!("'{id}': {why}")))?;
    let mut roles = resources.iter().map(|resource| &resource.kind.allocated_to);
    let first = roles.next();
    if first.is_some_and(|role| role.is_none()) || !roles.all(|role| Some(role) == first) {
        return Err(bad(what, format!("'{id}' has resources that are not allocated to one role")));
    }
    for status in &mut task.statuses {
        detach(status);
        // Mesos: what a master keeps of a status is without its data.
        status.data = None;
    }
    // Agents hide them before they tell; whoever does not is not believed to.
    model::secrets::hide_in_task(&mut task);
    let unacknowledged = task.status_update_state.and_then(|number| state(number).ok());
    Ok(ReportedTask::new(task, resources, unacknowledged))
}

fn framework(info: v1::FrameworkInfo) -> Result<Arc<v1::FrameworkInfo>, BadHello> {
    let id = info.id.as_ref().ok_or(BadHello::Missing("framework id"))?;
    model::ids::check(&id.value).map_err(|why| bad("framework", why))?;
    Ok(Arc::new(info))
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use wire::link::FromAgent;

    use super::*;

    fn decoded(body: Body) -> (Bytes, Option<Body>) {
        let bytes: Bytes = FromAgent { body: Some(body) }.encode_to_vec().into();
        let message = FromAgent::decode(bytes.clone()).unwrap();
        (bytes, message.body)
    }

    #[test]
    fn what_is_kept_of_a_status_holds_nothing_else_of_the_message() {
        let status = v1::TaskStatus {
            uuid: Some(vec![7; 16].into()),
            data: Some(vec![0; 1 << 20].into()),
            ..Default::default()
        };
        let task = v1::Task {
            task_id: v1::TaskId { value: "t".to_owned() },
            framework_id: v1::FrameworkId { value: "f".to_owned() },
            agent_id: v1::AgentId { value: "a".to_owned() },
            statuses: vec![status.clone()],
            ..Default::default()
        };
        let agent =
            v1::AgentInfo { hostname: "h".to_owned(), id: Some(task.agent_id.clone()), ..Default::default() };
        let (bytes, body) = decoded(Body::Reregister(Reregister {
            version: "1.12.0".to_owned(),
            agent: Some(agent),
            address: "10.0.0.1:5051".to_owned(),
            incarnation: "i".to_owned(),
            tasks: vec![task],
            ..Default::default()
        }));
        assert!(!bytes.is_unique());
        let hello = of(body).unwrap();
        assert_eq!(hello.tasks[0].statuses[0].uuid.as_deref(), Some(&[7; 16][..]));
        assert!(bytes.is_unique(), "a row keeps the message in which it came");

        let (bytes, body) =
            decoded(Body::Status(link::Status { status: Some(status), ..Default::default() }));
        let Some(Body::Status(link::Status { status: Some(mut status), .. })) = body else { panic!() };
        detach(&mut status);
        status.data = None;
        assert!(bytes.is_unique(), "a status without its data keeps the message in which it came");
    }
}
