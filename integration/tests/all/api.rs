//! What operators and older clients ask of a master and an agent over HTTP.

use std::fs;
use std::net::SocketAddr;

use integration::client::{Request, get, post};
use integration::task::{shell, task};
use integration::{Cluster, OrFail, eventually, needs};
use serde_json::{Value, json};

/// The spellings of a page: with and without the process, with an ending, percent-encoded, with a slash.
fn spellings(process: &str, encoded: &str, page: &str) -> Vec<String> {
    let all = [
        format!("/{page}"),
        format!("/{process}/{page}"),
        format!("/{encoded}/{page}"),
        format!("/{page}/"),
        format!("/{process}/{page}/"),
        format!("/{page}.json"),
        format!("/{process}/{page}.json"),
    ];
    all.into()
}

#[track_caller]
fn all_answer(at: SocketAddr, process: &str, encoded: &str, page: &str, fields: &[&str]) {
    for path in spellings(process, encoded, page) {
        let reply = get(at, &path).expect(200);
        if fields.is_empty() {
            assert_eq!(reply.text(), "", "{path}");
            continue;
        }
        assert_eq!(reply.header("content-type"), Some("application/json"), "{path}");
        let json = reply.json();
        for field in fields {
            assert!(json.get(field).is_some(), "{path} has no {field}: {json}");
        }
    }
    if !fields.is_empty() {
        let reply = get(at, &format!("/{page}?jsonp=call")).expect(200);
        assert_eq!(reply.header("content-type"), Some("text/javascript"), "{page}");
        assert!(reply.text().starts_with("call({") && reply.text().ends_with("});"), "{}", reply.text());
    }
}

#[test]
fn the_masters_pages_in_every_spelling() {
    needs!();
    let cluster = Cluster::start();
    let state = [
        "version",
        "start_time",
        "elected_time",
        "id",
        "pid",
        "hostname",
        "capabilities",
        "activated_slaves",
        "deactivated_slaves",
        "unreachable_slaves",
        "leader",
        "leader_info",
        "flags",
        "slaves",
        "recovered_slaves",
        "frameworks",
        "completed_frameworks",
        "orphan_tasks",
        "unregistered_frameworks",
    ];
    for (page, fields) in [
        ("state", &state[..]),
        ("slaves", &["slaves", "recovered_slaves"]),
        ("tasks", &["tasks"]),
        ("frameworks", &["frameworks", "completed_frameworks", "unregistered_frameworks"]),
        ("state-summary", &["hostname", "slaves", "frameworks"]),
        ("roles", &["roles"]),
        ("version", &["version"]),
        ("flags", &["flags"]),
        ("health", &[]),
    ] {
        all_answer(cluster.master(), "master", "m%61ster", page, fields);
    }
    let reply = get(cluster.master(), "/redirect");
    assert_eq!(
        (reply.status, reply.header("location")),
        (307, Some(format!("//{}", cluster.master()).as_str()))
    );
    for path in ["/no-such-page", "/state/../health", "/redirect/x", "/master/../state", "/agent/state"] {
        let reply = get(cluster.master(), path);
        assert_eq!((reply.status, reply.text().as_str()), (404, ""), "{path}");
    }
}

#[test]
fn the_agents_pages_in_every_spelling() {
    needs!();
    let cluster = Cluster::start();
    let state = [
        "version",
        "start_time",
        "id",
        "pid",
        "hostname",
        "capabilities",
        "resources",
        "reserved_resources",
        "unreserved_resources",
        "reserved_resources_full",
        "unreserved_resources_full",
        "attributes",
        "flags",
        "frameworks",
        "completed_frameworks",
        "resource_providers",
    ];
    for (page, fields) in
        [("state", &state[..]), ("version", &["version"]), ("flags", &["flags"]), ("health", &[])]
    {
        all_answer(cluster.agent(), "slave(1)", "slave%281%29", page, fields);
    }
    for path in ["/no-such-page", "/state/../health", "/master/state"] {
        assert_eq!(get(cluster.agent(), path).status, 404, "{path}");
    }
    let state = cluster.agent_state("/slave(1)/state");
    assert_eq!(state["pid"], format!("slave(1)@{}", cluster.agent()));
    assert_eq!(state["id"], cluster.agent_id());
    assert_eq!(
        (state["resources"]["cpus"].as_f64(), state["resources"]["ports"].as_str()),
        (Some(16.0), Some("[31000-32000]"))
    );
    assert_eq!(state["flags"]["cgroups_root"], cluster.cgroups_root());
}

#[test]
fn the_state_shows_agents_frameworks_and_tasks() {
    needs!();
    let cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    scheduler.start(|offer| {
        let mut task = task("shown", offer, shell("exec sleep 1000"));
        task["labels"] = json!({"labels": [{"key": "k", "value": "v"}]});
        task
    });
    let status = scheduler.wait_for("shown", "TASK_RUNNING");
    let state = cluster.state("/master/state");
    let agent = &state["slaves"][0];
    assert_eq!(
        (agent["id"].as_str(), agent["active"].as_bool()),
        (status["agent_id"]["value"].as_str(), Some(true))
    );
    assert_eq!(agent["pid"], format!("slave(1)@{}", cluster.agent()));
    assert_eq!(
        (agent["used_resources"]["cpus"].as_f64(), agent["used_resources"]["mem"].as_f64()),
        (Some(0.1), Some(64.0))
    );
    let framework = &state["frameworks"][0];
    assert_eq!(framework["id"], scheduler.id());
    assert_eq!((framework["active"].as_bool(), framework["checkpoint"].as_bool()), (Some(true), Some(true)));
    let shown = &framework["tasks"][0];
    assert_eq!(
        (shown["id"].as_str(), shown["state"].as_str(), shown["executor_id"].as_str()),
        (Some("shown"), Some("TASK_RUNNING"), Some(""))
    );
    assert_eq!(shown["labels"], json!([{"key": "k", "value": "v"}]));
    let container = &shown["statuses"][0]["container_status"];
    assert!(shown["statuses"].as_array().is_some_and(|all| all.len() >= 2), "{shown}");
    assert!(container.is_null() || container["container_id"]["value"].is_string(), "{shown}");
    let summary = cluster.state("/state-summary");
    assert_eq!(
        (summary["frameworks"][0]["TASK_RUNNING"].as_u64(), summary["slaves"][0]["TASK_RUNNING"].as_u64()),
        (Some(1), Some(1))
    );
    scheduler.kill("shown");
    scheduler.end_of("shown");
    eventually("it is among the completed", || {
        let state = cluster.state("/state");
        (state["frameworks"][0]["completed_tasks"][0]["state"] == "TASK_KILLED").then_some(())
    });
    let tasks = cluster.state("/tasks?limit=-1&framework_id=none");
    assert_eq!(tasks["tasks"], json!([]));
    let tasks = cluster.state(&format!("/tasks?task_id=shown&framework_id={}", scheduler.id()));
    assert_eq!(tasks["tasks"].as_array().map(Vec::len), Some(1));
    let used = cluster.state("/slaves")["slaves"][0]["used_resources"]["cpus"].as_f64();
    assert_eq!(used, Some(0.0));
}

#[test]
fn v1_calls_of_a_master() {
    needs!();
    let cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    scheduler.start(|offer| task("seen", offer, shell("exec sleep 1000")));
    scheduler.wait_for("seen", "TASK_RUNNING");
    let ask = |kind: &str| {
        let mut replies = ["/api/v1", "/master/api/v1", "/api/v1/"].map(|path| {
            let reply = post(cluster.master(), path, &json!({"type": kind})).expect(200);
            assert_eq!(reply.header("content-type"), Some("application/json"));
            reply.json()
        });
        assert_eq!(replies[0]["type"], kind);
        assert_eq!(replies[1]["type"], kind);
        std::mem::take(&mut replies[0])
    };
    assert_eq!(ask("GET_HEALTH")["get_health"]["healthy"], true);
    assert!(ask("GET_VERSION")["get_version"]["version_info"]["version"].is_string());
    let agents = ask("GET_AGENTS");
    let agent = &agents["get_agents"]["agents"][0];
    assert_eq!(
        (agent["agent_info"]["id"]["value"].as_str(), agent["active"].as_bool()),
        (Some(cluster.agent_id().as_str()), Some(true))
    );
    let frameworks = ask("GET_FRAMEWORKS");
    assert_eq!(
        frameworks["get_frameworks"]["frameworks"][0]["framework_info"]["id"]["value"],
        scheduler.id()
    );
    let tasks = ask("GET_TASKS");
    let seen = &tasks["get_tasks"]["tasks"][0];
    assert_eq!(
        (seen["task_id"]["value"].as_str(), seen["state"].as_str()),
        (Some("seen"), Some("TASK_RUNNING"))
    );
    let state = ask("GET_STATE");
    for (part, list) in [("get_agents", "agents"), ("get_frameworks", "frameworks"), ("get_tasks", "tasks")] {
        assert_eq!(state["get_state"][part][list].as_array().map(Vec::len), Some(1), "{part}");
    }
    // Protobuf, too: the type is field 1 of both call and answer.
    let reply = Request::new("POST", "/api/v1")
        .header("Content-Type", "application/x-protobuf")
        .header("Accept", "application/x-protobuf");
    let reply = reply.body(vec![8, 1]).send(cluster.master()).unwrap().expect(200);
    assert_eq!(reply.header("content-type"), Some("application/x-protobuf"));
    assert_eq!(reply.body, [8, 1, 18, 2, 8, 1]);
}

#[test]
fn v1_calls_are_checked_in_mesos_order() {
    needs!();
    let cluster = Cluster::start();
    for (at, path) in
        [(cluster.master(), "/api/v1"), (cluster.master(), "/api/v1/scheduler"), (cluster.agent(), "/api/v1")]
    {
        let send = |request: Request<'_>| request.send(at).or_fail(path);
        let reply = send(Request::new("GET", path));
        assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")), "{path}");
        assert_eq!(send(Request::new("POST", path).body("{}")).status, 400, "{path}: no Content-Type");
        let typed = |kind: &'static str| Request::new("POST", path).header("Content-Type", kind);
        assert_eq!(send(typed("application/json; charset=utf-8").body("{}")).status, 415, "{path}");
        assert_eq!(send(typed("text/plain").body("{}")).status, 415, "{path}");
        assert_eq!(send(typed("application/json").body("{")).status, 400, "{path}: no JSON");
        assert_eq!(send(typed("application/json").body("{}")).status, 400, "{path}: no type");
        assert_eq!(send(typed("application/x-protobuf").body("{}")).status, 400, "{path}: no protobuf");
    }
    for at in [cluster.master(), cluster.agent()] {
        let health = json!({"type": "GET_HEALTH"}).to_string();
        let ask = |accept: &str| {
            let request = Request::new("POST", "/api/v1")
                .header("Content-Type", "application/json")
                .header("Accept", accept);
            request.body(health.as_str()).send(at).unwrap()
        };
        assert_eq!(ask("text/html").status, 406);
        for (accept, kind) in [
            ("*/*", "json"),
            ("application/*", "json"),
            ("application/x-protobuf", "x-protobuf"),
            ("application/json;q=0, application/x-protobuf", "x-protobuf"),
        ] {
            let reply = ask(accept).expect(200);
            assert_eq!(
                reply.header("content-type"),
                Some(format!("application/{kind}").as_str()),
                "{accept}"
            );
        }
    }
}

#[test]
fn v1_calls_of_an_agent() {
    needs!();
    let cluster = Cluster::start();
    let ask = |call: &Value| post(cluster.agent(), "/slave(1)/api/v1", call);
    assert_eq!(ask(&json!({"type": "GET_HEALTH"})).expect(200).json()["get_health"]["healthy"], true);
    assert!(
        ask(&json!({"type": "GET_VERSION"})).expect(200).json()["get_version"]["version_info"]["version"]
            .is_string()
    );
    let unknown = json!({"type": "READ_FILE", "read_file": {"path": "/nowhere", "offset": 0}});
    assert_eq!(ask(&unknown).status, 404);
    let kill = json!({"type": "KILL_CONTAINER", "kill_container": {"container_id": {"value": "none"}}});
    assert_eq!(ask(&kill).status, 404);
}

#[test]
fn files_of_a_sandbox() {
    needs!();
    let cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    let script = "echo hello; mkdir sub; echo deep > sub/f; head -c 200000 /dev/zero | tr '\\000' a > big; \
                  ln -s /etc/passwd out; ln -s stdout in; echo ready > ready; exec sleep 1000";
    scheduler.start(|offer| task("files", offer, shell(script)));
    scheduler.wait_for("files", "TASK_RUNNING");
    let framework = scheduler.id().to_owned();
    let sandbox = cluster.sandbox(&framework, "files");
    eventually("its files", || sandbox.join("ready").exists().then_some(()));
    let real = fs::canonicalize(&sandbox).unwrap();
    let roots = [
        real.to_str().unwrap().to_owned(),
        sandbox.to_str().unwrap().to_owned(),
        format!("/frameworks/{framework}/executors/files/runs/latest"),
    ];
    let agent = cluster.agent();
    for root in &roots {
        for process in ["/files", "/slave(1)/files"] {
            if process != "/files" && get(agent, &format!("{process}/browse?path={root}")).status == 404 {
                // Mesos: files is a process of its own.
                continue;
            }
            let list = get(agent, &format!("{process}/browse?path={root}")).expect(200).json();
            let paths: Vec<&str> =
                list.as_array().or_fail("a list").iter().filter_map(|entry| entry["path"].as_str()).collect();
            let expected =
                ["big", "in", "out", "ready", "stderr", "stdout", "sub"].map(|name| format!("{root}/{name}"));
            assert_eq!(paths, expected);
            let entry = &list[0];
            assert_eq!(
                (entry["size"].as_u64(), entry["mode"].as_str(), entry["uid"].as_str()),
                (Some(200_000), Some("-rw-r--r--"), Some("root"))
            );
        }
        let read = |query: &str| get(agent, &format!("/files/read?path={root}/{query}")).expect(200).json();
        assert_eq!(read("stdout&offset=0"), json!({"offset": 0, "data": "hello\n"}));
        assert_eq!(read("stdout&offset=2&length=3"), json!({"offset": 2, "data": "llo"}));
        assert_eq!(read("stdout"), json!({"offset": 6, "data": ""}));
        assert_eq!(read("stdout&offset=-1"), json!({"offset": 6, "data": ""}));
        assert_eq!(read("stdout&offset=100"), json!({"offset": 100, "data": ""}));
        assert_eq!(read("sub/f&offset=0")["data"], "deep\n");
        // Mesos: at most 16 pages a call.
        assert_eq!(read("big&offset=0")["data"].as_str().map(str::len), Some(65536));
        let download = get(agent, &format!("/files/download?path={root}/big")).expect(200);
        assert_eq!(download.body.len(), 200_000);
        assert!(download.header("content-disposition").is_some_and(|value| value.contains("attachment")));
        for (path, status) in [
            (format!("/files/browse?path={root}/none"), 404),
            (format!("/files/read?path={root}/none&offset=0"), 404),
            (format!("/files/read?path={root}&offset=0"), 400),
            (format!("/files/read?path={root}/stdout&offset=-2"), 400),
            (format!("/files/download?path={root}/sub"), 400),
            (format!("/files/browse?path={root}/../../../.."), 400),
        ] {
            let found = get(agent, &path).status;
            assert!(
                found == status || (status == 400 && found == 404 && path.contains("..")),
                "{path}: {found}"
            );
        }
        // A link out of the sandbox leads nowhere.
        let out = get(agent, &format!("/files/read?path={root}/out&offset=0"));
        assert!(out.status >= 400 && !out.text().contains("root:"), "{} {}", out.status, out.text());
    }
    for path in ["/files/browse", "/files/read", "/files/download", "/files/browse?path="] {
        assert_eq!(get(agent, path).status, 400, "{path}");
    }
    for path in ["/etc", "/etc/passwd", "/", "/frameworks", "../../etc"] {
        assert!([400, 404].contains(&get(agent, &format!("/files/browse?path={path}")).status), "{path}");
    }
    let v1 = json!({"type": "READ_FILE", "read_file": {"path": format!("{}/stdout", roots[2]), "offset": 1, "length": 2}});
    let answer = post(agent, "/api/v1", &v1).expect(200).json();
    assert_eq!(
        (answer["read_file"]["size"].as_u64(), answer["read_file"]["data"].as_str()),
        (Some(6), Some("ZWw="))
    );
    let v1 = json!({"type": "LIST_FILES", "list_files": {"path": roots[2]}});
    let answer = post(agent, "/api/v1", &v1).expect(200).json();
    assert_eq!(answer["list_files"]["file_infos"].as_array().map(Vec::len), Some(7));
}

#[test]
fn teardown_by_an_operator() {
    needs!();
    let cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    let before = cluster.inventory();
    scheduler.start(|offer| task("torn", offer, shell("exec sleep 1000")));
    scheduler.wait_for("torn", "TASK_RUNNING");
    let unknown =
        Request::new("POST", "/master/teardown").body("frameworkId=none").send(cluster.master()).unwrap();
    assert_eq!(unknown.status, 400);
    assert_eq!(Request::new("POST", "/master/teardown").send(cluster.master()).unwrap().status, 400);
    let body = format!("frameworkId={}", scheduler.id());
    Request::new("POST", "/master/teardown").body(body).send(cluster.master()).unwrap().expect(200);
    let state = cluster.state("/state");
    assert_eq!(state["frameworks"], json!([]));
    assert_eq!(state["completed_frameworks"][0]["id"], scheduler.id());
    cluster.assert_nothing_beyond(&before);
    // The same over v1 finds nothing any more.
    let call = json!({"type": "TEARDOWN", "teardown": {"framework_id": {"value": scheduler.id()}}});
    assert_eq!(post(cluster.master(), "/api/v1", &call).status, 400);
}
