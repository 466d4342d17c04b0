//! The pages as Mesos lays them out, field by field, with a task on them.

use std::net::SocketAddr;

use expect_test::{ExpectFile, expect_file};
use wire::media::Media;
use wire::v1;
use wire::v1::TaskState;
use wire::v1::framework_info::capability::Type as Capability;

use super::agent::{self, Agent};
use super::client::{get, post_json};
use super::scheduler::{self, Scheduler, part, task};
use super::{config, start};
use crate::Running;

fn labels() -> v1::Labels {
    let label = v1::Label { key: "k".to_owned(), value: Some("v".to_owned()) };
    v1::Labels { labels: vec![label, v1::Label { key: "bare".to_owned(), value: None }] }
}

/// One agent, one framework, one task that runs, one that has ended before, and an offer of what is left.
async fn populated() -> (Running, Agent, Scheduler, v1::Offer) {
    let master = start(config()).await;
    let to = master.address();
    let mut agent = Agent::registered(to, agent::register("a1")).await;
    let info = v1::FrameworkInfo {
        hostname: Some("scheduler.test".to_owned()),
        webui_url: Some("http://scheduler.test/".to_owned()),
        principal: Some("me".to_owned()),
        labels: Some(labels()),
        ..scheduler::info(&[Capability::MultiRole, Capability::PartitionAware])
    };
    let mut scheduler = Scheduler::subscribed(to, Media::Protobuf, info).await;
    for (id, states) in
        [("ended", &[TaskState::TaskRunning, TaskState::TaskFailed][..]), ("runs", &[TaskState::TaskRunning])]
    {
        let offer = scheduler.offers().await.remove(0);
        let port = v1::Resource {
            ranges: Some(v1::value::Ranges { range: vec![v1::value::Range { begin: 31_000, end: 31_001 }] }),
            ..offer.resources.iter().find(|resource| resource.name == "ports").unwrap().clone()
        };
        let resources = vec![part(&offer, "cpus", 0.5), part(&offer, "mem", 64.0), port];
        let mut info = task(id, &offer, resources);
        info.labels = Some(labels());
        info.discovery = Some(v1::DiscoveryInfo { name: Some("web".to_owned()), ..Default::default() });
        scheduler.launch(&offer, info).await;
        let run = agent.run_task().await;
        for (n, state) in (1..).zip(states) {
            agent.status(&run, *state, [n; 16]).await;
            let status = scheduler.update().await;
            scheduler.acknowledge(&status).await;
            agent.message().await.unwrap();
        }
    }
    // What the ended task used was offered again at once; the rest was declined with the last launch. The last offer
    // stays, so that the pages show one.
    scheduler.accepted(v1::scheduler::call::Type::Revive, Default::default()).await;
    let left = scheduler.offers().await.remove(0);
    (master, agent, scheduler, left)
}

/// One field a line, in the order of the page; ids, ports and times of this run replaced.
fn normalised(json: &str, master: &Running) -> String {
    let json =
        json.replace(master.id().as_str(), "MASTER").replace(&master.address().port().to_string(), "PORT");
    let (mut out, mut depth, mut quoted, mut number) = (String::new(), 0, false, String::new());
    let mut before = ' ';
    for c in json.chars() {
        if !quoted && (c.is_ascii_digit() || c == '.') {
            number.push(c);
            continue;
        }
        out.push_str(if number.len() > 10 { "TIME" } else { &number });
        number.clear();
        quoted ^= c == '"' && before != '\\';
        before = c;
        match c {
            '{' | '[' if !quoted => depth += 1,
            '}' | ']' if !quoted => depth -= 1,
            _ => {}
        }
        out.push(c);
        if !quoted && matches!(c, ',' | '{' | '[') {
            out.push('\n');
            out.push_str(&"  ".repeat(depth));
        }
    }
    out.push('\n');
    out.lines().map(str::trim_end).collect::<Vec<_>>().join("\n") + "\n"
}

async fn check(master: &Running, path: &str, golden: ExpectFile) {
    let answer = get(master.address(), path).await;
    assert!(answer.json().is_object());
    golden.assert_eq(&normalised(&answer.text(), master));
}

async fn check_call(master: &Running, call: &str, golden: ExpectFile) {
    let answer = post_json(master.address(), "/api/v1", &format!(r#"{{"type":"{call}"}}"#)).await;
    golden.assert_eq(&normalised(&answer.text(), master));
}

#[tokio::test]
async fn pages_look_as_in_mesos() {
    let (master, _agent, _scheduler, _) = Box::pin(populated()).await;
    check(&master, "/state", expect_file!["golden/state.json"]).await;
    check(&master, "/state-summary", expect_file!["golden/state-summary.json"]).await;
    check(&master, "/slaves", expect_file!["golden/slaves.json"]).await;
    check(&master, "/frameworks", expect_file!["golden/frameworks.json"]).await;
    check(&master, "/tasks", expect_file!["golden/tasks.json"]).await;
    check(&master, "/roles", expect_file!["golden/roles.json"]).await;
    check_call(&master, "GET_STATE", expect_file!["golden/GET_STATE.json"]).await;
    check_call(&master, "GET_ROLES", expect_file!["golden/GET_ROLES.json"]).await;
    check_call(&master, "GET_MASTER", expect_file!["golden/GET_MASTER.json"]).await;
    master.stop().await.unwrap();
}

async fn ids(to: SocketAddr, query: &str) -> String {
    let page = get(to, &format!("/tasks?{query}")).await.json();
    let ids = page["tasks"].as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap().to_owned());
    ids.collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn tasks_are_filtered_sorted_and_cut_into_pages() {
    let (master, mut agent, mut scheduler, offer) = Box::pin(populated()).await;
    let to = master.address();
    let one = |id: &str| task(id, &offer, vec![part(&offer, "cpus", 0.5), part(&offer, "mem", 32.0)]);
    scheduler.launch_all(&offer, vec![one("early"), one("late"), one("no-status")]).await;
    let (early, late) = (agent.run_task().await, agent.run_task().await);
    // The time of the first status counts, not that of the newest.
    let told = [&early, &late, &early].into_iter().zip([
        TaskState::TaskStarting,
        TaskState::TaskRunning,
        TaskState::TaskRunning,
    ]);
    for (n, (run, state)) in (8..).zip(told) {
        agent.status(run, state, [n; 16]).await;
        assert_eq!(scheduler.update().await.state(), state);
    }
    let framework = scheduler.framework.as_ref().unwrap().value.clone();
    assert_eq!(ids(to, "task_id=runs").await, "runs");
    assert_eq!(ids(to, &format!("framework_id={framework}&task_id=ended")).await, "ended");
    assert_eq!(ids(to, "framework_id=other").await, "");
    assert_eq!(ids(to, "limit=0").await, "");
    // http.md 5: by the time of the first status, the youngest first, and those without one last.
    for query in ["", "limit=-1", "limit=nonsense", "order=desc", "order=nonsense"] {
        assert_eq!(ids(to, query).await, "late early runs ended no-status", "{query}");
    }
    assert_eq!(ids(to, "order=asc").await, "no-status ended runs early late");
    assert_eq!(ids(to, "limit=2&offset=1").await, "early runs");
    assert_eq!(ids(to, "order=asc&limit=1&offset=1").await, "ended");
    assert_eq!(ids(to, "offset=5").await, "");
    for page in ["/slaves?slave_id=", "/frameworks?framework_id="] {
        let list = if page.starts_with("/slaves") { "slaves" } else { "frameworks" };
        assert_eq!(get(to, &format!("{page}none")).await.json()[list].as_array().unwrap().len(), 0);
    }
    let page = get(to, &format!("/frameworks?framework_id={framework}")).await.json();
    assert_eq!(page["frameworks"][0]["id"], framework.as_str());
    master.stop().await.unwrap();
}

#[tokio::test]
async fn calls_that_read_answer_all_of_their_kind() {
    let (master, _agent, _scheduler, _) = Box::pin(populated()).await;
    for call in [
        "GET_HEALTH",
        "GET_FLAGS",
        "GET_VERSION",
        "GET_STATE",
        "GET_AGENTS",
        "GET_FRAMEWORKS",
        "GET_EXECUTORS",
        "GET_OPERATIONS",
        "GET_TASKS",
        "GET_ROLES",
        "GET_WEIGHTS",
        "GET_MASTER",
        "GET_MAINTENANCE_STATUS",
        "GET_MAINTENANCE_SCHEDULE",
        "GET_QUOTA",
    ] {
        let answer = post_json(master.address(), "/api/v1", &format!(r#"{{"type":"{call}"}}"#)).await;
        let json = answer.json();
        assert_eq!(json["type"], call);
        assert!(json[call.to_ascii_lowercase()].is_object(), "{json}");
    }
    let flags = get(master.address(), "/flags").await.json();
    assert_eq!(flags["flags"]["registry"], "in_memory");
    master.stop().await.unwrap();
}
