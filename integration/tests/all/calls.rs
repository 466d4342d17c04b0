//! Calls of schedulers: offers, declines, launches, kills, reconciliation.

use std::time::Duration;

use integration::client::{Next, post};
use integration::task::{framework, scalar, shell, task};
use integration::{Cluster, Options, Scheduler, eventually, needs};
use serde_json::{Value, json};

fn amount(offer: &Value, name: &str) -> f64 {
    let all = offer["resources"].as_array().into_iter().flatten();
    all.filter(|resource| resource["name"] == name)
        .filter_map(|resource| resource["scalar"]["value"].as_f64())
        .sum()
}

/// Whether an offer comes within a moment.
fn gets_offer(scheduler: &mut Scheduler, limit: Duration) -> bool {
    loop {
        match scheduler.next(limit) {
            Next::Record(event) if event["type"] == "OFFERS" => return true,
            Next::Record(_) => {}
            _ => return false,
        }
    }
}

#[test]
fn an_offer_has_everything_of_the_agent() {
    needs!();
    let options =
        Options::default().agent("--attributes=rack:r1;ssd:true;cores:8").agent("--hostname=box.example");
    let cluster = Cluster::with(options);
    let mut scheduler = cluster.scheduler();
    let offer = scheduler.offer();
    assert_eq!(offer["agent_id"]["value"], cluster.agent_id());
    assert_eq!(offer["framework_id"]["value"], scheduler.id());
    assert_eq!(offer["hostname"], "box.example");
    assert_eq!(
        (amount(&offer, "cpus"), amount(&offer, "mem"), amount(&offer, "disk")),
        (16.0, 8192.0, 10240.0)
    );
    let ports = offer["resources"].as_array().unwrap().iter().find(|r| r["name"] == "ports").unwrap();
    assert_eq!(ports["ranges"]["range"], json!([{"begin": 31000, "end": 32000}]));
    assert_eq!(offer["allocation_info"]["role"], "*");
    assert_eq!(offer["url"]["address"]["port"].as_u64(), Some(u64::from(cluster.agent().port())));
    let attributes = offer["attributes"].as_array().unwrap();
    let names: Vec<&str> = attributes.iter().filter_map(|a| a["name"].as_str()).collect();
    assert_eq!(names, ["rack", "ssd", "cores"]);
    assert_eq!(attributes[2]["scalar"]["value"], 8.0);
    // Nobody else is offered the same.
    let mut other = cluster.scheduler();
    assert!(!gets_offer(&mut other, Duration::from_millis(500)));
}

#[test]
fn a_declined_offer_comes_back_after_its_filter() {
    needs!();
    let cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    let decline = |scheduler: &Scheduler, offer: &Value, seconds: f64| {
        let call = json!({"offer_ids": [offer["id"]], "filters": {"refuse_seconds": seconds}});
        scheduler.tell(json!({"type": "DECLINE", "decline": call}));
    };
    let first = scheduler.offer();
    decline(&scheduler, &first, 0.0);
    let second = scheduler.offer();
    assert_ne!(first["id"], second["id"]);
    decline(&scheduler, &second, 1.5);
    assert!(!gets_offer(&mut scheduler, Duration::from_millis(800)));
    let third = scheduler.offer();
    // REVIVE removes the filters.
    decline(&scheduler, &third, 3600.0);
    assert!(!gets_offer(&mut scheduler, Duration::from_millis(500)));
    scheduler.tell(json!({"type": "REVIVE"}));
    let fourth = scheduler.offer();
    // SUPPRESS stops offers until the next REVIVE.
    scheduler.tell(json!({"type": "SUPPRESS"}));
    decline(&scheduler, &fourth, 0.0);
    assert!(!gets_offer(&mut scheduler, Duration::from_millis(800)));
    scheduler.tell(json!({"type": "REVIVE"}));
    scheduler.offer();
}

#[test]
fn what_a_task_leaves_of_an_offer_comes_back() {
    needs!();
    let cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    let offer = scheduler.offer();
    let mut big = task("big", &offer, shell("exec sleep 1000"));
    big["resources"] = json!([scalar("cpus", 10.0), scalar("mem", 64.0), {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 31000, "end": 31009}]}}]);
    scheduler.launch(&offer, vec![big]);
    scheduler.wait_for("big", "TASK_RUNNING");
    let rest = scheduler.offer();
    assert_eq!((amount(&rest, "cpus"), amount(&rest, "mem")), (6.0, 8128.0));
    let ports = rest["resources"].as_array().unwrap().iter().find(|r| r["name"] == "ports").unwrap();
    assert_eq!(ports["ranges"]["range"], json!([{"begin": 31010, "end": 32000}]));
    // More than that is an error of the task alone.
    let mut two = [task("fits", &rest, shell("true")), task("too-big", &rest, shell("true"))];
    two[1]["resources"] = json!([scalar("cpus", 6.0), scalar("mem", 1.0)]);
    scheduler.launch(&rest, two.into());
    let end = scheduler.end_of("too-big");
    assert_eq!(
        (end["state"].as_str(), end["reason"].as_str(), end["source"].as_str()),
        (Some("TASK_ERROR"), Some("REASON_TASK_INVALID"), Some("SOURCE_MASTER"))
    );
    assert!(end.get("uuid").is_none(), "{end}");
    assert_eq!(scheduler.end_of("fits")["state"], "TASK_FINISHED");
    scheduler.kill("big");
    scheduler.end_of("big");
    let all = eventually("everything is offered again", || {
        let offer = scheduler.offer();
        if amount(&offer, "cpus") < 16.0 {
            scheduler.tell(json!({"type": "DECLINE", "decline": {"offer_ids": [offer["id"]], "filters": {"refuse_seconds": 0.0}}}));
            return None;
        }
        Some(offer)
    });
    assert_eq!(amount(&all, "mem"), 8192.0);
}

#[test]
fn tasks_that_can_not_be_are_errors() {
    needs!();
    let cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    let offer = scheduler.offer();
    let with = |id: &str, field: &str, value: Value| {
        let mut task = task(id, &offer, shell("true"));
        task[field] = value;
        task
    };
    let mut neither = task("neither", &offer, shell("true"));
    neither.as_object_mut().unwrap().remove("command");
    let tasks = vec![
        with("slash/id", "name", json!("x")),
        with("no-resources", "resources", json!([])),
        with("other-agent", "agent_id", json!({"value": "nobody"})),
        with("negative", "kill_policy", json!({"grace_period": {"nanoseconds": -1}})),
        with("limit-too-low", "limits", json!({"mem": {"value": 1.0}})),
        with("twice", "name", json!("x")),
        with("twice", "name", json!("y")),
        neither,
        task("good", &offer, shell("true")),
    ];
    scheduler.launch(&offer, tasks);
    for id in ["slash/id", "no-resources", "other-agent", "negative", "limit-too-low", "neither"] {
        let end = scheduler.end_of(id);
        assert_eq!(
            (end["state"].as_str(), end["reason"].as_str()),
            (Some("TASK_ERROR"), Some("REASON_TASK_INVALID")),
            "{end}"
        );
        assert!(end["message"].as_str().is_some_and(|message| message.len() > 10), "{end}");
    }
    assert_eq!(scheduler.end_of("good")["state"], "TASK_FINISHED");
    eventually("the first of the two with one id has ended", || {
        scheduler.next(Duration::from_millis(100));
        (scheduler.states("twice").last()? == "TASK_FINISHED").then_some(())
    });
    let errors = scheduler.seen.iter().filter(|e| {
        e["update"]["status"]["task_id"]["value"] == "twice" && e["update"]["status"]["state"] == "TASK_ERROR"
    });
    assert_eq!(errors.count(), 1);
}

#[test]
fn an_offer_can_be_used_only_once() {
    needs!();
    let cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    let offer = scheduler.offer();
    scheduler.launch(&offer, vec![task("first", &offer, shell("true"))]);
    scheduler.launch(&offer, vec![task("second", &offer, shell("true"))]);
    let end = scheduler.end_of("second");
    assert_eq!(
        (end["state"].as_str(), end["reason"].as_str()),
        (Some("TASK_DROPPED"), Some("REASON_INVALID_OFFERS")),
        "{end}"
    );
    assert_eq!(scheduler.end_of("first")["state"], "TASK_FINISHED");
}

#[test]
fn a_framework_without_partition_awareness_hears_lost() {
    needs!();
    let cluster = Cluster::start();
    let mut info = framework();
    info["capabilities"] = json!([{"type": "MULTI_ROLE"}, {"type": "RESERVATION_REFINEMENT"}]);
    let mut scheduler = Scheduler::subscribe(cluster.master(), info);
    let offer = scheduler.offer();
    scheduler.launch(&offer, vec![task("first", &offer, shell("true"))]);
    scheduler.launch(&offer, vec![task("second", &offer, shell("true"))]);
    assert_eq!(scheduler.end_of("second")["state"], "TASK_LOST");
    scheduler.tell(json!({"type": "RECONCILE", "reconcile": {"tasks": [{"task_id": {"value": "never"}}]}}));
    assert_eq!(scheduler.end_of("never")["state"], "TASK_LOST");
}

#[test]
fn a_framework_of_the_older_kind_gets_offers_it_understands() {
    needs!();
    let cluster = Cluster::start();
    let info = json!({"user": "root", "name": "old", "role": "*"});
    let mut scheduler = Scheduler::subscribe(cluster.master(), info);
    let offer = scheduler.offer();
    assert!(offer.get("allocation_info").is_none(), "{offer}");
    for resource in offer["resources"].as_array().unwrap() {
        assert!(
            resource.get("allocation_info").is_none() && resource.get("reservations").is_none(),
            "{resource}"
        );
        assert_eq!(resource["role"], "*");
    }
    scheduler.launch(&offer, vec![task("old", &offer, shell("true"))]);
    assert_eq!(scheduler.end_of("old")["state"], "TASK_FINISHED");
    // It didn't say that it knows TASK_KILLING.
    let offer = scheduler.offer();
    scheduler.launch(&offer, vec![task("killed", &offer, shell("exec sleep 1000"))]);
    scheduler.wait_for("killed", "TASK_RUNNING");
    scheduler.kill("killed");
    scheduler.end_of("killed");
    assert_eq!(scheduler.states("killed"), ["TASK_STARTING", "TASK_RUNNING", "TASK_KILLED"]);
}

#[test]
fn reconciliation_tells_what_is() {
    needs!();
    let cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    scheduler.start(|offer| task("runs", offer, shell("exec sleep 1000")));
    scheduler.wait_for("runs", "TASK_RUNNING");
    let mut told = |tasks: Value, count: usize| -> Vec<(String, String)> {
        scheduler.tell(json!({"type": "RECONCILE", "reconcile": {"tasks": tasks}}));
        let mut all = Vec::new();
        while all.len() < count {
            all.push(scheduler.wait("an answer", |event| {
                let status = event["update"].get("status")?;
                assert_eq!(
                    (status["reason"].as_str(), status["source"].as_str()),
                    (Some("REASON_RECONCILIATION"), Some("SOURCE_MASTER"))
                );
                assert!(status.get("uuid").is_none());
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                Some((text(&status["task_id"]["value"]), text(&status["state"])))
            }));
        }
        scheduler.hears_no_more(Duration::from_millis(200));
        all
    };
    let said = |id: &str, state: &str| (id.to_owned(), state.to_owned());
    assert_eq!(told(json!([]), 1), [said("runs", "TASK_RUNNING")]);
    let agent = cluster.agent_id();
    let asked = json!([
        {"task_id": {"value": "runs"}},
        {"task_id": {"value": "gone"}, "agent_id": {"value": agent}},
        {"task_id": {"value": "unknown"}, "agent_id": {"value": "never-was"}},
    ]);
    let mut answers = told(asked, 3);
    answers.sort();
    assert_eq!(
        answers,
        [said("gone", "TASK_GONE"), said("runs", "TASK_RUNNING"), said("unknown", "TASK_UNKNOWN")]
    );
    // KILL of what nobody knows is a question, too.
    scheduler.kill("nobody-knows");
    let status = scheduler.wait("an answer", |event| event["update"].get("status").cloned());
    assert_eq!(
        (status["task_id"]["value"].as_str(), status["state"].as_str()),
        (Some("nobody-knows"), Some("TASK_UNKNOWN"))
    );
}

/// Whether no update comes for a moment.
fn hears_no_update(scheduler: &mut Scheduler) -> bool {
    loop {
        match scheduler.next(Duration::from_millis(500)) {
            Next::Record(event) if event.get("update").is_some() => return false,
            Next::Record(_) => {}
            end => return end == Next::Silence,
        }
    }
}

#[test]
fn updates_come_one_by_one_and_again_until_they_are_acknowledged() {
    needs!();
    let cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    scheduler.acknowledging = false;
    scheduler.start(|offer| task("acked", offer, shell("exit 0")));
    let next = |scheduler: &mut Scheduler| {
        scheduler.wait("an update", |event| event["update"].get("status").cloned())
    };
    let first = next(&mut scheduler);
    assert_eq!(first["state"], "TASK_STARTING");
    for field in ["uuid", "timestamp", "agent_id", "executor_id", "source"] {
        assert!(first.get(field).is_some(), "{field}: {first}");
    }
    // The end is known to the master long before, but not sent.
    eventually("the master knows the end", || {
        let state = cluster.state("/state");
        (state["frameworks"][0]["tasks"][0]["state"] == "TASK_FINISHED").then_some(())
    });
    // Mesos: again after ten seconds.
    let again = next(&mut scheduler);
    assert_eq!(again["uuid"], first["uuid"]);
    // An acknowledgement of something else changes nothing.
    let mut other = first.clone();
    other["uuid"] = json!("AAAAAAAAAAAAAAAAAAAAAA==");
    scheduler.acknowledge(&other);
    assert!(hears_no_update(&mut scheduler));
    scheduler.acknowledge(&first);
    let second = next(&mut scheduler);
    assert_eq!(second["state"], "TASK_RUNNING");
    // Twice is as good as once.
    scheduler.acknowledge(&first);
    scheduler.acknowledge(&second);
    let third = next(&mut scheduler);
    assert_eq!(third["state"], "TASK_FINISHED");
    scheduler.acknowledge(&third);
    eventually("it is completed", || {
        cluster.state("/state")["frameworks"][0]["tasks"].as_array()?.is_empty().then_some(())
    });
    assert!(hears_no_update(&mut scheduler));
}

#[test]
fn task_ids_can_be_used_again_after_their_end_but_not_before() {
    needs!();
    let cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    scheduler.start(|offer| task("again", offer, shell("exec sleep 1000")));
    scheduler.wait_for("again", "TASK_RUNNING");
    scheduler.start(|offer| task("again", offer, shell("true")));
    let error = scheduler.wait_for("again", "TASK_ERROR");
    assert_eq!(error["reason"], "REASON_TASK_INVALID");
    scheduler.kill("again");
    scheduler.wait_for("again", "TASK_KILLED");
    eventually("it is completed", || {
        cluster.state("/state")["frameworks"][0]["tasks"].as_array()?.is_empty().then_some(())
    });
    scheduler.start(|offer| task("again", offer, shell("true")));
    scheduler.wait_for("again", "TASK_FINISHED");
}

#[test]
fn teardown_ends_the_tasks_and_the_framework() {
    needs!();
    let cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    let before = cluster.inventory();
    scheduler.start(|offer| task("torn", offer, shell("trap '' TERM; while :; do sleep 0.1; done")));
    scheduler.wait_for("torn", "TASK_RUNNING");
    scheduler.tell(json!({"type": "TEARDOWN"}));
    eventually("the stream ends", || {
        matches!(scheduler.next(Duration::from_millis(100)), Next::End).then_some(())
    });
    cluster.assert_nothing_beyond(&before);
    // Mesos: a completed framework can't come back.
    let mut info = framework();
    info["id"] = json!({"value": scheduler.id()});
    let call =
        json!({"type": "SUBSCRIBE", "framework_id": info["id"], "subscribe": {"framework_info": info}});
    let reply = post(cluster.master(), "/api/v1/scheduler", &call).expect(200);
    assert!(reply.text().contains("\"ERROR\""), "{}", reply.text());
}

#[test]
fn several_tasks_of_one_call_on_two_offers() {
    needs!();
    let cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    let offer = scheduler.offer();
    let tasks = (0..10).map(|i| task(&format!("t{i}"), &offer, shell(&format!("exit {i}")))).collect();
    scheduler.launch(&offer, tasks);
    for i in 0..10 {
        let id = format!("t{i}");
        let end = scheduler.end_of(&id);
        assert_eq!(end["message"], format!("Command exited with status {i}"));
        assert_eq!(end["state"], if i == 0 { "TASK_FINISHED" } else { "TASK_FAILED" });
        assert_eq!(scheduler.ends(&id), 1);
    }
}
