//! The rules as a table: one change to a valid task, and the message it brings.

use std::sync::Arc;

use expect_test::expect;
use model::{FrameworkId, TaskState, Timestamp};
use wire::v1::environment::{self, variable};
use wire::v1::{CheckInfo, HealthCheck, TaskInfo, check_info, health_check};

use super::*;
use crate::logic::{Task, fixture};

fn state() -> State {
    let mut state = State::new(fixture::settings(), 1, Timestamp::ZERO);
    state.tasks.insert((FrameworkId::from("f"), TaskId::from("used")), row("used"));
    state.unreachable_tasks.insert((FrameworkId::from("f"), TaskId::from("away")), row("away"));
    state
}

fn row(id: &str) -> Task {
    Task {
        id: TaskId::from(id),
        framework: FrameworkId::from("f"),
        agent: AgentId::from("a"),
        info: Arc::default(),
        resources: Resources::none(),
        latest: TaskState::Running,
        sent: TaskState::Running,
        unacknowledged: None,
        statuses: Vec::new(),
        unreachable_since: None,
    }
}

fn framework() -> Framework {
    Framework {
        id: FrameworkId::from("f"),
        info: Arc::default(),
        roles: vec![Role::any()],
        suppressed: Vec::new(),
        stream: None,
        stream_token: None,
        active: true,
        recovered: false,
        registered: Timestamp::ZERO,
        reregistered: None,
        unregistered: None,
        generation: 0,
        completed: Default::default(),
    }
}

fn of(text: &str) -> Resources {
    model::resources::parse(text, &Role::any()).unwrap()
}

fn valid() -> TaskInfo {
    TaskInfo {
        name: "t".to_owned(),
        task_id: v1::TaskId { value: "t".to_owned() },
        agent_id: v1::AgentId { value: "a".to_owned() },
        resources: of("cpus:1;mem:64").to_wire(),
        command: Some(v1::CommandInfo { value: Some("true".to_owned()), ..Default::default() }),
        ..Default::default()
    }
}

fn check(change: impl FnOnce(&mut TaskInfo)) -> Result<Resources, String> {
    check_with("TASK_RESOURCE_LIMITS", change)
}

fn check_with(capability: &str, change: impl FnOnce(&mut TaskInfo)) -> Result<Resources, String> {
    let mut info = valid();
    change(&mut info);
    let agent = AgentFacts {
        id: AgentId::from("a"),
        info: v1::AgentInfo::default(),
        address: String::new(),
        version: String::new(),
        capabilities: vec![capability.to_owned()],
    };
    let left = of("cpus:4;mem:1024;gpus:4;ports:[31000-31009]").allocated_to(Some(&Role::any()));
    let place = Place { framework: &framework(), agent: &agent, role: &Role::any(), left: &left };
    task(&state(), &place, &info)
}

type Change = Box<dyn FnOnce(&mut TaskInfo)>;

/// One line per change: what becomes of a valid task with it.
fn table(changes: Vec<(&str, Change)>) -> String {
    changes
        .into_iter()
        .map(|(name, change)| match check(change) {
            Ok(uses) => format!("{name}: fine, {}\n", uses.allocated_to(None)),
            Err(why) => format!("{name}: {why}\n"),
        })
        .collect()
}

macro_rules! table {
    ($($name:literal: $change:expr),+ $(,)?) => {
        table(vec![$(($name, Box::new($change) as Change)),+])
    };
}

fn id(text: &str) -> impl FnOnce(&mut TaskInfo) + use<> {
    let value = text.to_owned();
    |info: &mut TaskInfo| info.task_id.value = value
}

fn uses(text: &str) -> impl FnOnce(&mut TaskInfo) + use<> {
    let resources = of(text).to_wire();
    |info: &mut TaskInfo| info.resources = resources
}

fn nanos(nanoseconds: i64) -> Option<v1::DurationInfo> {
    Some(v1::DurationInfo { nanoseconds })
}

#[test]
fn identity_and_times() {
    let got = table! {
        "nothing changed": |_: &mut TaskInfo| {},
        "empty id": id(""),
        "dots": id(".."),
        "slash": id("a/b"),
        "line break": id("a\nb"),
        "255 characters": id(&"x".repeat(255)),
        "256 characters": id(&"x".repeat(256)),
        "live id": id("used"),
        "id of an unreachable task": id("away"),
        "another agent": |info: &mut TaskInfo| info.agent_id.value = "b".to_owned(),
        "grace of 0": |info: &mut TaskInfo| info.kill_policy = Some(v1::KillPolicy { grace_period: nanos(0) }),
        "grace below 0": |info: &mut TaskInfo| info.kill_policy = Some(v1::KillPolicy { grace_period: nanos(-1) }),
        "completion below 0": |info: &mut TaskInfo| info.max_completion_time = nanos(-1),
        "neither command nor executor": |info: &mut TaskInfo| info.command = None,
        "both": |info: &mut TaskInfo| info.executor = Some(Default::default()),
        "an executor": |info: &mut TaskInfo| { info.executor = Some(Default::default()); info.command = None; },
    };
    expect![[r#"
        nothing changed: fine, cpus:1; mem:64
        empty id: Task has an invalid ID: ID must not be empty
        dots: Task has an invalid ID: '..' is disallowed
        slash: Task has an invalid ID: 'a/b' contains invalid characters
        line break: Task has an invalid ID: 'a\nb' contains invalid characters
        255 characters: fine, cpus:1; mem:64
        256 characters: Task has an invalid ID: ID must not be greater than 255 characters
        live id: Task has duplicate ID: used
        id of an unreachable task: Task reuses the ID of an unreachable task: away
        another agent: Task uses invalid agent b while agent a is expected
        grace of 0: fine, cpus:1; mem:64
        grace below 0: Task's 'kill_policy.grace_period' must be non-negative
        completion below 0: Task's 'max_completion_time' must be non-negative
        neither command nor executor: Task should have at least one (but not both) of CommandInfo or ExecutorInfo present
        both: Task should have at least one (but not both) of CommandInfo or ExecutorInfo present
        an executor: Task has an 'executor': executors are not supported by this version, give a 'command'
    "#]].assert_eq(&got);
}

fn scalar(name: &str, value: f64) -> v1::Resource {
    let mut resource = v1::Resource { name: name.to_owned(), ..Default::default() };
    resource.set_type(v1::value::Type::Scalar);
    resource.scalar = Some(v1::value::Scalar { value });
    resource
}

fn only(name: &'static str, value: f64) -> impl FnOnce(&mut TaskInfo) {
    move |info: &mut TaskInfo| info.resources = vec![scalar(name, value)]
}

#[test]
fn what_a_task_may_use() {
    let got = table! {
        "all there is": uses("cpus:4;mem:1024;gpus:4;ports:[31000-31009]"),
        "a thousandth too much": uses("cpus:4.001"),
        "a port that isn't there": uses("ports:[31009-31010]"),
        "nothing": |info: &mut TaskInfo| info.resources.clear(),
        "zero": only("cpus", 0.0),
        "too little to count": only("cpus", 0.0004),
        "negative": only("cpus", -1.0),
        "not a number": only("cpus", f64::NAN),
        "infinite": only("mem", f64::INFINITY),
        "1e308": only("mem", 1e308),
        "half a gpu": only("gpus", 0.5),
        "two halves": |info: &mut TaskInfo| info.resources = vec![scalar("gpus", 0.5), scalar("gpus", 0.5)],
        "twice too much": |info: &mut TaskInfo| info.resources = vec![scalar("cpus", 2.5), scalar("cpus", 2.5)],
        "allocated to another role": |info: &mut TaskInfo| {
            info.resources[0].allocation_info =
                Some(v1::resource::AllocationInfo { role: Some("web".to_owned()) });
        },
        "revocable and not": |info: &mut TaskInfo| {
            info.resources.push(v1::Resource {
                revocable: Some(Default::default()),
                ..scalar("cpus", 1.0)
            });
        },
        "reserved": |info: &mut TaskInfo| info.resources[0].role = Some("web".to_owned()),
        "two providers": |info: &mut TaskInfo| {
            info.resources[0].provider_id = Some(v1::ResourceProviderId { value: "p".to_owned() });
        },
    };
    expect![[r#"
        all there is: fine, cpus:4; mem:1024; gpus:4; ports:[31000-31009]
        a thousandth too much: Task uses more resources cpus:4.001 than available cpus:4; mem:1024; gpus:4; ports:[31000-31009]
        a port that isn't there: Task uses more resources ports:[31009-31010] than available cpus:4; mem:1024; gpus:4; ports:[31000-31009]
        nothing: Task uses no resources
        zero: Task uses no resources
        too little to count: Task uses no resources
        negative: Task uses invalid resources: Resource 'cpus' has an invalid amount: -1
        not a number: Task uses invalid resources: Resource 'cpus' has an invalid amount: NaN
        infinite: Task uses invalid resources: Resource 'mem' has an invalid amount: inf
        1e308: Task uses invalid resources: Resource 'mem' has an invalid amount: 100000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000
        half a gpu: The 'gpus' resource must be an unsigned integer
        two halves: fine, gpus:1
        twice too much: Task uses more resources cpus:5 than available cpus:4; mem:1024; gpus:4; ports:[31000-31009]
        allocated to another role: Task uses resources allocated to role 'web', the offers are for '*'
        revocable and not: Task uses both revocable and non-revocable 'cpus'
        reserved: Task uses more resources cpus(web):1; mem:64 than available cpus:4; mem:1024; gpus:4; ports:[31000-31009]
        two providers: Task uses resources of more than one resource provider
    "#]].assert_eq(&got);
}

fn limit(name: &'static str, value: f64) -> impl FnOnce(&mut TaskInfo) {
    move |info: &mut TaskInfo| {
        info.limits.insert(name.to_owned(), v1::value::Scalar { value });
    }
}

#[test]
fn limits_of_tasks() {
    let got = table! {
        "as requested": limit("cpus", 1.0),
        "more": limit("mem", 128.0),
        "infinite": limit("cpus", f64::INFINITY),
        "less": limit("mem", 63.0),
        "not a number": limit("mem", f64::NAN),
        "of nothing requested": |info: &mut TaskInfo| {
            limit("mem", 128.0)(info);
            uses("cpus:1")(info);
        },
        "of disk": limit("disk", 5.0),
    };
    expect![[r#"
        as requested: fine, cpus:1; mem:64
        more: fine, cpus:1; mem:64
        infinite: fine, cpus:1; mem:64
        less: Task's limit of mem (63) is below its request (64)
        not a number: Task's limit of mem (NaN) is below its request (64)
        of nothing requested: Task has a limit of mem but requests none
        of disk: Task has a limit of 'disk': only cpus and mem can be limited
    "#]]
    .assert_eq(&got);
    assert!(check_with("OTHER", limit("mem", 128.0)).unwrap_err().contains("TASK_RESOURCE_LIMITS"));
}

fn health(change: impl FnOnce(&mut HealthCheck)) -> impl FnOnce(&mut TaskInfo) {
    let mut check = HealthCheck::default();
    change(&mut check);
    |info: &mut TaskInfo| info.health_check = Some(check)
}

fn http(scheme: Option<&str>, path: Option<&str>) -> Option<health_check::HttpCheckInfo> {
    Some(health_check::HttpCheckInfo {
        scheme: scheme.map(str::to_owned),
        path: path.map(str::to_owned),
        port: 80,
        ..Default::default()
    })
}

fn command(value: Option<&str>) -> v1::CommandInfo {
    v1::CommandInfo { value: value.map(str::to_owned), ..Default::default() }
}

#[test]
fn health_checks() {
    let got = table! {
        "no type": health(|_| {}),
        "unknown type": health(|check| check.set_type(health_check::Type::Unknown)),
        "implied command": health(|check| check.command = Some(command(Some("true")))),
        "implied http": health(|check| check.http = http(None, Some("/health"))),
        "command missing": health(|check| check.set_type(health_check::Type::Command)),
        "command without a value": health(|check| check.command = Some(command(None))),
        "http missing": health(|check| check.set_type(health_check::Type::Http)),
        "scheme": health(|check| check.http = http(Some("ftp"), None)),
        "path": health(|check| check.http = http(Some("https"), Some("health"))),
        "tcp missing": health(|check| check.set_type(health_check::Type::Tcp)),
        "tcp": health(|check| {
            check.set_type(health_check::Type::Tcp);
            check.tcp = Some(Default::default());
        }),
        "negative interval": health(|check| {
            check.http = http(None, None);
            check.interval_seconds = Some(-1.0);
        }),
        "timeout not a number": health(|check| {
            check.http = http(None, None);
            check.timeout_seconds = Some(f64::NAN);
        }),
    };
    expect![[r#"
        no type: Task uses invalid health check: HealthCheck must specify 'type'
        unknown type: Task uses invalid health check: 'UNKNOWN' is not a valid health check type
        implied command: fine, cpus:1; mem:64
        implied http: fine, cpus:1; mem:64
        command missing: Task uses invalid health check: Expecting 'command' to be set for COMMAND health check
        command without a value: Task uses invalid health check: Command check must contain 'shell command'
        http missing: Task uses invalid health check: Expecting 'http' to be set for HTTP health check
        scheme: Task uses invalid health check: Unsupported HTTP health check scheme: 'ftp'
        path: Task uses invalid health check: The path 'health' of HTTP check must start with '/'
        tcp missing: Task uses invalid health check: Expecting 'tcp' to be set for TCP health check
        tcp: fine, cpus:1; mem:64
        negative interval: Task uses invalid health check: Expecting 'interval_seconds' to be non-negative
        timeout not a number: Task uses invalid health check: Expecting 'timeout_seconds' to be non-negative
    "#]].assert_eq(&got);
}

fn checks(change: impl FnOnce(&mut CheckInfo)) -> impl FnOnce(&mut TaskInfo) {
    let mut check = CheckInfo::default();
    change(&mut check);
    |info: &mut TaskInfo| info.check = Some(check)
}

#[test]
fn checks_of_tasks() {
    let got = table! {
        "no type": checks(|_| {}),
        "unknown type": checks(|check| check.set_type(check_info::Type::Unknown)),
        "command missing": checks(|check| check.set_type(check_info::Type::Command)),
        "command": checks(|check| {
            check.set_type(check_info::Type::Command);
            check.command = Some(check_info::Command { command: command(Some("true")) });
        }),
        "http path": checks(|check| {
            check.set_type(check_info::Type::Http);
            check.http = Some(check_info::Http { port: 80, path: Some("x".to_owned()) });
        }),
        "tcp missing": checks(|check| check.set_type(check_info::Type::Tcp)),
        "negative delay": checks(|check| {
            check.set_type(check_info::Type::Tcp);
            check.tcp = Some(check_info::Tcp { port: 80 });
            check.delay_seconds = Some(-0.5);
        }),
    };
    expect![[r#"
        no type: Task uses invalid check: CheckInfo must specify 'type'
        unknown type: Task uses invalid check: 'UNKNOWN' is not a valid check type
        command missing: Task uses invalid check: Expecting 'command' to be set for COMMAND check
        command: fine, cpus:1; mem:64
        http path: Task uses invalid check: The path 'x' of HTTP check must start with '/'
        tcp missing: Task uses invalid check: Expecting 'tcp' to be set for TCP check
        negative delay: Task uses invalid check: Expecting 'delay_seconds' to be non-negative
    "#]]
    .assert_eq(&got);
}

fn variable(change: impl FnOnce(&mut environment::Variable)) -> impl FnOnce(&mut TaskInfo) {
    let mut variable = environment::Variable { name: "V".to_owned(), ..Default::default() };
    change(&mut variable);
    |info: &mut TaskInfo| {
        let command = info.command.as_mut().unwrap();
        command.environment = Some(v1::Environment { variables: vec![variable] });
    }
}

fn secret(kind: v1::secret::Type, value: Option<&'static [u8]>) -> Option<v1::Secret> {
    let value = value.map(|data| v1::secret::Value { data: data.into() });
    Some(v1::Secret { r#type: Some(kind.into()), value, ..Default::default() })
}

#[test]
fn environment_variables() {
    use v1::secret::Type::{Reference, Unknown, Value};
    let got = table! {
        "value": variable(|v| v.value = Some("x".to_owned())),
        "no value": variable(|_| {}),
        "value and secret": variable(|v| {
            v.value = Some("x".to_owned());
            v.secret = secret(Value, Some(b"x"));
        }),
        "unknown type": variable(|v| v.set_type(variable::Type::Unknown)),
        "secret": variable(|v| { v.set_type(variable::Type::Secret); v.secret = secret(Value, Some(b"x")); }),
        "no secret": variable(|v| v.set_type(variable::Type::Secret)),
        "secret with a value": variable(|v| {
            v.set_type(variable::Type::Secret);
            v.value = Some("x".to_owned());
        }),
        "secret with NUL": variable(|v| { v.set_type(variable::Type::Secret); v.secret = secret(Value, Some(b"\0")); }),
        "secret without data": variable(|v| { v.set_type(variable::Type::Secret); v.secret = secret(Value, None); }),
        "reference to nothing": variable(|v| { v.set_type(variable::Type::Secret); v.secret = secret(Reference, None); }),
        "unknown secret": variable(|v| { v.set_type(variable::Type::Secret); v.secret = secret(Unknown, None); }),
    };
    expect![[r#"
        value: fine, cpus:1; mem:64
        no value: Environment variable 'V' of type 'VALUE' must have a value set
        value and secret: Environment variable 'V' of type 'VALUE' must not have a secret set
        unknown type: Environment variable of type 'UNKNOWN' is not allowed
        secret: fine, cpus:1; mem:64
        no secret: Environment variable 'V' of type 'SECRET' must have a secret set
        secret with a value: Environment variable 'V' of type 'SECRET' must not have a value set
        secret with NUL: Environment variable 'V' specifies a secret containing null bytes, which is not allowed
        secret without data: Environment variable 'V' specifies an invalid secret: Secret of type VALUE must have the 'value' field set
        reference to nothing: Environment variable 'V' specifies an invalid secret: Secret of type REFERENCE must have the 'reference' field set
        unknown secret: Environment variable 'V' specifies an invalid secret: Secret of type UNKNOWN is not allowed
    "#]].assert_eq(&got);
}

fn container(change: impl FnOnce(&mut v1::ContainerInfo)) -> impl FnOnce(&mut TaskInfo) {
    let mut container = v1::ContainerInfo::default();
    container.set_type(v1::container_info::Type::Mesos);
    change(&mut container);
    |info: &mut TaskInfo| info.container = Some(container)
}

fn volume(change: impl FnOnce(&mut v1::Volume)) -> impl FnOnce(&mut TaskInfo) {
    let mut volume = v1::Volume { container_path: "/v".to_owned(), ..Default::default() };
    change(&mut volume);
    container(|container| container.volumes.push(volume))
}

#[test]
fn containers_of_tasks() {
    use v1::volume::source;
    let got = table! {
        "plain": container(|_| {}),
        "docker without docker": container(|c| c.set_type(v1::container_info::Type::Docker)),
        "docker parameter": container(|c| {
            c.set_type(v1::container_info::Type::Docker);
            let parameters = vec![v1::Parameter { key: "name".to_owned(), value: "x".to_owned() }];
            c.docker = Some(v1::container_info::DockerInfo { parameters, ..Default::default() });
        }),
        "share_cgroups=true": container(|c| {
            c.linux_info = Some(v1::LinuxInfo { share_cgroups: Some(true), ..Default::default() });
        }),
        "share_cgroups=false": container(|c| {
            c.linux_info = Some(v1::LinuxInfo { share_cgroups: Some(false), ..Default::default() });
        }),
        "volume of nothing": volume(|_| {}),
        "volume of a host path": volume(|v| v.host_path = Some("/x".to_owned())),
        "volume of two things": volume(|v| {
            v.host_path = Some("/x".to_owned());
            v.image = Some(Default::default());
        }),
        "source of no type": volume(|v| v.source = Some(Default::default())),
        "source without its message": volume(|v| {
            v.source = Some(v1::volume::Source { r#type: Some(source::Type::SandboxPath.into()), ..Default::default() });
        }),
        "source with a bad secret": volume(|v| {
            v.source = Some(v1::volume::Source {
                r#type: Some(source::Type::Secret.into()),
                secret: secret(v1::secret::Type::Value, None),
                ..Default::default()
            });
        }),
    };
    expect![[r#"
        plain: fine, cpus:1; mem:64
        docker without docker: Task's `ContainerInfo` is invalid: DockerInfo 'docker' is not set for DOCKER typed ContainerInfo
        docker parameter: Task's `ContainerInfo` is invalid: Parameter in DockerInfo must not be 'name'
        share_cgroups=true: fine, cpus:1; mem:64
        share_cgroups=false: Task's `ContainerInfo` is invalid: Only task groups may set 'share_cgroups' to 'false'; a command task has cgroups of its own
        volume of nothing: Task's `ContainerInfo` is invalid: Invalid volume #1: Exactly one of 'host_path', 'image' and 'source' should be set for volume
        volume of a host path: fine, cpus:1; mem:64
        volume of two things: Task's `ContainerInfo` is invalid: Invalid volume #1: Exactly one of 'host_path', 'image' and 'source' should be set for volume
        source of no type: Task's `ContainerInfo` is invalid: Invalid volume #1: 'source.type' is unknown
        source without its message: Task's `ContainerInfo` is invalid: Invalid volume #1: 'source.sandbox_path' is not set for SANDBOX_PATH volume
        source with a bad secret: Task's `ContainerInfo` is invalid: Invalid volume #1: Secret of type VALUE must have the 'value' field set
    "#]].assert_eq(&got);
}
