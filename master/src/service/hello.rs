//! The first message of a link, checked: nothing of an agent's description is believed that breaks a rule.

use std::net::SocketAddr;
use std::sync::Arc;

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
    // Decoding has made room for more.
    task.statuses.shrink_to_fit();
    task.resources.shrink_to_fit();
    let unacknowledged = task.status_update_state.and_then(|number| state(number).ok());
    Ok(ReportedTask { task: Arc::new(task), resources, unacknowledged })
}

fn framework(info: v1::FrameworkInfo) -> Result<Arc<v1::FrameworkInfo>, BadHello> {
    let id = info.id.as_ref().ok_or(BadHello::Missing("framework id"))?;
    model::ids::check(&id.value).map_err(|why| bad("framework", why))?;
    Ok(Arc::new(info))
}
