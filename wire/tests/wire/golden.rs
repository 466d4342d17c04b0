//! Whole messages in the JSON that Mesos would write.

use bytes::Bytes;
use expect_test::{Expect, expect};
use wire::json::{self, Json};
use wire::v1::scheduler::{Call, Event, call, event};
use wire::v1::{
    AgentId, CommandInfo, ContainerInfo, DomainInfo, FrameworkId, FrameworkInfo, HealthCheck, Image,
    LinuxInfo, MasterInfo, OfferId, Resource, TaskId, TaskInfo, TaskState, TaskStatus, container_info, offer,
    value,
};

/// The JSON, broken at its commas; read back it gives the same.
fn check<T: Json>(message: &T, expect: Expect) {
    let text = json::to_string(message);
    let again = json::from_slice::<T>(text.as_bytes()).unwrap();
    assert_eq!(json::to_string(&again), text);
    expect.assert_eq(&text.replace(",\"", ",\n\""));
}

fn scalar(name: &str, value: f64) -> Resource {
    Resource {
        name: name.into(),
        r#type: value::Type::Scalar as i32,
        scalar: Some(value::Scalar { value }),
        ..Default::default()
    }
}

fn task() -> TaskInfo {
    TaskInfo {
        name: "web".into(),
        task_id: TaskId { value: "web.1".into() },
        agent_id: AgentId { value: "S0".into() },
        resources: vec![scalar("cpus", 0.1), scalar("mem", 32.0)],
        command: Some(CommandInfo { value: Some("sleep 1000".into()), ..Default::default() }),
        ..Default::default()
    }
}

#[test]
fn accept_call() {
    let operation = offer::Operation {
        r#type: Some(offer::operation::Type::Launch as i32),
        launch: Some(offer::operation::Launch { task_infos: vec![task()] }),
        ..Default::default()
    };
    let call = Call {
        framework_id: Some(FrameworkId { value: "F1".into() }),
        r#type: Some(call::Type::Accept as i32),
        accept: Some(call::Accept {
            offer_ids: vec![OfferId { value: "O1".into() }],
            operations: vec![operation],
            filters: Some(Default::default()),
        }),
        ..Default::default()
    };
    check(
        &call,
        expect![[r#"
        {"framework_id":{"value":"F1"},
        "type":"ACCEPT",
        "accept":{"offer_ids":[{"value":"O1"}],
        "operations":[{"type":"LAUNCH",
        "launch":{"task_infos":[{"name":"web",
        "task_id":{"value":"web.1"},
        "agent_id":{"value":"S0"},
        "resources":[{"name":"cpus",
        "type":"SCALAR",
        "scalar":{"value":0.1}},{"name":"mem",
        "type":"SCALAR",
        "scalar":{"value":32.0}}],
        "command":{"shell":true,
        "value":"sleep 1000"}}]}}],
        "filters":{"refuse_seconds":5.0}}}"#]],
    );
}

#[test]
fn subscribed_event() {
    let event = Event {
        r#type: Some(event::Type::Subscribed as i32),
        subscribed: Some(event::Subscribed {
            framework_id: FrameworkId { value: "F1".into() },
            heartbeat_interval_seconds: Some(15.0),
            master_info: Some(MasterInfo {
                id: "M".into(),
                ip: 16777343,
                port: 5050,
                domain: Some(DomainInfo::default()),
                ..Default::default()
            }),
        }),
        ..Default::default()
    };
    check(
        &event,
        expect![[r#"
        {"type":"SUBSCRIBED",
        "subscribed":{"framework_id":{"value":"F1"},
        "heartbeat_interval_seconds":15.0,
        "master_info":{"id":"M",
        "ip":16777343,
        "port":5050,
        "domain":{}}}}"#]],
    );
}

#[test]
fn update_event_with_bytes() {
    let status = TaskStatus {
        task_id: TaskId { value: "web.1".into() },
        state: TaskState::TaskRunning as i32,
        data: Some(Bytes::from_static(b"\x00\xff\x10")),
        timestamp: Some(1700000000.25),
        uuid: Some(Bytes::from_static(&[7; 16])),
        ..Default::default()
    };
    check(
        &Event {
            r#type: Some(event::Type::Update as i32),
            update: Some(event::Update { status }),
            ..Default::default()
        },
        expect![[r#"
            {"type":"UPDATE",
            "update":{"status":{"task_id":{"value":"web.1"},
            "state":"TASK_RUNNING",
            "data":"AP8Q",
            "timestamp":1700000000.25,
            "uuid":"BwcHBwcHBwcHBwcHBwcHBw=="}}}"#]],
    );
}

#[test]
fn task_info_prints_declared_defaults() {
    let info = TaskInfo {
        container: Some(ContainerInfo {
            r#type: container_info::Type::Mesos as i32,
            docker: Some(container_info::DockerInfo { image: "alpine".into(), ..Default::default() }),
            mesos: Some(container_info::MesosInfo { image: Some(Image::default()) }),
            linux_info: Some(LinuxInfo::default()),
            network_infos: vec![wire::v1::NetworkInfo {
                ip_addresses: vec![Default::default()],
                ..Default::default()
            }],
            ..Default::default()
        }),
        health_check: Some(HealthCheck { http: Some(Default::default()), ..Default::default() }),
        limits: [("mem".to_owned(), value::Scalar { value: f64::INFINITY })].into(),
        ..task()
    };
    check(
        &info,
        expect![[r#"
        {"name":"web",
        "task_id":{"value":"web.1"},
        "agent_id":{"value":"S0"},
        "resources":[{"name":"cpus",
        "type":"SCALAR",
        "scalar":{"value":0.1}},{"name":"mem",
        "type":"SCALAR",
        "scalar":{"value":32.0}}],
        "command":{"shell":true,
        "value":"sleep 1000"},
        "container":{"type":"MESOS",
        "docker":{"image":"alpine",
        "network":"HOST",
        "privileged":false},
        "mesos":{"image":{"type":"APPC",
        "cached":true}},
        "network_infos":[{"ip_addresses":[{"protocol":"IPv4"}]}],
        "linux_info":{"share_cgroups":true}},
        "health_check":{"delay_seconds":15.0,
        "interval_seconds":10.0,
        "timeout_seconds":20.0,
        "consecutive_failures":3,
        "grace_period_seconds":10.0,
        "http":{"protocol":"IPv4",
        "port":0}},
        "limits":{"mem":{"value":"Infinity"}}}"#]],
    );
}

#[test]
fn framework_info_prints_declared_defaults() {
    let info = FrameworkInfo { user: "root".into(), name: "marathon".into(), ..Default::default() };
    check(
        &info,
        expect![[r#"
        {"user":"root",
        "name":"marathon",
        "failover_timeout":0.0,
        "checkpoint":false}"#]],
    );
}
