//! The pages and the operator API.

use std::time::Duration;

use agent::logic::{Event, LaunchFailure, LaunchFailureKind};
use expect_test::expect;
use wire::v1;

use crate::common::{eventually, framework, get, get_with, post, task};
use crate::fake::Set;

#[tokio::test]
async fn every_spelling_of_a_route() {
    let set = Set::new().await;
    let agent = set.agent().await;
    let at = agent.address();
    for path in ["/health", "/slave(1)/health", "/slave%281%29/health/"] {
        let answer = get(at, path).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, ""), "{path}");
    }
    for path in [
        "/state",
        "/slave(1)/state.json",
        "/version",
        "/flags",
        "/containers",
        "/containerizer/debug",
        "/files/debug",
        "/metrics/snapshot",
        "/monitor/statistics.json",
        "/slave(1)/monitor/statistics",
        "/system/stats.json",
    ] {
        let answer = get(at, path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.head.contains("content-type: application/json"), "{path}: {}", answer.head);
    }
    for path in ["/nothing", "/state/..", "/", "/slave(1)/../state", "/metrics/x", "/api/v1/executor"] {
        let answer = get(at, path).await;
        assert_eq!((answer.status, answer.body.len()), (404, 0), "{path}");
    }
    let script = get(at, "/version?jsonp=f.g").await;
    let plain = get(at, "/version").await.text();
    assert_eq!(script.text(), format!("f.g({plain});"));
    assert!(script.head.contains("text/javascript"));
    assert_eq!(get(at, "/version?jsonp=alert(1)").await.status, 400);
    assert_eq!(get(at, "/containers?executor_id=x").await.status, 400);
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn the_state_page_shows_what_runs() {
    let mut set = Set::new().await;
    let agent = set.agent().await;
    set.master.register().await;
    set.master.run(&framework("F", true), task("t", "sleep 9")).await;
    let container = set.fake.start(0).await;
    set.master.status().await;
    set.master.status().await;
    let state = get(agent.address(), "/state").await.json();
    let executor = &state["frameworks"][0]["executors"][0];
    assert_eq!(
        executor["directory"].as_str().unwrap(),
        set.paths().sandbox(&set.fake.launched(0).await.0.run).to_str().unwrap()
    );
    assert_eq!(executor["container"], container.as_str());
    assert_eq!(executor["tasks"][0]["state"], "TASK_RUNNING");
    // http.md section 5, T: the executor's process is on /containers alone.
    let told = &executor["tasks"][0]["statuses"][1]["container_status"];
    assert_eq!(told["container_id"]["value"], container.as_str());
    assert_eq!(told["network_infos"][0]["ip_addresses"][0]["ip_address"], "127.0.0.1");
    assert_eq!(told.as_object().unwrap().len(), 2, "{told}");
    let brief = serde_json::json!({
        "id": state["id"], "hostname": state["hostname"], "pid": state["pid"],
        "attributes": state["attributes"], "resources": state["resources"],
        "reserved_resources": state["reserved_resources"],
        "unreserved_resources_allocated": state["unreserved_resources_allocated"],
        "executor": {"id": executor["id"], "name": executor["name"], "source": executor["source"]},
        "full": state["reserved_resources_full"],
    });
    expect![[r#"
        {
          "attributes": {
            "level": 3.0,
            "rack": "r1"
          },
          "executor": {
            "id": "t",
            "name": "Command Executor (Task: t) (Command: sh -c 'sleep 9')",
            "source": "t"
          },
          "full": {
            "web": [
              {
                "name": "cpus",
                "reservations": [
                  {
                    "role": "web",
                    "type": "STATIC"
                  }
                ],
                "role": "web",
                "scalar": {
                  "value": 2.0
                },
                "type": "SCALAR"
              }
            ]
          },
          "hostname": "host-a",
          "id": "A-S0",
          "pid": "slave(1)@127.0.0.1:5051",
          "reserved_resources": {
            "web": {
              "cpus": 2.0,
              "disk": 0.0,
              "gpus": 0.0,
              "mem": 0.0
            }
          },
          "resources": {
            "cpus": 6.0,
            "disk": 100.0,
            "gpus": 0.0,
            "mem": 1024.0,
            "ports": "[31000-31009]"
          },
          "unreserved_resources_allocated": {
            "cpus": 0.1,
            "disk": 0.0,
            "gpus": 0.0,
            "mem": 64.0
          }
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&brief).unwrap());
    let containers = get(agent.address(), "/containers?framework_id=F").await.json();
    assert_eq!(containers[0]["container_id"], container.as_str());
    agent.stop().await.unwrap();
}

/// http.md section 5: what Agent GET /state holds beside the frameworks.
#[tokio::test]
async fn the_state_page_is_whole() {
    let mut set = Set::new().await;
    let domain = r#"{"fault_domain":{"region":{"name":"r"},"zone":{"name":"z"}}}"#;
    let agent = set.agent_with(&[("domain", domain), ("external_log_file", "/var/log/tepui")]).await;
    set.master.register().await;
    let mut registered = agent.registered();
    registered.wait_for(|registered| *registered).await.unwrap();
    let state = get(agent.address(), "/state").await.json();
    let have: Vec<&str> = state.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        have.join(" "),
        "attributes build_date build_time build_user capabilities completed_frameworks domain external_log_file flags \
         frameworks git_tag hostname id master_hostname pid reserved_resources reserved_resources_allocated \
         reserved_resources_full resource_providers resources start_time unreserved_resources \
         unreserved_resources_allocated unreserved_resources_full version"
    );
    assert_eq!(state["domain"]["fault_domain"]["zone"]["name"], "z");
    assert_eq!(state["version"], agent::VERSION);
    assert!(state["build_time"].is_f64() && state["start_time"].is_f64());
    assert_eq!(state["flags"]["reconfiguration_policy"], "equal");
    assert_eq!(state["external_log_file"], "/var/log/tepui");
    agent.stop().await.unwrap();
}

/// http.md section 3: `/containers` takes container_id alone, framework_id alone, or framework_id with executor_id.
#[tokio::test]
async fn containers_are_asked_for_in_three_ways() {
    let mut set = Set::new().await;
    let agent = set.agent().await;
    let at = agent.address();
    set.master.register().await;
    set.master.run(&framework("F", true), task("t", "sleep 9")).await;
    let container = set.fake.start(0).await;
    set.master.status().await;
    set.master.status().await;
    let by_id = format!("?container_id={container}");
    for (query, found) in [
        ("", 1),
        (by_id.as_str(), 1),
        ("?framework_id=F", 1),
        ("?framework_id=F&executor_id=t", 1),
        ("?container_id=other", 0),
        ("?framework_id=F&executor_id=other", 0),
    ] {
        let list = get(at, &format!("/containers{query}")).await.json();
        assert_eq!(list.as_array().unwrap().len(), found, "{query}");
    }
    for query in ["?executor_id=t", "?container_id=c&framework_id=F", "?container_id=c&executor_id=t"] {
        assert_eq!(get(at, &format!("/containers{query}")).await.status, 400, "{query}");
    }
    agent.stop().await.unwrap();
}

/// http.md section 5: an array of five fields, entries without statistics left out.
#[tokio::test]
async fn statistics_of_what_runs() {
    let mut set = Set::new().await;
    let agent = set.agent_with(&[("cgroups_cpu_enable_pids_and_tids_count", "true")]).await;
    let at = agent.address();
    set.master.register().await;
    let mut info = task("t", "sleep 9");
    info.limits.insert("mem".to_owned(), wire::v1::value::Scalar { value: 128.0 });
    set.master.run(&framework("F", true), info).await;
    set.fake.start(0).await;
    set.master.status().await;
    set.master.status().await;
    assert_eq!(get(at, "/monitor/statistics").await.json(), serde_json::json!([]));
    let io = runtime::IoCounts { read: Some(1), total: Some(2), ..Default::default() };
    *set.fake.statistics.lock().unwrap() = Some(runtime::Statistics {
        cpu_user_us: Some(1_500_000),
        memory_current_bytes: Some(7),
        memory_anon_bytes: Some(5),
        processes: Some(3),
        io: Some(vec![runtime::DeviceIo { major: 8, minor: 1, bytes: io, operations: io }]),
        ..Default::default()
    });
    let mut list = get(at, "/monitor/statistics").await.json();
    assert!(list[0]["statistics"]["timestamp"].take().as_f64().unwrap() > 1e9);
    expect![[r#"
        [
          {
            "executor_id": "t",
            "executor_name": "Command Executor (Task: t) (Command: sh -c 'sleep 9')",
            "framework_id": "F",
            "source": "t",
            "statistics": {
              "blkio_statistics": {
                "throttling": [
                  {
                    "device": {
                      "major_number": 8,
                      "minor_number": 1
                    },
                    "io_service_bytes": [
                      {
                        "op": "READ",
                        "value": 1
                      },
                      {
                        "op": "TOTAL",
                        "value": 2
                      }
                    ],
                    "io_serviced": [
                      {
                        "op": "READ",
                        "value": 1
                      },
                      {
                        "op": "TOTAL",
                        "value": 2
                      }
                    ]
                  }
                ]
              },
              "cpus_limit": 0.1,
              "cpus_soft_limit": 0.1,
              "cpus_user_time_secs": 1.5,
              "mem_anon_bytes": 5,
              "mem_limit_bytes": 134217728,
              "mem_rss_bytes": 5,
              "mem_soft_limit_bytes": 67108864,
              "mem_total_bytes": 7,
              "processes": 3,
              "timestamp": null
            }
          }
        ]"#]]
    .assert_eq(&serde_json::to_string_pretty(&list).unwrap());
    let containers = get(at, "/containers").await.json();
    assert_eq!(containers[0]["statistics"]["mem_total_bytes"], 7);
    assert_eq!(containers[0]["status"]["executor_pid"], 42);
    agent.stop().await.unwrap();
}

/// Mesos has no fields for it.
#[tokio::test]
async fn pressure_stands_beside_what_mesos_tells() {
    let mut set = Set::new().await;
    let agent = set.agent().await;
    let at = agent.address();
    set.master.register().await;
    set.master.run(&framework("F", true), task("t", "sleep 9")).await;
    let container = set.fake.start(0).await;
    set.master.status().await;
    set.master.status().await;
    let line =
        runtime::PressureLine { avg10_centi: 1234, avg60_centi: 50, avg300_centi: 0, total_us: 2_500_000 };
    let cpu = runtime::Pressure { some: line, full: None };
    let memory = runtime::Pressure { some: line, full: Some(runtime::PressureLine { total_us: 1, ..line }) };
    *set.fake.statistics.lock().unwrap() =
        Some(runtime::Statistics { psi_cpu: Some(cpu), psi_memory: Some(memory), ..Default::default() });
    let told =
        |secs: f64| serde_json::json!({"avg10": 12.34, "avg60": 0.5, "avg300": 0.0, "total_secs": secs});
    let wanted = serde_json::json!({
        "cpu": {"some": told(2.5)},
        "memory": {"some": told(2.5), "full": told(0.000_001)},
    });
    for page in ["/containers", "/monitor/statistics"] {
        let list = get(at, page).await.json();
        assert_eq!(list[0]["tepui_pressure"], wanted, "{page}: {list}");
        let own = list[0]["statistics"].as_object().unwrap();
        assert!(own.keys().all(|key| !key.contains("pressure")), "{own:?}");
    }
    let text = get(at, "/metrics").await.text();
    let labels = |kind: &str, of: &str| {
        format!(
            "{{container_id=\"{container}\",executor_id=\"t\",framework_id=\"F\",kind=\"{kind}\",resource=\"{of}\"}}"
        )
    };
    let family = "mesos_container_pressure_seconds_total";
    assert!(text.contains(&format!("# TYPE {family} counter\n")), "{text}");
    for (kind, of, value) in
        [("some", "cpu", "2.5"), ("some", "memory", "2.5"), ("full", "memory", "0.000001")]
    {
        let line = format!("{family}{} {value}\n", labels(kind, of));
        assert!(text.contains(&line), "{line} in {text}");
    }
    assert_eq!(text.lines().filter(|line| line.starts_with(family)).count(), 3, "{text}");
    // A scheduler's tools expect Mesos' keys alone there.
    assert!(!get(at, "/metrics/snapshot").await.text().contains("pressure"));
    agent.stop().await.unwrap();
}

/// metrics.txt: the keys of slave/* and gc/*.
#[tokio::test]
async fn metrics_have_the_keys_of_mesos() {
    let mut set = Set::new().await;
    let agent = set.agent().await;
    let at = agent.address();
    set.master.register().await;
    set.master.run(&framework("F", true), task("t", "true")).await;
    set.fake.start(0).await;
    set.master.status().await;
    set.master.status().await;
    let of = |metrics: &serde_json::Value, key: &str| metrics[key].as_f64().unwrap_or(f64::NAN);
    let metrics = get(at, "/metrics/snapshot").await.json();
    let keys = metrics.as_object().unwrap();
    let mut expected: Vec<String> = [
        "uptime_secs registered recovery_errors frameworks_active tasks_staging tasks_starting tasks_running",
        "tasks_killing tasks_finished tasks_failed tasks_killed tasks_lost tasks_gone executors_registering",
        "executors_running executors_terminating executors_terminated executors_preempted valid_status_updates",
        "invalid_status_updates valid_framework_messages invalid_framework_messages",
        "executor_directory_max_allowed_age_secs container_launch_errors recovery_time_secs",
    ]
    .iter()
    .flat_map(|line| line.split(' '))
    .map(|key| format!("slave/{key}"))
    .collect();
    for name in ["cpus", "gpus", "mem", "disk"] {
        for suffix in ["", "_revocable"] {
            expected.extend(["total", "used", "percent"].map(|part| format!("slave/{name}{suffix}_{part}")));
        }
    }
    expected.extend(["succeeded", "failed", "pending"].map(|end| format!("gc/path_removals_{end}")));
    expected.extend(
        [
            "container_destroy_errors",
            "filesystem/containers_new_rootfs",
            "provisioner/remove_container_errors",
        ]
        .map(|key| format!("containerizer/mesos/{key}")),
    );
    expected.extend(
        ["load_1min", "load_5min", "load_15min", "cpus_total", "mem_total_bytes", "mem_free_bytes"]
            .map(|key| format!("system/{key}")),
    );
    for key in expected {
        assert!(keys.get(&key).is_some_and(serde_json::Value::is_f64), "{key}: {:?}", keys.get(&key));
    }
    assert_eq!((of(&metrics, "slave/registered"), of(&metrics, "slave/tasks_running")), (1.0, 1.0));
    assert_eq!((of(&metrics, "slave/cpus_total"), of(&metrics, "slave/cpus_used")), (6.0, 0.1));
    assert_eq!(of(&metrics, "slave/mem_percent"), 0.0625);
    // A timer tells nothing before it has measured something.
    let pull = "containerizer/mesos/provisioner/docker_store/image_pull_ms";
    assert!(metrics[pull].is_null());
    set.fake.exit(0, 0).await;
    set.master.status().await;
    let mut tally = agent::ContainerTally { destroy_errors: 2, rootfs_errors: 3, ..Default::default() };
    tally.pulled(Duration::from_secs(1), Duration::from_millis(250));
    *set.fake.tally.lock().unwrap() = tally;
    let later = get(at, "/metrics/snapshot?timeout=10secs").await.json();
    let counted = [
        "containerizer/mesos/container_destroy_errors",
        "containerizer/mesos/provisioner/remove_container_errors",
        pull,
        &format!("{pull}/count"),
    ];
    assert_eq!(counted.map(|key| of(&later, key)), [2.0, 3.0, 250.0, 1.0]);
    let counted = ["slave/tasks_finished", "slave/executors_terminated", "slave/valid_status_updates"];
    assert_eq!(counted.map(|key| of(&later, key)), [1.0, 1.0, 3.0]);
    assert_eq!(get(at, "/metrics/snapshot?timeout=long").await.status, 400);
    let prometheus = get(at, "/metrics").await;
    assert!(prometheus.head.contains("content-type: text/plain; version=0.0.4"), "{}", prometheus.head);
    assert!(
        prometheus
            .text()
            .contains("# TYPE mesos_slave_tasks_finished counter\nmesos_slave_tasks_finished 1\n")
    );
    agent.stop().await.unwrap();
}

/// http.md section 1: gzip of bodies of 1024 bytes and more when the client accepts it.
#[tokio::test]
async fn long_answers_are_compressed_for_those_who_accept_it() {
    let set = Set::new().await;
    let agent = set.agent().await;
    let at = agent.address();
    let compressed = get_with(at, "/flags", "Accept-Encoding: gzip\r\n").await;
    assert!(compressed.head.contains("content-encoding: gzip"), "{}", compressed.head);
    assert_eq!(compressed.body[..2], [0x1f, 0x8b]);
    for (path, header) in [
        ("/flags", ""),
        ("/flags", "Accept-Encoding: gzip;q=0\r\n"),
        ("/version", "Accept-Encoding: gzip\r\n"),
    ] {
        let answer = get_with(at, path, header).await;
        assert!(!answer.head.contains("content-encoding"), "{path} {header}");
        answer.json();
    }
    agent.stop().await.unwrap();
}

/// http.md section 5, T: labels and discovery of a task; who has no statistics is left out of them.
#[tokio::test]
async fn a_task_with_labels_and_ports() {
    let mut set = Set::new().await;
    let agent = set.agent().await;
    let at = agent.address();
    set.master.register().await;
    let label = v1::Label { key: "k".to_owned(), value: Some("v".to_owned()) };
    let port = v1::Port {
        number: 8080,
        name: Some("http".to_owned()),
        protocol: Some("tcp".to_owned()),
        ..Default::default()
    };
    let discovery = v1::DiscoveryInfo {
        name: Some("web".to_owned()),
        ports: Some(v1::Ports { ports: vec![port] }),
        ..Default::default()
    };
    let info = v1::TaskInfo {
        labels: Some(v1::Labels { labels: vec![label] }),
        discovery: Some(discovery),
        ..task("t", "sleep 9")
    };
    set.master.run(&framework("F", true), info).await;
    set.fake.start(0).await;
    set.master.status().await;
    set.master.status().await;
    let executor = &get(at, "/state").await.json()["frameworks"][0]["executors"][0].clone();
    for told in [executor, &executor["tasks"][0]] {
        assert_eq!(told["labels"], serde_json::json!([{"key": "k", "value": "v"}]));
    }
    let discovery = &executor["tasks"][0]["discovery"];
    assert_eq!(
        (&discovery["name"], &discovery["ports"]["ports"][0]["number"]),
        (&"web".into(), &8080.into())
    );
    assert_eq!(get(at, "/monitor/statistics").await.text(), "[]");
    let containers = get(at, "/containers").await.json();
    assert!(containers[0]["statistics"].is_null() && containers[0]["status"].is_object(), "{containers}");
    // And one that can't be launched is counted.
    set.master.run(&framework("F", true), task("bad", "true")).await;
    let (launch, reports) = set.fake.launched(1).await;
    let failure = LaunchFailure { kind: LaunchFailureKind::Failed, message: "no".to_owned() };
    reports.tell(Event::ContainerFailed { container: launch.run.container.clone(), failure });
    set.master.until_end().await;
    assert_eq!(get(at, "/metrics/snapshot").await.json()["slave/container_launch_errors"], 1.0);
    agent.stop().await.unwrap();
}

/// http.md section 1: streams are never compressed, whatever the client accepts.
#[tokio::test]
async fn a_file_is_sent_as_it_is() {
    let mut set = Set::new().await;
    let agent = set.agent().await;
    set.master.register().await;
    set.master.run(&framework("F", true), task("t", "true")).await;
    set.fake.start(0).await;
    set.master.status().await;
    let sandbox = set.paths().sandbox(&set.fake.launched(0).await.0.run);
    std::fs::create_dir_all(&sandbox).unwrap();
    std::fs::write(sandbox.join("stdout"), "word ".repeat(1000)).unwrap();
    let path = format!("/files/download?path={}", sandbox.join("stdout").display());
    let answer = get_with(agent.address(), &path, "Accept-Encoding: gzip\r\n").await;
    assert_eq!((answer.status, answer.body.len()), (200, 5000), "{}", answer.text());
    assert!(!answer.head.contains("content-encoding"), "{}", answer.head);
    agent.stop().await.unwrap();
}

/// http.md section 5: arrays, empty when nothing runs; section 3: two /monitor/statistics a second, more wait.
#[tokio::test]
async fn statistics_come_at_their_pace() {
    let set = Set::new().await;
    let agent = set.agent().await;
    let at = agent.address();
    assert_eq!(get(at, "/containers").await.text(), "[]");
    let began = std::time::Instant::now();
    for path in ["/monitor/statistics", "/slave(1)/monitor/statistics", "/monitor/statistics.json"] {
        let answer = get(at, path).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "[]"), "{path}");
    }
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    agent.stop().await.unwrap();
}

/// http.md section 3: 503 while recovering; what tells nothing of tasks answers.
#[tokio::test]
async fn an_agent_that_still_recovers_says_so() {
    let set = Set::new().await;
    let (go_on, held) = tokio::sync::oneshot::channel();
    *set.fake.recovers.lock().unwrap() = Some(held);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let meanwhile = async {
        eventually("it listens", async || tokio::net::TcpStream::connect(free).await.is_ok()).await;
        let health = br#"{"type":"GET_HEALTH"}"#;
        // Mesos: before the method and the headers are looked at.
        for answer in [
            get(free, "/state").await,
            get(free, "/slave(1)/containers").await,
            get(free, "/files/debug").await,
            get(free, "/api/v1").await,
            post(free, "/api/v1", "application/json", health).await,
            post(free, "/api/v1", "text/plain", health).await,
        ] {
            assert_eq!((answer.status, answer.text().as_str()), (503, "Agent has not finished recovery"));
        }
        for path in ["/health", "/version", "/flags", "/logging/toggle"] {
            assert_eq!(get(free, path).await.status, 200, "{path}");
        }
        go_on.send(()).unwrap();
    };
    let port = free.port().to_string();
    let flags = [("port", port.as_str())];
    let (agent, ()) = tokio::join!(set.agent_with(&flags), meanwhile);
    assert_eq!(get(free, "/state").await.status, 200);
    let metrics = get(free, "/metrics/snapshot").await.json();
    assert!(metrics["slave/recovery_time_secs"].as_f64().unwrap() > 0.0);
    agent.stop().await.unwrap();
}

/// http.md section 5: `/logging/toggle`.
#[tokio::test]
async fn the_log_is_asked_for_its_level() {
    let set = Set::new().await;
    let agent = set.agent().await;
    let at = agent.address();
    let level = get(at, "/logging/toggle").await;
    assert_eq!((level.status, level.text().as_str()), (200, "0\n"));
    for bad in ["level=1", "duration=1secs", "level=-1&duration=1secs", "level=1&duration=x"] {
        assert_eq!(get(at, &format!("/logging/toggle?{bad}")).await.status, 400, "{bad}");
    }
    // 200 with an empty body.
    serving::logging::install(|_| Ok(()));
    let set = get(at, "/logging/toggle?level=2&duration=1hrs").await;
    assert_eq!((set.status, set.body.len()), (200, 0), "{}", set.text());
    assert_eq!(get(at, "/logging/toggle").await.text(), "2\n");
    let body = br#"{"type":"SET_LOGGING_LEVEL","set_logging_level":{"level":1,"duration":{"nanoseconds":3600000000000}}}"#;
    let set = post(at, "/api/v1", "application/json", body).await;
    assert_eq!((set.status, set.body.len()), (200, 0), "{}", set.text());
    let level = post(at, "/api/v1", "application/json", br#"{"type":"GET_LOGGING_LEVEL"}"#).await.json();
    assert_eq!(level["get_logging_level"]["level"], 1);
    agent.stop().await.unwrap();
}
