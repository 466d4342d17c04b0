//! Describes command tasks (what runs, in which image, with which resources, limits and environment), and makes the
//! calls about them.

use std::time::Duration;

use model::{Resources, TaskId};
use wire::v1::{self, AgentId, TaskInfo, TaskStatus, scheduler::Call, scheduler::call};

/// A command task before an offer was found for it.
#[derive(Clone, Debug, Default)]
pub struct CommandTask {
    /// Id, unique in its framework.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// What runs.
    pub command: Command,
    /// Docker's name of an image, or `oci:/dir[:tag]`; none for the agent's own root.
    pub image: Option<String>,
    /// Pull even what the agent has already.
    pub pull: bool,
    /// Variables, in order.
    pub environment: Vec<(String, String)>,
    /// User to run as; none leaves it to the framework.
    pub user: Option<String>,
    /// What it asks for.
    pub resources: Resources,
    /// Most it may use, by name (`cpus`, `mem`); infinity lifts a limit.
    pub limits: Vec<(String, f64)>,
    /// Host files and directories shown in the container.
    pub volumes: Vec<HostVolume>,
    /// Between SIGTERM and SIGKILL.
    pub kill_grace: Option<Duration>,
    /// It is ended when it runs longer.
    pub max_completion: Option<Duration>,
}

/// What a task runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Command {
    /// The image's entrypoint and command.
    #[default]
    Image,
    /// The image's entrypoint with these arguments.
    Arguments(Vec<String>),
    /// A program and its arguments, without a shell.
    Program(Vec<String>),
    /// A line for `/bin/sh -c`.
    Shell(String),
}

/// A directory of the host inside the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostVolume {
    /// Absolute path on the host.
    pub host: String,
    /// Path in the container.
    pub container: String,
    /// May be written to.
    pub writable: bool,
}

impl CommandTask {
    /// The task for `agent`, with what was picked from an offer of it (see [`crate::fit::pick`]).
    pub fn on(&self, agent: &AgentId, given: &Resources) -> TaskInfo {
        TaskInfo {
            name: self.name.clone(),
            task_id: v1::TaskId::from(&TaskId::new(self.id.as_str())),
            agent_id: agent.clone(),
            resources: given.to_wire(),
            limits: self
                .limits
                .iter()
                .map(|(name, most)| (name.clone(), v1::value::Scalar { value: *most }))
                .collect(),
            command: Some(self.command()),
            container: self.container(),
            kill_policy: self
                .kill_grace
                .map(|grace| v1::KillPolicy { grace_period: Some(nanoseconds(grace)) }),
            max_completion_time: self.max_completion.map(nanoseconds),
            ..TaskInfo::default()
        }
    }

    /// Mesos: without a shell `value` is the program and `arguments[0]` its argv[0]; without a value the image's
    /// entrypoint runs, and arguments take the place of the image's command.
    fn command(&self) -> v1::CommandInfo {
        let (shell, value, arguments) = match &self.command {
            Command::Image => (false, None, Vec::new()),
            Command::Arguments(arguments) => (false, None, arguments.clone()),
            Command::Program(argv) => (false, argv.first().cloned(), argv.clone()),
            Command::Shell(line) => (true, Some(line.clone()), Vec::new()),
        };
        v1::CommandInfo {
            shell: Some(shell),
            value,
            arguments,
            user: self.user.clone(),
            environment: (!self.environment.is_empty()).then(|| self.variables()),
            ..v1::CommandInfo::default()
        }
    }

    fn variables(&self) -> v1::Environment {
        let variables = self.environment.iter().map(|(name, value)| v1::environment::Variable {
            name: name.clone(),
            r#type: Some(v1::environment::variable::Type::Value.into()),
            value: Some(value.clone()),
            secret: None,
        });
        v1::Environment { variables: variables.collect() }
    }

    fn container(&self) -> Option<v1::ContainerInfo> {
        if self.image.is_none() && self.volumes.is_empty() {
            return None;
        }
        let image = self.image.as_ref().map(|name| v1::Image {
            r#type: v1::image::Type::Docker.into(),
            docker: Some(v1::image::Docker { name: name.clone(), ..Default::default() }),
            cached: Some(!self.pull),
            ..Default::default()
        });
        let mode = |writable| if writable { v1::volume::Mode::Rw } else { v1::volume::Mode::Ro };
        let volumes = self.volumes.iter().map(|volume| v1::Volume {
            mode: mode(volume.writable).into(),
            container_path: volume.container.clone(),
            host_path: Some(volume.host.clone()),
            ..Default::default()
        });
        Some(v1::ContainerInfo {
            r#type: v1::container_info::Type::Mesos.into(),
            mesos: image.map(|image| v1::container_info::MesosInfo { image: Some(image) }),
            volumes: volumes.collect(),
            ..Default::default()
        })
    }
}

fn nanoseconds(duration: Duration) -> v1::DurationInfo {
    v1::DurationInfo { nanoseconds: i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX) }
}

/// ACCEPT of one offer with one LAUNCH; what remains of it comes back at once.
pub fn accept(offer: &v1::Offer, tasks: Vec<TaskInfo>) -> Call {
    let launch = v1::offer::Operation {
        r#type: Some(v1::offer::operation::Type::Launch.into()),
        launch: Some(v1::offer::operation::Launch { task_infos: tasks }),
        ..Default::default()
    };
    Call {
        r#type: Some(call::Type::Accept.into()),
        accept: Some(call::Accept {
            offer_ids: vec![offer.id.clone()],
            operations: vec![launch],
            filters: Some(refuse_for(Duration::ZERO)),
        }),
        ..Call::default()
    }
}

/// The ACKNOWLEDGE that a status is due, none if it came from the master itself (Mesos: no uuid, no acknowledgement).
pub fn acknowledge(status: &TaskStatus) -> Option<Call> {
    let uuid = status.uuid.clone().filter(|uuid| !uuid.is_empty())?;
    Some(Call {
        r#type: Some(call::Type::Acknowledge.into()),
        acknowledge: Some(call::Acknowledge {
            agent_id: status.agent_id.clone()?,
            task_id: status.task_id.clone(),
            uuid,
        }),
        ..Call::default()
    })
}

/// DECLINE of offers; the same resources don't come again for `pause`.
pub fn decline(offers: Vec<v1::OfferId>, pause: Duration) -> Call {
    Call {
        r#type: Some(call::Type::Decline.into()),
        decline: Some(call::Decline { offer_ids: offers, filters: Some(refuse_for(pause)) }),
        ..Call::default()
    }
}

/// KILL of a task.
pub fn kill(task: v1::TaskId, agent: Option<AgentId>, grace: Option<Duration>) -> Call {
    let kill_policy = grace.map(|grace| v1::KillPolicy { grace_period: Some(nanoseconds(grace)) });
    Call {
        r#type: Some(call::Type::Kill.into()),
        kill: Some(call::Kill { task_id: task, agent_id: agent, kill_policy }),
        ..Call::default()
    }
}

/// RECONCILE of some tasks, or with an empty list of all.
pub fn reconcile(tasks: Vec<(v1::TaskId, Option<AgentId>)>) -> Call {
    let tasks = tasks.into_iter().map(|(task_id, agent_id)| call::reconcile::Task { task_id, agent_id });
    Call {
        r#type: Some(call::Type::Reconcile.into()),
        reconcile: Some(call::Reconcile { tasks: tasks.collect() }),
        ..Call::default()
    }
}

/// A call that consists of its type: TEARDOWN, SUPPRESS and REVIVE for all roles.
pub fn plain(kind: call::Type) -> Call {
    Call { r#type: Some(kind.into()), ..Call::default() }
}

fn refuse_for(pause: Duration) -> v1::Filters {
    v1::Filters { refuse_seconds: Some(pause.as_secs_f64()) }
}

#[cfg(test)]
mod tests {
    use model::Role;

    use super::*;

    fn task() -> CommandTask {
        CommandTask {
            id: "t1".to_owned(),
            name: "one".to_owned(),
            resources: model::resources::parse("cpus:0.5;mem:32", &Role::any()).unwrap(),
            ..CommandTask::default()
        }
    }

    fn info(task: &CommandTask) -> TaskInfo {
        let given = task.resources.allocated_to(Some(&Role::any()));
        task.on(&AgentId { value: "S0".to_owned() }, &given)
    }

    #[test]
    fn commands_are_written_as_mesos_reads_them() {
        let command = |command| info(&CommandTask { command, ..task() }).command.unwrap();
        let argv = || vec!["sh".to_owned(), "-c".to_owned(), "exit 7".to_owned()];
        let program = command(Command::Program(argv()));
        assert_eq!((program.shell(), program.value()), (false, "sh"));
        assert_eq!(program.arguments, argv());
        let shell = command(Command::Shell("exit 7".to_owned()));
        assert_eq!((shell.shell(), shell.value(), shell.arguments.len()), (true, "exit 7", 0));
        let image = command(Command::Image);
        assert_eq!((image.shell(), image.value, image.arguments.len()), (false, None, 0));
        let arguments = command(Command::Arguments(argv()));
        assert_eq!((arguments.shell(), arguments.value, arguments.arguments), (false, None, argv()));
    }

    #[test]
    fn resources_carry_the_role_of_the_offer() {
        let info = info(&task());
        let roles: Vec<_> =
            info.resources.iter().map(|r| r.allocation_info.as_ref().unwrap().role()).collect();
        assert_eq!(roles, ["*", "*"]);
        assert!(info.container.is_none());
    }

    #[test]
    fn a_description_survives_the_wire() {
        let full = CommandTask {
            image: Some("127.0.0.1:5000/busybox".to_owned()),
            environment: vec![("A".to_owned(), "1=2".to_owned())],
            user: Some("nobody".to_owned()),
            limits: vec![("mem".to_owned(), f64::INFINITY)],
            volumes: vec![HostVolume {
                host: "/srv".to_owned(),
                container: "data".to_owned(),
                writable: false,
            }],
            kill_grace: Some(Duration::from_secs(3)),
            max_completion: Some(Duration::from_millis(1500)),
            ..task()
        };
        let call = accept(&v1::Offer::default(), vec![info(&full)]);
        let read: Call = wire::json::from_slice(&wire::json::to_vec(&call)).unwrap();
        let infos = &read.accept.unwrap().operations[0].launch.as_ref().unwrap().task_infos.clone();
        assert_eq!(
            infos[0].kill_policy.as_ref().unwrap().grace_period.as_ref().unwrap().nanoseconds,
            3_000_000_000
        );
        assert_eq!(infos[0].limits["mem"].value, f64::INFINITY);
        assert_eq!(infos[0], info(&full));
    }

    #[test]
    fn only_statuses_with_a_uuid_are_acknowledged() {
        let mut status = TaskStatus { task_id: v1::TaskId { value: "t".to_owned() }, ..Default::default() };
        status.agent_id = Some(AgentId { value: "S".to_owned() });
        assert_eq!(acknowledge(&status), None);
        status.uuid = Some(Vec::new().into());
        assert_eq!(acknowledge(&status), None);
        status.uuid = Some(vec![1; 16].into());
        let call = acknowledge(&status).unwrap();
        assert_eq!(call.acknowledge.unwrap().uuid, vec![1; 16]);
    }
}
