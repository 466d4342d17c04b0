//! Who is heard: logins and tokens of operators, schedulers and agents, and endpoints that are closed to all; and that a
//! container in the host's network is nobody (threats K20).

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use integration::client::{Reply, Request};
use integration::images::busybox;
use integration::job::done;
use integration::scheduler::PATH as SCHEDULER;
use integration::task::framework;
use integration::{Cluster, Options, OrFail, Registry, eventually, needs};
use serde_json::{Value, json};

/// Logins of all tests; none of the secrets may ever be seen.
const LOGINS: &str = r#"{"credentials": [
    {"principal": "ops", "secret": "hush-1"},
    {"principal": "web", "secret": "hush-2"},
    {"principal": "agents", "secret": "hush-3"}
]}"#;
const KEY: &str = "hush-4 0123456789abcdef0123456789abcdef";

fn shell(script: &str, arguments: &[&str]) -> String {
    done(Command::new("bash").args(["-c", script, "bash"]).args(arguments))
}

fn login(principal: &str, secret: &str) -> String {
    format!("Basic {}", shell("printf %s \"$1:$2\" | openssl base64 -A", &[principal, secret]))
}

/// A token as others make it.
fn token(header: &str, claims: &str, key: &str) -> String {
    let script = r#"b64() { openssl base64 -A | tr '+/' '-_' | tr -d =; }
        signed=$(printf %s "$1" | b64).$(printf %s "$2" | b64)
        printf %s "$signed.$(printf %s "$signed" | openssl dgst -sha256 -hmac "$3" -binary | b64)""#;
    shell(script, &[header, claims, key])
}

/// A file that only its owner reads.
fn file(cluster: &Cluster, name: &str, content: &str) -> PathBuf {
    let path = cluster.path(name);
    fs::write(&path, content).or_fail(path.display());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).or_fail(path.display());
    path
}

/// A cluster whose master knows the logins, with further flags. Nothing runs yet.
fn cluster(flags: &[&str]) -> Cluster {
    let mut cluster = Cluster::empty(Options::default());
    let logins = file(&cluster, "logins", LOGINS);
    cluster.options().master = vec![format!("--credentials={}", logins.display())];
    cluster.options().master.extend(flags.iter().map(|flag| (*flag).to_owned()));
    cluster
}

fn ask(to: SocketAddr, method: &str, path: &str, who: Option<&str>) -> Reply {
    let request = Request::new(method, path);
    let request = who.into_iter().fold(request, |request, who| request.header("Authorization", who));
    request.send(to).or_fail(path)
}

/// Every path of a realm is answered only to who is known, and says in which realm.
#[track_caller]
fn guarded(to: SocketAddr, realm: &str, paths: &[(&str, &str)]) {
    let (right, wrong) = (login("ops", "hush-1"), login("ops", "hush-2"));
    for (method, path) in paths {
        for who in [None, Some(wrong.as_str()), Some("Basic x"), Some("Bearer a.b.c")] {
            let refused = ask(to, method, path, who).expect(401);
            let challenge = format!("Basic realm=\"{realm}\"");
            assert_eq!(refused.header("www-authenticate"), Some(challenge.as_str()), "{path} {who:?}");
            assert!(!refused.body.is_empty(), "{path}: a text for people");
        }
        assert_ne!(ask(to, method, path, Some(&right)).status, 401, "{path}");
    }
}

#[test]
fn each_realm_of_a_master_wants_to_know_who_asks() {
    needs!("openssl");
    let mut cluster = cluster(&[
        "--authenticate_http_readonly",
        "--authenticate_http_readwrite",
        "--authenticate_http_frameworks",
    ]);
    cluster.start_master();
    let at = cluster.master();
    let readonly = [
        "/state",
        "/master/state.json",
        "/state-summary",
        "/slaves",
        "/tasks",
        "/frameworks",
        "/roles",
        "/flags",
        "/metrics/snapshot",
        "/metrics",
        "/files/debug",
        "/files/browse?path=x",
        "/files/read",
        "/files/download",
    ];
    guarded(at, "mesos-master-readonly", &readonly.map(|path| ("GET", path)));
    let readwrite = [("POST", "/api/v1"), ("POST", "/master/teardown"), ("GET", "/logging/toggle")];
    guarded(at, "mesos-master-readwrite", &readwrite);
    guarded(at, "mesos-master-scheduler", &[("POST", SCHEDULER)]);
    for open in ["/health", "/version", "/system/stats.json", "/redirect"] {
        assert!([200, 307].contains(&ask(at, "GET", open, None).status), "{open}");
    }
    assert_eq!(ask(at, "GET", "/nothing", None).status, 404);
    // Who looks at the flags or the log learns no secret.
    let flags = ask(at, "GET", "/flags", Some(&login("web", "hush-2"))).expect(200).text();
    assert!(flags.contains("/logins") && !flags.contains("hush"), "{flags}");
    assert!(!cluster.master_process().log().contains("hush"));
}

#[test]
fn each_realm_of_an_agent_wants_to_know_who_asks() {
    needs!("openssl");
    let mut cluster = Cluster::empty(Options::default());
    let logins = file(&cluster, "logins", "ops hush-1\nweb hush-2\n");
    cluster.options().agent = vec![
        format!("--http_credentials=file://{}", logins.display()),
        "--authenticate_http_readonly".to_owned(),
        "--authenticate_http".to_owned(),
        r#"--firewall_rules={"disabled_endpoints": {"paths": ["/containers"]}}"#.to_owned(),
    ];
    cluster.launch_agent();
    let at = cluster.agent();
    eventually("the agent answers", || {
        Request::new("GET", "/health").send(at).ok().filter(|reply| reply.status == 200)
    });
    let readonly = [
        "/state",
        "/slave(1)/state",
        "/flags",
        "/metrics/snapshot",
        "/metrics",
        "/monitor/statistics",
        "/containerizer/debug",
        "/files/browse?path=x",
        "/files/read",
        "/files/download",
        "/files/debug",
    ];
    guarded(at, "mesos-agent-readonly", &readonly.map(|path| ("GET", path)));
    guarded(at, "mesos-agent-readwrite", &[("POST", "/api/v1"), ("GET", "/logging/toggle")]);
    for open in ["/health", "/version", "/system/stats.json"] {
        ask(at, "GET", open, None).expect(200);
    }
    for closed in ["/containers", "/slave(1)/containers", "/slave%281%29/containers.json"] {
        let refused = ask(at, "GET", closed, Some(&login("ops", "hush-1"))).expect(403);
        assert_eq!(refused.text(), format!("Endpoint '{closed}' is disabled"));
    }
    assert!(!cluster.agent_process().log().contains("hush"));
}

#[test]
fn files_that_can_not_be_used_stop_the_start_and_open_ones_are_warned_of() {
    needs!("openssl");
    let mut cluster = cluster(&["--authenticate_http_readwrite"]);
    let start = |credentials: &str| {
        let words =
            ["master", "--port=0", "--registry=in_memory", "--authenticate_http_readonly", credentials];
        cluster.tepui(&words).wait()
    };
    for (content, part) in [
        (r#"{"credentials": [{"principal": "a", "secret": "hush", }]}"#, "line 1, column"),
        (r#"{"credentials": [{"principal": "a"}]}"#, "the principal 'a' has no secret"),
        ("a hush\nhush\n", "line 2: expected a principal and a secret"),
        ("a:b hush\n", "has a colon"),
    ] {
        let path = file(&cluster, "bad", content);
        let told = start(&format!("--credentials={}", path.display())).expect(1).stderr;
        assert!(told.contains(part) && !told.contains("hush") && told.contains("--credentials="), "{told}");
    }
    assert!(
        start("--credentials=/nowhere").expect(1).stderr.contains("--credentials=/nowhere: can't be read")
    );
    assert!(start("--credentials=").expect(2).stderr.contains("give --credentials"));
    let short = file(&cluster, "short", "hush");
    let told = start(&format!("--jwt_secret_key={}", short.display())).expect(1).stderr;
    assert!(told.contains("at least 32 bytes") && !told.contains("hush"), "{told}");
    // Mesos warns of a file that everybody reads, and goes on.
    let logins = cluster.path("logins");
    fs::set_permissions(&logins, fs::Permissions::from_mode(0o644)).or_fail("its mode");
    cluster.start_master();
    let log = cluster.master_process().log();
    assert!(log.contains("permissions are too open"), "{log}");
}

fn subscribe(principal: Option<&str>) -> Value {
    let mut info = framework();
    if let Some(principal) = principal {
        info["principal"] = json!(principal);
    }
    json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": info}})
}

#[test]
fn a_framework_has_the_principal_of_its_scheduler() {
    needs!("openssl");
    let mut cluster = cluster(&["--authenticate_http_frameworks"]);
    cluster.start_master();
    let (at, web) = (cluster.master(), login("web", "hush-2"));
    let post = |body: &Value, who: &str| Request::post(SCHEDULER, body).header("Authorization", who);
    let reply = Request::post(SCHEDULER, &subscribe(None)).send(at).or_fail("an answer").expect(401);
    assert_eq!(reply.header("www-authenticate"), Some(r#"Basic realm="mesos-master-scheduler""#));
    // Mesos: 400 when it says it is another's; filled in when it says nothing.
    let reply = post(&subscribe(Some("ops")), &web).send(at).or_fail("an answer").expect(400);
    let mismatch = "Authenticated principal 'web' does not match principal 'ops' set in `FrameworkInfo`";
    assert_eq!(reply.text(), mismatch);
    for says in [None, Some("web")] {
        let (reply, _stream) = post(&subscribe(says), &web).stream(at).or_fail("an answer");
        let reply = reply.expect(200);
        let all = eventually("the framework is shown", || {
            let all = cluster.state("/frameworks")["frameworks"].as_array().cloned()?;
            all.iter().find(|one| one["active"] == true).cloned()
        });
        assert_eq!(all["principal"], "web");
        // Its other calls, by itself and by another.
        let stream_id = reply.header("mesos-stream-id").or_fail("an id").to_owned();
        let revive = json!({"type": "REVIVE", "framework_id": {"value": all["id"]}});
        let call = |who: &str| {
            post(&revive, who).header("Mesos-Stream-Id", &stream_id).send(at).or_fail("an answer")
        };
        call(&web).expect(202);
        let other = call(&login("ops", "hush-1")).expect(400).text();
        assert_eq!(
            other,
            "Authenticated principal 'ops' does not match principal 'web' set in `FrameworkInfo`"
        );
        let teardown = json!({"type": "TEARDOWN", "framework_id": {"value": all["id"]}});
        post(&teardown, &web).header("Mesos-Stream-Id", &stream_id).send(at).or_fail("an answer").expect(202);
    }
}

#[test]
fn agents_log_in_and_so_do_commands() {
    needs!("openssl");
    let mut cluster = cluster(&[
        "--authenticate_agents",
        "--authenticate_http_readwrite",
        "--authenticate_http_frameworks",
    ]);
    cluster.start_master();
    let log = cluster.path("agent.log");
    let says = |what: &str| {
        eventually(format!("the agent says {what:?}"), || {
            fs::read_to_string(&log).unwrap_or_default().contains(what).then_some(())
        });
    };
    cluster.launch_agent();
    says("takes only agents with a login");
    cluster.kill_agent();
    let wrong = file(&cluster, "wrong", r#"{"principal": "agents", "secret": "hush-1"}"#);
    cluster.options().agent = vec![format!("--credential={}", wrong.display())];
    cluster.launch_agent();
    says("the principal or the secret in --credential is wrong");
    assert_eq!(cluster.state("/slaves")["slaves"].as_array().map(Vec::len), Some(0));
    cluster.kill_agent();
    let right = file(&cluster, "right", "agents hush-3");
    cluster.options().agent = vec![
        format!("--credential={}", right.display()),
        format!("--http_credentials={}", cluster.path("logins").display()),
        "--authenticate_http_readonly".to_owned(),
        "--authenticate_http_readwrite".to_owned(),
    ];
    cluster.launch_agent();
    cluster.agent_id();
    says("the secret is sent to the master in plain text");

    let told = cluster.run(&["--", "true"]).expect(1).stderr;
    assert!(told.contains("401 Unauthorized: Authentication is required"), "{told}");
    let web = file(&cluster, "web", r#"{"principal": "web", "secret": "hush-2"}"#);
    let credential = format!("--credential={}", web.display());
    let credential = credential.as_str();
    let ran = cluster.run(&[credential, "--quiet", "--", "echo", "in"]).expect(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("in\n", ""));
    assert_eq!(cluster.state("/frameworks")["completed_frameworks"][0]["principal"], "web");
    let other = cluster.run(&[credential, "--principal=ops", "--", "true"]).expect(1).stderr;
    assert!(other.contains("does not match principal 'ops'"), "{other}");
    // What a task wrote is read from the agent, which wants to know who asks as well.
    let tasks = cluster.ask(&["task", "list", "--all", credential]).wait().expect(0).stdout;
    let id = tasks.lines().nth(1).and_then(|line| line.split_whitespace().next()).or_fail(&tasks);
    assert_eq!(cluster.ask(&["task", "logs", id, credential]).wait().expect(0).stdout, "in\n");
    cluster.ask(&["task", "logs", id]).wait().expect(1);
    let all = [cluster.master_process().log(), cluster.agent_process().log()].concat();
    assert!(!all.contains("hush"), "{all}");
}

#[test]
fn k20_a_container_in_the_hosts_network_is_told_nothing() {
    needs!("openssl", "docker-registry", "skopeo");
    let registry = Registry::start();
    let image = registry.push("busybox", &busybox()).name;
    let closed = ["--authenticate_http_readonly", "--authenticate_http_readwrite"];
    let mut cluster =
        cluster(&[&closed[..], &["--authenticate_http_frameworks", "--authenticate_agents"]].concat());
    let web = file(&cluster, "web", r#"{"principal": "web", "secret": "hush-2"}"#);
    let agents = file(&cluster, "agents", "agents hush-3");
    let logins = format!("--http_credentials={}", cluster.path("logins").display());
    let own = [format!("--credential={}", agents.display()), logins];
    cluster.options().agent = own.into_iter().chain(closed.map(str::to_owned)).collect();
    cluster.start_master();
    cluster.launch_agent();
    // It has the host's network, and asks for all that tells of tasks or changes something.
    let script = r#"echo 'printf "%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}" $2 $3
            read -r _ status _; echo $status $2 $1 $3 >>answers' >ask
        say() { nc -w 9 ${1%:*} ${1#*:} -e sh ask $1 $2 $3; }
        for at in "$@"; do
            for path in /state /flags /metrics/snapshot /files/debug /files/read; do say $at GET $path; done
            say $at POST /api/v1
        done
        for path in /slaves /tasks /frameworks /roles; do say $1 GET $path; done
        say $1 POST /master/api/v1/scheduler; say $1 POST /teardown
        for path in /containers /monitor/statistics; do say $2 GET $path; done
        cat answers; env; cat /proc/net/unix"#;
    let both = [cluster.master(), cluster.agent()].map(|at| at.to_string());
    let run = [&format!("--image={image}"), &format!("--credential={}", web.display()), "--quiet", "--"];
    let command = ["sh", "-c", script, "sh", &both[0], &both[1]];
    let said = cluster.run(&[&run[..], &command[..]].concat()).expect(0).stdout;
    let answers: Vec<&str> =
        said.lines().filter(|line| line.contains(" GET ") || line.contains(" POST ")).collect();
    assert_eq!(answers.len(), 2 * 6 + 6 + 2, "{said}");
    assert!(answers.iter().all(|answer| answer.starts_with("401 ")), "{answers:#?}");
    assert!(!said.contains("hush"), "a secret is in its environment: {said}");
    assert!(!said.lines().any(|line| line.contains('@') && line.contains("tepui")), "{said}");
}

#[test]
fn tokens_are_believed_as_far_as_their_key_says_so() {
    needs!("openssl");
    let mut cluster = Cluster::empty(Options::default());
    let key = file(&cluster, "key", KEY);
    cluster.options().master = vec![
        format!("--jwt_secret_key={}", key.display()),
        "--authenticate_http_readonly".to_owned(),
        "--authenticate_http_readwrite".to_owned(),
        "--authenticate_http_frameworks".to_owned(),
    ];
    cluster.start_master();
    let at = cluster.master();
    let header = r#"{"alg":"HS256","typ":"JWT"}"#;
    let claims = r#"{"sub":"ops","exp":4000000000}"#;
    let good = token(header, claims, KEY);
    ask(at, "GET", "/state", Some(&format!("Bearer {good}"))).expect(200);
    let unsigned = good.rsplit_once('.').or_fail("three parts").0;
    for (bad, why) in [
        (token(header, claims, "another key of thirty-two bytes or more"), "the signature is wrong"),
        (token(r#"{"alg":"none"}"#, claims, KEY), "the algorithm is not HS256"),
        (token(r#"{"alg":"RS256"}"#, claims, KEY), "the algorithm is not HS256"),
        (format!("{unsigned}."), "the signature is wrong"),
        (token(header, r#"{"sub":"ops","exp":1000000000}"#, KEY), "it has expired"),
        (token(header, r#"{"sub":"ops"}"#, KEY), "'exp' is missing"),
    ] {
        let reply = ask(at, "GET", "/state", Some(&format!("Bearer {bad}"))).expect(401);
        let challenge = format!(
            "Bearer realm=\"mesos-master-readonly\", error=\"invalid_token\", error_description=\"Invalid JWT: {why}\""
        );
        assert_eq!(reply.header("www-authenticate"), Some(challenge.as_str()));
    }
    let nothing = ask(at, "GET", "/state", None).expect(401);
    assert_eq!(nothing.header("www-authenticate"), Some(r#"Bearer realm="mesos-master-readonly""#));
    // Mesos: claims without a principal are enough to look, and for nothing else.
    let nameless = format!("Bearer {}", token(header, r#"{"exp":4000000000,"fid":"x"}"#, KEY));
    ask(at, "GET", "/state", Some(&nameless)).expect(200);
    for path in ["/api/v1", SCHEDULER] {
        let refused = ask(at, "POST", path, Some(&nameless)).expect(403).text();
        assert!(refused.contains("contains claims, but no value string"), "{refused}");
    }
    let words = |name: &str, token: &str| {
        [
            "agents".to_owned(),
            "list".to_owned(),
            format!("--token_file={}", file(&cluster, name, token).display()),
        ]
    };
    cluster.ask(&words("good", &good)).wait().expect(0);
    cluster.ask(&words("bad", "x")).wait().expect(1);
    assert!(!cluster.master_process().log().contains(&good));
}

#[test]
fn closed_endpoints_are_closed_in_all_spellings() {
    let mut cluster = Cluster::empty(Options::default());
    let rules = r#"{"disabled_endpoints": {"paths": ["/files/browse", "/master/state", "/api/v1"]}}"#;
    let path = file(&cluster, "rules", rules);
    for flag in [format!("--firewall_rules={rules}"), format!("--firewall_rules={}", path.display())] {
        cluster.options().master = vec![flag];
        cluster.start_master();
        let at = cluster.master();
        for closed in [
            "/files/browse",
            "/files/browse?path=/x",
            "/state",
            "/master/state",
            "/state.json",
            "//state",
            "/st%61te",
        ] {
            let refused = ask(at, "GET", closed, None).expect(403);
            let path = closed.split('?').next().unwrap_or_default();
            assert_eq!(refused.text(), format!("Endpoint '{path}' is disabled"));
        }
        ask(at, "POST", "/api/v1", None).expect(403);
        eventually("the master leads", || (ask(at, "GET", "/slaves", None).status == 200).then_some(()));
        for open in ["/state-summary", "/slaves", "/files/debug", "/health"] {
            ask(at, "GET", open, None).expect(200);
        }
        // It is an endpoint of its own.
        ask(at, "POST", SCHEDULER, None).expect(400);
        cluster.kill_master();
    }
}
