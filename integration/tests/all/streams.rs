//! Subscriptions: stream ids, heartbeats, coming back, and what is refused.

use std::time::Duration;

use integration::client::{Next, Request};
use integration::scheduler::PATH;
use integration::task::{framework, shell, task};
use integration::{Cluster, OrFail, Scheduler, eventually, needs};
use serde_json::{Value, json};

/// The events of a subscription that is refused; the answer is 200 all the same.
fn refused(cluster: &Cluster, info: &Value) -> Vec<Value> {
    let mut call = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": info}});
    if let Some(id) = info.get("id") {
        call["framework_id"] = id.clone();
    }
    let (reply, stream) = Request::post(PATH, &call).stream(cluster.master()).or_fail("subscribing");
    assert_eq!(reply.status, 200, "{}", reply.text());
    let stream = stream.or_fail("a stream");
    let mut events = Vec::new();
    eventually("the stream ends", || match stream.next(Duration::from_millis(100)) {
        Next::Record(event) => {
            events.push(event);
            None
        }
        Next::Silence => None,
        Next::End => Some(()),
    });
    events
}

#[test]
fn subscribed_and_a_heartbeat_come_first() {
    needs!();
    let cluster = Cluster::start();
    let call = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": framework()}});
    let (reply, stream) = Request::post(PATH, &call).stream(cluster.master()).unwrap();
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
    let stream = stream.unwrap();
    let Next::Record(first) = stream.next(Duration::from_secs(10)) else { panic!("no event") };
    assert_eq!(first["type"], "SUBSCRIBED");
    assert_eq!(first["subscribed"]["heartbeat_interval_seconds"], 15.0);
    assert_eq!(first["subscribed"]["master_info"]["port"], cluster.master().port());
    let Next::Record(second) = stream.next(Duration::from_secs(10)) else { panic!("no event") };
    assert_eq!(second["type"], "HEARTBEAT");
    // The framework's id is that of the master with a number.
    let master = cluster.state("/state")["id"].as_str().unwrap().to_owned();
    assert_eq!(first["subscribed"]["framework_id"]["value"], format!("{master}-0000"));
}

#[test]
fn calls_need_the_id_of_their_stream() {
    needs!();
    let cluster = Cluster::start();
    let scheduler = cluster.scheduler();
    let revive = json!({"type": "REVIVE", "framework_id": {"value": scheduler.id()}});
    let send = |call: &Value, id: Option<&str>| {
        let request = Request::post(PATH, call);
        let request = if let Some(id) = id { request.header("Mesos-Stream-Id", id) } else { request };
        request.send(cluster.master()).unwrap().status
    };
    assert_eq!(send(&revive, Some(scheduler.stream_id())), 202);
    assert_eq!(send(&revive, None), 400);
    assert_eq!(send(&revive, Some("11111111-2222-3333-4444-555555555555")), 400);
    let unknown = json!({"type": "REVIVE", "framework_id": {"value": "nobody"}});
    assert_eq!(send(&unknown, Some(scheduler.stream_id())), 400);
    let subscribe = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": framework()}});
    assert_eq!(send(&subscribe, Some(scheduler.stream_id())), 400);
    let (top, own) = (json!({"value": "a"}), json!({"value": "b"}));
    let mut info = framework();
    info["id"] = own;
    let mismatch = json!({"type": "SUBSCRIBE", "framework_id": top, "subscribe": {"framework_info": info}});
    assert_eq!(send(&mismatch, None), 400);
    let mut scheduler = scheduler;
    scheduler.disconnect();
    eventually("it is disconnected", || {
        (cluster.state("/state")["frameworks"][0]["connected"] == false).then_some(())
    });
    assert_eq!(send(&revive, Some(scheduler.stream_id())), 403);
}

#[test]
fn a_second_subscription_takes_over() {
    needs!();
    let cluster = Cluster::start();
    let mut first = cluster.scheduler();
    first.start(|offer| task("t", offer, shell("exec sleep 1000")));
    first.wait_for("t", "TASK_RUNNING");
    let mut info = framework();
    info["id"] = json!({"value": first.id()});
    let mut second = Scheduler::subscribe(cluster.master(), info);
    assert_eq!(second.id(), first.id());
    assert_ne!(second.stream_id(), first.stream_id());
    let mut last = None;
    eventually("the first stream ends", || match first.next(Duration::from_millis(100)) {
        Next::Record(event) => {
            last = Some(event);
            None
        }
        Next::Silence => None,
        Next::End => Some(()),
    });
    let last = last.unwrap();
    assert_eq!(
        (last["type"].as_str(), last["error"]["message"].as_str()),
        (Some("ERROR"), Some("Framework failed over"))
    );
    assert_eq!(first.call(json!({"type": "REVIVE"})).status, 400);
    second.offer();
    second.kill("t");
    assert_eq!(second.end_of("t")["state"], "TASK_KILLED");
}

#[test]
fn what_can_not_be_a_framework_gets_one_error() {
    needs!();
    let cluster = Cluster::with(integration::Options::default().master("--no-root_submissions"));
    let mut root = framework();
    root["user"] = json!("root");
    let mut bad_role = framework();
    bad_role["user"] = json!("nobody");
    bad_role["roles"] = json!(["a//b"]);
    let mut both = framework();
    both["user"] = json!("nobody");
    both["role"] = json!("x");
    let mut timeout = framework();
    timeout["user"] = json!("nobody");
    timeout["failover_timeout"] = json!(1e300);
    for info in [root, bad_role, both, timeout] {
        let events = refused(&cluster, &info);
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(events[0]["type"], "ERROR");
        assert!(events[0]["error"]["message"].as_str().is_some_and(|m| m.len() > 10), "{events:?}");
    }
    assert_eq!(cluster.state("/state")["frameworks"], json!([]));
}

#[test]
fn events_and_calls_in_protobuf() {
    needs!();
    let cluster = Cluster::start();
    use wire::v1::FrameworkInfo;
    use wire::v1::scheduler::{Call, Event, call, event};
    let info = FrameworkInfo { user: "root".into(), name: "protobuf".into(), ..FrameworkInfo::default() };
    let subscribe = call::Subscribe { framework_info: info, ..call::Subscribe::default() };
    let call =
        Call { r#type: Some(call::Type::Subscribe.into()), subscribe: Some(subscribe), ..Call::default() };
    let kind = "application/x-protobuf";
    let request = Request::new("POST", PATH)
        .header("Content-Type", kind)
        .header("Accept", kind)
        .body(wire::proto::encode(&call).to_vec());
    let (reply, mut records) = request.records(cluster.master()).unwrap();
    assert_eq!((reply.status, reply.header("content-type")), (200, Some(kind)));
    let event: Event = wire::proto::decode(&records.next().unwrap()).unwrap();
    assert_eq!(event.r#type(), event::Type::Subscribed);
    assert!(event.subscribed.is_some_and(|s| s.framework_id.value.ends_with("-0000")));
    let event: Event = wire::proto::decode(&records.next().unwrap()).unwrap();
    assert_eq!(event.r#type(), event::Type::Heartbeat);
    let event: Event = wire::proto::decode(&records.next().unwrap()).unwrap();
    assert_eq!(event.r#type(), event::Type::Offers);
}

#[test]
fn a_scheduler_that_does_not_read_is_cut_and_the_others_go_on() {
    needs!();
    let cluster = Cluster::start();
    let mut good = cluster.scheduler();
    // Reads nothing of its stream; every REVIVE and RECONCILE makes the master say more.
    let mut info = framework();
    info["name"] = json!("deaf");
    let call = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": info}});
    let (reply, mut deaf) = Request::post(PATH, &call).records(cluster.master()).unwrap();
    let first: Value = serde_json::from_slice(&deaf.next().unwrap()).unwrap();
    let id = first["subscribed"]["framework_id"].clone();
    let stream_id = reply.header("mesos-stream-id").unwrap().to_owned();
    let tasks: Vec<Value> =
        (0..2000).map(|i| json!({"task_id": {"value": format!("{i}-{}", "x".repeat(200))}})).collect();
    let ask = json!({"type": "RECONCILE", "framework_id": id, "reconcile": {"tasks": tasks}});
    eventually("the deaf one is cut", || {
        // 403: not subscribed any more.
        let reply = Request::post(PATH, &ask)
            .header("Mesos-Stream-Id", stream_id.as_str())
            .send(cluster.master())
            .unwrap();
        (reply.status == 403).then_some(())
    });
    good.start(|offer| task("fine", offer, shell("true")));
    assert_eq!(good.end_of("fine")["state"], "TASK_FINISHED");
}
