//! What every process of Mesos' answers: metrics, levels of the log, files, the machine, compressed answers.

use std::io::Read as _;
use std::time::{SystemTime, UNIX_EPOCH};

use expect_test::expect_file;
use http::{Method, StatusCode};
use serde_json::Value;
use wire::media::Media;

use super::agent::{self, Agent};
use super::client::{get, post_json, send};
use super::scheduler::{self, Scheduler};
use super::{config, soon, start};
use crate::config::Config;

/// Keys of this run made the same for every run.
fn keys(page: &Value, framework: &str) -> String {
    let keys = page.as_object().unwrap().keys();
    keys.map(|key| key.replace(framework, "FRAMEWORK") + "\n").collect()
}

/// metrics.txt: the keys that apply, and GET_METRICS tells the same.
#[tokio::test]
async fn metrics_have_the_keys_of_mesos() {
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let master = start(config()).await;
    let to = master.address();
    let _agent = Agent::registered(to, agent::register("a1")).await;
    let mut scheduler = Scheduler::subscribed(to, Media::Json, scheduler::info(&[])).await;
    scheduler.offers().await;
    let framework = scheduler.framework.clone().unwrap().value;
    let reconcile = r#"{"type":"TEARDOWN","teardown":{"framework_id":{"value":"none"}}}"#;
    assert_eq!(post_json(to, "/api/v1", reconcile).await.status, StatusCode::BAD_REQUEST);
    let page = get(to, "/metrics/snapshot?timeout=2secs").await;
    assert_eq!(page.header("content-type"), "application/json");
    let page = page.json();
    expect_file!["golden/metrics-keys.txt"].assert_eq(&keys(&page, &framework));
    for (key, value) in [
        ("master/elected", 1.0),
        ("master/slaves_active", 1.0),
        ("master/slave_registrations", 1.0),
        ("master/messages_register_slave", 1.0),
        ("master/messages_register_framework", 1.0),
        ("master/frameworks_connected", 1.0),
        ("master/outstanding_offers", 1.0),
        ("master/cpus_total", 4.0),
        ("allocator/mesos/resources/cpus/offered_or_allocated", 4.0),
    ] {
        assert_eq!(page[key], value, "{key}");
    }
    let at = page["tepui/loop/longest_at_secs"].as_f64().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    assert!(began <= at && at <= now, "{began} <= {at} <= {now}");
    let own = |rest: &str| page[format!("master/frameworks/test/{framework}/{rest}")].clone();
    assert_eq!(
        (own("offers/sent"), own("calls/subscribe"), own("events/offers")),
        (1.0.into(), 1.0.into(), 1.0.into())
    );
    let call = r#"{"type":"GET_METRICS","get_metrics":{}}"#;
    let told = post_json(to, "/api/v1", call).await.json();
    let told = told["get_metrics"]["metrics"].as_array().unwrap().clone();
    assert_eq!(told.len(), page.as_object().unwrap().len());
    assert!(told.iter().any(|one| one["name"] == "master/elected" && one["value"] == 1.0));
    master.stop().await.unwrap();
}

#[tokio::test]
async fn metrics_of_frameworks_can_be_left_out() {
    let master = start(Config { publish_per_framework_metrics: false, ..config() }).await;
    let _scheduler = Scheduler::subscribed(master.address(), Media::Json, scheduler::info(&[])).await;
    let page = get(master.address(), "/metrics/snapshot").await.json();
    assert!(!page.as_object().unwrap().keys().any(|key| key.starts_with("master/frameworks/")));
    master.stop().await.unwrap();
}

/// Prometheus' text: one family for all frameworks, each sample a line.
#[tokio::test]
async fn prometheus_reads_the_same_values() {
    let master = start(config()).await;
    let _agent = Agent::registered(master.address(), agent::register("a1")).await;
    let _scheduler = Scheduler::subscribed(master.address(), Media::Json, scheduler::info(&[])).await;
    let page = get(master.address(), "/metrics").await;
    assert_eq!(page.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = page.text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.contains(&"# TYPE mesos_master_slave_registrations counter"));
    assert!(lines.contains(&"mesos_master_slave_registrations 1"));
    assert!(text.contains("mesos_master_framework_calls_by_type{framework_name=\"test\",framework_id="));
    for line in lines.iter().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("mesos_") && value.parse::<f64>().is_ok(), "{line}");
    }
    let families = lines.iter().filter(|line| line.starts_with("# TYPE")).count();
    let mut names: Vec<&&str> = lines.iter().filter(|line| line.starts_with("# TYPE")).collect();
    names.dedup();
    assert_eq!(names.len(), families, "each family stands once");
    master.stop().await.unwrap();
}

/// http.md 1 "jsonp" and 5 "Others".
#[tokio::test]
async fn codes_of_the_pages_of_every_process() {
    let log = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(log.path(), "one line\n").unwrap();
    let external_log_file = Some(log.path().to_owned());
    let master = start(Config { external_log_file, ..config() }).await;
    let to = master.address();
    for (fact, path, status, needle) in [
        ("jsonp", "/metrics/snapshot?jsonp=f", 200, "f({\""),
        ("jsonp", "/system/stats.json?jsonp=f", 200, "f({\"avg_load_15min\""),
        ("jsonp", "/flags?jsonp=f.g", 200, "f.g({\"flags\""),
        ("jsonp that is no name", "/state?jsonp=a(b)", 400, "jsonp"),
        ("a bad timeout", "/metrics/snapshot?timeout=x", 400, "timeout"),
        ("the level now", "/logging/toggle", 200, "0"),
        ("a level without a duration", "/logging/toggle?level=1", 400, "duration"),
        ("a duration without a level", "/logging/toggle?duration=1secs", 400, "level"),
        ("a negative level", "/logging/toggle?level=-1&duration=1secs", 400, "level"),
        ("a bad duration", "/logging/toggle?level=1&duration=x", 400, "duration"),
        ("files: the log", "/files/read?path=/master/log&offset=4&length=4", 200, "\"data\":\"line\""),
        ("files: how the end is found", "/files/read?path=/master/log&offset=-1", 200, "\"offset\":9"),
        ("files: no path", "/files/read", 400, "path"),
        ("files: a negative offset", "/files/read?path=/master/log&offset=-2", 400, "offset"),
        ("files: unknown", "/files/read?path=/none", 404, "none"),
        ("files: browse unknown", "/files/browse?path=/none", 404, "none"),
        ("files: browse without a path", "/files/browse", 400, "path"),
        ("files: debug", "/files/debug", 200, "\"/master/log\":"),
        ("files: download", "/files/download?path=/master/log", 200, "one line"),
        ("a .json ending", "/metrics/snapshot.json", 200, "master/elected"),
        ("no such route", "/files/nothing", 404, ""),
        ("nothing below Prometheus' page", "/metrics/x", 404, ""),
        ("a path that leads up", "/files/../state", 404, ""),
        ("/redirect/x", "/redirect/x", 404, ""),
    ] {
        let answer = get(to, path).await;
        assert_eq!(answer.status.as_u16(), status, "{fact}: {path}: {}", answer.text());
        assert!(answer.text().contains(needle), "{fact}: {path}: {}", answer.text());
        if path.contains("jsonp=f") {
            assert_eq!(answer.header("content-type"), "text/javascript", "{path}");
        }
    }
    let download = get(to, "/files/download?path=/master/log").await;
    assert!(download.header("content-disposition").starts_with("attachment"));
    for (call, needle) in [
        (r#"{"type":"GET_LOGGING_LEVEL"}"#, "\"level\":0"),
        (
            r#"{"type":"READ_FILE","read_file":{"path":"/master/log","offset":4,"length":4}}"#,
            "\"data\":\"bGluZQ==\"",
        ),
        (r#"{"type":"LIST_FILES","list_files":{"path":"/master/log"}}"#, "LIST_FILES"),
    ] {
        let answer = post_json(to, "/api/v1", call).await;
        assert!(answer.status == StatusCode::OK && answer.text().contains(needle), "{}", answer.text());
    }
    assert_eq!(get(to, "/state").await.json()["external_log_file"], log.path().to_str().unwrap());
    master.stop().await.unwrap();
}

/// http.md 4: 500 of files that can't be read.
#[tokio::test]
async fn a_file_that_cannot_be_read_is_500() {
    // Nobody may read these, whoever he is.
    let closed = ["/proc/sys/vm/compact_memory", "/proc/sys/net/ipv4/route/flush"].map(std::path::Path::new);
    let closed = closed.into_iter().find(|path| path.exists() && std::fs::File::open(path).is_err());
    let external_log_file = Some(closed.expect("Linux has them").to_owned());
    let master = start(Config { external_log_file, ..config() }).await;
    let to = master.address();
    for path in ["/files/read?path=/master/log", "/files/download?path=/master/log"] {
        let answer = get(to, path).await;
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR, "{path}: {}", answer.text());
        assert!(answer.text().contains("can't read '/master/log'"), "{path}: {}", answer.text());
    }
    let call = r#"{"type":"READ_FILE","read_file":{"path":"/master/log","offset":0}}"#;
    let answer = post_json(to, "/api/v1", call).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR, "{}", answer.text());
    master.stop().await.unwrap();
}

/// http.md 5: `/version`; clients compare it with the least Mesos they need.
#[tokio::test]
async fn the_version_is_that_of_the_api() {
    let master = start(config()).await;
    let page = get(master.address(), "/version").await.json();
    assert_eq!(page["version"], "1.12.0");
    assert!(page["git_tag"].as_str().unwrap().starts_with("tepui-"));
    for field in ["build_date", "build_user"] {
        assert!(page[field].is_string(), "{field}");
    }
    let call = post_json(master.address(), "/api/v1", r#"{"type":"GET_VERSION"}"#).await.json();
    assert_eq!(call["get_version"]["version_info"]["version"], "1.12.0");
    master.stop().await.unwrap();
}

/// http.md 4: SET_LOGGING_LEVEL is 200 with an empty body, and the level falls back when its time is over.
#[tokio::test]
async fn the_level_of_the_log_is_set_for_a_while() {
    serving::logging::install(|_| Ok(()));
    let master = start(config()).await;
    let to = master.address();
    let level = async || {
        let answer = post_json(to, "/api/v1", r#"{"type":"GET_LOGGING_LEVEL"}"#).await.json();
        answer["get_logging_level"]["level"].as_u64().unwrap()
    };
    let set = r#"{"type":"SET_LOGGING_LEVEL","set_logging_level":{"level":2,"duration":{"nanoseconds":300000000}}}"#;
    let answer = post_json(to, "/api/v1", set).await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));
    assert_eq!(level().await, 2);
    soon(async {
        while level().await != 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    let answer = get(to, "/logging/toggle?level=1&duration=1hrs").await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));
    assert_eq!(get(to, "/logging/toggle").await.text().trim(), "1");
    master.stop().await.unwrap();
}

/// http.md 1: bodies of 1024 bytes and more are compressed when the client takes gzip.
#[tokio::test]
async fn large_answers_are_compressed_for_those_who_take_it() {
    let master = start(config()).await;
    let to = master.address();
    let plain = get(to, "/state").await;
    assert!(plain.body.len() >= 1024 && plain.header("content-encoding").is_empty());
    let gzip = send(to, Method::GET, "/state", &[("accept-encoding", "gzip, deflate")], "").await;
    assert_eq!(gzip.header("content-encoding"), "gzip");
    assert_eq!(gzip.header("content-type"), "application/json");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&gzip.body[..]).read_to_string(&mut text).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["id"], plain.json()["id"]);
    let small = send(to, Method::GET, "/version", &[("accept-encoding", "gzip")], "").await;
    assert!(small.header("content-encoding").is_empty());
    master.stop().await.unwrap();
}

/// metrics.txt: two a second, those who come sooner wait.
#[tokio::test]
async fn snapshots_of_metrics_come_at_their_pace() {
    let master = start(config()).await;
    let began = std::time::Instant::now();
    for _ in 0..3 {
        assert_eq!(get(master.address(), "/metrics/snapshot").await.status, StatusCode::OK);
    }
    assert!(began.elapsed() >= std::time::Duration::from_secs(1), "{:?}", began.elapsed());
    master.stop().await.unwrap();
}

/// http.md 1: pipelined requests are answered in order, on one connection.
#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let master = start(config()).await;
    let paths = ["/version", "/nothing", "/master/flags", "/health"];
    let requests: String =
        paths.iter().map(|path| format!("GET {path} HTTP/1.1\r\nhost: m\r\n\r\n")).collect();
    let answers = super::client::raw(master.address(), requests.as_bytes()).await;
    let answers = String::from_utf8_lossy(&answers).into_owned();
    let places = ["\"build_date\"", "HTTP/1.1 404", "\"flags\""].map(|mark| answers.find(mark).unwrap());
    assert!(places.is_sorted(), "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 3, "{answers}");
    master.stop().await.unwrap();
}
